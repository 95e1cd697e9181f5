#include "controller/core/offers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/commands.h"
#include "controller/core/instances.h"
#include "controller/core/nodes.h"

/* One lease on one node: what it promises, and how much of that its processes hold by the last report. Never more held
 * than promised: the rest is not ours to give away. */
struct held_share {
    struct share share;
    uint64_t host_leased, host_held; /* host memory, that of CPU devices included */
    uint64_t device_held[PROTO_DEVICES_MAX];
};

static size_t device_index(const struct node *n, const char *name)
{
    size_t d = 0;

    while (d < n->n_devices && strcmp(n->device[d].name, name) != 0)
        d++;
    return d;
}

static bool in_host_memory(const struct node *n, const char *device)
{
    size_t d = device_index(n, device);

    return d == n->n_devices || n->device[d].kind != DEVICE_GPU;
}

/* Resident bytes of the epoch's processes there. */
static uint64_t resident_bytes(const struct node *n, const struct instance *i)
{
    uint64_t sum = 0;

    for (size_t u = 0; u < (n->units ? n->units->n : 0); u++) {
        const struct unit_facts *unit = &n->units->unit[u];

        if (unit->epoch == i->epoch && id128_equal(&unit->instance, &i->id))
            sum += unit->rss_bytes;
    }
    return sum;
}

/* Nobody measures a process's memory on a GPU; its coordinator's log said how large its buffers are. */
static uint64_t logged_bytes(const struct node *n, const struct instance *i, const char *device)
{
    uint64_t sum = 0;

    for (size_t r = 0; r < i->run.n_ranks; r++) {
        const struct plan_rank *rank = &i->plan->rank[r];

        for (size_t d = 0; d < rank->n_devices && id128_equal(&rank->node, &n->id); d++)
            sum += strcmp(rank->device[d].name, device) ? 0 : i->run.rank[r].held_bytes[d];
    }
    return sum;
}

static void held_share(const struct node *n, const struct instance *i, struct held_share *ret)
{
    uint64_t resident = resident_bytes(n, i);

    *ret = (struct held_share){0};
    plan_share(i->plan, &n->id, &ret->share);
    ret->host_leased = ret->share.host_bytes;
    for (size_t d = 0; d < ret->share.n_devices; d++) {
        bool host = in_host_memory(n, ret->share.device[d]);
        uint64_t held = host ? resident : logged_bytes(n, i, ret->share.device[d]);

        ret->device_held[d] = sat_min(held, ret->share.bytes[d]);
        ret->host_leased += host ? ret->share.bytes[d] : 0;
    }
    ret->host_held = sat_min(resident, ret->host_leased);
}

static bool holds_model(const struct node *n, const struct model_facts *model)
{
    for (size_t m = 0; m < (n->models ? n->models->n : 0); m++) {
        const struct model_facts *f = &n->models->model[m];

        if (!strcmp(f->name, model->name) && f->header_hash == model->header_hash && !f->problem[0])
            return true;
    }
    return false;
}

static bool standing_idle(const struct node *n)
{
    for (size_t u = 0; u < (n->units ? n->units->n : 0); u++) {
        const struct unit_facts *unit = &n->units->unit[u];

        if (unit->standing && unit->state == UNIT_RUNNING && id128_is_zero(&unit->instance))
            return true;
    }
    return false;
}

/* gone: what it holds is free again, what it was promised is nobody's. */
static void add_lease(const struct node *n, const struct instance *i, bool gone, struct place_node *p)
{
    struct held_share h;

    held_share(n, i, &h);
    p->host_leased_bytes += gone ? 0 : h.host_leased;
    p->host_held_bytes += h.host_held;
    for (size_t d = 0; d < h.share.n_devices; d++) {
        size_t at = device_index(n, h.share.device[d]);

        if (at == n->n_devices)
            continue;
        p->device[at].leased_bytes += gone ? 0 : h.share.bytes[d];
        p->device[at].held_bytes += h.device_held[d];
    }
}

static bool is_gone(const struct gone *gone, const struct instance *i)
{
    for (size_t k = 0; k < (gone ? gone->n : 0); k++) {
        if (gone->instance[k] == i)
            return true;
    }
    return false;
}

static bool leased_here(const struct instance *i, const struct node *n)
{
    size_t m;

    return i->plan && run_member(&i->run, &n->id, &m) && i->run.member[m].leased;
}

static void fill_memory(const struct cluster *c, const struct node *n, const struct gone *gone, struct place_node *p)
{
    p->memory_limit_bytes = n->memory_limit_bytes;
    p->host_total_bytes = n->host_total_bytes;
    p->host_free_bytes = n->host_free_bytes;
    p->host_leased_bytes = n->owed_host_bytes;
    p->n_devices = n->n_devices;
    for (size_t d = 0; d < n->n_devices; d++) {
        memcpy(p->device[d].name, n->device[d].name, sizeof(p->device[d].name));
        p->device[d].kind = n->device[d].kind;
        p->device[d].total_bytes = n->device[d].total_bytes;
        p->device[d].free_bytes = n->device[d].free_bytes;
        p->device[d].leased_bytes = n->owed_device_bytes[d];
    }
    for (size_t k = 0; k < c->instances.n; k++) {
        if (leased_here(CLUSTER_INSTANCE(c, k), n))
            add_lease(n, CLUSTER_INSTANCE(c, k), is_gone(gone, CLUSTER_INSTANCE(c, k)), p);
    }
}

/* An agent that does not know the tunnel says "direct" too. */
static const char *transport_problem(const struct cluster *c, const struct node *n)
{
    bool tunnel = strcmp(n->hello.transport, "tunnel") == 0;

    if (tunnel == c->config.tunnel)
        return NULL;
    return tunnel ? "rank_transport is tunnel there and direct here: set it alike"
                  : "rank_transport is direct there and tunnel here: set it alike";
}

static void fill_node(const struct cluster *c, const struct node *n, const struct model_facts *model,
                      const struct gone *gone, struct place_node *p)
{
    p->id = n->id;
    memcpy(p->name, n->hello.name, sizeof(p->name));
    text_format(p->addr, sizeof(p->addr), "%s", node_addr(n));
    p->state = node_state_name(n->state);
    memcpy(p->build, n->hello.build, sizeof(p->build));
    memcpy(p->build_problem, n->hello.build_problem, sizeof(p->build_problem));
    p->rpc = n->hello.rpc;
    p->draining = n->draining || n->state == NODE_DRAINING || n->state == NODE_DRAINED;
    p->can_coordinate = n->hello.can_coordinate;
    p->standing_idle = standing_idle(n);
    p->has_model = holds_model(n, model);
    p->transport_problem = transport_problem(c, n);
    fill_memory(c, n, gone, p);
}

int offers_make(const struct cluster *c, const struct model_facts *model, const struct gone *gone,
                struct place_node **ret, size_t *ret_n)
{
    struct place_node *nodes = calloc(c->nodes.n + 1, sizeof(*nodes));

    if (!nodes)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < c->nodes.n; i++)
        fill_node(c, CLUSTER_NODE(c, i), model, gone, &nodes[i]);
    *ret = nodes;
    *ret_n = c->nodes.n;
    return 0;
}

uint64_t offers_leased_bytes(const struct cluster *c, const struct node *n)
{
    struct held_share h;
    uint64_t sum = 0;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (!leased_here(i, n))
            continue;
        held_share(n, i, &h);
        sum += h.share.host_bytes;
        for (size_t d = 0; d < h.share.n_devices; d++)
            sum += h.share.bytes[d];
    }
    return sum;
}

/* Sums: order does not matter, and what comes and goes is seen. */
static uint64_t node_room(const struct node *n)
{
    uint64_t id = 0;

    for (size_t k = 0; k < sizeof(n->id.b); k++)
        id = id * 31 + n->id.b[k];
    return (id | 1) * (n->models ? n->models->n + 1 : 1) + n->owed_host_bytes + n->memory_limit_bytes;
}

uint64_t offers_room(const struct cluster *c)
{
    uint64_t sum = 0;

    for (size_t k = 0; k < c->nodes.n; k++)
        sum += CLUSTER_NODE(c, k)->state == NODE_READY ? node_room(CLUSTER_NODE(c, k)) : 0;
    for (size_t k = 0; k < c->instances.n; k++) {
        const struct run *run = &CLUSTER_INSTANCE(c, k)->run;

        for (size_t m = 0; m < run->n_members; m++)
            sum += run->member[m].leased ? UINT64_C(0x9e3779b97f4a7c15) : 0;
    }
    return sum | 1;
}

void offers_lease_ended(struct node *n, const struct instance *i)
{
    struct held_share h;

    held_share(n, i, &h);
    n->owed_host_bytes += h.host_leased - h.host_held;
    for (size_t d = 0; d < h.share.n_devices; d++) {
        size_t at = device_index(n, h.share.device[d]);

        if (at < n->n_devices)
            n->owed_device_bytes[at] += h.share.bytes[d] - h.device_held[d];
    }
}
