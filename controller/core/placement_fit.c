#include "controller/core/placement_fit.h"

#include <string.h>

#include "common/core/sat.h"

#define GIB (UINT64_C(1) << 30)

/* ---- offers ---- */

/* Free now, and what live epochs hold of what was promised to them; never more than there is. */
static uint64_t measured(uint64_t total, uint64_t free_bytes, uint64_t held)
{
    uint64_t available = sat_add(free_bytes, held);

    return total ? sat_min(available, total) : available;
}

static uint64_t headroom(const struct place_node *node, uint64_t total, bool unified)
{
    if (node->memory_limit_bytes)
        return 0; /* `memory =` is all that a node offers: nothing is taken off again */
    return unified ? total / 10 : sat_max(total / 20, GIB);
}

static void init_devices(struct fit_node *f, const struct place_node *node)
{
    for (uint32_t i = 0; i < node->n_devices; i++) {
        const struct place_device *d = &node->device[i];
        struct fit_device *to = &f->device[f->n_devices];
        bool unified = d->kind == DEVICE_UNIFIED;

        /* Beside a GPU the CPU would set the pace of every token. */
        if (d->kind == DEVICE_CPU && f->has_gpu)
            continue;
        *to = (struct fit_device){.index = i, .on_host = d->kind != DEVICE_GPU, .offer_bytes = f->host_offer_bytes};
        if (d->kind != DEVICE_CPU)
            to->offer_bytes = sat_sub(sat_sub(measured(d->total_bytes, d->free_bytes, d->held_bytes),
                                              headroom(node, d->total_bytes, unified)),
                                      d->leased_bytes);
        if (unified)
            to->offer_bytes = sat_min(to->offer_bytes, f->host_offer_bytes);
        to->offer_bytes = sat_min(to->offer_bytes, f->limit_offer_bytes);
        f->n_devices++;
    }
}

static void rank_devices_by_size(struct fit_node *f)
{
    for (size_t i = 0; i < f->n_devices; i++) {
        for (size_t j = 0; j < f->n_devices; j++) {
            uint64_t a = f->device[i].offer_bytes, b = f->device[j].offer_bytes;

            f->device[i].size_rank += b > a || (b == a && j < i);
        }
    }
}

void fit_node_init(struct fit_node *f, const struct place_node *node, enum place_rank0 rank0)
{
    uint64_t leased = node->host_leased_bytes, on_gpus = 0;
    bool unified = false, on_host = false;

    *f = (struct fit_node){.node = node};
    for (size_t i = 0; i < node->n_devices; i++) {
        f->has_gpu |= node->device[i].kind != DEVICE_CPU;
        unified |= node->device[i].kind == DEVICE_UNIFIED;
        if (node->device[i].kind == DEVICE_GPU)
            leased = sat_add(leased, node->device[i].leased_bytes);
    }
    f->can_lead = node->can_coordinate && node->has_model && (rank0 != RANK0_LOCAL || f->has_gpu);
    f->limit_offer_bytes = node->memory_limit_bytes ? sat_sub(node->memory_limit_bytes, leased) : UINT64_MAX;
    f->host_offer_bytes =
        sat_sub(sat_sub(measured(node->host_total_bytes, node->host_free_bytes, node->host_held_bytes),
                        headroom(node, node->host_total_bytes, unified)),
                node->host_leased_bytes);
    f->host_offer_bytes = sat_min(f->host_offer_bytes, f->limit_offer_bytes);
    init_devices(f, node);
    rank_devices_by_size(f);
    for (size_t i = 0; i < f->n_devices; i++) {
        on_host |= f->device[i].on_host;
        on_gpus = sat_add(on_gpus, f->device[i].on_host ? 0 : f->device[i].offer_bytes);
    }
    f->total_offer_bytes = sat_min(sat_add(on_gpus, on_host ? f->host_offer_bytes : 0), f->limit_offer_bytes);
}

/* ---- filling ---- */

bool fit_is_local(const struct fit_problem *p, const struct fit_node *lead)
{
    return p->rank0 != RANK0_RPC && lead->has_gpu;
}

static uint32_t devices_per_node(const struct fit_problem *p, size_t n)
{
    uint32_t most = PLACE_PLAN_DEVICES / (uint32_t)n;

    return most < p->max_devices ? most : p->max_devices;
}

static uint32_t count_devices(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n)
{
    uint32_t most = devices_per_node(p, n), sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += nodes[i]->n_devices < most ? (uint32_t)nodes[i]->n_devices : most;
    return sum ? sum : 1;
}

/* The share of an offer that layers may take: compute buffers and the like are the same for one layer as for forty, so
 * balancing them too would give the first rank, whose buffers are the largest, next to no layers of a small model. */
static uint64_t share(uint64_t bytes, struct fit_scale scale)
{
    uint64_t high = (bytes >> 16) * scale.part, low = ((bytes & 0xffff) * scale.part) >> 16;

    return sat_add(sat_add(high, low), scale.extra_bytes);
}

static uint64_t raised(uint64_t bytes, struct fit_scale scale)
{
    return sat_add(bytes, scale.extra_bytes);
}

/* What is left of the memory of the node that is being filled. */
struct pools {
    uint64_t host, limit;
};

/* One way through the layers. Unit i < n_layer is layer i, unit n_layer the output. */
struct fill {
    const struct fit_problem *p;
    struct memory_run run;
    const struct fit_node *const *nodes;
    size_t n;
    struct fit_scale scale;
    uint32_t devices_per_node;
    uint32_t unit;
    struct fit_layout *layout;
    struct pools pools;
};

struct charge {
    uint64_t device, host; /* host: beside the device, or the device itself where it is on the host */
};

static struct charge charge_of(const struct fit_problem *p, const struct memory_run *run, bool local, bool on_host,
                               const struct memory_part *part)
{
    struct charge c;

    c.device = on_host && !local ? memory_part_process(part, p->shape, run) : memory_part_device(part, p->shape, run);
    c.host = on_host ? c.device : local ? 0 : memory_part_receive(part);
    return c;
}

static uint64_t charged_in_all(const struct charge *c, bool on_host)
{
    return on_host ? c->device : sat_add(c->device, c->host);
}

static bool part_fits(const struct fill *f, uint32_t rank, const struct fit_device *d, const struct memory_part *part)
{
    bool local = rank == 0 && fit_is_local(f->p, f->nodes[0]);
    struct charge c = charge_of(f->p, &f->run, local, d->on_host, part);

    return c.device <= raised(d->offer_bytes, f->scale) && c.host <= f->pools.host &&
           charged_in_all(&c, d->on_host) <= f->pools.limit &&
           sat_add(part->weight_bytes, part->kv_bytes) <= share(d->offer_bytes, f->scale);
}

static void add_unit(const struct fill *f, struct memory_part *part, uint32_t unit)
{
    if (unit < f->p->shape->n_layer)
        memory_part_add_layer(part, f->p->shape, &f->run, unit);
    else
        memory_part_add_output(part, f->p->shape);
}

/* Gives a device as many units as it holds, up to end. */
static void fill_device(struct fill *f, uint32_t rank, uint32_t device, uint32_t end)
{
    const struct fit_device *d = &f->nodes[rank]->device[device];
    struct fit_slot slot = {.rank = rank, .device = device, .first_layer = f->unit};
    uint32_t begin = f->unit;
    struct charge c;

    memory_part_begin(&slot.part, f->layout->n == 0 && f->unit == 0);
    while (f->unit < end) {
        struct memory_part more = slot.part;
        uint32_t step = 1;

        add_unit(f, &more, f->unit);
        if (!part_fits(f, rank, d, &more) && f->unit + 2 == end && end == f->p->shape->n_layer + 1) {
            add_unit(f, &more, f->unit + 1); /* the last layer together with the output may take less than alone */
            step = 2;
        }
        if (!part_fits(f, rank, d, &more))
            break;
        slot.part = more;
        f->unit += step;
    }
    if (f->unit == begin)
        return;
    c = charge_of(f->p, &f->run, rank == 0 && fit_is_local(f->p, f->nodes[0]), d->on_host, &slot.part);
    f->pools.host = sat_sub(f->pools.host, c.host);
    f->pools.limit = sat_sub(f->pools.limit, charged_in_all(&c, d->on_host));
    f->layout->slot[f->layout->n++] = slot;
}

/* Every rank gets a layer of its own, and leaves one to each rank behind it. */
static bool fill_rank(struct fill *f, uint32_t rank)
{
    const struct fit_node *node = f->nodes[rank];
    uint32_t n_layer = f->p->shape->n_layer, behind = (uint32_t)f->n - rank - 1, begin = f->unit;
    uint32_t end = behind ? (n_layer > behind ? n_layer - behind : 0) : n_layer + 1;
    uint64_t beside = rank == 0 ? f->layout->host_bytes : 0;

    f->pools = (struct pools){raised(node->host_offer_bytes, f->scale), raised(node->limit_offer_bytes, f->scale)};
    if (f->pools.host < beside || f->pools.limit < beside)
        return false;
    f->pools.host -= beside;
    f->pools.limit -= f->pools.limit == UINT64_MAX ? 0 : beside;
    for (uint32_t i = 0; i < node->n_devices && f->unit < end; i++) {
        if (node->device[i].size_rank < f->devices_per_node)
            fill_device(f, rank, i, end);
    }
    return f->unit > begin && begin < n_layer;
}

static struct fill fill_begin(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n,
                              struct fit_layout *layout)
{
    struct fill f = {.p = p, .run = p->run, .nodes = nodes, .n = n, .layout = layout};

    f.devices_per_node = devices_per_node(p, n);
    f.run.n_devices = count_devices(p, nodes, n);
    layout->n = 0;
    layout->n_devices = f.run.n_devices;
    layout->host_bytes = memory_host(p->shape, &f.run);
    return f;
}

/* Fills the ranks from `rank` on, beginning with layer f->unit. Leaves f->unit and the layout where it stopped. */
static bool fill_from(struct fill *f, uint32_t rank, struct fit_scale scale)
{
    f->scale = scale;
    for (; rank < f->n; rank++) {
        if (!fill_rank(f, rank))
            return false;
    }
    return f->unit == f->p->shape->n_layer + 1;
}

bool fit_holds(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n, struct fit_scale scale)
{
    struct fit_layout layout;
    struct fill f = fill_begin(p, nodes, n, &layout);

    return fill_from(&f, 0, scale);
}

/* One part alone on one device, as a rank behind the first. */
static bool part_is_possible(const struct fit_problem *p, const struct fit_node *node, const struct fit_device *d,
                             const struct memory_part *part, uint64_t *least)
{
    struct memory_run run = p->run;
    struct charge c;

    run.n_devices = 2;
    c = charge_of(p, &run, false, d->on_host, part);
    *least = sat_min(*least, charged_in_all(&c, d->on_host));
    return c.device <= d->offer_bytes && c.host <= node->host_offer_bytes &&
           charged_in_all(&c, d->on_host) <= node->limit_offer_bytes;
}

bool fit_holds_a_layer(const struct fit_problem *p, const struct fit_node *node, uint64_t *ret_least)
{
    uint32_t n_layer = p->shape->n_layer;
    struct memory_part part;

    *ret_least = UINT64_MAX;
    for (size_t i = 0; i < node->n_devices; i++) {
        for (uint32_t layer = 0; layer < n_layer; layer++) {
            memory_part_begin(&part, false);
            memory_part_add_layer(&part, p->shape, &p->run, layer);
            if (part_is_possible(p, node, &node->device[i], &part, ret_least))
                return true;
        }
        memory_part_add_output(&part, p->shape); /* the last layer with the output may take less than alone */
        if (part_is_possible(p, node, &node->device[i], &part, ret_least))
            return true;
    }
    return fit_holds(p, &node, 1, (struct fit_scale){.part = FIT_WHOLE});
}

/* ---- balance ---- */

static bool holds_from(const struct fill *from, uint32_t rank, uint32_t part)
{
    struct fit_layout scratch = *from->layout;
    struct fill f = *from;

    f.layout = &scratch;
    return fill_from(&f, rank, (struct fit_scale){.part = part});
}

/* Figures were computed for all devices; those that got nothing are not in the plan. */
static void settle_figures(const struct fit_problem *p, struct fit_layout *l)
{
    struct memory_run run = p->run;

    l->n_devices = run.n_devices = (uint32_t)l->n;
    l->host_bytes = memory_host(p->shape, &run);
}

bool fit_balance(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n, struct fit_layout *ret)
{
    struct fill f = fill_begin(p, nodes, n, ret);

    for (uint32_t rank = 0; rank < n; rank++) {
        uint32_t low = 0, high = FIT_WHOLE; /* the least level that holds it lies in (low, high] */

        if (!holds_from(&f, rank, high))
            return false;
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;

            if (holds_from(&f, rank, middle))
                high = middle;
            else
                low = middle;
        }
        f.scale = (struct fit_scale){.part = high};
        fill_rank(&f, rank);
    }
    settle_figures(p, ret);
    return true;
}

uint64_t fit_slot_bytes(const struct fit_problem *p, const struct fit_layout *l, const struct fit_slot *slot,
                        const struct fit_node *node)
{
    struct memory_run run = p->run;
    bool local = slot->rank == 0 && fit_is_local(p, node);

    run.n_devices = l->n_devices;
    return charge_of(p, &run, local, node->device[slot->device].on_host, &slot->part).device;
}

/* ---- what is missing ---- */

static uint64_t missing_on(const struct fit_problem *p, const struct fit_layout *l, const struct fit_node *node,
                           uint32_t rank)
{
    bool local = rank == 0 && fit_is_local(p, node);
    uint64_t host = rank == 0 ? l->host_bytes : 0, all = host, on_gpus = 0, on_host = 0;
    struct memory_run run = p->run;

    run.n_devices = l->n_devices;
    for (size_t i = 0; i < l->n; i++) {
        const struct fit_slot *slot = &l->slot[i];
        const struct fit_device *d = &node->device[slot->device];
        struct charge c;
        uint64_t *over = d->on_host ? &on_host : &on_gpus;

        if (slot->rank != rank)
            continue;
        c = charge_of(p, &run, local, d->on_host, &slot->part);
        host = sat_add(host, c.host);
        all = sat_add(all, charged_in_all(&c, d->on_host));
        *over = sat_add(*over, sat_sub(c.device, d->offer_bytes));
    }
    on_host = sat_max(on_host, sat_sub(host, node->host_offer_bytes)); /* one and the same memory */
    return sat_max(sat_add(on_gpus, on_host), sat_sub(all, node->limit_offer_bytes));
}

uint64_t fit_layout_missing(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n,
                            const struct fit_layout *l, uint64_t *ret_node)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t missing = missing_on(p, l, nodes[i], i);

        sum = sat_add(sum, missing);
        if (ret_node)
            ret_node[i] = missing;
    }
    return sum;
}

uint64_t fit_missing(const struct fit_problem *p, const struct fit_node *const *nodes, size_t n, uint64_t *ret_node)
{
    struct fit_layout layout;
    struct fill f = fill_begin(p, nodes, n, &layout);
    uint64_t low = 0, high = UINT64_C(1) << 60; /* the least extra that is enough lies in [low, high] */

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (fit_holds(p, nodes, n, (struct fit_scale){FIT_WHOLE, middle}))
            high = middle;
        else
            low = middle + 1;
    }
    fill_from(&f, 0, (struct fit_scale){FIT_WHOLE, high});
    return fit_layout_missing(p, nodes, n, &layout, ret_node);
}
