/* Makes GGUF headers in memory, whole or wrong on purpose. The data behind them is never read and so never made. */
#ifndef CARAVAN_TESTS_LIB_GGUF_IMAGE_H
#define CARAVAN_TESTS_LIB_GGUF_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/gguf.h"

struct gguf_image {
    unsigned char *bytes; /* the header */
    size_t n, cap;
    uint64_t n_keys, n_tensors;
    uint64_t data_bytes; /* of the tensors so far, padded to 32 */
    uint64_t size_bytes; /* of the whole file: set by image_end */
    int fail_read;       /* negative errno that the next read gives */
};

/* Keys first, then tensors, then image_end. Free with image_clear. */
void image_begin(struct gguf_image *im, uint32_t version);
void image_text(struct gguf_image *im, const char *key, const char *value);
void image_u32(struct gguf_image *im, const char *key, uint32_t value);
void image_u16(struct gguf_image *im, const char *key, uint16_t value);
void image_u32_list(struct gguf_image *im, const char *key, const uint32_t *value, uint64_t n);
/* n strings of about seven bytes: a vocabulary */
void image_words(struct gguf_image *im, const char *key, uint32_t n);
/* A tensor behind those before it; d1..d3 0: it has not that dimension. */
void image_tensor(struct gguf_image *im, const char *name, uint32_t type, uint64_t d0, uint64_t d1);
void image_end(struct gguf_image *im);
void image_clear(struct gguf_image *im);

/* Raw bytes, for headers that are wrong. */
void image_raw(struct gguf_image *im, const void *bytes, size_t n);
void image_raw_u32(struct gguf_image *im, uint32_t v);
void image_raw_u64(struct gguf_image *im, uint64_t v);
void image_raw_text(struct gguf_image *im, const char *text);

/* A source that reads it; ctx must live as long. */
struct gguf_source image_source(struct gguf_image *im);

/* What image_llama makes: the dimensions of a model of the llama family. */
struct llama_dims {
    const char *arch; /* NULL: llama */
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_ctx;
    uint32_t head_dim; /* 0: n_embd / n_head */
    uint32_t n_expert, n_expert_used, n_ff_expert, n_swa;
    uint32_t type; /* of the matrices, an id of ggml; norms are f32 */
    int tied;
};
/* A whole image. */
void image_llama(struct gguf_image *im, const struct llama_dims *d);
/* The shape of one; asserts that it reads well. Free with free(). */
struct model_shape *llama_shape(const struct llama_dims *d);

#endif
