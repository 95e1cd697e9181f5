/* How much memory a split model takes, from its header alone: per device, per worker process, on the coordinator's host.
 *
 * The formulas are those of the memory model, an empirical one: of 1360 measured ranks none took more. Section numbers
 * in memory_model.c are its. An estimate may be too high; one that is too low is a defect. Sums stop at
 * UINT64_MAX. Pure; no allocation. */
#ifndef CARAVAN_COMMON_CORE_MEMORY_MODEL_H
#define CARAVAN_COMMON_CORE_MEMORY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/model_shape.h"

/* How it is run: llama-server's flags. */
struct memory_run {
    uint32_t ctx, slots;    /* -c (over all slots), -np; at least 1 */
    uint32_t batch, ubatch; /* -b, -ub */
    uint32_t kv_type;       /* ggml_type_find() knows it: K and V alike */
    bool flash_attn;        /* -fa on, or auto on a device that has it */
    bool kv_unified;        /* -kvu */
    bool swa_full;          /* --swa-full */
    bool all_rows;          /* --embedding, --reranking: the last rank computes every row */
    uint32_t n_devices;     /* over which the layers are split; at least 1 */
};

/* A run of whole layers on one device, made by adding them in order. Start with memory_part_begin(). */
struct memory_part {
    uint32_t n_layers; /* without the output layer */
    bool first;        /* first device of all: it is the worst in compute */
    bool has_output;
    uint64_t weight_bytes, kv_bytes, max_tensor_bytes;
    uint32_t n_ff, n_head_kv; /* the largest of its layers */
    bool mask_full, mask_swa; /* the kinds of attention mask that its layers use */
};

void memory_part_begin(struct memory_part *p, bool first);
void memory_part_add_layer(struct memory_part *p, const struct model_shape *s, const struct memory_run *run,
                           uint32_t layer);
void memory_part_add_output(struct memory_part *p, const struct model_shape *s);

/* Compute buffer of the device, an upper bound. */
uint64_t memory_part_compute(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run);
/* What device memory it takes: weights, KV, compute. */
uint64_t memory_part_device(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run);
/* What a worker process with this part on a CPU device takes at its worst, loading included. */
uint64_t memory_part_process(const struct memory_part *p, const struct model_shape *s, const struct memory_run *run);
/* What a worker process takes of its host beside device memory: the receive buffer of the largest tensor. */
uint64_t memory_part_receive(const struct memory_part *p);

/* The coordinator's own compute buffer ("CPU compute buffer size" in its log), an upper bound. */
uint64_t memory_host_compute(const struct model_shape *s, const struct memory_run *run);
/* Beside its rank, on the coordinator's host: token embeddings, host buffers, the process itself. */
uint64_t memory_host(const struct model_shape *s, const struct memory_run *run);

/* Can its KV cache be of this type at all? A row must be a whole number of blocks, and a quantized V needs flash
 * attention. */
bool memory_kv_possible(const struct model_shape *s, const struct memory_run *run);

#endif
