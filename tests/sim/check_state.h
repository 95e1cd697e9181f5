/* What the checks remember. Private to check_*.c. */
#ifndef CARAVAN_TESTS_SIM_CHECK_STATE_H
#define CARAVAN_TESTS_SIM_CHECK_STATE_H

#include "tests/sim/check.h"
#include "tests/sim/stats.h"

enum {
    CHECK_INSTANCES = 512,
    CHECK_TASKS = 8192,
    CHECK_EVERY_MS = 500,
    CHECK_TICKS = 100,      /* in one millisecond, that have not moved their deadline */
    CHECK_LEASE_MS = 5000,  /* design: no lease without a live epoch for longer, where the leader can reach the node */
    CHECK_NOTICE_MS = 4000, /* a rank that is not there is noticed where its agent can be heard */
    CHECK_HUNG_MS = 13000,  /* 10 s by P1, samples, a report; design: named and relaunched in 12 s */
    CHECK_HEARD_MS = 15000, /* a whole report comes every 10 s */
    CHECK_EVICT_MS = 36000  /* and where it cannot: the longest evict_after, and a little */
};

/* An instance, as its transitions and the gateway's picture say it is. */
struct instance_seen {
    struct id128 id;
    unsigned state;        /* enum instance_state */
    uint64_t epoch;        /* the newest one planned */
    uint64_t sent;         /* the newest one of which anybody was told */
    uint64_t routed, over; /* by this gateway */
    bool undecided;        /* from the store, and its nodes have not all been heard */
    uint64_t stop_epoch;   /* a STOP was sent for epochs up to this one */
    /* Since when it has been ready without all its processes, anywhere, and where the leader can hear of it; 0: it has
     * them. */
    uint64_t missing_ms, heard_ms;
    uint64_t hung_ms; /* since when a rank has been stopped in a request */
};

/* A lease by the newest report of a node, and since when nothing justifies it; 0: something does. */
struct lease_seen {
    struct id128 instance;
    uint64_t epoch, dead_ms;
};

struct check {
    bool restoring;
    unsigned node[HOSTS_MAX + 1]; /* enum node_state */
    size_t n_instances;
    struct instance_seen instance[CHECK_INSTANCES];
    unsigned task[CHECK_TASKS]; /* enum task_state; 0: not seen */
    size_t n_leases[HOSTS_MAX + 1];
    struct lease_seen lease[HOSTS_MAX + 1][PROTO_UNITS_MAX];
    uint64_t ignored_ms[HOSTS_MAX + 1]; /* since when it speaks to a leader that does not listen; 0: that does */
    uint64_t brake_ms;                  /* when it was last seen on */
    uint64_t same_ms, n_same;
    uint64_t told[16]; /* the last refusals, so that a story tells each once */
    size_t n_told;
};

struct instance_seen *check_instance(struct world *w, const struct id128 *id); /* new where it was not known */
/* A stop of that epoch leaves for that host: its coordinator goes first, while it can be reached. */
void check_stop_order(struct world *w, const struct host *to, const struct message *m);
/* The epoch is wanted: by the leader, or where there is none by its store. */
bool check_epoch_serves(struct world *w, const struct id128 *instance, uint64_t epoch);

#endif
