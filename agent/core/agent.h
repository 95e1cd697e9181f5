/* Everything that an agent decides, as a pure function: (state, event, now) -> effects. No sockets, clocks, files,
 * threads, randomness. The shell (agent/main.c and its rooms) turns what happened into events and carries effects out;
 * what an effect achieved comes back as an event and is never assumed.
 *
 * What it decides: which units run (the standing worker, workers and the coordinator of an epoch), which commands are
 * obeyed (newest epoch only, written to disk first; each command id once), leases, backoff, what is reported when. */
#ifndef CARAVAN_AGENT_CORE_AGENT_H
#define CARAVAN_AGENT_CORE_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/patience.h"
#include "common/core/protocol.h"

enum {
    AGENT_EPOCHS_MAX = 256,  /* instances whose newest epoch is remembered; the oldest unused one is forgotten */
    AGENT_COMMANDS_MAX = 64, /* under way at once; one more is refused as "busy" */
    AGENT_KNOCKS_MAX = 8,    /* the same for knocks */
    AGENT_RESULTS_MAX = 256, /* kept, so that a command that comes again gets the same answer */
    AGENT_REPORT_MS = 500,
    AGENT_FULL_REPORT_MS = 10000,
    AGENT_TOLD_MS = 10000,      /* a new link's controller has sent no neighbours by then: there are none */
    AGENT_KNOCK_MS = 3000,      /* a knock that has not come back by then is given up: "knock_lost" */
    AGENT_STOP_GRACE_MS = 3000, /* SIGTERM -> SIGKILL */
    AGENT_STUCK_MS = 60000,     /* SIGKILL -> whoever waits for the end is told "process_stuck" */
    AGENT_REWRITE_MS = 5000,    /* what a full disk did not take is written again */
    AGENT_EMPTY_MS = 1000,      /* a worker that is not empty by then is restarted */
    AGENT_WORKER_START_MS = PATIENCE_START_MS,
    AGENT_BACKOFF_MIN_MS = 1000,
    AGENT_BACKOFF_MAX_MS = 30000,
    AGENT_BACKOFF_RESET_MS = 60000, /* having run so long, it begins with the least backoff again */
    AGENT_QUICK_EXIT_MS = 2000      /* dead so soon twice in a row: its port may be why; the next one is tried */
};

struct agent;

struct agent_config {
    char addr[PROTO_ADDR_MAX]; /* workers and coordinators bind it: with carriers loopback, else the chosen one */
    char carrier_addr[PROTO_ADDR_MAX]; /* carriers bind it: the chosen one; empty: there are none (direct) */
    bool standing;                     /* keep one standing worker */
    size_t n_devices;                  /* what a worker exposes: CPU, or the GPUs that llama.cpp lists */
    char device[PROTO_DEVICES_MAX][PROTO_DEVICE_MAX];
    uint64_t memory_limit_bytes; /* `memory =`; 0: none */
    bool can_run;                /* llama.cpp was found; else every start is refused with build_problem */
    char build_problem[PROTO_TEXT_MAX];
    char key[PROTO_KEY_MAX]; /* our own */
    struct hello hello; /* said through a neighbour where no controller can be reached; the shell says it otherwise */
};

/* The newest epoch of an instance that this node has seen: kept on disk by the shell, every field. The lease is part of
 * it, so that one write makes both durable and an agent that starts again still knows what it has promised: a unit's
 * spec does not say how much. */
struct agent_epoch {
    struct id128 instance;
    uint64_t epoch;
    bool leased; /* false: this epoch is over here; it is never obeyed again */
    uint64_t lease_bytes;
};

/* What a carrier is started with. */
struct carrier_spec {
    /* The rank whose worker is here, and who may reach it; -1: none. */
    int32_t rank;
    char worker[PROTO_NAME_MAX]; /* its unit: started before, so the shell knows its port */
    char peer[PROTO_KEY_MAX];
    char model[PROTO_MODEL_MAX]; /* of which the worker is fed what this node has */
    uint64_t header_hash;
    /* The coordinator that is here, and to whom its streams go; empty: it is elsewhere. Its SPAWN follows in the same step:
     * the shell chooses its port beforehand, starts it when the carrier answers, and gives it the carrier's own ports in
     * place of these endpoints; what its log says of those goes to the core with these again. */
    char coordinator[PROTO_NAME_MAX];
    size_t n_routes;
    struct carrier_route {
        int32_t rank;
        char endpoint[PROTO_ADDR_MAX + 8];
        char peer[PROTO_KEY_MAX]; /* empty: a worker of this node, dialled as it is */
    } route[PROTO_RANKS_MAX];
    size_t n_gateways;
    char gateway[PROTO_GATEWAYS_MAX][PROTO_KEY_MAX];
};

enum agent_ev_kind {
    AGENT_EV_ADOPT = 1, /* at start, one per record on disk: unit (state RUNNING, or EXITED with exit) */
    AGENT_EV_BEGIN,     /* all records were told: start what is missing */
    AGENT_EV_LINK_UP,   /* a controller of PROTOCOL_MINOR minor welcomed us: full report */
    AGENT_EV_LINK_DOWN,
    AGENT_EV_MESSAGE,      /* of the controller that welcomed us: message of kind COMMAND, NEIGHBOURS or RELAY */
    AGENT_EV_PERSISTED,    /* token, ok: of PERSIST_EPOCH or ASSIGN */
    AGENT_EV_SPAWNED,      /* unit_id, pid, addr, port */
    AGENT_EV_SPAWN_FAILED, /* unit_id, reason (port_clash where every port was held by others; NULL: spawn_failed), text */
    AGENT_EV_PROBED,       /* unit_id, ok, rpc, device totals: HELLO (of a carrier: its control socket) answered, or did
                              not by the deadline. Never of a
                              process that has exited since */
    AGENT_EV_DYING,        /* unit_id */
    AGENT_EV_EXITED,       /* unit_id, exit, text: the last lines of its output that matter */
    AGENT_EV_SAMPLE,       /* sample: memory, devices, per-unit figures */
    AGENT_EV_MODELS,       /* model: the whole inventory, whenever it changed */
    AGENT_EV_COORDINATOR,  /* unit_id, facts.kind LOADING, RANK_BUFFERS or LISTENING with its data */
    AGENT_EV_PORT_CLASH,   /* unit_id; text names the holder: passed on as an event */
    AGENT_EV_PEER_UP,      /* key: the neighbour link to it is proven, by whoever dialled */
    AGENT_EV_PEER_DOWN,    /* key */
    AGENT_EV_PEER_MESSAGE, /* key, message of kind HEALTH or RELAY. Pings are answered by the shell */
    AGENT_EV_KNOCKED,      /* token, knock: what a FX_KNOCK found */
    AGENT_EV_RESUMED,      /* the machine was suspended */
    AGENT_EV_TICK
};

struct agent_unit_sample {
    char id[PROTO_NAME_MAX];
    uint64_t rss_bytes, cpu_ms;
    char proc_state;
    bool has_sockets;      /* what follows was read: a worker with a rank, a coordinator */
    uint64_t unread_bytes; /* in the receive queue of its rank connection */
    bool retransmits;
    uint32_t closed_streams;
    bool devices_busy; /* one of its devices did something since the last sample, or cannot be read */
    uint64_t n_decode, http_silent_ms;
    uint64_t n_refused, n_unreached; /* a carrier that told */
};

struct agent_sample {
    size_t n_flows; /* of all carriers */
    struct rank_flow flow[PROTO_FLOWS_MAX];
    uint32_t load_permille;
    uint64_t uptime_ms, host_total_bytes, host_free_bytes;
    size_t n_devices;
    struct device_facts device[PROTO_DEVICES_MAX];
    size_t n_units;
    struct agent_unit_sample unit[PROTO_UNITS_MAX];
    size_t n_models; /* as many as MODELS told of last, in their order; else nothing is known of their indexes */
    uint16_t index_permille[PROTO_MODELS_MAX];
};

struct agent_ev {
    enum agent_ev_kind kind;
    const char *unit_id; /* borrowed; names the unit where the kind says so */
    bool ok;
    uint64_t token;
    int32_t pid;
    const char *addr;
    uint16_t port;
    const char *reason; /* stable word */
    const char *text;   /* sentence */
    struct exit_facts exit;
    struct rpc_version rpc;
    uint32_t minor; /* LINK_UP */
    size_t n_devices;
    uint64_t device_total_bytes[PROTO_DEVICES_MAX];
    const struct unit_facts *unit;         /* ADOPT; borrowed */
    const struct message *message;         /* MESSAGE, PEER_MESSAGE; borrowed */
    const char *key;                       /* PEER_*; borrowed */
    enum knock_outcome knock;              /* KNOCKED */
    const struct agent_sample *sample;     /* SAMPLE; borrowed */
    const struct agent_event_facts *facts; /* COORDINATOR; borrowed */
    struct model_facts *model;             /* MODELS; array, consumed on success, borrowed on failure */
    size_t n_models;
};

enum agent_fx_kind {
    AGENT_FX_SEND = 1, /* message (REPORT, RESULT, EVENT, RELAY) to the controller; dropped where there is no link. The
                          link fills in version, cluster, term and seq */
    AGENT_FX_PERSIST_EPOCH, /* epoch to disk, then AGENT_EV_PERSISTED with token */
    AGENT_FX_SPAWN,         /* prove a port free, start the unit under a shim -> SPAWNED | SPAWN_FAILED */
    AGENT_FX_ASSIGN,    /* the running unit serves another epoch, or nobody: write its spec anew, then PERSISTED with
                               token. Without it an agent that starts again would take a leased standing worker for idle,
                               probe it, find it busy and end it */
    AGENT_FX_SIGNAL,    /* signal to the unit's process group; nothing where it is gone */
    AGENT_FX_PROBE,     /* HELLO and devices until deadline_ms from now -> PROBED. Never for a rank of a live epoch */
    AGENT_FX_FORGET,    /* delete the record of an ended unit; the same id may be spawned again after it */
    AGENT_FX_ADVERTISE, /* the standing worker: unit, `state` idle|leased|loading; withdrawn where advertise is NULL */
    AGENT_FX_PEERS,     /* neighbours: dial these and no others, let these in and no others */
    AGENT_FX_PEER_SEND, /* key, message (HEALTH or RELAY) over the neighbour link; dropped where there is none. The link
                           fills in seq; what a RELAY holds is complete and goes as it is */
    AGENT_FX_KNOCK,     /* token, peer -> KNOCKED, within 500 ms */
    AGENT_FX_TRANSITION /* for the log and counters: machine, id, from, to, event, verdict */
};

struct agent_transition {
    const char *machine; /* "process" */
    char id[PROTO_NAME_MAX];
    const char *from, *to, *event, *verdict; /* static; verdict: "go", "refuse", "ignore" */
    const char *sentence;                    /* static; what a person is shown for refuse and ignore; NULL for go */
};

struct agent_fx {
    enum agent_fx_kind kind;
    char unit_id[PROTO_NAME_MAX];
    struct message *message; /* SEND; owned by the list */
    struct agent_epoch epoch;
    uint64_t token;
    struct unit_facts unit; /* SPAWN, ASSIGN: what the spec says (role, standing, instance, epoch, rank, addr, devices).
                               ADVERTISE: the worker */
    uint16_t port_hint;     /* SPAWN: first port to try; 0: the first of its range */
    struct coordinator_spec *coordinator; /* SPAWN of a coordinator; owned by the list (with its args) */
    struct carrier_spec *carrier;         /* SPAWN of a carrier; owned by the list */
    int signal;
    uint64_t deadline_ms;  /* PROBE: how long from now */
    const char *advertise; /* "idle", "leased", "loading"; NULL: withdraw */
    struct agent_transition transition;
    char key[PROTO_KEY_MAX];       /* PEER_SEND */
    struct neighbours *neighbours; /* PEERS; owned by the list */
    struct peer_facts *peer;       /* KNOCK; owned by the list */
};

struct agent_effects {
    size_t n, cap;
    struct agent_fx item[];
};

/* epochs: borrowed; of more than AGENT_EPOCHS_MAX the last ones count. 0, -ENOMEM. */
int agent_new(const struct agent_config *config, const struct agent_epoch *epochs, size_t n_epochs, struct agent **ret);
void agent_destroy(struct agent **a);

/* Returns the effects in the order in which they must be carried out, owned by the caller (agent_effects_destroy); NULL
 * only when memory is short: the agent is then as it was before the call. */
struct agent_effects *agent_step(struct agent *a, const struct agent_ev *ev, uint64_t now_ms);
void agent_effects_destroy(struct agent_effects **fx);
/* Of an effect whose spec was taken out of it; NULL is fine. Wiped: it holds an API key. */
void agent_spec_destroy(struct coordinator_spec **spec);

/* When AGENT_EV_TICK is wanted next (monotonic ms); UINT64_MAX: not at all. */
uint64_t agent_deadline_ms(const struct agent *a);

/* Borrowed views, valid until the next step. */
size_t agent_units(const struct agent *a, const struct unit_facts **ret);
const struct unit_facts *agent_unit(const struct agent *a, const char *unit_id); /* NULL: none */
/* The key of the neighbour over which the controller is reached; NULL: our own link, or none. */
const char *agent_via(const struct agent *a);
/* What neighbours, or a controller for them, wanted carried and was not: too much, or not theirs to send. */
uint64_t agent_relays_dropped(const struct agent *a);

#endif
