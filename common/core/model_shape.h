/* What placement needs to know of a model: read from a GGUF header by gguf.c, sent by agents, used by memory_model.c. */
#ifndef CARAVAN_COMMON_CORE_MODEL_SHAPE_H
#define CARAVAN_COMMON_CORE_MODEL_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_LAYERS_MAX = 1024, MODEL_ARCH_MAX = 32 };

struct model_layer {
    uint64_t weight_bytes;     /* sum of the tensors blk.i.* */
    uint64_t max_tensor_bytes; /* its largest one */
    uint32_t n_head_kv;
    uint32_t n_ff;
};

/* Symbols of memory-model: E n_embd, F n_ff, H n_head, Hk layer[].n_head_kv, Dk, Dv head_dim_k/v, V n_vocab,
 * NE/NU n_expert(_used), Fx n_ff_expert, W n_swa. */
struct model_shape {
    char arch[MODEL_ARCH_MAX];
    uint32_t n_embd, n_head, n_ff, head_dim_k, head_dim_v;
    uint32_t n_vocab; /* rows of token_embd */
    uint32_t n_ctx_train;
    uint32_t n_expert, n_expert_used, n_ff_expert;
    uint32_t n_swa;
    uint32_t ssm_conv, ssm_inner, ssm_state; /* recurrent models; else 0 */
    bool has_projector;                      /* an mmproj file, not a language model */
    uint64_t token_embd_bytes;               /* stays on the host */
    uint64_t output_bytes;                   /* output.weight (token_embd again where tied) and output_norm */
    uint64_t output_max_tensor_bytes;
    uint64_t other_bytes; /* tensors that are neither in a layer nor named above: host */
    bool output_tied;
    uint32_t n_layer;
    struct model_layer layer[]; /* n_layer of them */
};

/* Allocates a zeroed shape for n_layer layers (at most MODEL_LAYERS_MAX, else NULL). Owned by the caller; free(). */
struct model_shape *model_shape_new(uint32_t n_layer);
/* A copy on the heap, or NULL. */
struct model_shape *model_shape_copy(const struct model_shape *s);

#endif
