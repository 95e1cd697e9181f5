#include "common/core/gguf_shape.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/gguf_reader.h"
#include "common/core/sat.h"

static const char *const fact_names[N_FACTS] = {
    [FACT_LAYERS] = "block_count",
    [FACT_CTX] = "context_length",
    [FACT_EMBD] = "embedding_length",
    [FACT_FF] = "feed_forward_length",
    [FACT_HEADS] = "attention.head_count",
    [FACT_HEADS_KV] = "attention.head_count_kv",
    [FACT_DIM_K] = "attention.key_length",
    [FACT_DIM_V] = "attention.value_length",
    [FACT_SWA] = "attention.sliding_window",
    [FACT_EXPERTS] = "expert_count",
    [FACT_EXPERTS_USED] = "expert_used_count",
    [FACT_FF_EXPERT] = "expert_feed_forward_length",
    [FACT_SSM_CONV] = "ssm.conv_kernel",
    [FACT_SSM_INNER] = "ssm.inner_size",
    [FACT_SSM_STATE] = "ssm.state_size",
    [FACT_ALIGNMENT] = "general.alignment",
    [FACT_SPLIT_NO] = "split.no",
    [FACT_SPLIT_COUNT] = "split.count",
    [FACT_SPLIT_TENSORS] = "split.tensors.count",
};

bool gguf_fact_find(const char *key, const char *arch, enum gguf_fact *ret)
{
    size_t n = strlen(arch);
    const char *rest = n && strncmp(key, arch, n) == 0 && key[n] == '.' ? key + n + 1 : NULL;

    for (int i = 0; i < N_FACTS; i++) {
        const char *want = i < FACT_ALIGNMENT ? rest : key;

        if (want && strcmp(want, fact_names[i]) == 0) {
            *ret = (enum gguf_fact)i;
            return true;
        }
    }
    return false;
}

struct gguf_list *gguf_fact_list(struct gguf_raw *raw, enum gguf_fact fact)
{
    if (fact == FACT_HEADS_KV)
        return &raw->heads_kv;
    return fact == FACT_FF ? &raw->ff : NULL;
}

/* "blk.17.ffn_up.weight" -> 17; -1: not of a layer; MODEL_LAYERS_MAX: of one beyond all bounds. */
static int32_t layer_index(const char *name)
{
    int32_t n = 0;
    const char *c = name + 4;

    if (strncmp(name, "blk.", 4) != 0 || *c < '0' || *c > '9')
        return -1;
    for (; *c >= '0' && *c <= '9'; c++)
        n = n < MODEL_LAYERS_MAX ? n * 10 + (*c - '0') : MODEL_LAYERS_MAX;
    if (*c != '.')
        return -1;
    return n < MODEL_LAYERS_MAX ? n : MODEL_LAYERS_MAX;
}

static void add_to_layer(struct gguf_raw *raw, uint32_t i, const char *name, const uint64_t dim[4], uint64_t bytes)
{
    struct model_layer *layer = &raw->layer[i];
    uint64_t wide = sat_max(dim[0], dim[1]);

    layer->weight_bytes = sat_add(layer->weight_bytes, bytes);
    layer->max_tensor_bytes = sat_max(layer->max_tensor_bytes, bytes);
    raw->n_layer = raw->n_layer > i ? raw->n_layer : i + 1;
    /* Stands in for a missing feed_forward_length. Experts are counted by a key of their own. */
    if (strstr(name, ".ffn_") && !strstr(name, "_exps") && wide <= UINT32_MAX)
        raw->max_ffn_dim = (uint32_t)sat_max(raw->max_ffn_dim, wide);
}

bool gguf_raw_add(struct gguf_raw *raw, const char *name, const uint64_t dim[4], uint64_t bytes)
{
    int32_t layer = layer_index(name);

    if (layer == MODEL_LAYERS_MAX)
        return false;
    if (layer >= 0) {
        add_to_layer(raw, (uint32_t)layer, name, dim, bytes);
    } else if (strcmp(name, "token_embd.weight") == 0) {
        raw->token_embd_bytes = bytes;
        raw->n_vocab = dim[1] <= UINT32_MAX ? (uint32_t)dim[1] : UINT32_MAX;
    } else if (strncmp(name, "output.", 7) == 0 || strncmp(name, "output_norm.", 12) == 0) {
        raw->output_bytes = sat_add(raw->output_bytes, bytes);
        raw->output_max_tensor_bytes = sat_max(raw->output_max_tensor_bytes, bytes);
        raw->has_output |= strcmp(name, "output.weight") == 0;
    } else {
        raw->other_bytes = sat_add(raw->other_bytes, bytes);
    }
    return true;
}

/* ---- the shape ---- */

/* Where the header is silent: memory-model, sections 1 and 6. */
static void fill_dimensions(const struct gguf_raw *raw, struct model_shape *s)
{
    const uint32_t *f = raw->fact;
    const bool *has = raw->has_fact;
    uint32_t head_dim = f[FACT_HEADS] ? f[FACT_EMBD] / f[FACT_HEADS] : 0;

    s->n_embd = f[FACT_EMBD];
    s->n_head = f[FACT_HEADS];
    s->n_ff = has[FACT_FF] ? f[FACT_FF] : raw->max_ffn_dim;
    s->head_dim_k = has[FACT_DIM_K] ? f[FACT_DIM_K] : head_dim;
    s->head_dim_v = has[FACT_DIM_V] ? f[FACT_DIM_V] : head_dim;
    s->n_ctx_train = f[FACT_CTX];
    s->n_expert = f[FACT_EXPERTS];
    s->n_expert_used = f[FACT_EXPERTS] && !has[FACT_EXPERTS_USED] ? 8 : f[FACT_EXPERTS_USED];
    s->n_ff_expert = has[FACT_FF_EXPERT] ? f[FACT_FF_EXPERT] : s->n_ff;
    s->n_swa = f[FACT_SWA];
    s->ssm_conv = f[FACT_SSM_CONV];
    s->ssm_inner = f[FACT_SSM_INNER];
    s->ssm_state = f[FACT_SSM_STATE];
    for (uint32_t i = 0; i < s->n_layer; i++) {
        s->layer[i].n_ff = i < raw->ff.n ? raw->ff.value[i] : s->n_ff;
        s->layer[i].n_head_kv = i < raw->heads_kv.n  ? raw->heads_kv.value[i]
                                : has[FACT_HEADS_KV] ? f[FACT_HEADS_KV]
                                                     : f[FACT_HEADS];
    }
}

static void fill_tensors(const struct gguf_raw *raw, struct model_shape *s)
{
    s->n_vocab = raw->n_vocab;
    s->token_embd_bytes = raw->token_embd_bytes;
    s->output_bytes = raw->output_bytes;
    s->output_max_tensor_bytes = raw->output_max_tensor_bytes;
    s->other_bytes = raw->other_bytes;
    for (uint32_t i = 0; i < raw->n_layer; i++) {
        if (i < s->n_layer) {
            s->layer[i].weight_bytes = raw->layer[i].weight_bytes;
            s->layer[i].max_tensor_bytes = raw->layer[i].max_tensor_bytes;
        } else {
            s->other_bytes = sat_add(s->other_bytes, raw->layer[i].weight_bytes);
        }
    }
}

static int check_keys(const struct gguf_raw *raw, char *why, size_t why_size)
{
    static const enum gguf_fact needed[] = {FACT_LAYERS, FACT_EMBD};

    if (!raw->arch[0])
        return gguf_say(why, why_size, GGUF_E_MALFORMED, "general.architecture is missing: this is not a whole model");
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (!raw->fact[needed[i]])
            return gguf_say(why, why_size, GGUF_E_MALFORMED, "%s.%s is missing or 0: this is not a whole model",
                            raw->arch, fact_names[needed[i]]);
    }
    if (raw->fact[FACT_LAYERS] > MODEL_LAYERS_MAX)
        return gguf_say(why, why_size, GGUF_E_TOO_LARGE, "%s.block_count is %" PRIu32 ", more than %d", raw->arch,
                        raw->fact[FACT_LAYERS], MODEL_LAYERS_MAX);
    return 0;
}

int gguf_shape_make(const struct gguf_raw *raw, bool later_shard, struct model_shape **ret, char *why, size_t why_size)
{
    bool projector = strcmp(raw->type, "mmproj") == 0 || strcmp(raw->arch, "clip") == 0;
    struct model_shape *s;
    uint32_t n_layer = later_shard ? raw->n_layer : raw->fact[FACT_LAYERS];
    int r;

    if (raw->type[0] && strcmp(raw->type, "model") != 0 && !projector)
        return gguf_say(why, why_size, GGUF_E_NOT_A_MODEL, "a GGUF file of type \"%s\", not a model", raw->type);
    if (!later_shard && !projector) {
        r = check_keys(raw, why, why_size);
        if (r)
            return r;
    }
    s = model_shape_new(projector ? 0 : n_layer);
    if (!s)
        return err_raise(-ENOMEM);
    memcpy(s->arch, raw->arch, sizeof(s->arch));
    s->has_projector = projector;
    fill_dimensions(raw, s);
    fill_tensors(raw, s);
    *ret = s;
    return 0;
}

void gguf_shape_add(struct model_shape *s, const struct model_shape *more)
{
    for (uint32_t i = 0; i < more->n_layer; i++) {
        const struct model_layer *from = &more->layer[i];

        if (i < s->n_layer) {
            s->layer[i].weight_bytes = sat_add(s->layer[i].weight_bytes, from->weight_bytes);
            s->layer[i].max_tensor_bytes = sat_max(s->layer[i].max_tensor_bytes, from->max_tensor_bytes);
        } else {
            s->other_bytes = sat_add(s->other_bytes, from->weight_bytes);
        }
    }
    s->n_vocab = s->n_vocab ? s->n_vocab : more->n_vocab;
    s->token_embd_bytes = sat_add(s->token_embd_bytes, more->token_embd_bytes);
    s->output_bytes = sat_add(s->output_bytes, more->output_bytes);
    s->output_max_tensor_bytes = sat_max(s->output_max_tensor_bytes, more->output_max_tensor_bytes);
    s->other_bytes = sat_add(s->other_bytes, more->other_bytes);
}

int gguf_shape_close(struct model_shape *s, bool has_output, char *why, size_t why_size)
{
    if (s->has_projector)
        return 0;
    if (!s->token_embd_bytes)
        return gguf_say(why, why_size, GGUF_E_MALFORMED, "token_embd.weight is missing: this is not a whole model");
    for (uint32_t i = 0; i < s->n_layer; i++) {
        if (!s->layer[i].weight_bytes)
            return gguf_say(why, why_size, GGUF_E_MALFORMED,
                            "layer %" PRIu32 " of %" PRIu32 " has no tensors: this is not a whole model", i,
                            s->n_layer);
    }
    s->output_tied = !has_output;
    if (s->output_tied) { /* the last rank gets a copy of the token embeddings: memory-model, section 2 */
        s->output_bytes = sat_add(s->output_bytes, s->token_embd_bytes);
        s->output_max_tensor_bytes = sat_max(s->output_max_tensor_bytes, s->token_embd_bytes);
    }
    return 0;
}
