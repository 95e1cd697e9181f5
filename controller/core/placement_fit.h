/* Does a model fit on these nodes in this order, and which device gets which layers? Used by placement alone.
 *
 * Layers go over devices as consecutive whole layers, so filling each device in turn as far as it goes and handing on
 * the rest is exact: what a device takes only grows with its layers, so taking fewer early never helps a later one. */
#ifndef CARAVAN_CONTROLLER_CORE_PLACEMENT_FIT_H
#define CARAVAN_CONTROLLER_CORE_PLACEMENT_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/memory_model.h"
#include "controller/core/placement.h"

struct fit_device {
    uint32_t index;     /* in place_node.device */
    bool on_host;       /* its memory is the host's */
    uint32_t size_rank; /* 0: the largest offer of its node */
    uint64_t offer_bytes;
};

/* A node and what it offers: memory that is free, less headroom, less leases. */
struct fit_node {
    const struct place_node *node;
    bool can_lead; /* be rank 0: runs the coordinator and holds the file */
    bool has_gpu;
    uint64_t host_offer_bytes;  /* host memory, shared by the devices on it */
    uint64_t limit_offer_bytes; /* `memory =` over everything; UINT64_MAX: none */
    uint64_t total_offer_bytes; /* what its devices can hold together */
    size_t n_devices;
    struct fit_device device[PROTO_DEVICES_MAX];
};

struct fit_problem {
    const struct model_shape *shape;
    struct memory_run run; /* n_devices is set for each set of nodes */
    enum place_rank0 rank0;
    uint32_t max_devices; /* per node, the largest first */
};

/* How full: layers (weights and KV) to part/FIT_WHOLE of a device's offer; every pool is raised by extra_bytes. */
struct fit_scale {
    uint32_t part;
    uint64_t extra_bytes;
};
enum { FIT_WHOLE = 65536 };

struct fit_layout {
    size_t n;
    uint32_t n_devices; /* that the figures were computed for */
    uint64_t host_bytes;
    struct fit_slot {
        uint32_t rank, device; /* device: in fit_node.device */
        uint32_t first_layer;
        struct memory_part part;
    } slot[PLACE_PLAN_DEVICES];
};

/* The offers of a node. Design, "Sizing and ranks", Memory. */
void fit_node_init(struct fit_node *f, const struct place_node *node, enum place_rank0 rank0);

/* Rank 0's devices are in the coordinator's own process. */
bool fit_is_local(const struct fit_problem *p, const struct fit_node *lead);

/* Could any part of the model be on this node at all? If not: *ret_least is what the smallest needs. */
bool fit_holds_a_layer(const struct fit_problem *p, const struct fit_node *node, uint64_t *ret_least);

/* Do the ranks on these nodes, in this order, hold it? Exact for the order given. n: 1..PROTO_RANKS_MAX. */
bool fit_holds(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n, struct fit_scale scale);
/* The layout whose device fullest of layers, as a share of its offer, is as little full as possible, then the same for the
 * ranks behind the first, and so on; always within what is offered. False: it does not fit. */
bool fit_balance(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n, struct fit_layout *ret);
/* How much more memory these nodes need, in this order: 0 where they hold it. ret_node: one figure per node, NULL: not
 * wanted. Giving each node its figure makes it fit. */
uint64_t fit_missing(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n, uint64_t *ret_node);
/* The same for a given layout: by how much it is over what is offered. */
uint64_t fit_layout_missing(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n,
                            const struct fit_layout *l, uint64_t *ret_node);
/* What a device is charged for a slot: device memory, or the worker's whole process where that lies in host memory. */
uint64_t fit_slot_bytes(const struct fit_problem *p, const struct fit_layout *l, const struct fit_slot *slot,
                        const struct fit_node *node);

#endif
