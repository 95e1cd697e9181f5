/* What the controller keeps: records that become durable some time after they were handed over, or not at all. A crash
 * falls before or after that moment. */
#ifndef CARAVAN_TESTS_SIM_STORE_H
#define CARAVAN_TESTS_SIM_STORE_H

#include "controller/core/cluster.h"
#include "tests/sim/world.h"

enum { STORE_RECORDS_MAX = 4096 };

struct store_batch {
    uint64_t token;
    size_t n;
    struct record *record; /* owned, each deep */
    struct store_batch *next;
};

struct sim_store {
    bool fails;       /* no room */
    uint64_t slow_ms; /* a commit takes up to so much longer */
    uint64_t term;
    size_t n;
    struct record record[STORE_RECORDS_MAX];
    struct store_batch *first, **last; /* handed over, not yet durable */
    uint64_t last_ms;                  /* when the newest one will be */
};

void sim_store_begin(struct sim_store *s);
void sim_store_end(struct sim_store *s);
/* Takes the records out of fx. */
void sim_store_append(struct world *w, struct sim_store *s, struct cluster_fx *fx);
/* The controller is gone: some of what was handed over became durable, the rest never will. */
void sim_store_crash(struct world *w, struct sim_store *s);
/* The newest durable record of an instance; NULL: none. */
const struct record *sim_store_instance(const struct sim_store *s, const struct id128 *id);
/* A deep copy. */
void sim_store_copy(const struct record *from, struct record *to);

#endif
