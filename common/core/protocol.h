/* What agents and controllers tell each other, as plain checked values. common/message.c turns these into bytes and
 * back; the cores of both daemons work on these types alone. Every string is NUL-terminated and every count is within
 * its bound by the time a value exists: message_unpack refuses what is not.
 *
 * Units: bytes, milliseconds (monotonic unless the name says _wall_ms), ports in host order. */
#ifndef CARAVAN_COMMON_CORE_PROTOCOL_H
#define CARAVAN_COMMON_CORE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/ids.h"
#include "common/core/model_shape.h"

/* Major: must be equal on both sides. Minor: a later one may send more; the rest is ignored and counted. */
enum { PROTOCOL_MAJOR = 1, PROTOCOL_MINOR = 5 };

enum {
    PROTO_NAME_MAX = 64,   /* node and unit names, with NUL */
    PROTO_DEVICE_MAX = 32, /* device names, with NUL */
    PROTO_MODEL_MAX = 128, /* model name (a file's stem), with NUL */
    PROTO_ADDR_MAX = 46,   /* IPv4 or IPv6 literal, with NUL */
    PROTO_PATH_MAX = 1024,
    PROTO_TEXT_MAX = 512,   /* a sentence for a person */
    PROTO_KEY_MAX = 65,     /* 64 hex digits and NUL */
    PROTO_DEVICES_MAX = 16, /* per node */
    PROTO_ADDRS_MAX = 16,   /* per node */
    PROTO_UNITS_MAX = 32,   /* supervised processes per node */
    PROTO_MODELS_MAX = 256, /* per node */
    PROTO_RANKS_MAX = 16,   /* llama.cpp takes at most 16 RPC servers */
    PROTO_GATEWAYS_MAX = 8, /* who may reach one coordinator through its carrier: each controller has a gateway */
    /* Ranks whose streams pass through one node: a carrier has at most PROTO_RANKS_MAX, and whom it carries for is a unit too. */
    PROTO_FLOWS_MAX = PROTO_UNITS_MAX / 2 * PROTO_RANKS_MAX,
    PROTO_FLOWS_OLD_MAX = 64, /* as many as a side takes that speaks a minor before PROTO_FLOWS_MORE_MINOR */
    PROTO_FLOWS_MORE_MINOR = 5,
    PROTO_WORD_MAX = 24, /* a stable word, with NUL */
    PROTO_ARGS_MAX = 64, /* extra llama-server arguments */
    PROTO_ARG_MAX = 1024,
    PROTO_PEERS_MAX = 3,              /* neighbours that an agent dials */
    PROTO_SNAPSHOT_MAX = 1024 * 1024, /* of one list of a snapshot */
    PROTO_MESSAGE_MAX = 4 * 1024 * 1024
};

/* ---- facts: what an agent has measured ---------------------------------------------------------------------- */

enum device_kind { DEVICE_CPU = 1, DEVICE_GPU, DEVICE_UNIFIED };

struct device_facts {
    char name[PROTO_DEVICE_MAX]; /* as llama.cpp names it: CPU, CUDA0, Vulkan0 */
    char description[PROTO_NAME_MAX];
    enum device_kind kind;
    uint64_t total_bytes;
    uint64_t free_bytes;          /* truly free now */
    int32_t utilization_permille; /* -1: cannot be read */
    int32_t temperature_c;        /* INT32_MIN: cannot be read */
};

/* Design, "State machines": Process. UNIT_IDLE is a unit that is known but was never started. */
enum unit_state {
    UNIT_IDLE = 1,
    UNIT_STARTING, /* spawned, not yet answering */
    UNIT_RUNNING,
    UNIT_STOPPING,
    UNIT_EXITED,
    UNIT_BACKOFF,
    UNIT_FAILED
};

enum unit_role {
    UNIT_WORKER = 1,
    UNIT_COORDINATOR,
    UNIT_CARRIER /* of an instance's streams, on each of its nodes that has some */
};

struct exit_facts {
    bool known;     /* false: the process is gone and nobody saw its wait status */
    int32_t code;   /* exit code, where signal is 0 */
    int32_t signal; /* 0: it exited by itself */
};

struct rpc_version {
    uint8_t major, minor, patch; /* 0.0.0: not asked yet */
};

/* One supervised process: a worker (rpc-server), a coordinator (llama-server) or a carrier (caravan-carrier). */
struct unit_facts {
    char id[PROTO_NAME_MAX]; /* unique on its node, also over restarts of the agent */
    enum unit_role role;
    enum unit_state state;
    bool standing;         /* the node's standing worker */
    struct id128 instance; /* zero: serves nobody */
    uint64_t epoch;
    int32_t rank; /* worker: its rank, -1 while it serves nobody; else -1 */
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    int32_t pid; /* 0: no process */
    uint64_t rss_bytes;
    uint64_t cpu_ms; /* user and system time since its start */
    char proc_state; /* state letter of /proc/PID/stat, '?' when unknown */
    bool dying;      /* PF_EXITING: its memory is not free yet */
    /* A worker with a rank: for how long there have been unread bytes for it that never became fewer while it used no CPU
     * time, was not in state D and its devices did nothing (a GPU that cannot be read counts as busy). Design, P1. A
     * carrier: for how long it has been stopped (state T). */
    uint64_t frozen_ms;
    bool retransmits;        /* bytes of one of its rank connections are unacknowledged and were sent again */
    uint32_t closed_streams; /* coordinator: rank connections that the other side has closed or reset */
    uint64_t n_decode;       /* coordinator: llamacpp:n_decode_total; 0: not read yet */
    uint64_t http_silent_ms; /* coordinator that listens: since when it has not answered HTTP; 0: it answers */
    uint64_t n_refused;      /* carrier: whom it turned away: figures_refused */
    uint64_t n_unreached;    /* carrier: streams whose other side could not be had */
    bool adopted;            /* started by an earlier life of the agent */
    uint32_t restarts;
    struct rpc_version rpc;
    struct exit_facts exit; /* meaningful in UNIT_EXITED, BACKOFF, FAILED */
    size_t n_devices;
    char device[PROTO_DEVICES_MAX][PROTO_DEVICE_MAX];
    uint64_t device_total_bytes[PROTO_DEVICES_MAX]; /* as the worker itself says */
};

/* What a carrier has seen pass of one rank, over all streams of its epoch: common/core/rpc_frames.h. The ends of one rank
 * are on two nodes, and what they say differs by what is on its way. Bytes are plain ones. */
struct rank_flow {
    struct id128 instance;
    uint64_t epoch;
    uint32_t rank;
    bool at_worker;     /* the worker's end, by which hangs and loads are judged; else the coordinator's */
    uint32_t n_streams; /* open now */
    uint64_t request_bytes, answer_bytes, n_requests, n_answers;
    uint64_t tensor_bytes; /* came over the stream for the worker, without heads: what a load is made of */
    uint64_t fed_bytes;    /* did not: they were read from the node's own file */
    uint64_t n_round_trips;
    uint64_t n_graphs, graph_ms;  /* the second is the rank's share of the time */
    char oldest[PROTO_WORD_MAX];  /* the command that has waited longest for its answer, "GET_TENSOR"; empty: none */
    uint64_t oldest_ms;           /* since its last byte was handed to the worker (or to the network) */
    uint64_t held_bytes, held_ms; /* came, and the other side takes none of them since then */
    char blind[PROTO_WORD_MAX];   /* why the stream is carried without being understood; empty: it is */
};

/* A model file (or set of split files) in one of the node's model directories. */
struct model_facts {
    char name[PROTO_MODEL_MAX]; /* the file's stem, without -00001-of-000NN */
    char path[PROTO_PATH_MAX];  /* of the (first) file */
    uint64_t size_bytes;        /* all files together */
    uint64_t mtime_wall_ms;
    uint32_t n_files;
    uint64_t header_hash;         /* FNV-1a-64 of the header(s): equal on two nodes = the same model */
    char problem[PROTO_TEXT_MAX]; /* empty: usable. Else one sentence for a person */
    struct model_shape *shape;    /* owned; NULL where there is a problem */
    /* How much of it is hashed, so that a carrier can feed a worker from it. 1000: all; 1 to 999: it will be; 0: it is not, and
     * as far as is known it will not be: it failed, it is of more files than a carrier opens, or the node is before 1.5. */
    uint32_t index_permille;
};

/* ---- messages ------------------------------------------------------------------------------------------------ */

enum message_kind {
    MESSAGE_HELLO = 1,  /* agent -> controller, first on every connection */
    MESSAGE_WELCOME,    /* controller -> agent, its answer */
    MESSAGE_REPORT,     /* agent -> controller */
    MESSAGE_COMMAND,    /* controller -> agent */
    MESSAGE_RESULT,     /* agent -> controller, one or more per command: accepted steps and the end */
    MESSAGE_EVENT,      /* agent -> controller, at once when something happened */
    MESSAGE_NEIGHBOURS, /* controller -> agent: whom to dial on their neighbour port, and who else may dial it */
    MESSAGE_SNAPSHOT,   /* controller -> agent: what it answers while no controller can be reached */
    MESSAGE_HEALTH,     /* agent <-> agent, each second */
    MESSAGE_RELAY,      /* agent <-> agent <-> controller: a message of, or for, a node whose own link is cut */
    MESSAGE_PING,       /* to an agent's neighbour port: is anybody there? */
    MESSAGE_PONG,
    MESSAGE_JOIN,  /* agent -> controller, by a join token's key and by no other: let my own key in */
    MESSAGE_JOINED /* controller -> agent, its answer */
};

struct hello {
    struct id128 node;         /* derived from the node's public key (crypto_node_id) */
    char name[PROTO_NAME_MAX]; /* host name or `name =` */
    char boot_id[40];
    char version[PROTO_NAME_MAX];       /* Caravan's */
    char build[PROTO_NAME_MAX];         /* llama.cpp's, "b11669-0.7.0"; empty: llama.cpp was not found */
    char build_problem[PROTO_TEXT_MAX]; /* why it cannot be used; empty: it can */
    struct rpc_version rpc;
    char transport[16]; /* of ranks: "tunnel", "direct" */
    size_t n_addrs;
    char addr[PROTO_ADDRS_MAX][PROTO_ADDR_MAX]; /* [0] is the chosen one */
    bool can_coordinate;                        /* llama-server is there with every flag that Caravan needs */
    uint16_t port;                              /* of neighbours and knocks; 0: none */
};

struct welcome {
    struct id128 controller;
    char name[PROTO_NAME_MAX];
    char version[PROTO_NAME_MAX];
    bool open;                    /* trust = open: any key may join */
    char refused[PROTO_TEXT_MAX]; /* empty: joined. Else why not; the agent says it and tries again slowly */
};

struct report {
    bool full; /* false: only what changed; lists that are present replace the old ones */
    uint64_t uptime_ms;
    uint32_t load_permille;
    uint64_t memory_limit_bytes; /* `memory =`; 0: not set */
    uint64_t host_total_bytes;
    uint64_t host_free_bytes; /* truly free: MemAvailable and cgroup limits */
    bool has_devices, has_units, has_models;
    size_t n_devices;
    struct device_facts device[PROTO_DEVICES_MAX];
    size_t n_units;
    struct unit_facts unit[PROTO_UNITS_MAX];
    size_t n_models;
    struct model_facts *model; /* owned array */
    size_t n_leases;
    struct lease_facts {
        struct id128 instance;
        uint64_t epoch;
        uint64_t bytes;
    } lease[PROTO_UNITS_MAX];
    size_t n_flows; /* with has_units */
    struct rank_flow flow[PROTO_FLOWS_MAX];
};

enum command_kind {
    COMMAND_LEASE = 1,         /* promise memory to (instance, epoch); the number goes to disk first */
    COMMAND_START_WORKER,      /* a worker for one rank: the idle standing one, or a new one */
    COMMAND_START_COORDINATOR, /* llama-server over the endpoints given */
    COMMAND_STOP,              /* end this epoch here: coordinator, workers, lease; done when all are empty */
    COMMAND_KNOCK              /* is that node there? Of no instance; `reason` of its result is a knock's outcome */
};

/* What a knock found: design, "Noticing". A word of each is the `reason` of a result. */
enum knock_outcome {
    KNOCK_ANSWERED = 1, /* its agent answered the ping: alive */
    KNOCK_REFUSED,      /* refused, or accepted and not answered: the kernel lives, the agent does not */
    KNOCK_UNANSWERED,   /* no answer to any SYN, or unreachable */
    KNOCK_NO_CARRIER    /* as before, but the knocker's own link is down: it says nothing about the other one */
};

/* Where a node can be knocked at, or dialled as a neighbour. */
struct peer_facts {
    struct id128 node;
    char name[PROTO_NAME_MAX];
    char key[PROTO_KEY_MAX];
    uint16_t port;
    size_t n_addrs;
    char addr[PROTO_ADDRS_MAX][PROTO_ADDR_MAX];
};

struct command {
    enum command_kind kind;
    union {
        struct {
            size_t n_devices;
            char device[PROTO_DEVICES_MAX][PROTO_DEVICE_MAX];
            uint64_t bytes[PROTO_DEVICES_MAX];
            uint64_t host_bytes; /* on rank 0's node: token embeddings, host buffers */
        } lease;
        struct worker_spec {
            int32_t rank;
            size_t n_devices;
            char device[PROTO_DEVICES_MAX][PROTO_DEVICE_MAX];
            /* The node that may open streams to it, through this node's carrier: the result then says where that listens.
             * Empty: nobody over the network; it is for a coordinator on this node, or transport is direct. */
            char peer[PROTO_KEY_MAX];
            char model[PROTO_MODEL_MAX]; /* what this node has of that, the worker need not get; empty: nothing */
            uint64_t header_hash;
        } worker;
        struct coordinator_spec {
            char model[PROTO_MODEL_MAX]; /* resolved by the agent among its own models, never a path from outside */
            uint64_t header_hash;        /* what it must be */
            char alias[PROTO_MODEL_MAX];
            size_t n_ranks;                                     /* 0: no RPC at all, local devices only */
            char endpoint[PROTO_RANKS_MAX][PROTO_ADDR_MAX + 8]; /* addr:port in rank order */
            /* Who may reach the coordinator through this node's carrier: the result then says where that listens. None:
             * transport is direct, and there is no carrier. */
            size_t n_gateways;
            char gateway[PROTO_GATEWAYS_MAX][PROTO_KEY_MAX];
            size_t n_routes; /* with a carrier as many as endpoints, else 0 */
            struct rank_route {
                int32_t rank;
                char peer
                    [PROTO_KEY_MAX]; /* whose carrier the endpoint is; empty: a worker's own port, dialled as it is */
            } route[PROTO_RANKS_MAX];
            size_t n_devices;                                   /* over all ranks, in rank and device order */
            char device[PROTO_RANKS_MAX * 2][PROTO_DEVICE_MAX]; /* RPC0, RPC1 ... or local names */
            uint32_t layers[PROTO_RANKS_MAX * 2];               /* -ts; sums to n_layer + 1 */
            uint32_t ctx, slots, batch, ubatch;
            char kv_type[16];
            char api_key[PROTO_KEY_MAX];
            size_t n_args;
            char (*arg)[PROTO_ARG_MAX]; /* owned array: extra arguments of the user */
        } coordinator;
        struct {
            uint32_t grace_ms; /* between SIGTERM and SIGKILL */
            bool at_large;     /* its coordinator is not known to have ended: it may still dial the ranks */
        } stop;
        struct peer_facts knock; /* at whom */
    };
};

enum result_code {
    RESULT_DONE = 1,
    RESULT_REFUSED, /* nothing was begun */
    RESULT_FAILED   /* it was begun; what it had started is being stopped */
};

/* Stable words for `reason`, shown as codes; `text` is the sentence. */
struct result {
    enum result_code code;
    char reason[PROTO_NAME_MAX]; /* "stale_epoch", "no_memory", "port_taken", "worker_exited", ... */
    char text[PROTO_TEXT_MAX];
    char addr[PROTO_ADDR_MAX]; /* START_WORKER, START_COORDINATOR: where it, or its carrier, listens */
    uint16_t port;
    char unit[PROTO_NAME_MAX];
    struct rpc_version rpc;
    uint64_t newest_epoch; /* with "stale_epoch": the newest one that this node has seen of the instance */
};

enum agent_event_kind {
    AGENT_EVENT_UNIT_EXITED = 1, /* a process is gone: unit.exit says how */
    AGENT_EVENT_UNIT_DYING,      /* its kernel has begun to take it down */
    AGENT_EVENT_LOADING,         /* the coordinator began to load (its first rank buffer line was read) */
    AGENT_EVENT_RANK_BUFFERS,    /* from the coordinator's log: one line per (endpoint, device) */
    AGENT_EVENT_LISTENING,       /* its /health answered 200 */
    AGENT_EVENT_RESUMED,         /* the machine was suspended */
    AGENT_EVENT_PORT_CLASH       /* a port was held by somebody else: text names the holder */
};

struct rank_buffers {
    char endpoint[PROTO_ADDR_MAX + 8];             /* "10.77.0.12:20052"; empty: the coordinator's host */
    uint32_t device;                               /* index within the endpoint */
    uint64_t model_bytes, kv_bytes, compute_bytes; /* as logged, to 0.01 MiB; 0: not seen (yet) */
};

struct agent_event_facts {
    enum agent_event_kind kind;
    struct unit_facts unit;    /* whom it is about (id, role, instance, epoch, rank, pid, exit) */
    char text[PROTO_TEXT_MAX]; /* the last lines that matter, for people */
    size_t n_buffers;
    struct rank_buffers buffers[PROTO_RANKS_MAX * 2 + 1];
};

/* The whole list: what is not in it any more is closed. Links are dialled by one side only. */
struct neighbours {
    size_t n_peers, n_guests;
    struct peer_facts peer[PROTO_PEERS_MAX];    /* to dial */
    char guest[PROTO_PEERS_MAX][PROTO_KEY_MAX]; /* who dials us */
};

/* Answers of the API as they stood, to be given read-only by any agent: whole JSON objects. */
struct snapshot {
    uint64_t made_wall_ms;
    size_t n_nodes_bytes, n_instances_bytes;
    char *nodes, *instances; /* owned, NUL-terminated; at most PROTO_SNAPSHOT_MAX bytes each */
};

struct health {
    bool linked; /* it has a link of its own to the leader: it can carry for others */
    uint64_t uptime_ms;
};

struct relayed {
    char
        key[PROTO_KEY_MAX]; /* of the node whose message it is, or whom it is for. Filled in by whoever has proven it */
    struct message *inner;  /* owned; never a relay itself */
};

/* All that a link with a join token's key may say. The key is a claim until its owner links with it. */
struct join {
    char key[PROTO_KEY_MAX]; /* the node's permanent one */
    char name[PROTO_NAME_MAX];
};

/* To the newest link of the token's key: another node that uses the same token at this moment passes it over. */
struct joined {
    char key[PROTO_KEY_MAX];      /* whose request this answers */
    char refused[PROTO_TEXT_MAX]; /* empty: it is let in from now on. Else why not */
};

struct message {
    enum message_kind kind;
    uint32_t version_major, version_minor;
    struct id128 cluster; /* zero in a first hello: not known yet */
    uint64_t term;        /* of the leader; 0 from agents that know none */
    uint64_t seq;         /* per connection and direction, from 1 */
    struct id128 instance;
    uint64_t epoch;
    uint64_t command_id; /* of the command, repeated in its results */
    uint32_t n_unknown;  /* fields and units that this version does not know, counted by message_unpack */
    union {
        struct hello hello;
        struct welcome welcome;
        struct report *report; /* owned */
        struct command command;
        struct result result;
        struct agent_event_facts *event; /* owned */
        struct neighbours *neighbours;   /* owned */
        struct snapshot snapshot;
        struct health health;
        struct relayed relay;
        struct join join;
        struct joined joined;
        uint64_t nonce; /* PING; repeated in its PONG */
    };
};

/* Frees what a message owns, not the message itself; leaves it zeroed. NULL and half-built are fine. */
void message_clear(struct message *m);
/* For messages on the heap: CLEANUP(message_destroy) struct message *m = NULL; */
void message_destroy(struct message **m);

/* The same port and addresses, in the same order: nobody has to dial anew. */
bool peer_same_place(const struct peer_facts *a, const struct peer_facts *b);

/* Words for people and JSON; "unknown" for anything else. */
const char *unit_state_name(enum unit_state s);
const char *unit_role_name(enum unit_role r);
const char *device_kind_name(enum device_kind k);
const char *command_kind_name(enum command_kind k);
const char *knock_outcome_name(enum knock_outcome o); /* "answered", "refused", "unanswered", "no_carrier" */
const char *agent_event_kind_name(enum agent_event_kind k);

#endif
