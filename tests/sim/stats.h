/* What a run has counted; plain numbers, so that runs of several processes can be added up. */
#ifndef CARAVAN_TESTS_SIM_STATS_H
#define CARAVAN_TESTS_SIM_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/scenario.h"

enum { CELLS_MACHINES = 4, CELLS_STATES = 16, CELLS_EVENTS = 24 };

enum check_kind {
    CHECK_ROUTE,
    CHECK_WORKER,
    CHECK_LEASE_MEMORY,
    CHECK_LEASE_LIVE,
    CHECK_TASK,
    CHECK_TABLE,
    CHECK_DURABLE,
    CHECK_ANSWER,
    CHECK_SIGNAL,
    CHECK_READY,
    CHECK_HEARD,
    CHECK_DEAF,
    CHECK_TIME,
    CHECK_END,
    CHECK_KEYS,
    CHECK_BINDS,
    CHECK_TRANSPORT,
    CHECK_CARRIER,
    CHECK_FREED,
    CHECK_STILL_SERVING,
    CHECK_NAMED,
    CHECK_FLIGHT,
    CHECK_UNLOAD,
    CHECK_DEMAND,
    CHECK_N
};

struct stats {
    uint64_t seeds, failed, simulated_ms, hash, agent_steps, leader_steps, messages;
    uint64_t injected[ACTION_N];
    uint64_t checked[CHECK_N];
    uint64_t cell[CELLS_MACHINES][CELLS_STATES][CELLS_EVENTS];
    uint64_t n_ready, n_recovered, n_requests, n_answered, n_not_let_in, n_tunnels, n_held, n_held_lost;
};

const char *check_kind_name(enum check_kind k);
void stats_add(struct stats *to, const struct stats *from);
/* How many cells of each table were reached. Returns how many of them neither were nor have a reason why they cannot be, or
 * have one and were. told: which; all: the reasons of the others too, and what was hardly ever reached. */
unsigned stats_print_cells(const struct stats *s, bool told, bool all);
void stats_print(const struct stats *s, double real_s);

#endif
