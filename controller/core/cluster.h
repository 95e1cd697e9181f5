/* Everything that the leader decides, as a pure function: (state, event, now) -> effects.
 *
 * Rooms: cluster (the step: who is asked), node_machine, instance_machine, task_machine (the tables), nodes, hello (who
 * joins), knocks (who is lost), brake (when nobody is called so), neighbours (who reaches whom), retire (what operators say
 * of nodes), access, tokens and api_keys (who is let in), detector and hang (what is dead though it lives), wishes (what
 * people ask for), served (what may be asked for), ensure (what requests ask for), starts and replicas (an instance, or
 * several, begins), unloading (what nobody asks for goes), planning, placement, offers (memory), lifecycle (the way to ready), loading (its proof), flows (what
 * carriers see), release (the way down), recovery (what follows trouble), drain and moving (how a node is emptied), hearing
 * (what nodes say), deadlines, restore, tasks, commands, effects, journal (all or nothing), view. */
#ifndef CARAVAN_CONTROLLER_CORE_CLUSTER_H
#define CARAVAN_CONTROLLER_CORE_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "controller/core/placement.h"
#include "controller/core/served.h"
#include "controller/core/view.h"

struct cluster;

struct cluster_config {
    struct id128 cluster, controller;
    char name[PROTO_NAME_MAX];
    uint64_t term;
    bool trust_open;
    bool tunnel;             /* rank_transport: ranks and coordinators are reached through carriers */
    char key[PROTO_KEY_MAX]; /* our own, not empty: with the tunnel, carriers let us in by it */
    uint64_t silent_ms;      /* report silence until suspect; 1000 */
    uint64_t evict_after_ms; /* from the last sign of life until a lost node's units are recovered elsewhere; 0: by the
                                     time that they take to load (design, "Lost is not evicted") */
    uint64_t brake_hold_ms;  /* 60000 */
    uint64_t graph_max_ms;   /* 300000: so long may a rank be late that works */
    uint64_t settle_ms;      /* 10000 */
    uint64_t load_stall_ms;  /* 60000 */
    uint64_t warm_up_ms;     /* 120000 */
    uint64_t transition_grace_ms; /* 500 */
    const struct served *served;  /* copied */
    size_t n_served;
    enum served_start others; /* of models that no section names; 0: manual */
};

enum { DEBTS_MAX = PROTO_RANKS_MAX };

/* A node that may still have something of an earlier epoch. */
struct debt {
    struct id128 node;
    uint64_t epoch;
    bool tunnel; /* the ranks of that one, and of all that it stands for, were reached through carriers */
};

/* An epoch that ended in trouble. */
struct tried {
    struct view_try shown;
    struct id128 node; /* who was to blame; zero: nobody in particular */
    bool counted;      /* as an attempt */
};

/* What is kept: JSON made and read by controller/record.c, stored by controller/store.c. */
enum record_kind { RECORD_INSTANCE = 1, RECORD_TASK, RECORD_AUDIT, RECORD_NODE, RECORD_KEY, RECORD_API_KEY };

struct record {
    enum record_kind kind;
    bool gone; /* delete it */
    struct id128 instance;
    uint64_t wall_ms;
    union {
        struct record_instance {
            char name[PROTO_MODEL_MAX];
            enum instance_state state;
            uint64_t epoch;
            struct place_request request; /* request.arg owned by the record */
            struct plan *plan;            /* owned; NULL: none */
            struct plan *pinned;          /* owned; NULL: places freely */
            char reason[PROTO_TEXT_MAX];
            uint32_t attempts;    /* epochs in a row without five minutes of `ready` */
            uint64_t load_ms;     /* how long the last load took; 0: none yet */
            bool served;          /* it was ready once: it waits for room, where a new one is told that there is none */
            struct id128 follows; /* it takes the place of that one, which is being drained; zero: of none */
            uint32_t replica;
            bool demand;          /* a request began it */
            uint64_t deploy_task; /* that it was begun by, among others perhaps; 0: not known */
            size_t n_debts;
            struct debt debt[DEBTS_MAX];
            size_t n_tried;
            struct tried *tried; /* owned, newest last; VIEW_TRIES_MAX at most */
        } i;
        struct record_node { /* what an operator said of a node; its id is `instance` */
            char name[PROTO_NAME_MAX];
            char key[PROTO_KEY_MAX];
            bool draining, retired;
        } node;
        struct view_task task;
        struct view_key key;         /* RECORD_KEY; found by its key */
        struct view_api_key api_key; /* RECORD_API_KEY; found by its name */
        struct record_audit {
            char machine[16], id[PROTO_NAME_MAX], from[24], to[24], event[32], verdict[8], text[PROTO_TEXT_MAX];
        } audit;
    };
};
void record_clear(struct record *r);

enum cluster_ev_kind {
    CLUSTER_EV_RESTORE = 1, /* at start: one per record of the store */
    CLUSTER_EV_BEGIN,       /* all records were told */
    CLUSTER_EV_HELLO,       /* key, peer_addr, message */
    CLUSTER_EV_MESSAGE,   /* key, peer_addr, message of kind REPORT, RESULT, EVENT. Of a node only the link counts whose
                               peer_addr said hello last; empty: not looked at */
    CLUSTER_EV_DEPLOY,    /* request_id, request, plan (pinned, may be NULL), new_instance */
    CLUSTER_EV_STOP,      /* request_id, target: name, alias or instance id */
    CLUSTER_EV_COMMITTED, /* token, ok */
    CLUSTER_EV_WARMED,    /* instance, epoch, ok, text */
    CLUSTER_EV_TICK,
    CLUSTER_EV_CLOSED,  /* peer_addr, node: a link from there was closed; a hint to knock. node zero: whoever it was */
    CLUSTER_EV_KNOCKED, /* node, token, knock: what our own knock found */
    CLUSTER_EV_HOST,    /* host: at start and on every change */
    CLUSTER_EV_RESUMED, /* our own machine was suspended */
    CLUSTER_EV_DRAIN,   /* request_id, target: a node's name or id */
    CLUSTER_EV_UNDRAIN,
    CLUSTER_EV_RETIRE,
    CLUSTER_EV_LIFT_BRAKE, /* request_id */
    CLUSTER_EV_TRAFFIC,    /* instance, epoch, traffic: by the gateway, when it changed, at most once a second */
    CLUSTER_EV_UPSTREAM,   /* instance, epoch, upstream, text: a request there went wrong */
    CLUSTER_EV_JOIN,  /* key: of a token; peer_addr; message of kind JOIN, and node: crypto_node_id of the key in it */
    CLUSTER_EV_TOKEN, /* request_id, access (key, expires_wall_ms, uses_left): a token was made */
    CLUSTER_EV_UNTOKEN,   /* request_id, target: a token's public key or the first 8 digits or more of it */
    CLUSTER_EV_APPROVE,   /* request_id, access (key, name), node: let this node in */
    CLUSTER_EV_REVOKE,    /* request_id, target: a node's name or id, or its key. Its key is not let in again */
    CLUSTER_EV_API_KEY,   /* request_id (0: nobody waits), api_key: of a new one, or in place of the one of that name */
    CLUSTER_EV_API_UNKEY, /* request_id, target: its name */
    CLUSTER_EV_ENSURE /* request_id, target: a name that somebody asks for, or the id of an instance; new_instance: it is to
                         be started, if it is not there or on its way, and a request may do that; and stays, if it leaves.
                         Accepted as DEPLOY is, by task 0 where nobody waits for it to be ready; refused: "not_found",
                         "manual", what it failed of less than 30 s ago, ...; ENSURE_TOO_EARLY */
};

/* Nodes are still joining, or what has just been let go is not measured yet: nobody can say before that. */
#define ENSURE_TOO_EARLY "too_early"

/* What the gateway sees of a coordinator. */
struct cluster_traffic {
    uint32_t
        in_flight; /* requests that it has and has not ended, but for those that only wait for their client to read */
    uint64_t progress; /* grows with each token or other sign of progress that came back */
};

enum cluster_upstream {
    UPSTREAM_REFUSED = 1, /* its port refused or reset a connection: counts as its exit */
    UPSTREAM_BROKEN,      /* it answered 5xx: a reason to ask it for a token of our own */
    UPSTREAM_POISON       /* this epoch's abort is one request's doing, which is refused from now on */
};

/* The machine that we run on. */
struct cluster_host {
    bool carrier; /* one of its links is up */
    size_t n_addrs;
    char addr[PROTO_ADDRS_MAX][PROTO_ADDR_MAX];
};

struct cluster_ev {
    enum cluster_ev_kind kind;
    uint64_t wall_ms;        /* time of day: shown, recorded, and what a join token ends by */
    char key[PROTO_KEY_MAX]; /* proven by CURVE */
    char peer_addr[PROTO_ADDR_MAX];
    struct id128 node; /* crypto_node_id(key), computed by the shell */
    /* Consumed where the step succeeds (set to NULL). A RELAY of a node that has joined is unpacked here: it counts as the
     * other node's message. */
    struct message *message;
    uint64_t request_id;                 /* whom to answer */
    const struct place_request *request; /* borrowed */
    const struct plan *plan;             /* borrowed */
    struct id128 new_instance;           /* 128 random bits for it, should it be new */
    const char *target;
    uint64_t token;
    bool ok;
    struct id128 instance;
    uint64_t epoch;
    const char *text;
    const struct record *record; /* RESTORE; borrowed */
    enum knock_outcome knock;
    const struct cluster_host *host; /* borrowed */
    struct cluster_traffic traffic;
    enum cluster_upstream upstream;
    const struct view_key *access;      /* borrowed */
    const struct view_api_key *api_key; /* borrowed */
};

enum cluster_fx_kind {
    /* key, message (to a node behind a cut: a RELAY to the neighbour that carries for it). The shell fills in
     * coordinator.api_key: upstream_key. addr: with WELCOME the peer_addr of the hello that it answers (a refused copy of a
     * node has the same key on another link); else empty */
    CLUSTER_FX_SEND = 1,
    CLUSTER_FX_COMMIT,     /* token, records: durable, then CLUSTER_EV_COMMITTED. All records of a step in one, the last
                              of its effects but CHANGED. Audit alone has token 0 */
    CLUSTER_FX_WARM_UP,    /* instance, epoch, addr, port, key (of the node whose carrier that is; empty: it is the
                              coordinator's own port), name, embeds: one token -> CLUSTER_EV_WARMED */
    CLUSTER_FX_ANSWER,     /* request_id: the outcome of DEPLOY or STOP (accepted: task id; refused: code, text) */
    CLUSTER_FX_TRANSITION, /* for log, audit and /api/events */
    CLUSTER_FX_CHANGED,    /* the view is out of date */
    CLUSTER_FX_KNOCK,      /* node, token, peer: -> CLUSTER_EV_KNOCKED, within 500 ms */
    CLUSTER_FX_ALLOW, /* key, scope (NODE or JOIN): is let in from now on; after BEGIN every kept key, a revoked one by FORBID */
    CLUSTER_FX_FORBID /* key: not any more; what it still says is dropped, what was to be said to it is not sent */
};

struct cluster_transition {
    const char *machine;     /* "node", "instance", "task"; without a table: "brake", "access" */
    char id[PROTO_NAME_MAX]; /* node name, instance name, task number, API key's name, a token's first digits */
    struct id128 instance;
    uint64_t epoch;
    const char *from, *to, *event, *verdict; /* static */
    char text[PROTO_TEXT_MAX];               /* cause, or the sentence of a refusal */
};

struct cluster_answer {
    bool accepted;
    bool attached; /* the same deployment was already under way, or there: task_id is that one's */
    uint64_t task_id;
    struct id128 instance;
    char code[PROTO_NAME_MAX]; /* refused: "unknown_model", "not_found", "invalid_transition", ... */
    char text[PROTO_TEXT_MAX];
};

struct cluster_fx {
    enum cluster_fx_kind kind;
    char key[PROTO_KEY_MAX];
    struct message *message; /* owned by the list */
    uint64_t token;
    size_t n_records;
    struct record *record; /* owned by the list */
    struct id128 instance;
    uint64_t epoch;
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    char name[PROTO_MODEL_MAX];
    bool embeds; /* place_embeds */
    uint64_t request_id;
    struct cluster_answer answer;
    struct cluster_transition transition;
    struct id128 node;
    struct peer_facts *peer; /* owned by the list */
    enum key_scope scope;
};

struct cluster_effects {
    size_t n, cap;
    struct cluster_fx *item;
};

int cluster_new(const struct cluster_config *config, struct cluster **ret);
void cluster_destroy(struct cluster **c);

/* Effects in the order in which they must be carried out; owned (cluster_effects_destroy). NULL only when memory is
 * short: the cluster is then as it was before the call. */
struct cluster_effects *cluster_step(struct cluster *c, struct cluster_ev *ev, uint64_t now_ms);
void cluster_effects_destroy(struct cluster_effects **fx);

/* When CLUSTER_EV_TICK is wanted next (monotonic ms); UINT64_MAX: not at all. */
uint64_t cluster_deadline_ms(const struct cluster *c);

/* What would be done: the plan without doing it. ret: owned (free), set also with PLACE_E_*. PLACE_E_*; CLUSTER_E_*;
 * -ENOMEM. why: a sentence where the outcome is positive. */
enum { CLUSTER_E_UNKNOWN_MODEL = 100, CLUSTER_E_BAD_MODEL /* the file has a problem: why says it */ };
int cluster_plan(const struct cluster *c, const struct place_request *req, uint64_t now_ms, struct plan **ret,
                 char *why, size_t why_size);

/* ret: owned by the caller (view_unref). 0, -ENOMEM. */
int cluster_view(const struct cluster *c, uint64_t now_ms, uint64_t wall_ms, struct view **ret);

#endif
