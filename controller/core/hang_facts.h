/* What the nodes of an instance have said of its processes last, as the rules about hangs ask for it. For hang*.c alone. */
#ifndef CARAVAN_CONTROLLER_CORE_HANG_FACTS_H
#define CARAVAN_CONTROLLER_CORE_HANG_FACTS_H

#include "controller/core/state.h"

/* Borrowed, of the epoch that is there. NULL: there is none, or its node has not told of it. */
const struct node *hang_node(const struct cluster *c, const struct instance *i, size_t k);
const struct unit_facts *hang_worker(const struct cluster *c, const struct instance *i,
                                     size_t k); /* none where local */
const struct unit_facts *hang_coordinator(const struct cluster *c, const struct instance *i);
const struct unit_facts *hang_carrier(const struct cluster *c, const struct instance *i, size_t k);

/* The caller has said step_instance, or journal_change. */
void hang_clocks_restart(struct hang *h, uint64_t now_ms);

/* A member that is away, or a network that repeats itself: then nobody hangs, the network is slow. Not `stuck`. What a carrier
 * has on the network counts as its worker's and its coordinator's. */
bool hang_is_disturbed(const struct cluster *c, const struct instance *i);

/* One that cannot be read counts as busy; of the CPU the process's own time is asked. */
bool hang_devices_work(const struct node *n, const struct plan_rank *rank);

/* "GET_TENSOR waits for 11 s", behind what buf holds; nothing where no command of it is known to wait. */
void hang_say_waits(const struct instance *i, size_t k, const char *before, char *buf, size_t size);

#endif
