/* Does a plan that somebody saved still hold? Nothing in it is believed: its figures are computed again. */
#include "controller/core/placement.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/core/ggml_type.h"
#include "common/core/sat.h"
#include "common/core/units.h"
#include "controller/core/placement_filter.h"
#include "controller/core/placement_fit.h"
#include "controller/core/placement_request.h"

struct check {
    const struct plan *plan;
    const struct model_facts *model;
    const struct place_node *nodes;
    size_t n_nodes;
    char *why;
    size_t why_size;
    struct fit_problem problem;
    struct fit_node fit[PROTO_RANKS_MAX];
    const struct fit_node *set[PROTO_RANKS_MAX];
    struct fit_layout layout;
    uint32_t n_rpc; /* devices behind endpoints so far */
};

__attribute__((format(printf, 3, 4))) static int say(const struct check *c, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(c->why, c->why_size, format, args);
    va_end(args);
    return code;
}

static int check_head(struct check *c)
{
    const struct plan *plan = c->plan;
    struct place_request req = {.ctx = plan->ctx, .slots = plan->slots, .batch = plan->batch, .ubatch = plan->ubatch};
    char kv_type[sizeof(req.kv_type)];

    if (plan->header_hash != c->model->header_hash || plan->n_layer != c->model->shape->n_layer)
        return say(c, PLACE_E_MODEL, "the plan was made for another file named %s: plan again", c->model->name);
    if (!plan->ctx || !plan->slots || !plan->batch || !plan->ubatch)
        return say(c, PLACE_E_MODEL, "the plan lacks ctx, slots, batch or ubatch: plan again");
    if (plan->n_ranks < 1 || plan->n_ranks > PROTO_RANKS_MAX)
        return say(c, PLACE_E_MODEL, "the plan has %zu ranks: 1 to %d are possible", plan->n_ranks, PROTO_RANKS_MAX);
    snprintf(req.kv_type, sizeof(req.kv_type), "%s", plan->kv_type);
    c->problem.shape = c->model->shape;
    c->problem.rank0 = plan->rank[0].local ? RANK0_AUTO : RANK0_RPC;
    c->problem.max_devices = PROTO_DEVICES_MAX;
    return place_resolve(&req, c->model, &c->problem.run, kv_type, c->why, c->why_size);
}

static const struct place_node *find_node(const struct check *c, const struct id128 *id)
{
    for (size_t i = 0; i < c->n_nodes; i++) {
        if (id128_equal(&c->nodes[i].id, id))
            return &c->nodes[i];
    }
    return NULL;
}

static int check_node(struct check *c, uint32_t rank)
{
    const struct plan_rank *r = &c->plan->rank[rank];
    const struct place_node *node = find_node(c, &r->node);
    char why[PROTO_TEXT_MAX];

    if (!node)
        return say(c, PLACE_E_TOO_FEW, "%s of the plan is not there: plan again", r->node_name);
    for (uint32_t i = 0; i < rank; i++) {
        if (id128_equal(&c->plan->rank[i].node, &r->node))
            return say(c, PLACE_E_MODEL, "the plan has two ranks on %s: plan again", node->name);
    }
    filter_beside(node, c->plan->build, rank ? &c->set[0]->node->rpc : &node->rpc, why, sizeof(why));
    if (why[0])
        return say(c, PLACE_E_TOO_FEW, "%s of the plan cannot be used: %s", node->name, why);
    if (strcmp(node->addr, r->addr) != 0)
        return say(c, PLACE_E_TOO_FEW, "%s is at %s now, the plan says %s: plan again", node->name, node->addr,
                   r->addr);
    fit_node_init(&c->fit[rank], node, c->problem.rank0);
    c->set[rank] = &c->fit[rank];
    if (rank == 0 && !c->fit[0].can_lead)
        return say(c, PLACE_E_NO_FILE, "%s cannot be rank 0: it must hold %s and run llama-server", node->name,
                   c->model->name);
    if (r->local && (rank > 0 || !c->fit[0].has_gpu))
        return say(c, PLACE_E_MODEL, "the plan has rank %" PRIu32 " in llama-server itself, without a GPU: plan again",
                   rank);
    return 0;
}

/* The device of that name among those that the node offers, or -1. */
static int32_t find_device(const struct fit_node *f, const char *name)
{
    for (size_t i = 0; i < f->n_devices; i++) {
        if (strcmp(f->node->device[f->device[i].index].name, name) == 0)
            return (int32_t)i;
    }
    return -1;
}

/* What llama-server must be told: RPC devices are counted over all endpoints in rank order. */
static int check_flag(struct check *c, uint32_t rank, const struct plan_device *d)
{
    char flag[PROTO_DEVICE_MAX];

    if (c->plan->rank[rank].local)
        snprintf(flag, sizeof(flag), "%s", d->name);
    else
        snprintf(flag, sizeof(flag), "RPC%" PRIu32, c->n_rpc++);
    if (strcmp(d->flag, flag) != 0)
        return say(c, PLACE_E_MODEL, "the plan calls %s of %s %s, not %s: plan again", d->name,
                   c->set[rank]->node->name, d->flag, flag);
    return 0;
}

static int take_device(struct check *c, uint32_t rank, const struct plan_device *d, uint32_t *unit)
{
    uint32_t n_layer = c->plan->n_layer, begin = *unit;
    int32_t index = find_device(c->set[rank], d->name);
    struct fit_slot *slot = &c->layout.slot[c->layout.n];
    int r;

    if (index < 0)
        return say(c, PLACE_E_TOO_FEW, "%s has no device %s: plan again", c->set[rank]->node->name, d->name);
    if (c->layout.n && slot[-1].rank == rank && slot[-1].device >= (uint32_t)index)
        return say(c, PLACE_E_MODEL, "the plan's devices on %s are not in the node's order: plan again",
                   c->set[rank]->node->name);
    if (c->layout.n == PLACE_PLAN_DEVICES || d->n_layers == 0 || d->n_layers > n_layer + 1 - begin ||
        d->first_layer != begin || d->has_output != (begin + d->n_layers == n_layer + 1))
        return say(c, PLACE_E_MODEL, "the plan's layers do not follow one another at rank %" PRIu32 ": plan again",
                   rank);
    r = check_flag(c, rank, d);
    if (r)
        return r;
    *slot = (struct fit_slot){.rank = rank, .device = (uint32_t)index, .first_layer = begin};
    memory_part_begin(&slot->part, c->layout.n == 0);
    for (; *unit < begin + d->n_layers; (*unit)++) {
        if (*unit < n_layer)
            memory_part_add_layer(&slot->part, c->problem.shape, &c->problem.run, *unit);
        else
            memory_part_add_output(&slot->part, c->problem.shape);
    }
    c->layout.n++;
    return 0;
}

static int check_layers(struct check *c)
{
    uint32_t unit = 0;
    int r = 0;

    for (uint32_t i = 0; i < c->plan->n_ranks; i++) {
        const struct plan_rank *rank = &c->plan->rank[i];

        if (rank->n_devices < 1 || rank->n_devices > PROTO_DEVICES_MAX || unit >= c->plan->n_layer)
            return say(c, PLACE_E_MODEL, "rank %" PRIu32 " of the plan has no layers: plan again", i);
        for (size_t j = 0; j < rank->n_devices && !r; j++)
            r = take_device(c, i, &rank->device[j], &unit);
        if (r)
            return r;
    }
    if (unit != c->plan->n_layer + 1)
        return say(c, PLACE_E_MODEL, "the plan has %" PRIu32 " of %" PRIu32 " layers: plan again", unit,
                   c->plan->n_layer + 1);
    return 0;
}

/* What the ranks are proven by and what is leased must be what the model really takes. More is allowed: the arguments
 * of the deployment may have asked for it. */
static int check_figures(struct check *c)
{
    struct memory_run run = c->problem.run;
    size_t next = 0;

    run.n_devices = c->layout.n_devices = (uint32_t)c->layout.n;
    c->layout.host_bytes = memory_host(c->problem.shape, &run);
    if (c->plan->host_bytes < c->layout.host_bytes)
        return say(c, PLACE_E_MODEL, "the plan's figures are too low: plan again");
    for (uint32_t i = 0; i < c->plan->n_ranks; i++) {
        for (size_t j = 0; j < c->plan->rank[i].n_devices; j++, next++) {
            const struct plan_device *d = &c->plan->rank[i].device[j];
            const struct fit_slot *slot = &c->layout.slot[next];

            if (d->weight_bytes != slot->part.weight_bytes ||
                d->peak_bytes < fit_slot_bytes(&c->problem, &c->layout, slot, c->set[i]))
                return say(c, PLACE_E_MODEL, "the plan's figures are not the model's at rank %" PRIu32 ": plan again",
                           i);
        }
    }
    return 0;
}

/* The plan's own figures are what is leased: where they are above the model's, they must be there too. */
static uint64_t over_offer(const struct check *c, uint32_t rank)
{
    const struct fit_node *f = c->set[rank];
    const struct plan_rank *r = &c->plan->rank[rank];
    uint64_t host = rank == 0 ? c->plan->host_bytes : 0, all = host, over = 0;

    for (size_t i = 0; i < r->n_devices; i++) {
        const struct fit_device *d = &f->device[find_device(f, r->device[i].name)];

        all = sat_add(all, r->device[i].peak_bytes);
        host = sat_add(host, d->on_host ? r->device[i].peak_bytes : 0);
        over = sat_add(over, sat_sub(r->device[i].peak_bytes, d->offer_bytes));
    }
    over = sat_add(over, sat_sub(host, f->host_offer_bytes));
    return sat_add(over, sat_sub(all, f->limit_offer_bytes));
}

static int check_memory(struct check *c)
{
    uint64_t missing[PROTO_RANKS_MAX];
    uint32_t n = (uint32_t)c->plan->n_ranks;

    fit_layout_missing(&c->problem, c->set, n, &c->layout, missing);
    for (uint32_t i = 0; i < n; i++) {
        if (!missing[i])
            missing[i] = over_offer(c, i);
        if (missing[i])
            return say(c, PLACE_E_NO_FIT, "%s is missing on %s for its part of the plan", UNITS_MEMORY(missing[i]),
                       c->set[i]->node->name);
    }
    return 0;
}

int place_check(const struct plan *plan, const struct model_facts *model, const struct place_node *nodes,
                size_t n_nodes, char *why, size_t why_size)
{
    struct check c = {
        .plan = plan, .model = model, .nodes = nodes, .n_nodes = n_nodes, .why = why, .why_size = why_size};
    int r = check_head(&c);

    for (uint32_t i = 0; i < plan->n_ranks && !r; i++)
        r = check_node(&c, i);
    if (!r)
        r = check_layers(&c);
    if (!r)
        r = check_figures(&c);
    return r ? r : check_memory(&c);
}
