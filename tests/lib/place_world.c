#include "tests/lib/place_world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)

struct place_node world_node(uint8_t i, uint64_t free_bytes)
{
    struct place_node n = {.state = "ready",
                           .build = "b1",
                           .rpc = {8, 0, 0},
                           .can_coordinate = true,
                           .has_model = true,
                           .standing_idle = true,
                           .n_devices = 1};

    n.id.b[0] = i;
    snprintf(n.name, sizeof(n.name), "n%u", i);
    snprintf(n.addr, sizeof(n.addr), "10.0.0.%u", i);
    n.host_total_bytes = n.host_free_bytes = free_bytes;
    n.device[0].kind = DEVICE_CPU;
    strcpy(n.device[0].name, "CPU");
    n.device[0].total_bytes = n.device[0].free_bytes = free_bytes;
    return n;
}

void world_gpu(struct place_node *n, const char *name, uint64_t free_bytes)
{
    struct place_device *d;

    if (n->n_devices == 1 && n->device[0].kind == DEVICE_CPU)
        n->n_devices = 0;
    d = &n->device[n->n_devices++];
    *d = (struct place_device){.kind = DEVICE_GPU, .total_bytes = free_bytes, .free_bytes = free_bytes};
    snprintf(d->name, sizeof(d->name), "%s", name);
}

struct model_facts world_model(const char *name, struct model_shape *shape, uint64_t size_bytes)
{
    struct model_facts m = {.size_bytes = size_bytes, .header_hash = 0x1234, .n_files = 1, .shape = shape};

    snprintf(m.name, sizeof(m.name), "%s", name);
    return m;
}

struct model_shape *world_sparse(uint64_t size_bytes)
{
    uint32_t embd = size_bytes >= 6000000000 ? 4096 : size_bytes >= 1000000000 ? 2048 : 512;
    struct llama_dims dims = {.n_layer = 32,
                              .n_embd = embd,
                              .n_head = embd / 128,
                              .n_head_kv = embd / 128 / 4,
                              .n_vocab = 512,
                              .n_ctx = 4096,
                              .type = 1};
    uint64_t kv_dim = 128 * dims.n_head_kv;
    uint64_t budget = (size_bytes - 4 * embd * 512) / 32 / 2;

    dims.n_ff = (uint32_t)((budget - 2 * embd * embd - 2 * embd * kv_dim) / 3 / embd / 32 * 32);
    return llama_shape(&dims);
}

char *world_layers(const struct plan *plan, char *buf, size_t size)
{
    size_t used = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < plan->n_ranks; i++) {
        for (size_t j = 0; j < plan->rank[i].n_devices; j++)
            used += (size_t)snprintf(buf + used, size - used, "%s%s:%" PRIu32, used ? " " : "", plan->rank[i].node_name,
                                     plan->rank[i].device[j].n_layers);
    }
    return buf;
}

int world_has_note(const struct plan *plan, const char *words)
{
    for (size_t i = 0; i < plan->n_notes; i++) {
        if (strstr(plan->note[i], words))
            return 1;
    }
    return 0;
}

void world_print(const struct plan *plan)
{
    char layers[1024];

    fprintf(stderr, "  %s\n", world_layers(plan, layers, sizeof(layers)));
    for (size_t i = 0; i < plan->n_notes; i++)
        fprintf(stderr, "  - %s\n", plan->note[i]);
}

/* ---- promises ---- */

static const struct place_node *find(const struct place_node *nodes, size_t n, const struct id128 *id)
{
    for (size_t i = 0; i < n; i++) {
        if (id128_equal(&nodes[i].id, id))
            return &nodes[i];
    }
    return NULL;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t headroom_of(const struct place_node *n, uint64_t total)
{
    uint64_t five_percent = total / 20;

    if (n->memory_limit_bytes)
        return 0;
    return five_percent > GIB ? five_percent : GIB;
}

/* Counts again, without the code under test, what a rank takes from its node. Only CPU and GPU devices. */
static const char *broken_memory(const struct plan *plan, size_t rank, const struct place_node *n)
{
    uint64_t host = rank == 0 ? plan->host_bytes : 0, all = host;
    uint64_t host_offer =
        less(less(n->host_free_bytes + n->host_held_bytes, headroom_of(n, n->host_total_bytes)), n->host_leased_bytes);

    for (size_t i = 0; i < plan->rank[rank].n_devices; i++) {
        const struct plan_device *d = &plan->rank[rank].device[i];
        const struct place_device *on = NULL;

        for (size_t j = 0; j < n->n_devices; j++)
            on = strcmp(n->device[j].name, d->name) == 0 ? &n->device[j] : on;
        if (!on)
            return "a device that the node does not have";
        if (d->peak_bytes > d->offer_bytes)
            return "a device over its offer";
        if (d->peak_bytes < d->weight_bytes + d->kv_bytes + d->compute_bytes)
            return "a peak below its parts";
        all += d->peak_bytes;
        host += on->kind == DEVICE_CPU ? d->peak_bytes : 0;
        if (on->kind == DEVICE_GPU &&
            d->peak_bytes >
                less(less(on->free_bytes + on->held_bytes, headroom_of(n, on->total_bytes)), on->leased_bytes))
            return "more on a GPU than is free";
    }
    if (host > host_offer)
        return "more host memory than is free";
    if (n->memory_limit_bytes && all > less(n->memory_limit_bytes, n->host_leased_bytes))
        return "more than `memory =`";
    return "";
}

static const char *broken_layers(const struct plan *plan)
{
    uint32_t next = 0, n_rpc = 0;

    for (size_t i = 0; i < plan->n_ranks; i++) {
        const struct plan_rank *r = &plan->rank[i];
        char flag[PROTO_DEVICE_MAX];

        if (r->n_devices == 0 || next >= plan->n_layer)
            return "a rank without a layer";
        for (size_t j = 0; j < r->n_devices; j++) {
            if (r->device[j].first_layer != next || r->device[j].n_layers == 0)
                return "layers out of order";
            next += r->device[j].n_layers;
            if (r->device[j].has_output != (next == plan->n_layer + 1))
                return "the output is not on the last device";
            snprintf(flag, sizeof(flag), "RPC%" PRIu32, n_rpc);
            if (strcmp(r->device[j].flag, r->local ? r->device[j].name : flag) != 0)
                return "flags out of order";
            n_rpc += !r->local;
        }
    }
    return next == plan->n_layer + 1 ? "" : "layers do not sum to n_layer + 1";
}

const char *world_broken(const struct plan *plan, const struct model_facts *model, const struct place_node *nodes,
                         size_t n_nodes)
{
    uint64_t weights = model->shape->output_bytes, planned = 0;
    const char *broken = broken_layers(plan);

    if (broken[0])
        return broken;
    for (size_t i = 0; i < plan->n_ranks; i++) {
        const struct place_node *n = find(nodes, n_nodes, &plan->rank[i].node);

        if (!n || strcmp(n->state, "ready") != 0 || n->draining || n->excluded || strcmp(n->build, plan->build) != 0)
            return "a node that must not serve";
        if (i == 0 && (!n->has_model || !n->can_coordinate))
            return "rank 0 cannot be rank 0";
        for (size_t j = 0; j < i; j++) {
            if (id128_equal(&plan->rank[j].node, &plan->rank[i].node))
                return "a node twice";
        }
        broken = broken_memory(plan, i, n);
        if (broken[0])
            return broken;
        for (size_t j = 0; j < plan->rank[i].n_devices; j++)
            planned += plan->rank[i].device[j].weight_bytes;
    }
    for (uint32_t i = 0; i < model->shape->n_layer; i++)
        weights += model->shape->layer[i].weight_bytes;
    return planned == weights ? "" : "weights do not add up";
}
