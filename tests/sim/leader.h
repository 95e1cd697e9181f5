/* The controller's shell: what each effect of cluster_step does, and what the gateway is shown. */
#ifndef CARAVAN_TESTS_SIM_LEADER_H
#define CARAVAN_TESTS_SIM_LEADER_H

#include "controller/core/cluster.h"
#include "tests/sim/llama.h"
#include "tests/sim/store.h"
#include "tests/sim/world.h"

#define LEADER_KEY "c0ffee0000000000000000000000000000000000000000000000000000000000"

enum { PICTURE_MAX = 64, WARM_UPS = 64 };

/* What the gateway knows of an instance: a copy, as old as the last view. */
struct picture {
    struct id128 id;
    char name[PROTO_MODEL_MAX];
    enum instance_state state;
    bool leaving;
    uint64_t epoch;
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    char key[PROTO_KEY_MAX]; /* of the node whose carrier that is; empty: it is the coordinator's own port */
};

struct warm_up {
    struct request request;
    bool used;
    struct id128 instance;
    uint64_t epoch;
    bool ok;
};

struct leader {
    struct cluster *c; /* NULL: it does not run */
    bool frozen;
    bool tunnel; /* its rank_transport, in this life */
    uint32_t life;
    uint32_t crash_in; /* after so many effects; 0: not */
    int64_t clock_ms;  /* its monotonic clock shows now + this */
    int64_t wall_ms;
    uint64_t tick_ms;
    uint64_t carrier_told;
    uint64_t woke_ms; /* its machine was suspended in this life; 0: never */
    struct sim_store store;
    bool stale;
    size_t n_pictures;
    struct picture picture[PICTURE_MAX]; /* newest first */
    struct warm_up warm_up[WARM_UPS];
    enum knock_outcome knock[HOSTS_MAX + 1]; /* the last one: a story tells news */
};

void leader_begin(struct world *w);
void leader_end(struct world *w);

bool leader_runs(const struct world *w);
bool leader_listens(const struct world *w);
uint32_t leader_life(const struct world *w);
uint64_t leader_clock(const struct world *w);

struct cluster_config leader_config(const struct world *w);
void leader_crash(struct world *w);
void leader_start(struct world *w);
void leader_freeze(struct world *w, bool frozen);
void leader_host_changed(struct world *w); /* its machine's links */
void leader_woke(struct world *w, uint64_t slept_ms);

/* One event, with everything that follows; nothing where it does not run. ev->message: consumed. */
void leader_feed(struct world *w, struct cluster_ev *ev);
/* What a step has decided: looked at, shown, carried out. fx: consumed. */
void leader_take(struct world *w, struct cluster_effects *fx);
bool leader_not_now(struct world *w, const struct happening *h);

/* What it has asked of coordinators over connections that are broken now. */
void leader_lose_warm_ups(struct world *w);

/* For net.c and store.c. */
void leader_message(struct world *w, int from, struct message *m); /* m: consumed */
void leader_link_closed(struct world *w, int from);
void leader_committed(struct world *w, uint64_t token, bool ok);

#endif
