#include "controller/core/detector.h"

int detector_traffic(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int detector_upstream(struct step *s, const struct cluster_ev *ev)
{
    (void)s;
    (void)ev;
    return 0;
}

int detector_tick(struct step *s)
{
    (void)s;
    return 0;
}

uint64_t detector_due_ms(const struct cluster *c)
{
    (void)c;
    return UINT64_MAX;
}

uint64_t detector_evict_after_ms(const struct cluster *c, const struct instance *i)
{
    (void)i;
    return c->config.evict_after_ms;
}
