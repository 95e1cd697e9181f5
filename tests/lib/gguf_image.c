#include "tests/lib/gguf_image.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/ggml_type.h"

enum { TYPE_U16 = 2, TYPE_U32 = 4, TYPE_TEXT = 8, TYPE_ARRAY = 9, AT_COUNTS = 8 };

void image_raw(struct gguf_image *im, const void *bytes, size_t n)
{
    while (im->n + n > im->cap) {
        im->cap = im->cap ? im->cap * 2 : 4096;
        im->bytes = realloc(im->bytes, im->cap);
        assert(im->bytes);
    }
    if (n)
        memcpy(im->bytes + im->n, bytes, n);
    im->n += n;
}

void image_raw_u32(struct gguf_image *im, uint32_t v)
{
    unsigned char b[4];

    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(v >> (8 * i));
    image_raw(im, b, sizeof(b));
}

void image_raw_u64(struct gguf_image *im, uint64_t v)
{
    image_raw_u32(im, (uint32_t)v);
    image_raw_u32(im, (uint32_t)(v >> 32));
}

void image_raw_text(struct gguf_image *im, const char *text)
{
    image_raw_u64(im, strlen(text));
    image_raw(im, text, strlen(text));
}

void image_begin(struct gguf_image *im, uint32_t version)
{
    *im = (struct gguf_image){0};
    image_raw(im, "GGUF", 4);
    image_raw_u32(im, version);
    image_raw_u64(im, 0); /* tensors, keys: filled in at the end */
    image_raw_u64(im, 0);
}

static void begin_key(struct gguf_image *im, const char *key, uint32_t type)
{
    image_raw_text(im, key);
    image_raw_u32(im, type);
    im->n_keys++;
}

void image_text(struct gguf_image *im, const char *key, const char *value)
{
    begin_key(im, key, TYPE_TEXT);
    image_raw_text(im, value);
}

void image_u32(struct gguf_image *im, const char *key, uint32_t value)
{
    begin_key(im, key, TYPE_U32);
    image_raw_u32(im, value);
}

void image_u16(struct gguf_image *im, const char *key, uint16_t value)
{
    unsigned char b[2] = {(unsigned char)value, (unsigned char)(value >> 8)};

    begin_key(im, key, TYPE_U16);
    image_raw(im, b, sizeof(b));
}

void image_u32_list(struct gguf_image *im, const char *key, const uint32_t *value, uint64_t n)
{
    begin_key(im, key, TYPE_ARRAY);
    image_raw_u32(im, TYPE_U32);
    image_raw_u64(im, n);
    for (uint64_t i = 0; i < n; i++)
        image_raw_u32(im, value[i]);
}

void image_words(struct gguf_image *im, const char *key, uint32_t n)
{
    char word[16];

    begin_key(im, key, TYPE_ARRAY);
    image_raw_u32(im, TYPE_TEXT);
    image_raw_u64(im, n);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(word, sizeof(word), "w%" PRIu32, i);
        image_raw_text(im, word);
    }
}

void image_tensor(struct gguf_image *im, const char *name, uint32_t type_id, uint64_t d0, uint64_t d1)
{
    const struct ggml_type *type = ggml_type_find(type_id);
    uint64_t bytes = type ? d0 / type->block * type->block_bytes * (d1 ? d1 : 1) : 32;

    image_raw_text(im, name);
    image_raw_u32(im, d1 ? 2 : 1);
    image_raw_u64(im, d0);
    if (d1)
        image_raw_u64(im, d1);
    image_raw_u32(im, type_id);
    image_raw_u64(im, im->data_bytes);
    im->n_tensors++;
    im->data_bytes += (bytes + 31) / 32 * 32;
}

void image_end(struct gguf_image *im)
{
    for (int i = 0; i < 8; i++) {
        im->bytes[AT_COUNTS + i] = (unsigned char)(im->n_tensors >> (8 * i));
        im->bytes[AT_COUNTS + 8 + i] = (unsigned char)(im->n_keys >> (8 * i));
    }
    im->size_bytes = (im->n + 31) / 32 * 32 + im->data_bytes;
}

void image_clear(struct gguf_image *im)
{
    free(im->bytes);
    *im = (struct gguf_image){0};
}

static int image_read(void *ctx, uint64_t offset, void *buf, size_t n)
{
    struct gguf_image *im = ctx;
    size_t have = offset < im->n ? im->n - (size_t)offset : 0;

    assert(offset <= im->size_bytes && n <= im->size_bytes - offset);
    if (im->fail_read)
        return im->fail_read;
    memset(buf, 0, n);
    if (have)
        memcpy(buf, im->bytes + offset, have < n ? have : n);
    return 0;
}

struct gguf_source image_source(struct gguf_image *im)
{
    return (struct gguf_source){.read = image_read, .ctx = im, .size_bytes = im->size_bytes};
}

/* ---- llama ---- */

static void key(struct gguf_image *im, const char *arch, const char *suffix, uint32_t value)
{
    char name[128];

    snprintf(name, sizeof(name), "%s.%s", arch, suffix);
    if (value)
        image_u32(im, name, value);
}

static void block(struct gguf_image *im, uint32_t i, const char *suffix, uint32_t type, uint64_t d0, uint64_t d1)
{
    char name[64];

    snprintf(name, sizeof(name), "blk.%" PRIu32 ".%s", i, suffix);
    image_tensor(im, name, type, d0, d1);
}

static void layer(struct gguf_image *im, const struct llama_dims *d, uint32_t i)
{
    uint64_t head_dim = d->head_dim ? d->head_dim : d->n_embd / d->n_head;
    uint64_t experts = d->n_expert ? d->n_expert : 1, ff = d->n_expert ? d->n_ff_expert : d->n_ff;

    block(im, i, "attn_norm.weight", 0, d->n_embd, 0);
    block(im, i, "attn_q.weight", d->type, d->n_embd, head_dim * d->n_head);
    block(im, i, "attn_k.weight", d->type, d->n_embd, head_dim * d->n_head_kv);
    block(im, i, "attn_v.weight", d->type, d->n_embd, head_dim * d->n_head_kv);
    block(im, i, "attn_output.weight", d->type, head_dim * d->n_head, d->n_embd);
    block(im, i, "ffn_norm.weight", 0, d->n_embd, 0);
    block(im, i, d->n_expert ? "ffn_gate_exps.weight" : "ffn_gate.weight", d->type, d->n_embd, ff * experts);
    block(im, i, d->n_expert ? "ffn_up_exps.weight" : "ffn_up.weight", d->type, d->n_embd, ff * experts);
    block(im, i, d->n_expert ? "ffn_down_exps.weight" : "ffn_down.weight", d->type, ff, d->n_embd * experts);
}

void image_llama(struct gguf_image *im, const struct llama_dims *d)
{
    const char *arch = d->arch ? d->arch : "llama";

    image_begin(im, 3);
    image_text(im, "general.architecture", arch);
    image_text(im, "general.name", "made by a test");
    key(im, arch, "block_count", d->n_layer);
    key(im, arch, "context_length", d->n_ctx ? d->n_ctx : 8192);
    key(im, arch, "embedding_length", d->n_embd);
    key(im, arch, "feed_forward_length", d->n_ff);
    key(im, arch, "attention.head_count", d->n_head);
    key(im, arch, "attention.head_count_kv", d->n_head_kv);
    key(im, arch, "attention.key_length", d->head_dim);
    key(im, arch, "attention.value_length", d->head_dim);
    key(im, arch, "attention.sliding_window", d->n_swa);
    key(im, arch, "expert_count", d->n_expert);
    key(im, arch, "expert_used_count", d->n_expert_used);
    key(im, arch, "expert_feed_forward_length", d->n_ff_expert);
    image_words(im, "tokenizer.ggml.tokens", 3);
    image_tensor(im, "token_embd.weight", d->type, d->n_embd, d->n_vocab);
    image_tensor(im, "output_norm.weight", 0, d->n_embd, 0);
    if (!d->tied)
        image_tensor(im, "output.weight", d->type, d->n_embd, d->n_vocab);
    for (uint32_t i = 0; i < d->n_layer; i++)
        layer(im, d, i);
    image_end(im);
}

struct model_shape *llama_shape(const struct llama_dims *d)
{
    struct gguf_image im;
    struct gguf_source source;
    struct gguf *g = NULL;
    struct model_shape *shape;
    char why[GGUF_WHY_MAX] = "";
    int r;

    image_llama(&im, d);
    source = image_source(&im);
    r = gguf_read(&source, &g, why, sizeof(why));
    if (r)
        fprintf(stderr, "llama_shape: %s\n", why);
    assert(r == 0);
    shape = g->shape;
    g->shape = NULL;
    gguf_destroy(&g);
    image_clear(&im);
    return shape;
}
