#include "controller/core/brake.h"

int brake_host(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int brake_lift(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

bool brake_is_on(const struct cluster *c)
{
    (void)c;
    return false;
}

int brake_tick(struct step *s)
{
    (void)s;
    return 0;
}

uint64_t brake_due_ms(const struct cluster *c)
{
    (void)c;
    return UINT64_MAX;
}
