/* An immutable, reference-counted picture of the cluster: what HTTP, CLI and metrics show. Made by the control loop
 * (cluster_view) after changes, read by any thread. */
#ifndef CARAVAN_CONTROLLER_CORE_VIEW_H
#define CARAVAN_CONTROLLER_CORE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "controller/core/placement.h"
#include "controller/core/served.h"

enum node_state {
    NODE_UNKNOWN = 1,
    NODE_JOINING,
    NODE_READY,
    NODE_SUSPECT,
    NODE_LOST,
    NODE_EVICTED,
    NODE_STUCK,
    NODE_DRAINING,
    NODE_DRAINED,
    NODE_RETIRED
};
enum instance_state {
    INSTANCE_REQUESTED = 1,
    INSTANCE_PLACING,
    INSTANCE_WAITING,
    INSTANCE_LEASING,
    INSTANCE_STARTING,
    INSTANCE_LOADING,
    INSTANCE_READY,
    INSTANCE_RECOVERING,
    INSTANCE_DRAINING,
    INSTANCE_STOPPING,
    INSTANCE_STOPPED,
    INSTANCE_FAILED
};
enum task_state { TASK_PENDING = 1, TASK_RUNNING, TASK_COMPLETE, TASK_FAILED, TASK_REFUSED, TASK_CANCELLED };
enum task_kind { TASK_DEPLOY = 1, TASK_STOP, TASK_DRAIN };

/* What a public key that is kept may do on 7420. */
enum key_scope {
    KEY_NODE = 1, /* an agent's own: everything that agents say */
    KEY_JOIN,     /* derived from a join token: one MESSAGE_JOIN */
    KEY_REVOKED   /* a node's that was: kept so that no token lets it in again */
};
/* What an API key may do over HTTP. */
enum api_scope {
    API_INFER = 1, /* /v1 */
    API_READ,      /* every GET of /api and /upstream, /metrics */
    API_ADMIN      /* everything, /v1 and GET included */
};

const char *key_scope_name(enum key_scope s);   /* "node", "join", "revoked" */
const char *api_scope_name(enum api_scope s);   /* "infer", "read", "admin" */
const char *node_state_name(enum node_state s); /* "ready", ...; "unknown" otherwise */
const char *instance_state_name(enum instance_state s);
const char *task_state_name(enum task_state s);
const char *task_kind_name(enum task_kind k);

struct view_node {
    struct id128 id;
    char key[PROTO_KEY_MAX];
    enum node_state state;
    bool joined; /* hello was accepted at least once */
    struct hello hello;
    char peer_addr[PROTO_ADDR_MAX]; /* where its link comes from */
    uint64_t last_report_ms;        /* age at the time of the view */
    uint64_t joined_wall_ms;
    uint32_t load_permille;
    uint64_t memory_limit_bytes, host_total_bytes, host_free_bytes;
    uint64_t leased_bytes;
    size_t n_devices;
    struct device_facts device[PROTO_DEVICES_MAX];
    size_t n_units;
    struct unit_facts unit[PROTO_UNITS_MAX];
    size_t n_models;
    uint32_t n_unknown_fields;       /* counted from its messages */
    uint64_t n_refused, n_unreached; /* by all its carriers until now; as unit_facts has them */
    char via[PROTO_NAME_MAX];        /* the neighbour that carries for it; empty: its own link */
    bool own_host;                   /* the leader's machine */
    char reason[PROTO_TEXT_MAX];     /* why it is in its state, where that is not a good one */
};

enum { VIEW_TRIES_MAX = 6 };

struct view_instance {
    struct id128 id;
    char name[PROTO_MODEL_MAX]; /* alias, or the model's name: what `model` in a request may say */
    char model[PROTO_MODEL_MAX];
    enum instance_state state;
    uint64_t epoch;
    const struct plan *plan; /* of the newest epoch; NULL: none yet. Owned by the view */
    char coordinator_addr[PROTO_ADDR_MAX];
    uint16_t coordinator_port; /* 0: none yet */
    char
        coordinator_key[PROTO_KEY_MAX]; /* of the node whose carrier that is; empty: it is the coordinator's own port */
    size_t n_ranks;
    struct view_rank {
        char endpoint[PROTO_ADDR_MAX + 8];
        uint64_t loaded_bytes,
            planned_bytes; /* what came by its flow, else its resident memory, of the plan's weights */
        bool proven;
        bool slow; /* late, but it works */
        uint64_t frozen_ms;
        bool has_flow;         /* its node's carrier, or the coordinator's, has told of its streams */
        struct rank_flow flow; /* at the worker's end, else at the coordinator's; a coordinator beside it has both */
        uint64_t away_ms; /* so much longer its oldest command waits at the coordinator's end: the network has it */
        uint32_t share_permille; /* of the time that all ranks together have computed */
    } rank[PROTO_RANKS_MAX];
    uint32_t progress_permille;
    uint64_t eta_ms; /* UINT64_MAX: unknown */
    uint64_t state_since_wall_ms, ready_wall_ms;
    char reason[PROTO_TEXT_MAX]; /* why it waits or failed: names node, rank, step */
    uint32_t attempts;           /* epochs in a row without five minutes of `ready` */
    uint64_t again_in_ms;        /* until it is placed again; UINT64_MAX: that is not what it waits for */
    uint64_t missing_bytes;      /* waiting: what the best try lacked */
    struct id128 follows;        /* the one whose place it takes when it is ready; zero: none */
    size_t n_tried;
    struct view_try {
        uint64_t epoch, wall_ms;
        char code[PROTO_NAME_MAX];
        char node[PROTO_NAME_MAX]; /* who is to blame; empty: nobody in particular */
        char text[PROTO_TEXT_MAX];
    } tried[VIEW_TRIES_MAX]; /* newest last */
    uint32_t in_flight;
    uint32_t replica; /* which of its name's, from 0 */
    bool demand;      /* a request began it, not a person */
    bool leaving;     /* it is being unloaded: nothing new is sent there */
    bool pinned;      /* neither ttl nor want of memory unloads it */
    uint64_t ttl_ms;  /* 0: none */
    uint64_t
        idle_ms; /* since the end of its last request, or since it became ready; 0: one is in flight, or not ready */
};

/* A name that may be asked for, whether or not anything serves it now. */
struct view_served {
    char name[PROTO_MODEL_MAX], model[PROTO_MODEL_MAX];
    enum served_start start;
    bool section; /* of models.conf; else a model under its own name */
    bool there;   /* a node has the model, and can be used as far as that is known */
};

struct view_task {
    uint64_t id;
    enum task_kind kind;
    enum task_state state;
    struct id128 instance;
    char name[PROTO_MODEL_MAX];
    char code[PROTO_NAME_MAX]; /* stable word of the outcome: "rank_lost", "no_fit", ... */
    char text[PROTO_TEXT_MAX]; /* the sentence */
    char step[PROTO_NAME_MAX]; /* where it is: "leasing", "loading", ... */
    uint64_t created_wall_ms, ended_wall_ms;
};

struct view_model {
    char name[PROTO_MODEL_MAX];
    uint64_t size_bytes, header_hash;
    uint32_t n_layer, n_ctx_train;
    char arch[MODEL_ARCH_MAX];
    char problem[PROTO_TEXT_MAX];
    size_t n_nodes;        /* who holds it */
    struct id128 node[16]; /* the first 16 */
    char node_name[16][PROTO_NAME_MAX];
    uint32_t index_permille[16]; /* of each of them */
};

struct view_key {
    char key[PROTO_KEY_MAX]; /* public */
    enum key_scope scope;
    char name[PROTO_NAME_MAX];
    uint64_t made_wall_ms;
    uint64_t expires_wall_ms; /* KEY_JOIN; 0 with the others */
    uint32_t uses_left;       /* KEY_JOIN */
};

struct view_api_key {
    char hash[PROTO_KEY_MAX]; /* crypto_digest of the key's text, in hex */
    enum api_scope scope;
    char name[PROTO_NAME_MAX];
    uint64_t made_wall_ms;
};

struct view_refusal {                    /* caravan_transitions_refused_total */
    const char *machine, *state, *event; /* static */
    uint64_t n;
};

struct view {
    uint64_t made_wall_ms;
    struct id128 cluster, controller;
    uint64_t term;
    bool leader;
    bool trust_open;
    bool settling; /* nodes are still joining: what is not known may be known soon */
    size_t n_nodes, n_instances, n_tasks, n_models, n_refusals, n_keys, n_api_keys;
    struct view_node *node;         /* sorted by name, then id */
    struct view_instance *instance; /* newest first */
    struct view_task *task;         /* newest first, at most 256 */
    struct view_model *model;       /* sorted by name */
    struct view_refusal *refusal;
    size_t n_served;
    struct view_served *served;   /* sorted by name: sections, and models that no section names */
    struct view_key *key;         /* sorted by scope, then name, then key */
    struct view_api_key *api_key; /* sorted by name */
    struct view_brake {           /* mass loss: silence is not acted on */
        bool on;
        uint64_t since_wall_ms;
        char text[PROTO_TEXT_MAX];
    } brake;
    bool carrier; /* of the leader's own machine */
    uint64_t coordinator_starts;
    uint64_t late_messages; /* results and events that came late, twice, or from an epoch that is over */
    uint64_t joins_refused; /* by tokens; those too that nobody was told of */
    _Atomic uint32_t refs;
};

/* A view starts with one reference. */
struct view *view_ref(struct view *v);
void view_unref(struct view **v);

/* It speaks, or did until a moment ago: nobody says yet that it has gone. */
bool view_node_answers(const struct view_node *n);

/* The instance that a request's `model` names (name, alias, model, or instance id), preferring a ready one; NULL: none. What
 * a section is called is nobody else's model: it says how that is to be served. */
const struct view_instance *view_find_instance(const struct view *v, const char *model);

/* NULL: there is none of that name. */
const struct view_served *view_find_served(const struct view *v, const char *name);

#endif
