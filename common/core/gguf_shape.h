/* From keys and tensors to a model_shape. Used by gguf.c and gguf_split.c. */
#ifndef CARAVAN_COMMON_CORE_GGUF_SHAPE_H
#define CARAVAN_COMMON_CORE_GGUF_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/gguf.h"
#include "common/core/model_shape.h"

/* The numbers that are kept of a header. Those before FACT_ALIGNMENT are the architecture's: "llama.block_count". */
enum gguf_fact {
    FACT_LAYERS,
    FACT_CTX,
    FACT_EMBD,
    FACT_FF,
    FACT_HEADS,
    FACT_HEADS_KV,
    FACT_DIM_K,
    FACT_DIM_V,
    FACT_SWA,
    FACT_EXPERTS,
    FACT_EXPERTS_USED,
    FACT_FF_EXPERT,
    FACT_SSM_CONV,
    FACT_SSM_INNER,
    FACT_SSM_STATE,
    FACT_ALIGNMENT,
    FACT_SPLIT_NO,
    FACT_SPLIT_COUNT,
    FACT_SPLIT_TENSORS,
    N_FACTS
};

struct gguf_list {
    uint32_t n;
    uint32_t value[MODEL_LAYERS_MAX];
};

/* A header as it was read, before it is known whether it makes a model. */
struct gguf_raw {
    char arch[MODEL_ARCH_MAX], type[MODEL_ARCH_MAX], name[GGUF_NAME_MAX];
    uint32_t fact[N_FACTS];
    bool has_fact[N_FACTS];
    struct gguf_list heads_kv, ff; /* where these differ from layer to layer */
    bool has_output;
    uint32_t n_vocab, max_ffn_dim;
    uint64_t token_embd_bytes, output_bytes, output_max_tensor_bytes, other_bytes;
    uint64_t data_end; /* of the last tensor, from the data's begin */
    uint32_t n_layer;  /* 1 + the highest index of a blk.i.* */
    struct model_layer layer[MODEL_LAYERS_MAX];
};

/* Which fact is this key? arch: the architecture, "" while it is not known. */
bool gguf_fact_find(const char *key, const char *arch, enum gguf_fact *ret);
/* Where a fact is kept layer by layer, or NULL. */
struct gguf_list *gguf_fact_list(struct gguf_raw *raw, enum gguf_fact fact);
/* Counts a tensor where llama.cpp puts it. False: its layer's index is beyond MODEL_LAYERS_MAX. */
bool gguf_raw_add(struct gguf_raw *raw, const char *name, const uint64_t dim[4], uint64_t bytes);

/* later_shard: the keys are in another file. ret: owned by the caller, free(). 0; GGUF_E_*; -ENOMEM. */
int gguf_shape_make(const struct gguf_raw *raw, bool later_shard, struct model_shape **ret, char *why, size_t why_size);
/* Adds the tensors of a later file of the set to the first one's shape. */
void gguf_shape_add(struct model_shape *s, const struct model_shape *more);
/* All tensors are counted: settles where the output comes from, and that nothing is missing. 0; GGUF_E_MALFORMED. */
int gguf_shape_close(struct model_shape *s, bool has_output, char *why, size_t why_size);

#endif
