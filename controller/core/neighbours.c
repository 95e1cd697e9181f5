#include "controller/core/neighbours.h"

int neighbours_tick(struct step *s)
{
    (void)s;
    return 0;
}

int neighbours_relayed(struct step *s, struct cluster_ev *ev)
{
    (void)ev;
    s->c->numbers.late_messages++;
    return 0;
}
