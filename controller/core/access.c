#include "controller/core/access.h"

int access_join(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int access_token(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int access_untoken(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int access_approve(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int access_revoke(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int access_api_key(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int access_api_unkey(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}
