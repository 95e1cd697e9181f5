/* What the checks remember. Private to check_*.c. */
#ifndef CARAVAN_TESTS_SIM_CHECK_STATE_H
#define CARAVAN_TESTS_SIM_CHECK_STATE_H

#include "tests/sim/check.h"
#include "tests/sim/stats.h"

struct instance;

enum {
    CHECK_INSTANCES = 512,
    CHECK_TASKS = 8192,
    CHECK_EVERY_MS = 500,
    CHECK_TICKS = 100,      /* in one millisecond, that have not moved their deadline */
    CHECK_LEASE_MS = 5000,  /* design: no lease without a live epoch for longer, where the leader can reach the node */
    CHECK_NOTICE_MS = 4000, /* a rank that is not there is noticed where its agent can be heard */
    CHECK_HUNG_MS = 12000,  /* design: named within it */
    CHECK_LEAVING_MS = 3000,
    CHECK_SERVING = 64,
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
    uint64_t leaving_ms; /* since when it is being unloaded */
    uint64_t hung_ms;    /* since when a rank has been stopped in a request */
    uint64_t stopped_ms; /* since when a carrier has been stopped */
};

/* An epoch that was ready when something went away. */
struct serving {
    struct id128 instance;
    uint64_t epoch;
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
    size_t n_serving;
    struct serving serving[CHECK_SERVING];
    uint64_t told[16]; /* the last refusals, so that a story tells each once */
    size_t n_told;
};

struct instance_seen *check_instance(struct world *w, const struct id128 *id); /* new where it was not known */
/* A stop of that epoch leaves for that host: its coordinator goes first, while it can be reached. */
void check_stop_order(struct world *w, const struct host *to, const struct message *m);
/* The epoch is wanted: by the leader, or where there is none by its store. */
bool check_epoch_serves(struct world *w, const struct id128 *instance, uint64_t epoch);

/* check_world.c, for check_carrier.c. */
bool check_reaches(const struct world *w, const struct host *h); /* the leader can have what is there ended */
bool check_is_live(const struct world *w, const struct id128 *id, uint64_t epoch);
bool check_is_forgotten(const struct world *w, const struct host *h, const struct id128 *id);
/* True: for longer than the bound. */
bool check_too_long(const struct world *w, bool wrong, uint64_t *since_ms, uint64_t bound_ms);
struct process *check_coordinator_of(struct world *w, const struct instance *i);

/* check_demand.c. */
void check_single_flight(struct world *w, const struct cluster *c);
void check_unloads(struct world *w, const struct cluster_transition *t);
void check_leaving(struct world *w, const struct instance *i); /* twice a second */
/* A person was told that his deploy of it is accepted. */
void check_deployed(struct world *w, const struct id128 *id);
void check_demand(struct world *w); /* all is well */

/* check_carrier.c. */
void check_carriers(struct world *w, struct host *h); /* twice a second */
/* Before p is signalled: its coordinator has ended, or its carrier. */
void check_end_order(struct world *w, const struct host *h, const struct process *p);
/* With the tunnel a worker is free as soon as its carrier has ended: none is found busy after its epoch. */
void check_freed(struct world *w, struct host *h, const struct agent_transition *t);
void check_transport(struct world *w, const struct instance *i); /* its new plan */
/* All is well: who has another rank_transport is left out, and that is said. */
void check_left_out(struct world *w);
/* A rank or a carrier is stopped in the middle of a request, and everybody who could tell can be heard. */
bool check_hangs(struct world *w, const struct instance *i);
/* One of its carriers is stopped, and everybody who could tell can be heard. */
bool check_is_stopped(struct world *w, const struct instance *i);
/* It is in trouble, for this reason: if something of it is stopped, that names it. */
void check_named(struct world *w, const struct instance *i, const char *text);

#endif
