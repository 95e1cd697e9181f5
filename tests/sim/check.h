/* What must be true, looked at after every step; and what must have become of it all in the end. */
#ifndef CARAVAN_TESTS_SIM_CHECK_H
#define CARAVAN_TESTS_SIM_CHECK_H

#include "agent/core/agent.h"
#include "controller/core/cluster.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/world.h"

void check_begin(struct world *w);
void check_end(struct world *w);

/* The leader. */
void check_transition(struct world *w, const struct cluster_transition *t);
void check_leader(struct world *w); /* after each of its steps */
void check_leader_gone(struct world *w);
void check_restored(struct world *w, bool restoring); /* its states come from the store, by no table */
void check_leader_sends(struct world *w, const struct host *to, const struct message *m);
void check_answer(struct world *w, uint64_t request_id, const struct cluster_answer *a);
void check_report(struct world *w, int from, const struct message *m);
void check_time(struct world *w, const char *who, uint64_t deadline_ms, uint64_t now_ms);

enum node_state check_node_state(const struct world *w, int host); /* as its transitions say */
/* By the leader's book the link from that address is the host's. */
bool check_speaks(const struct world *w, const struct host *h, const char *addr);

/* The gateway. */
void check_picture(struct world *w);
void check_routed(struct world *w, const struct picture *p);

/* Agents and processes. */
void check_agent_transition(struct world *w, struct host *h, const struct agent_transition *t);
void check_agent(struct world *w, struct host *h);
void check_adopted(struct world *w, struct host *h, const struct unit_facts *unit);
void check_worker_taken(struct world *w, struct host *h, const struct process *worker, const struct process *by);
/* A process begins, or is assigned, to serve that epoch. */
void check_started(struct world *w, struct host *h, const struct unit_facts *unit);
/* Before it is started: where it will listen. */
void check_binds(struct world *w, struct host *h, const struct unit_facts *unit);
void check_signal(struct world *w, struct host *h, const struct process *p);
void check_probe(struct world *w, struct host *h, const struct process *p);

uint64_t check_brake_ms(const struct world *w); /* when the brake was last seen on; 0: never */
/* In calm stories: something is away that is to be back before anybody is evicted; and some time after it is. What was ready
 * must be, in the same epoch, and no request to it may be cut off meanwhile. */
void check_serving(struct world *w);
void check_still_serving(struct world *w);
void check_cut_off(struct world *w, const struct id128 *instance, uint64_t epoch);
/* A minute after all was healed, and after everything was stopped. */
void check_all_is_well(struct world *w);
void check_nothing_is_left(struct world *w);

#endif
