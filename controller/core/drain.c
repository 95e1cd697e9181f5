#include "controller/core/drain.h"

int drain_begin(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int drain_end(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int drain_tick(struct step *s)
{
    (void)s;
    return 0;
}

uint64_t drain_due_ms(const struct cluster *c)
{
    (void)c;
    return UINT64_MAX;
}
