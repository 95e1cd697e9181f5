/* How many nodes, which ones, which rank has which layers: a pure function of the model, the nodes and the wish.
 * The same inputs give the same plan, byte for byte. Source: design, "Sizing and ranks"; memory-model. */
#ifndef CARAVAN_CONTROLLER_CORE_PLACEMENT_H
#define CARAVAN_CONTROLLER_CORE_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum place_policy { POLICY_FIT = 1, POLICY_SPREAD };
enum place_rank0 { RANK0_AUTO = 1, RANK0_LOCAL, RANK0_RPC };
/* How ranks and coordinators are reached: a whole cluster's setting, which a plan only tells. */
enum place_transport { TRANSPORT_DIRECT = 1, TRANSPORT_TUNNEL };

enum { PLACE_NOTES_MAX = 48, PLACE_PLAN_DEVICES = PROTO_RANKS_MAX * 2 };

/* What somebody asked for; zero or empty means "not said". */
struct place_request {
    char model[PROTO_MODEL_MAX];
    char alias[PROTO_MODEL_MAX];
    uint32_t nodes; /* 1..16: that many, no other */
    enum place_policy policy;
    enum place_rank0 rank0;
    uint32_t ctx, slots, batch, ubatch;
    char kv_type[16]; /* f16, q8_0, q4_0, ... */
    size_t n_args;
    char (*arg)[PROTO_ARG_MAX]; /* owned array */
    uint32_t replicas;          /* instances under the one name; 0: one */
    bool pinned;                /* neither a ttl nor another model's want of memory unloads it */
    uint64_t ttl_ms;            /* without a request for so long it is unloaded; 0: never */
};

/* In a wish: never, whatever models.conf says. What is served has 0 in its place. */
#define PLACE_TTL_NEVER UINT64_MAX

/* A node as placement sees it: facts and promises, nothing measured here. */
struct place_node {
    struct id128 id;
    char name[PROTO_NAME_MAX];
    char addr[PROTO_ADDR_MAX];
    const char *state; /* "ready" is placeable; any other word is the reason to leave it out */
    char build[PROTO_NAME_MAX];
    char build_problem[PROTO_TEXT_MAX];
    struct rpc_version rpc;
    bool draining;
    bool can_coordinate;
    bool standing_idle;
    bool has_model;              /* holds the file, same header hash */
    uint64_t memory_limit_bytes; /* `memory =`; 0: none */
    uint64_t host_total_bytes, host_free_bytes;
    uint64_t host_leased_bytes; /* promised to live epochs, host memory; on CPU nodes the devices' too */
    uint64_t host_held_bytes;   /* measured in processes of live leases: free + held is what the leases came from */
    size_t n_devices;
    struct place_device {
        char name[PROTO_DEVICE_MAX];
        enum device_kind kind;
        uint64_t total_bytes, free_bytes, leased_bytes, held_bytes; /* of a CPU the host's figures count instead */
    } device[PROTO_DEVICES_MAX];
    uint32_t link_rtt_us; /* 0: not measured */
    uint32_t link_mbit;   /* 0: not measured */
    /* Nodes excluded for this instance (the same step failed there twice); the sentence says so. */
    bool excluded;
    bool sister;                   /* another one of its name is there: tried last */
    const char *transport_problem; /* static: why its ranks are not reached as the cluster's are; NULL: they are */
};

struct plan_device {
    char name[PROTO_DEVICE_MAX];    /* on its node: CPU, CUDA0 */
    char flag[PROTO_DEVICE_MAX];    /* in --device: RPC0, RPC1, ... or the local name */
    uint32_t first_layer, n_layers; /* repeating layers; n_layers counts the output layer on the last device */
    bool has_output;
    uint64_t weight_bytes, kv_bytes, compute_bytes, peak_bytes; /* by the memory model */
    uint64_t offer_bytes;                                       /* what the node offered */
};

struct plan_rank {
    struct id128 node;
    char node_name[PROTO_NAME_MAX];
    char addr[PROTO_ADDR_MAX];
    bool local; /* in the coordinator's own process, no RPC */
    size_t n_devices;
    struct plan_device device[PROTO_DEVICES_MAX];
};

struct plan {
    char model[PROTO_MODEL_MAX];
    char alias[PROTO_MODEL_MAX];
    uint64_t model_bytes;
    uint64_t header_hash;
    uint32_t n_layer; /* without the output layer */
    uint32_t ctx, slots, batch, ubatch;
    char kv_type[16];
    enum place_policy policy;
    enum place_transport transport; /* 0: the plan is an earlier version's, and direct; or not placed yet */
    uint32_t band;                  /* ceiling by size: 1, 2 or 4 */
    uint32_t wanted_nodes;          /* --nodes; 0: not said */
    char build[PROTO_NAME_MAX];
    uint64_t host_bytes; /* on rank 0's node, beside its rank */
    size_t n_ranks;
    struct plan_rank rank[PROTO_RANKS_MAX];
    uint64_t missing_bytes; /* with PLACE_E_NO_FIT: how much memory the best try lacked */
    size_t n_notes;         /* the reasons, in order, one sentence each */
    char note[PLACE_NOTES_MAX][192];
};

static inline bool plan_is_tunnel(const struct plan *p)
{
    return p->transport == TRANSPORT_TUNNEL;
}

enum {
    PLACE_E_NO_FIT = 1, /* no set of nodes holds it: *ret is a plan without ranks that says why, and missing_bytes */
    PLACE_E_NO_FILE,    /* no placeable node can be rank 0: holds the file and can run llama-server */
    PLACE_E_TOO_FEW,    /* no node is placeable, or fewer than --nodes N */
    PLACE_E_MODEL       /* cannot be served as asked: projector, no layers, fewer layers than nodes, cache type */
};

/* req, model, nodes: borrowed; the order of the nodes does not matter. model->shape is not NULL. ret: owned (free), set
 * on every outcome but a negative one; where it is positive, the last note says why. Returns 0; PLACE_E_*; -ENOMEM. */
int place_compute(const struct place_request *req, const struct model_facts *model, const struct place_node *nodes,
                  size_t n_nodes, struct plan **ret);

/* Does a pinned plan still hold on these nodes? The plan may come from a file: nothing in it is believed. 0, or PLACE_E_*
 * with a sentence in why: MODEL (not of this model, or not a plan), NO_FILE, TOO_FEW (a node is gone or not placeable),
 * NO_FIT. */
int place_check(const struct plan *plan, const struct model_facts *model, const struct place_node *nodes,
                size_t n_nodes, char *why, size_t why_size);

/* Flags that Caravan sets itself, or that would make its view of ranks, memory or log untrue: --rpc, -ts, -dev, -ngl,
 * --host, --port, -m, -fit, -lv, -c, -np, -ctk, ..., in all their spellings and as NAME=VALUE. Returns the flag's first
 * name, or NULL. */
const char *place_owned_flag(const char *arg);

/* Do its arguments make llama-server one for embeddings or ranking, which generates nothing? */
bool place_embeds(const struct place_request *req);

const char *place_policy_name(enum place_policy p);       /* "fit", "spread" */
const char *place_transport_name(enum place_transport t); /* "direct", "tunnel" */

#endif
