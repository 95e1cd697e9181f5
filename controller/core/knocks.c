#include "controller/core/knocks.h"

int knocks_closed(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int knocks_own(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int knocks_witness(struct step *s, struct node *witness, const struct message *m)
{
    (void)s;
    (void)witness;
    (void)m;
    return 0;
}

int knocks_tick(struct step *s)
{
    (void)s;
    return 0;
}

uint64_t knocks_due_ms(const struct cluster *c)
{
    (void)c;
    return UINT64_MAX;
}
