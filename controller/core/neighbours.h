/* Who dials whom on the neighbour ports, and how a node is reached whose own link is cut. Source: design, "Noticing". */
#ifndef CARAVAN_CONTROLLER_CORE_NEIGHBOURS_H
#define CARAVAN_CONTROLLER_CORE_NEIGHBOURS_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
/* Tells each node its neighbours where they have changed. */
int neighbours_tick(struct step *s);
/* A message that a neighbour has carried: counts as the other node's. */
int neighbours_relayed(struct step *s, struct cluster_ev *ev);

#endif
