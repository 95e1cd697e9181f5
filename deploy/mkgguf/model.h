/* What the parts of caravan-mkgguf share: the model that was asked for and its tensors. */
#ifndef CARAVAN_DEPLOY_MKGGUF_MODEL_H
#define CARAVAN_DEPLOY_MKGGUF_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { ALIGNMENT = 32 };

/* The vocabulary: words, then single characters, then the 256 bytes, then <unk> <s> </s>. */
enum {
    CHAR_TOKENS = '~' - '!' + 2, /* and the tokenizer's space */
    BYTE_TOKENS = 256,
    SPECIAL_TOKENS = 3,
    NOT_WORDS = CHAR_TOKENS + BYTE_TOKENS + SPECIAL_TOKENS,
    VOCAB_MIN = 400
};

struct tensor_type {
    const char *name;
    uint32_t ggml_type;
    uint32_t file_type;
    uint32_t block;       /* elements */
    uint32_t block_bytes; /* and what they take */
};

/* By its name; NULL for an unknown one. */
const struct tensor_type *tensor_type_find(const char *name);

struct options {
    const char *out;
    const char *name;
    const struct tensor_type *type;
    uint64_t layers, embd, heads, kv_heads, ff, vocab, ctx, seed, shards, truncate_bytes;
    double sparse_gb; /* 0: write the weights */
    bool header_only, truncated;
};

enum fill {
    FILL_ONES,
    FILL_RANDOM,
    FILL_OUTPUT /* random for words, zero for the rest */
};

struct tensor {
    char name[48];
    const struct tensor_type *type;
    enum fill fill;
    uint32_t n_dims;
    uint64_t dim[2];
    uint64_t bytes;
    uint64_t offset; /* within its shard's data */
    uint64_t shard;
};

/* A growing buffer for one header. Once memory ran out it stays failed and takes no more. */
struct bytes {
    uint8_t *data;
    size_t n, capacity;
    bool failed;
};

void bytes_destroy(struct bytes *b);

/* The whole header of one file, up to its first tensor's bytes. Only the first shard describes the model. */
void header_put(struct bytes *b, const struct options *o, uint64_t shard, const struct tensor *tensors,
                size_t n_tensors);

/* All tensors with their places in the files. Owned by the caller, free(); NULL without memory. */
struct tensor *tensors_new(const struct options *o, size_t *ret_n);

struct weights; /* the stream of random numbers, and where they become bytes */

/* Owned by the caller, free(); NULL without memory. */
struct weights *weights_new(const struct options *o);
/* Writes the bytes of t at f's position; a part that is zero may be left out. false: errno says why. */
bool weights_write(struct weights *w, FILE *f, const struct options *o, const struct tensor *t);

#endif
