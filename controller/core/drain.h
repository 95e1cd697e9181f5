/* Empties a node: what is served there moves elsewhere first, where memory allows. Source: design, "State machines". */
#ifndef CARAVAN_CONTROLLER_CORE_DRAIN_H
#define CARAVAN_CONTROLLER_CORE_DRAIN_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
int drain_begin(struct step *s, const struct cluster_ev *ev);
int drain_end(struct step *s, const struct cluster_ev *ev);
int drain_tick(struct step *s);
uint64_t drain_due_ms(const struct cluster *c);

#endif
