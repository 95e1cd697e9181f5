/* A machine with an agent: power, disk, memory, processes, and the agent's shell as a table of effects.
 *
 * An agent's end keeps processes and disk; a machine's loses processes, keeps the disk. What a step wants done is done in
 * order; a crash may fall between two effects. */
#ifndef CARAVAN_TESTS_SIM_HOST_H
#define CARAVAN_TESTS_SIM_HOST_H

#include "agent/core/agent.h"
#include "tests/sim/llama.h"
#include "tests/sim/world.h"

#define HOST_LOOPBACK "127.0.0.1"

enum {
    HOST_HELD = 8,
    HOST_PROCESSES = PROTO_UNITS_MAX + 8,
    HOST_OUTCOMES = 256,
    HOST_SHADOWS = PROTO_UNITS_MAX + 8,
    HOST_SAMPLE_MS = 500
};

/* A unit's record on disk. */
struct unit_record {
    bool used;
    struct unit_facts spec;
    uint32_t boot;
    int32_t pid;
    bool ended, told; /* told: to this life of the agent */
    bool stale;       /* a full disk did not take whom it serves now */
    struct exit_facts exit;
};

/* An event that an effect brought about, fed after the other effects of its step. */
struct outcome {
    struct agent_ev ev;
    char unit_id[PROTO_NAME_MAX], addr[PROTO_ADDR_MAX];
};

/* A coordinator that is to start when its carrier answers. */
struct held_start {
    bool used, asked; /* asked: its own SPAWN came */
    char carrier[PROTO_NAME_MAX], coordinator[PROTO_NAME_MAX];
    uint16_t port; /* which the carrier knows already */
    struct unit_facts unit;
    struct coordinator_spec *spec; /* owned */
};

struct disk {
    bool full;
    size_t n_epochs;
    struct agent_epoch epoch[AGENT_EPOCHS_MAX];
    struct unit_record unit[HOST_PROCESSES];
};

/* The state of a unit as its transitions say it is. */
struct shadow {
    char id[PROTO_NAME_MAX];
    unsigned state; /* enum unit_state */
};

struct host {
    int n;
    char name[16], key[PROTO_KEY_MAX], addr[32];
    struct id128 id;
    /* the machine */
    bool powered, suspended;
    uint32_t boot;
    int64_t clock_ms;   /* its monotonic clock shows now + this */
    uint64_t asleep_ms; /* since when */
    uint64_t total_bytes, other_bytes, taken_bytes, gpu_bytes;
    uint64_t memory_limit_bytes;
    bool has_gpu;
    bool tunnel;   /* its rank_transport */
    uint32_t slow; /* how many times slower it computes; 0 and 1: not */
    struct disk disk;
    int32_t last_pid;
    struct process process[HOST_PROCESSES];
    uint32_t foreign_ports, spawn_fails, stillborn, last_probe;
    /* A copy of it has passed for it, and said that nothing runs there; or what runs there is on record as serving whom it
     * serves no more. */
    bool belied;
    /* the agent */
    struct agent *agent; /* NULL: none runs */
    bool frozen;
    uint32_t life;
    uint32_t crash_in; /* after so many effects; 0: not */
    uint64_t tick_ms;  /* the next one that is arranged */
    bool welcomed;
    uint64_t welcomed_ms;
    uint64_t refused_ms, greet_ms; /* how long a refused hello waits; when the next one is arranged */
    struct id128 cluster;
    uint64_t term;
    struct neighbours peers;
    struct held_start held[HOST_HELD];
    size_t n_outcomes;
    struct outcome outcome[HOST_OUTCOMES];
    size_t n_shadows;
    struct shadow shadow[HOST_SHADOWS];
};

void host_begin(struct world *w);
void host_end(struct world *w);

struct host *host_by_addr(struct world *w, const char *addr); /* NULL: none */
struct host *host_by_key(struct world *w, const char *key);
struct host *host_by_id(struct world *w, const struct id128 *id);

bool host_awake(const struct host *h); /* powered and not suspended */
bool host_agent_runs(const struct host *h);
bool host_agent_listens(const struct host *h);
bool host_lets_in(const struct host *h, int from);
uint64_t host_clock(const struct world *w, const struct host *h);

/* What happens to it. */
void host_agent_crash(struct world *w, struct host *h);
void host_agent_start(struct world *w, struct host *h);
void host_agent_freeze(struct world *w, struct host *h, bool frozen);
void host_power(struct world *w, struct host *h, bool on);
void host_suspend(struct world *w, struct host *h, bool suspended);

/* For net.c. */
void host_link_open(struct world *w, struct host *h);
void host_link_message(struct world *w, struct host *h, struct message *m); /* m: consumed */
void host_link_closed(struct world *w, struct host *h);
void host_peer_up(struct world *w, struct host *h, int other);
void host_peer_down(struct world *w, struct host *h, int other);
void host_peer_message(struct world *w, struct host *h, int other, struct message *m);

/* One event to the agent's core, with everything that follows. Nothing where no agent runs. */
void host_feed(struct world *w, struct host *h, const struct agent_ev *ev);
/* Whether what happens is not for this agent (any more), or comes when it runs again: nothing else is to be done then. */
bool host_not_now(struct world *w, struct host *h, const struct happening *happening);
/* host_link.c. Messages are consumed. */
void host_send(struct world *w, struct host *h, struct message *m);
void host_peer_send(struct world *w, struct host *h, const char *key, struct message *m);
void host_set_peers(struct world *w, struct host *h, const struct neighbours *list);
void host_knock(struct world *w, struct host *h, uint64_t token, const struct peer_facts *peer);
/* host_shell.c: one effect. */
void host_carry_out(struct world *w, struct host *h, struct agent_fx *fx);
void host_sample(struct world *w, struct host *h);
void host_on_sample(struct world *w, const struct happening *happening); /* and again, every HOST_SAMPLE_MS */
void host_arrange_tick(struct world *w, struct host *h);
/* host_carrier.c: the shell's part of carriers. */
void host_spawn_carrier(struct world *w, struct host *h, const struct agent_fx *fx);
bool host_holds(const struct host *h, uint16_t port); /* for a coordinator that is to come */
/* A coordinator that has a carrier: true, and it is begun when that answers, or refused. */
bool host_hold_coordinator(struct world *w, struct host *h, const struct agent_fx *fx);
bool host_drop_held(struct world *w, struct host *h, const char *unit_id); /* it was signalled: false, it is not held */
void host_forget_held(struct host *h);
/* Before the core hears of it: what waits for the carrier begins, or will not. */
void host_carrier_asked(struct world *w, struct host *h, const char *carrier, bool ok);
void host_carrier_ended(struct world *w, struct host *h, const char *carrier);
/* host_shell.c, for it. */
bool host_choose_port(struct host *h, enum unit_role role, const char *unit, uint16_t hint, uint16_t *ret);
void host_spawn_failed(struct world *w, struct host *h, const char *unit, const char *reason);
/* NULL: it failed, and that is told. coordinator: borrowed, or NULL. */
struct process *host_spawn(struct world *w, struct host *h, const struct unit_facts *unit,
                           const struct coordinator_spec *coordinator);
struct process *host_unit_process(struct host *h, const char *unit_id);
/* An outcome to be fed after the step's other effects; NULL: too many. */
struct outcome *host_outcome(struct host *h, enum agent_ev_kind kind, const char *unit_id);
/* A process of the machine is gone (its pidfd is readable): shim and agent learn it. */
void host_process_gone(struct world *w, struct host *h, struct process *p, const struct exit_facts *exit);
struct unit_record *host_record(struct host *h, const char *unit_id); /* NULL: none */
/* m: zeroed. */
void host_hello(const struct host *h, struct message *m);
void host_read_disk(struct world *w, struct host *h); /* a frozen agent wakes: what its pidfds and logs hold for it */

#endif
