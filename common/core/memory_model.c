#include "common/core/memory_model.h"

#include <stddef.h>
#include <string.h>

#include "common/core/ggml_type.h"
#include "common/core/sat.h"

#define MIB (UINT64_C(1) << 20)

/* Masks and copies of the graph's inputs that ggml's scheduler keeps once layers are split (section 1, p). */
enum { SCHED_COPIES = 4 };

static uint64_t pad256(uint64_t n)
{
    return sat_add(n, 255) & ~UINT64_C(255);
}

/* ---- symbols (section 1) ---- */

static uint64_t ub(const struct memory_run *run)
{
    return sat_min(run->batch, run->ubatch);
}

/* One f32 column of a batch. */
static uint64_t u(const struct memory_run *run)
{
    return 4 * ub(run);
}

static uint64_t copies(const struct memory_run *run)
{
    return run->n_devices > 1 ? SCHED_COPIES : 1;
}

static uint64_t cells_full(const struct memory_run *run)
{
    return pad256(run->kv_unified ? run->ctx : ((uint64_t)run->ctx + run->slots - 1) / run->slots);
}

/* Section 2, KV: a sliding-window layer keeps its window and one batch. */
static uint64_t cells_swa(const struct model_shape *s, const struct memory_run *run)
{
    uint64_t window = sat_mul(s->n_swa, run->kv_unified ? run->slots : 1);

    return run->swa_full ? cells_full(run) : sat_min(cells_full(run), pad256(sat_add(window, ub(run))));
}

/* Section 2: only patterns that were measured; any other model with a window is counted with every layer full. */
static bool layer_is_swa(const struct model_shape *s, uint32_t layer)
{
    if (!s->n_swa)
        return false;
    if (strcmp(s->arch, "gemma2") == 0)
        return layer % 2 == 0;
    return strcmp(s->arch, "gemma3") == 0 && layer % 6 < 5;
}

static bool is_recurrent(const struct model_shape *s)
{
    return s->ssm_inner != 0;
}

/* Architectures whose compute buffers were measured (head of the memory model); mixtral calls itself llama. */
static bool is_measured(const struct model_shape *s)
{
    static const char *const measured[] = {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "qwen3moe"};

    for (size_t i = 0; i < sizeof(measured) / sizeof(measured[0]); i++) {
        if (strcmp(s->arch, measured[i]) == 0)
            return true;
    }
    return false;
}

static bool kv_is_quantized(const struct memory_run *run)
{
    return ggml_type_find(run->kv_type)->block > 1;
}

/* ---- weights and KV (section 2: exact) ---- */

static uint64_t row_bytes(const struct memory_run *run, uint64_t n)
{
    const struct ggml_type *type = ggml_type_find(run->kv_type);

    return sat_mul(sat_add(n, type->block - 1) / type->block, type->block_bytes);
}

static uint64_t layer_kv(const struct model_shape *s, const struct memory_run *run, uint32_t layer)
{
    uint64_t streams = run->kv_unified ? 1 : run->slots;
    uint64_t cells = layer_is_swa(s, layer) ? cells_swa(s, run) : cells_full(run);
    uint64_t heads = s->layer[layer].n_head_kv;
    uint64_t rows =
        sat_add(row_bytes(run, sat_mul(s->head_dim_k, heads)), row_bytes(run, sat_mul(s->head_dim_v, heads)));

    return sat_mul(sat_mul(streams, cells), rows);
}

/* A hybrid's header does not tell which layers are recurrent: each layer is counted as both. */
static uint64_t layer_recurrent_state(const struct model_shape *s, const struct memory_run *run)
{
    uint64_t conv = sat_mul(sat_sub(s->ssm_conv, 1), s->ssm_inner);
    uint64_t state = sat_mul(s->ssm_state, s->ssm_inner);

    return sat_mul(4 * (uint64_t)run->slots, sat_add(conv, state));
}

void memory_part_begin(struct memory_part *p, bool first)
{
    *p = (struct memory_part){.first = first};
}

void memory_part_add_layer(struct memory_part *p, const struct model_shape *s, const struct memory_run *run,
                           uint32_t layer)
{
    const struct model_layer *l = &s->layer[layer];

    p->n_layers++;
    p->weight_bytes = sat_add(p->weight_bytes, l->weight_bytes);
    p->kv_bytes = sat_add(p->kv_bytes, sat_add(layer_kv(s, run, layer), layer_recurrent_state(s, run)));
    p->max_tensor_bytes = sat_max(p->max_tensor_bytes, l->max_tensor_bytes);
    p->n_ff = l->n_ff > p->n_ff ? l->n_ff : p->n_ff;
    p->n_head_kv = l->n_head_kv > p->n_head_kv ? l->n_head_kv : p->n_head_kv;
    if (layer_is_swa(s, layer))
        p->mask_swa = true;
    else if (l->n_head_kv)
        p->mask_full = true;
}

void memory_part_add_output(struct memory_part *p, const struct model_shape *s)
{
    p->has_output = true;
    p->weight_bytes = sat_add(p->weight_bytes, s->output_bytes);
    p->max_tensor_bytes = sat_max(p->max_tensor_bytes, s->output_max_tensor_bytes);
}

/* ---- compute (section 2: an empirical bound) ---- */

struct masks {
    uint64_t kinds, cells, cells_max; /* how many kinds, their cells together, the largest */
};

static struct masks masks_of(const struct model_shape *s, const struct memory_run *run, bool full, bool swa)
{
    uint64_t of_full = full ? cells_full(run) : 0, of_swa = swa ? cells_swa(s, run) : 0;

    return (struct masks){(uint64_t)full + swa, sat_add(of_full, of_swa), sat_max(of_full, of_swa)};
}

/* M */
static uint64_t mask_bytes(const struct masks *m, const struct memory_run *run)
{
    return sat_mul(copies(run) * (run->flash_attn ? 2 : 4), sat_mul(m->cells, ub(run)));
}

/* rot: rotations of a quantized cache */
static uint64_t rotation_bytes(const struct masks *m, const struct model_shape *s, const struct memory_run *run)
{
    uint64_t dim = s->head_dim_k;

    return kv_is_quantized(run) ? sat_mul(copies(run) * m->kinds * 8, sat_max(sat_mul(dim, dim), 4096)) : 0;
}

/* ffn, in columns */
static uint64_t ffn_columns(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run)
{
    uint64_t dense = 3 * (uint64_t)p->n_ff, fx = s->n_ff_expert, nu = s->n_expert_used, experts;

    if (run->n_devices > 1 && p->has_output && p->n_layers == 1 && !run->all_rows)
        return 0; /* the last layer's ffn runs for the rows that are wanted only */
    if (!s->n_expert)
        return dense;
    experts = sat_add(sat_mul(fx, nu), sat_max(2 * sat_mul(fx, nu), 2 * sat_mul(s->n_embd, nu)));
    return is_measured(s) ? experts : sat_max(experts, dense);
}

/* k, in columns of n_embd */
static uint64_t graph_columns(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run)
{
    bool split = run->n_devices > 1;

    if (is_recurrent(s))
        return split ? 34 : 13;
    if (!is_measured(s))
        return 34;
    if (!split)
        return 4;
    return p->first ? 16 : 7;
}

/* Rows of logits and embeddings, one per slot. */
static uint64_t logit_bytes(const struct model_shape *s, const struct memory_run *run)
{
    return sat_mul(4 * (uint64_t)run->slots, sat_add(s->n_vocab, 4 * (uint64_t)s->n_embd));
}

/* x: the wider of feed-forward and attention */
static uint64_t widest_bytes(const struct memory_part *p, const struct masks *m, const struct model_shape *s,
                             const struct memory_run *run)
{
    uint64_t kv_width = sat_mul(p->n_head_kv, s->head_dim_k);
    uint64_t att = sat_add(2 * sat_mul(s->n_head, s->head_dim_k), 2 * kv_width);
    uint64_t ffn = sat_mul(u(run), ffn_columns(p, s, run)), scores, staging;

    if (run->flash_attn)
        return sat_max(ffn, sat_mul(u(run), att));
    scores = sat_add(sat_mul(sat_mul(m->cells_max, u(run)), s->n_head), sat_mul(u(run), att));
    staging = sat_mul(copies(run) * m->kinds * 8 * ub(run), kv_width);
    return sat_add(sat_max(ffn, scores), staging);
}

static uint64_t output_only_compute(const struct model_shape *s, const struct memory_run *run)
{
    uint64_t rows = sat_mul(copies(run) * run->slots * 4, s->n_embd);

    return sat_add(sat_add(rows, logit_bytes(s, run)), MIB / 4);
}

uint64_t memory_part_compute(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run)
{
    struct masks m = masks_of(s, run, p->mask_full, p->mask_swa);
    uint64_t wide_heads = sat_sub(sat_mul(s->n_head, s->head_dim_k), s->n_embd);
    uint64_t columns = sat_add(sat_mul(graph_columns(p, s, run), s->n_embd), wide_heads);
    uint64_t sum = sat_add(mask_bytes(&m, run), widest_bytes(p, &m, s, run));

    if (p->n_layers == 0)
        sum = output_only_compute(s, run);
    else
        sum = sat_add(sat_add(sum, sat_mul(u(run), columns)),
                      sat_add(rotation_bytes(&m, s, run), sat_add(logit_bytes(s, run), MIB / 2)));
    if (p->has_output && run->all_rows)
        sum = sat_add(sum, sat_mul(u(run), s->n_vocab));
    return sum;
}

/* ---- processes (section 2, "What the worker process takes") ---- */

enum { WORKER_BASE_MIB = 16, KEPT_HEAP_MIB = 32 };

uint64_t memory_part_device(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run)
{
    return sat_add(sat_add(p->weight_bytes, p->kv_bytes), memory_part_compute(p, s, run));
}

uint64_t memory_part_process(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run)
{
    uint64_t kept = sat_min(p->max_tensor_bytes, KEPT_HEAP_MIB * MIB);
    uint64_t running = sat_add(memory_part_device(p, s, run), kept);
    uint64_t loading = sat_add(p->weight_bytes, p->max_tensor_bytes);

    return sat_add(sat_max(running, loading), WORKER_BASE_MIB * MIB);
}

uint64_t memory_part_receive(const struct memory_part *p)
{
    return sat_add(p->max_tensor_bytes, WORKER_BASE_MIB * MIB);
}

/* ---- the coordinator's host (section 3) ---- */

enum { ANON_MIB = 24, PROGRAM_MIB = 17, ANON_BYTES_PER_WORD = 200 };

uint64_t memory_host_compute(const struct model_shape *s, const struct memory_run *run)
{
    bool full = false, swa = false;
    uint64_t widest = 0, sum;
    struct masks m;

    for (uint32_t i = 0; i < s->n_layer; i++) {
        swa |= layer_is_swa(s, i);
        full |= !layer_is_swa(s, i) && s->layer[i].n_head_kv;
        widest = sat_max(widest, s->layer[i].n_head_kv);
    }
    m = masks_of(s, run, full, swa);
    sum = sat_add(mask_bytes(&m, run), sat_mul(u(run) * (run->n_devices > 1 ? 10 : 4), s->n_embd));
    sum = sat_add(sum, sat_add(rotation_bytes(&m, s, run), MIB / 2));
    if (!run->flash_attn)
        sum = sat_add(sum, sat_add(sat_mul(copies(run) * m.kinds * 8 * ub(run), sat_mul(widest, s->head_dim_k)),
                                   sat_mul(2 * u(run), s->n_embd)));
    return sum;
}

uint64_t memory_host(const struct model_shape *s, const struct memory_run *run)
{
    /* Anonymous memory beyond the buffers, the programs' own pages, and the rows of logits. */
    uint64_t fixed = sat_add((ANON_MIB + PROGRAM_MIB) * MIB, ANON_BYTES_PER_WORD * (uint64_t)s->n_vocab);
    uint64_t output = sat_mul(4 * (uint64_t)run->slots, s->n_vocab);

    return sat_add(sat_add(s->token_embd_bytes, s->other_bytes),
                   sat_add(memory_host_compute(s, run), sat_add(fixed, output)));
}

bool memory_kv_possible(const struct model_shape *s, const struct memory_run *run)
{
    const struct ggml_type *type = ggml_type_find(run->kv_type);

    if (!type || !type->kv || (kv_is_quantized(run) && !run->flash_attn))
        return false;
    return s->head_dim_k % type->block == 0 && s->head_dim_v % type->block == 0;
}
