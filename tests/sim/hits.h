/* Single blows, given and taken back. */
#ifndef CARAVAN_TESTS_SIM_HITS_H
#define CARAVAN_TESTS_SIM_HITS_H

#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

void hit_power(struct world *w, int machine, bool on);
void hit_suspend(struct world *w, int machine, bool on);

/* hit_network_changed is to be said after any of these. */
void hit_cut(struct world *w, int from, int to, bool on);
void hit_cable(struct world *w, int machine, bool out);
void hit_split(struct world *w, uint64_t sides, bool on);
void hit_network_changed(struct world *w);

/* KILL, FREEZE, ANSWERS_500, CARRIER_KILLED, CARRIER_FROZEN or WORKER_FROZEN, to one of the host's processes. */
void hit_process(struct world *w, const struct action *a);

#endif
