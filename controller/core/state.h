/* What the leader knows, and one step over it: private to controller/core. Everything is reached through struct step, so
 * that no change misses the journal and no effect misses the list. */
#ifndef CARAVAN_CONTROLLER_CORE_STATE_H
#define CARAVAN_CONTROLLER_CORE_STATE_H

#include "controller/core/cluster.h"
#include "controller/core/instance_machine.h"
#include "controller/core/journal.h"
#include "controller/core/node_machine.h"
#include "controller/core/task_machine.h"

/* Bounds on what others can make us keep. */
enum {
    CLUSTER_NODES_MAX = 1024,
    CLUSTER_INSTANCES_MAX = 256, /* live ones */
    CLUSTER_ENDED_MAX = 64,      /* stopped and failed ones that are still shown */
    CLUSTER_TASKS_MAX = 256,     /* ended ones that are still shown */
    CLUSTER_HELD_MAX = 64,       /* commands that came too early */
    CLUSTER_ANSWERS_MAX = 1024,  /* waiting for a commit */
    CLUSTER_STOPPED_SHOWN_MS = 60000
};

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

struct inventory {
    size_t n;
    struct model_facts *model; /* owned */
};

struct unit_list {
    size_t n;
    struct unit_facts unit[];
};

/* Whether a silent node is there, as it is being found out: knocks.h. */
enum { KNOCKERS_MAX = 3 }; /* the leader and two witnesses */

struct knock {
    uint64_t token;      /* of the round that is under way, and the id of its commands; 0: none */
    uint64_t due_ms;     /* when it ends, or the next one begins; UINT64_MAX: nobody knocks there */
    uint32_t unanswered; /* rounds in a row in which everybody who counts got no answer */
    size_t n_knockers;
    struct knocker {
        struct id128 node;        /* zero: ourselves */
        enum knock_outcome found; /* 0: not known yet */
    } knocker[KNOCKERS_MAX];
};

/* Who dials whom: neighbours.h. */
struct neighbour_list {
    bool told; /* since its last hello */
    size_t n_peers, n_guests;
    struct id128 peer[PROTO_PEERS_MAX];  /* it dials them */
    struct id128 guest[PROTO_PEERS_MAX]; /* they dial it */
};

struct node {
    struct id128 id;
    char key[PROTO_KEY_MAX];
    enum node_state state;
    bool joined;
    bool complete; /* a full report since its hello: what we know of it is whole */
    struct hello hello;
    char peer_addr[PROTO_ADDR_MAX];
    char former_addr[PROTO_ADDR_MAX]; /* where the boot before this one spoke from; empty: there was none */
    uint64_t last_seen_ms; /* its last sign of life: a message of it, or of a knock what its kernel answered */
    uint64_t heard_ms;     /* its last message */
    uint64_t last_report_ms;
    uint64_t joined_wall_ms;
    uint64_t silent_since_ms; /* in suspect, stuck, lost: when it went silent */
    struct knock knock;
    struct neighbour_list neighbours; /* as it was told */
    uint64_t direct_ms;               /* its last message by its own link; 0: none */
    struct id128 via;                 /* the neighbour that carries for it; zero: nobody has to */
    char reason[PROTO_TEXT_MAX];      /* why it is in its state, where that is not a good one */
    uint64_t sweep_ms;                /* not before that is it told again to stop what is left of dead epochs */
    uint32_t load_permille;
    uint64_t memory_limit_bytes, host_total_bytes, host_free_bytes;
    size_t n_devices;
    struct device_facts device[PROTO_DEVICES_MAX];
    /* What leases that ended since its last report may still hold: until it reports, it offers the lower figure. */
    uint64_t owed_host_bytes, owed_device_bytes[PROTO_DEVICES_MAX];
    uint64_t freed_ms;        /* when the last lease here ended */
    struct unit_list *units;  /* owned; NULL: none told yet */
    struct inventory *models; /* owned; NULL: none told yet */
    uint32_t n_unknown_fields;
    uint64_t n_refused, n_unreached; /* by all its carriers, since we know it; as unit_facts has them */
    size_t n_leases;                 /* what it says that it has promised */
    struct lease_facts lease[PROTO_UNITS_MAX];
    bool draining, retired; /* an operator's word, durable; the state follows it where it can */
    uint64_t drain_task;    /* 0: none */
};

/* ---- instances -------------------------------------------------------------------------------------------------- */

/* A command on its way: sent again every second under the same id, until it is answered. */
struct call {
    uint64_t id; /* 0: never sent */
    bool open;   /* sent and not answered */
    uint64_t resend_ms, deadline_ms;
};

/* A node of an epoch, in id order: the order of its leases. */
struct member {
    struct id128 node;
    char name[PROTO_NAME_MAX];
    bool leased; /* its memory is promised: counts against the node's offer */
    bool told;   /* a command of this epoch went there, so it must hear of its end */
    struct call lease, stop;
};

/* One end of a rank's streams, as its node told of it: flows.h. */
struct flow_end {
    struct rank_flow flow;
    uint64_t told_ms, moved_ms; /* when it was told last, and when other bytes than before; 0: never */
};
enum flow_at { FLOW_AT_WORKER, FLOW_AT_COORDINATOR, FLOW_ENDS };

struct rank {
    size_t member;
    struct call start;
    char endpoint[PROTO_ADDR_MAX + 8]; /* empty: not started, or local */
    uint64_t rss_bytes;
    uint64_t growth_bytes,
        got_growth_bytes; /* resident, and what had come by its flow, when that last counted as growth */
    uint64_t began_bytes, began_got_bytes; /* the same when the load began */
    struct flow_end flow[FLOW_ENDS];
    uint64_t model_bytes[PROTO_DEVICES_MAX]; /* by the coordinator's log; 0: not seen */
    uint64_t held_bytes[PROTO_DEVICES_MAX];  /* model, KV and compute buffers by the same */
};

enum release { RELEASE_NONE = 0, RELEASE_FIRST /* rank 0's node, where the coordinator is */, RELEASE_REST };

/* Clocks of hang.h: since when their condition has held. */
struct hang {
    uint64_t calm_ms;    /* no member was silent, no rank connection repeated itself */
    uint64_t still_ms;   /* a request was in progress and nothing moved at all */
    uint64_t late_ms;    /* a request was in progress, no token came and no batch ended */
    uint64_t sampled_ms; /* 0: not yet */
    uint64_t progress, n_decode, coordinator_cpu_ms, worker_cpu_ms[PROTO_RANKS_MAX];
    uint64_t rests_ms[PROTO_RANKS_MAX]; /* its worker did nothing, by the words that came with its carrier's */
    uint64_t rests_cpu_ms[PROTO_RANKS_MAX];
    bool works[PROTO_RANKS_MAX]; /* in the last sample */
    uint32_t n_cut;              /* of the traffic in flight: it was when our own machine slept, and may be for ever */
};

/* A token of our own, asked of a coordinator that answers errors. */
struct probe {
    bool open;
    uint64_t next_ms; /* not before that is one asked for again */
};

/* Everything about one placement; a new epoch starts from zero. */
struct run {
    size_t n_members;
    struct member member[PROTO_RANKS_MAX];
    size_t n_ranks;
    struct rank rank[PROTO_RANKS_MAX];
    struct call coordinator;
    char coordinator_addr[PROTO_ADDR_MAX];
    uint16_t coordinator_port;
    uint64_t coordinator_rss_bytes;
    uint64_t coordinator_growth_bytes;
    bool load_began, listening, warming;
    uint64_t local_model_bytes; /* seen in the coordinator's own process */
    uint64_t load_began_ms;
    uint64_t growth_ms, growth_bytes, growth_cpu_ms; /* when and where the load last moved */
    uint64_t stall_ms, proof_ms, warm_ms;            /* deadlines; UINT64_MAX: not running */
    bool warm_again;    /* the first token is asked for at warm_ms: our own suspend cut off what was asked before */
    bool over;          /* it is being ended, or has been; the first reason for it is the one */
    uint64_t placed_ms; /* 0: not known, by an earlier controller */
    enum release release;
    uint64_t release_ms;             /* when waiting for the last answers ends; UINT64_MAX: not running */
    char dying_unit[PROTO_NAME_MAX]; /* its end is known, not yet how */
    struct cluster_traffic traffic;  /* by the gateway's last word */
    struct hang hang;
    struct probe probe;
};

/* An epoch that ended in trouble. */
struct attempt {
    struct view_try shown;
    struct id128 node; /* who was to blame; zero: nobody in particular */
    bool counted;
    char dying_unit[PROTO_NAME_MAX]; /* its end is known, not yet how */
};

/* What became of its epochs since it was last steady: recovery.h. Times: UINT64_MAX: not running. */
struct recovery {
    uint32_t attempts; /* epochs in a row without five minutes of `ready`, but for those that are nobody's fault */
    uint32_t repeats;  /* all of them */
    uint64_t again_ms, released_ms; /* placed again then, and since when nothing of the last epoch is left */
    uint64_t look_ms;               /* waiting: whether there is room is looked at then, at the latest */
    uint64_t patience_ms;           /* waiting: whoever asked for it is told */
    uint64_t steady_ms;             /* ready: forgotten then */
    uint64_t room;                  /* what there was of it when it was last looked at */
    uint64_t missing_bytes;         /* waiting: what the best try lacked */
    uint64_t pardoned_epoch;        /* its end is one request's doing */
    size_t n_tried;
    struct attempt tried[VIEW_TRIES_MAX]; /* newest last */
};

/* How it is taken leave of: drain.h, unloading.h. */
struct leave {
    uint64_t quiet_ms, end_ms; /* draining: it ends then, without requests or with them */
    bool stop_asked;           /* its end is being written */
    uint64_t again_ms;         /* not before that is it written again */
    bool unload;               /* nobody asks for it, or another one wants its memory: not for a drain */
    bool kept;                 /* somebody has asked for it while its end was being written */
};

struct instance {
    struct id128 id;
    char name[PROTO_MODEL_MAX];
    enum instance_state state;
    uint64_t epoch;
    struct place_request request; /* arg owned */
    uint32_t replica;             /* which of its name's, from 0 */
    bool demand;                  /* a request began it, not a person */
    struct plan *pinned;          /* owned; NULL: places freely */
    struct plan *plan;            /* owned; of this epoch; NULL: none yet */
    struct run run;
    uint64_t deploy_task, stop_task; /* 0: none */
    uint64_t state_since_wall_ms, ready_wall_ms;
    uint64_t settle_ms; /* from the store, and not yet confirmed by its nodes: decided by then; UINT64_MAX: it is not */
    enum instance_state stored; /* what the last controller wrote; 0: it is ours */
    /* What its coordinator's log was said to have shown before it was decided what is to become of it. Owned; NULL: none. */
    struct agent_event_facts *early;
    bool early_listening;
    bool placed;        /* a plan of it was durable once, or it waits: it does not fail any more for want of room */
    bool served;        /* it was ready once */
    uint64_t load_ms;   /* how long it last took from its place to `ready`; 0: never yet */
    uint64_t remove_ms; /* no longer shown from then on; UINT64_MAX: stays */
    char code[PROTO_NAME_MAX], reason[PROTO_TEXT_MAX];
    struct id128 follows;  /* it takes the place of that one when it is ready; zero: of none */
    uint64_t newest_epoch; /* a node said that it has seen this one */
    uint64_t asked_ms;     /* the gateway's last word of it, or when it became ready */
    uint64_t failed_ms;    /* when it was given up; 0: not by this controller */
    uint64_t want_ms;   /* waiting: whether somebody could make room is looked at then; UINT64_MAX: it does not wait */
    uint64_t unsure_ms; /* waiting: since then that look has been put off; 0: it has not */
    struct recovery recovery;
    struct leave drain;
    size_t n_debts;
    struct debt debt[DEBTS_MAX];
};

/* ---- who is let in: access.h ------------------------------------------------------------------------------------- */

/* A node's key, or a join token's. */
struct access_key {
    struct view_key view; /* scope: what it counts as; 0: nothing of it is durable yet */
    /* What is being written; 0: nothing. Of a token KEY_REVOKED: that it is gone. */
    enum key_scope next;
    uint32_t n_writing;  /* commits under way that write it */
    uint64_t expires_ms; /* a token's: when its end is looked for; UINT64_MAX: it has none */
};

struct access_api_key {
    struct view_api_key view; /* what counts; scope 0: nothing of it is durable yet */
    struct view_api_key next; /* writing: what is to count; scope 0: it is to go */
    bool writing;
};

enum { ACCESS_REFUSED_ADDRS = 64 };

/* Joins that were refused, by address. */
struct access_refused {
    char addr[PROTO_ADDR_MAX];
    uint64_t since_ms;
    uint32_t n; /* answered since then; 0: the place is free */
};

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

struct task {
    struct view_task view;
    uint64_t token; /* it is durable once this is committed; 0: it is */
    /* Of several instances' deploy: those of them that did not become ready, and those of these that were stopped. */
    uint32_t n_lost, n_stopped;
    char lost_code[PROTO_NAME_MAX]; /* of the first one */
};

/* A section whose model the leader starts by itself: ensure.h. */
struct boot {
    bool done;
    uint64_t next_ms; /* not before that is it tried again */
    uint64_t said;    /* hash of why it was refused last; 0: it was not */
    uint64_t n_refused;
};

/* What a person has said of how long an instance stays, and beside how many. */
struct stay {
    bool pinned;
    uint64_t ttl_ms;   /* 0: nothing; PLACE_TTL_NEVER: without end */
    uint32_t replicas; /* 0: nothing */
};

/* A deploy that came while the name is just being stopped. */
struct held {
    uint64_t request_id;
    uint64_t due_ms;
    uint64_t task;
    struct id128 new_instance;
    struct stay stay;
    struct place_request request; /* arg owned; what models.conf says is in it */
    struct plan *plan;            /* owned */
};

/* What goes on when a token is committed. */
enum intent {
    INTENT_PLAN = 1,
    INTENT_READY,
    INTENT_STOP,
    INTENT_RETIRE /* instance: the node; key: its own, where one is kept */,
    INTENT_DRAIN,
    INTENT_UNDRAIN,
    INTENT_ALLOW,  /* key; by: of the token by which it joins, empty: an operator lets it in */
    INTENT_REVOKE, /* key, instance: its node, where there is one */
    INTENT_TOKEN,  /* key */
    INTENT_UNTOKEN,
    INTENT_API_KEY /* key: its name */
};

struct pending {
    uint64_t token;
    enum intent intent;
    struct id128 instance;
    uint64_t epoch;
    uint64_t task;
    char key[PROTO_KEY_MAX], by[PROTO_KEY_MAX];
};

struct pending_answer {
    uint64_t token;
    uint64_t request_id;
    struct cluster_answer answer;
};

/* brake.h */
struct brake {
    bool on;
    bool overruled; /* lifted by an operator while our own link is down; until that is up */
    bool has_host;
    struct cluster_host host;
    uint64_t from_ms;   /* on: whoever has been silent since then is counted */
    uint64_t judged_ms; /* what was silent before is not counted again */
    uint64_t hold_ms;   /* on: from then on it lifts as soon as anybody answers */
    uint64_t known_ms;  /* on: before that nobody knows who came through the time without a link */
    uint64_t look_ms;   /* on: whether it is over is looked at then; UINT64_MAX: when a node changes */
    uint64_t since_wall_ms;
    char text[PROTO_TEXT_MAX];
};

struct numbers {
    uint64_t last_task, last_command, last_token;
    uint64_t coordinator_starts;
    uint64_t late_messages;
    uint64_t joins_refused;
    uint64_t sample_ms;     /* when hangs are looked for again */
    uint64_t quiet_ms;      /* our own machine was suspended: until then nobody's silence means anything */
    uint64_t neighbours_ms; /* not before that is anybody told again who dials whom */
    uint64_t settle_ms;     /* nodes that have not come by then are gone; UINT64_MAX: not begun */
    uint64_t settled_ms;    /* the picture says that this one has come */
    uint64_t boot_ms;       /* when what is to be started by itself is looked at; UINT64_MAX: not at all */
};

struct cluster {
    struct cluster_config config; /* without the list that it came with */
    size_t n_served;
    struct served *served;  /* owned */
    struct boot *boot;      /* owned; one for each of them */
    struct table nodes;     /* struct node, by id */
    struct table instances; /* struct instance, oldest first */
    struct table tasks;     /* struct task, by number */
    struct table held;      /* struct held, oldest first */
    struct table pending;   /* struct pending */
    struct table answers;   /* struct pending_answer, oldest first */
    struct table keys;      /* struct access_key: nodes', and those that were; by key */
    struct table tokens;    /* struct access_key: join tokens', by key */
    struct table api_keys;  /* struct access_api_key, by name */
    struct access_refused join_refused[ACCESS_REFUSED_ADDRS];
    struct numbers numbers;
    struct brake brake;
    uint64_t node_refused[NODE_STATE_N][NODE_EVENT_N];
    uint64_t instance_refused[INSTANCE_STATE_N][INSTANCE_EVENT_N];
    uint64_t task_refused[TASK_STATE_N][TASK_EVENT_N];
};

/* One to be written at the end of the step. */
struct step_record {
    const struct instance *instance; /* or */
    const struct task *task;         /* or */
    const struct node *node;         /* or */
    const struct access_key *key;    /* or */
    const struct access_api_key *api_key;
    enum instance_state as; /* instance: written as being in this state; 0: as it is */
    bool gone;
};

struct step {
    struct cluster *c;
    uint64_t now_ms, wall_ms;
    struct journal journal;
    struct cluster_effects *fx;
    size_t n_records, cap_records;
    struct step_record *record;
    uint64_t token; /* of this step's commit; 0: none asked for yet */
    bool changed;   /* the view is out of date */
};

#define CLUSTER_NODE(c, i)     ((struct node *)(c)->nodes.item[i])
#define CLUSTER_INSTANCE(c, i) ((struct instance *)(c)->instances.item[i])
#define CLUSTER_TASK(c, i)     ((struct task *)(c)->tasks.item[i])
#define TABLE_KEY(t, i)        ((struct access_key *)(t)->item[i])
#define CLUSTER_API_KEY(c, i)  ((struct access_api_key *)(c)->api_keys.item[i])

/* Before an object is written for the first time in a step. 0, -ENOMEM. */
int step_node(struct step *s, struct node *n);
int step_instance(struct step *s, struct instance *i);
int step_task(struct step *s, struct task *t);
int step_key(struct step *s, struct access_key *k);
int step_api_key(struct step *s, struct access_api_key *k);

/* A message that came late, twice, or of something that is over: counted, and nothing else. 0. */
int step_late(struct step *s);

/* Ends what the tables hold; for the journal. */
void node_free(void *node);
void inventory_free(void *inventory);
void instance_free(void *instance);
void held_free(void *held);

/* What is served under that name, by a section; NULL: no section is so called. */
const struct served *served_named(const struct cluster *c, const char *name);

/* A copy with arguments of its own. 0, -ENOMEM. */
int request_copy(const struct place_request *from, struct place_request *ret);
void request_clear(struct place_request *r);
/* A copy on the heap, or NULL. */
struct plan *plan_copy(const struct plan *p);

#endif
