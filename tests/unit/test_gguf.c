/* GGUF headers: what is read of a good one, and the one sentence for each bad one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/core/gguf.h"
#include "tests/lib/gguf_image.h"

static const struct llama_dims small = {
    .n_layer = 3, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 192, .n_vocab = 100, .type = 1};

static int read_image(struct gguf_image *im, struct gguf **ret, char *why)
{
    struct gguf_source source = image_source(im);

    memset(why, 0, GGUF_WHY_MAX);
    return gguf_read(&source, ret, why, GGUF_WHY_MAX);
}

/* Reads it, expects the outcome and a sentence with these words in it, and takes it down. */
static void expect(struct gguf_image *im, int outcome, const char *words)
{
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];
    int r = read_image(im, &g, why);

    if (r != outcome || !strstr(why, words))
        print_error("wanted %d \"%s\", got %d \"%s\"\n", outcome, words, r, why);
    assert_int_equal(r, outcome);
    assert_non_null(strstr(why, words));
    assert_null(g);
    image_clear(im);
}

static void begin_small(struct gguf_image *im)
{
    image_begin(im, 3);
    image_text(im, "general.architecture", "llama");
}

/* ---- good ones ---- */

struct told {
    struct gguf_image *im;
    size_t n;
    uint64_t offset, n_bytes; /* of the last one */
    int result;
};

static int read_told(void *ctx, uint64_t offset, void *buf, size_t n)
{
    struct gguf_source source = image_source(((struct told *)ctx)->im);

    return source.read(source.ctx, offset, buf, n);
}

static int on_tensor(void *ctx, uint64_t offset, uint64_t n_bytes)
{
    struct told *t = ctx;

    t->n++;
    t->offset = offset;
    t->n_bytes = n_bytes;
    return t->result;
}

/* Each tensor once, also of a file that is read twice because its architecture comes late. */
static void test_tells_tensors(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct gguf_image im;
        struct told t = {.im = &im};
        struct gguf_source source = {.read = read_told, .ctx = &t, .on_tensor = on_tensor};
        struct gguf *g = NULL;
        char why[GGUF_WHY_MAX];

        image_begin(&im, 3);
        if (late)
            image_u32(&im, "llama.block_count", 1);
        image_text(&im, "general.architecture", "llama");
        if (!late)
            image_u32(&im, "llama.block_count", 1);
        image_u32(&im, "llama.context_length", 512);
        image_u32(&im, "llama.embedding_length", 64);
        image_u32(&im, "llama.feed_forward_length", 192);
        image_u32(&im, "llama.attention.head_count", 4);
        image_tensor(&im, "token_embd.weight", 1, 64, 100);
        image_tensor(&im, "blk.0.attn_q.weight", 1, 64, 64);
        image_end(&im);
        source.size_bytes = im.size_bytes;
        assert_int_equal(gguf_read(&source, &g, why, sizeof(why)), 0);
        assert_int_equal(t.n, 2);
        assert_int_equal(t.offset, 64 * 100 * 2);
        assert_int_equal(t.n_bytes, 64 * 64 * 2);
        assert_int_equal(g->data_offset + t.offset + t.n_bytes, im.size_bytes);
        gguf_destroy(&g);
        t.result = -ENOMEM;
        assert_int_equal(gguf_read(&source, &g, why, sizeof(why)), -ENOMEM);
        image_clear(&im);
    }
}

static void test_reads_a_model(void **state)
{
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];
    uint64_t layer = 2 * 64 * 4 + 2 * (64 * 64 + 64 * 32 + 64 * 32 + 64 * 64 + 3 * 64 * 192);

    (void)state;
    image_llama(&im, &small);
    assert_int_equal(read_image(&im, &g, why), 0);
    assert_int_equal(g->version, 3);
    assert_string_equal(g->name, "made by a test");
    assert_int_equal(g->split_count, 1);
    assert_int_equal(g->n_tensors, 3 + 3 * 9);
    assert_int_equal(g->needed_bytes, im.size_bytes);
    assert_int_equal(g->data_offset, (im.n + 31) / 32 * 32);
    assert_string_equal(g->shape->arch, "llama");
    assert_int_equal(g->shape->n_layer, 3);
    assert_int_equal(g->shape->n_embd, 64);
    assert_int_equal(g->shape->n_ff, 192);
    assert_int_equal(g->shape->n_head, 4);
    assert_int_equal(g->shape->head_dim_k, 16);
    assert_int_equal(g->shape->head_dim_v, 16);
    assert_int_equal(g->shape->n_vocab, 100);
    assert_int_equal(g->shape->n_ctx_train, 8192);
    assert_int_equal(g->shape->token_embd_bytes, 64 * 100 * 2);
    assert_int_equal(g->shape->output_bytes, 64 * 100 * 2 + 64 * 4);
    assert_int_equal(g->shape->output_max_tensor_bytes, 64 * 100 * 2);
    assert_false(g->shape->output_tied);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(g->shape->layer[i].weight_bytes, layer);
        assert_int_equal(g->shape->layer[i].max_tensor_bytes, 2 * 64 * 192);
        assert_int_equal(g->shape->layer[i].n_head_kv, 2);
        assert_int_equal(g->shape->layer[i].n_ff, 192);
    }
    gguf_destroy(&g);
    image_clear(&im);
}

static void test_a_tied_output_is_a_copy_of_the_embeddings(void **state)
{
    struct llama_dims dims = small;
    struct model_shape *s;

    (void)state;
    dims.tied = 1;
    s = llama_shape(&dims);
    assert_true(s->output_tied);
    assert_int_equal(s->output_bytes, 64 * 100 * 2 + 64 * 4);
    assert_int_equal(s->output_max_tensor_bytes, 64 * 100 * 2);
    free(s);
}

static void test_hash_is_of_the_header_alone(void **state)
{
    struct gguf_image a, b;
    struct gguf *x = NULL, *y = NULL;
    char why[GGUF_WHY_MAX];
    uint64_t expected = UINT64_C(0xcbf29ce484222325);

    (void)state;
    image_llama(&a, &small);
    image_llama(&b, &small);
    b.size_bytes += 1000; /* more data behind */
    assert_int_equal(read_image(&a, &x, why), 0);
    assert_int_equal(read_image(&b, &y, why), 0);
    for (size_t i = 0; i < a.n; i++)
        expected = (expected ^ a.bytes[i]) * UINT64_C(0x100000001b3);
    assert_int_equal(x->header_hash, expected);
    assert_int_equal(y->header_hash, expected);
    gguf_destroy(&y);
    b.bytes[a.n - 1] ^= 0; /* the same */
    image_clear(&b);
    image_clear(&a);
    gguf_destroy(&x);
}

static void test_figures_per_layer(void **state)
{
    static const uint32_t heads_kv[] = {1, 0, 4}, ff[] = {10, 20, 30};
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX], name[32];

    (void)state;
    begin_small(&im);
    image_u32(&im, "llama.block_count", 3);
    image_u32(&im, "llama.embedding_length", 32);
    image_u32(&im, "llama.attention.head_count", 4);
    image_u32_list(&im, "llama.attention.head_count_kv", heads_kv, 3);
    image_u32_list(&im, "llama.feed_forward_length", ff, 3);
    image_tensor(&im, "token_embd.weight", 0, 32, 10);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "blk.%d.attn_q.weight", i);
        image_tensor(&im, name, 0, 32, 32);
    }
    image_end(&im);
    assert_int_equal(read_image(&im, &g, why), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(g->shape->layer[i].n_head_kv, heads_kv[i]);
        assert_int_equal(g->shape->layer[i].n_ff, ff[i]);
    }
    assert_int_equal(g->shape->n_ff, 30);
    gguf_destroy(&g);
    image_clear(&im);
}

/* Where the header is silent: heads_kv = heads, F = the widest ffn tensor, experts used = 8. */
static void test_silent_header(void **state)
{
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    begin_small(&im);
    image_u32(&im, "llama.block_count", 1);
    image_u32(&im, "llama.embedding_length", 32);
    image_u32(&im, "llama.attention.head_count", 4);
    image_u32(&im, "llama.expert_count", 16);
    image_tensor(&im, "token_embd.weight", 0, 32, 10);
    image_tensor(&im, "blk.0.ffn_up.weight", 0, 32, 96);
    image_tensor(&im, "blk.0.ffn_up_exps.weight", 0, 32, 9600);
    image_tensor(&im, "rope_freqs.weight", 0, 8, 0);
    image_end(&im);
    assert_int_equal(read_image(&im, &g, why), 0);
    assert_int_equal(g->shape->layer[0].n_head_kv, 4);
    assert_int_equal(g->shape->n_ff, 96);
    assert_int_equal(g->shape->n_expert_used, 8);
    assert_int_equal(g->shape->other_bytes, 32);
    gguf_destroy(&g);
    image_clear(&im);
}

static void test_architecture_may_come_last(void **state)
{
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    image_begin(&im, 2);
    image_u32(&im, "llama.block_count", 1);
    image_u32(&im, "llama.embedding_length", 32);
    image_text(&im, "general.architecture", "llama");
    image_tensor(&im, "token_embd.weight", 0, 32, 10);
    image_tensor(&im, "blk.0.attn_q.weight", 0, 32, 32);
    image_end(&im);
    assert_int_equal(read_image(&im, &g, why), 0);
    assert_int_equal(g->shape->n_layer, 1);
    gguf_destroy(&g);
    image_clear(&im);
}

static void test_a_projector_is_known_as_one(void **state)
{
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    image_begin(&im, 3);
    image_text(&im, "general.architecture", "clip");
    image_tensor(&im, "v.blk.0.attn_q.weight", 0, 32, 32);
    image_end(&im);
    assert_int_equal(read_image(&im, &g, why), 0);
    assert_true(g->shape->has_projector);
    assert_int_equal(g->shape->n_layer, 0);
    gguf_destroy(&g);
    image_clear(&im);
}

/* A vocabulary of 128 k words and as many merges passes the window many times. No time is asserted; it is printed. */
static void test_large_vocabulary(void **state)
{
    struct gguf_image im, small_im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];
    struct timespec a, b;

    (void)state;
    image_llama(&small_im, &small);
    image_begin(&im, 3);
    image_text(&im, "general.architecture", "llama");
    image_words(&im, "tokenizer.ggml.tokens", 128000);
    image_words(&im, "tokenizer.ggml.merges", 128000);
    image_u32(&im, "llama.block_count", 1);
    image_u32(&im, "llama.embedding_length", 32);
    image_tensor(&im, "token_embd.weight", 0, 32, 128000);
    image_tensor(&im, "blk.0.attn_q.weight", 0, 32, 32);
    image_end(&im);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(read_image(&im, &g, why), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    print_message("%zu bytes of header in %ld us\n", im.n,
                  (long)(b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
    assert_int_equal(g->shape->n_vocab, 128000);
    gguf_destroy(&g);
    image_clear(&im);
    image_clear(&small_im);
}

/* ---- bad ones ---- */

static void test_not_gguf(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        int outcome;
        const char *words;
    } rows[] = {
        {"", 0, GGUF_E_NOT_GGUF, "0 bytes"},
        {"GGU", 3, GGUF_E_NOT_GGUF, "3 bytes"},
        {"<!DOCTYPE html>", 15, GGUF_E_NOT_GGUF, "3c 21 44 4f"},
        {"GGUF", 4, GGUF_E_TRUNCATED, "inside its header"},
        {"GGUF\1\0\0\0", 8, GGUF_E_VERSION, "version 1"},
        {"GGUF\0\0\0\3", 8, GGUF_E_VERSION, "big-endian"},
        {"GGUF\3\0\0\0\1\0\0", 11, GGUF_E_TRUNCATED, "inside its header"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gguf_image im = {0};

        image_raw(&im, rows[i].bytes, rows[i].n);
        im.size_bytes = rows[i].n;
        expect(&im, rows[i].outcome, rows[i].words);
    }
}

static void test_truncated_and_header_only(void **state)
{
    struct gguf_image im;

    (void)state;
    image_llama(&im, &small);
    im.size_bytes -= 1000;
    expect(&im, GGUF_E_TRUNCATED, "1000 bytes too short");

    image_llama(&im, &small);
    im.size_bytes = im.n;
    expect(&im, GGUF_E_HEADER_ONLY, "only a header");

    begin_small(&im);
    image_u32(&im, "llama.block_count", 1);
    image_u32(&im, "llama.embedding_length", 32);
    image_end(&im);
    expect(&im, GGUF_E_HEADER_ONLY, "only a header");
}

/* A padded end is not needed: the last tensor is. */
static void test_the_last_padding_may_be_missing(void **state)
{
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    begin_small(&im);
    image_u32(&im, "llama.block_count", 1);
    image_u32(&im, "llama.embedding_length", 32);
    image_tensor(&im, "token_embd.weight", 0, 32, 10);
    image_tensor(&im, "blk.0.attn_norm.weight", 0, 33, 0); /* 132 of 160 bytes */
    image_end(&im);
    im.size_bytes -= 28;
    assert_int_equal(read_image(&im, &g, why), 0);
    assert_int_equal(g->needed_bytes, im.size_bytes);
    gguf_destroy(&g);
    im.size_bytes--;
    expect(&im, GGUF_E_TRUNCATED, "1 bytes too short");
}

static void bad_counts(struct gguf_image *im)
{
    image_begin(im, 3);
    im->n_keys = UINT64_MAX;
    image_end(im);
}

static void bad_key_twice(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "llama.block_count", 1);
    image_u32(im, "llama.block_count", 1);
    image_end(im);
}

static void bad_key_long(struct gguf_image *im)
{
    begin_small(im);
    image_raw_u64(im, 100000);
    im->n_keys++;
    image_end(im);
    im->size_bytes += 1000000;
}

static void bad_key_zero_byte(struct gguf_image *im)
{
    begin_small(im);
    image_raw_u64(im, 3);
    image_raw(im, "a\0b", 3);
    im->n_keys++;
    image_end(im);
}

static void bad_value_type(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "x");
    image_raw_u32(im, 13);
    im->n_keys++;
    image_end(im);
    im->size_bytes += 100;
}

static void bad_array_of_arrays(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "x");
    image_raw_u32(im, 9);
    image_raw_u32(im, 9);
    image_raw_u64(im, 1);
    im->n_keys++;
    image_end(im);
    im->size_bytes += 100;
}

static void bad_array_huge(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "x");
    image_raw_u32(im, 9);
    image_raw_u32(im, 10);
    image_raw_u64(im, UINT64_MAX / 2);
    im->n_keys++;
    image_end(im);
}

/* A sparse file of a terabyte full of empty strings must not be walked to its end. */
static void bad_array_endless(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "x");
    image_raw_u32(im, 9);
    image_raw_u32(im, 8);
    image_raw_u64(im, UINT64_MAX);
    im->n_keys++;
    image_end(im);
    im->size_bytes = UINT64_C(1) << 40;
}

static void bad_text_huge(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "x");
    image_raw_u32(im, 8);
    image_raw_u64(im, UINT64_MAX);
    im->n_keys++;
    image_end(im);
}

static void bad_arch_type(struct gguf_image *im)
{
    image_begin(im, 3);
    image_u32(im, "general.architecture", 1);
    image_end(im);
}

static void bad_number(struct gguf_image *im)
{
    begin_small(im);
    image_text(im, "llama.block_count", "twelve");
    image_end(im);
}

static void bad_negative(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "llama.block_count");
    image_raw_u32(im, 5);
    image_raw_u32(im, UINT32_MAX);
    im->n_keys++;
    image_end(im);
}

static void bad_number_large(struct gguf_image *im)
{
    begin_small(im);
    image_raw_text(im, "llama.block_count");
    image_raw_u32(im, 10);
    image_raw_u64(im, UINT64_C(1) << 32);
    im->n_keys++;
    image_end(im);
}

static void bad_list_long(struct gguf_image *im)
{
    uint32_t v[MODEL_LAYERS_MAX + 1] = {0};

    begin_small(im);
    image_u32_list(im, "llama.feed_forward_length", v, MODEL_LAYERS_MAX + 1);
    image_end(im);
}

static void bad_alignment(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "general.alignment", 24);
    image_end(im);
}

static void bad_alignment_zero(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "general.alignment", 0);
    image_end(im);
}

static void bad_no_arch(struct gguf_image *im)
{
    image_begin(im, 3);
    image_tensor(im, "token_embd.weight", 0, 32, 10);
    image_end(im);
}

static void bad_no_layers(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "llama.embedding_length", 32);
    image_tensor(im, "token_embd.weight", 0, 32, 10);
    image_end(im);
}

static void bad_many_layers(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "llama.block_count", MODEL_LAYERS_MAX + 1);
    image_u32(im, "llama.embedding_length", 32);
    image_tensor(im, "token_embd.weight", 0, 32, 10);
    image_end(im);
}

static void bad_adapter(struct gguf_image *im)
{
    begin_small(im);
    image_text(im, "general.type", "adapter");
    image_tensor(im, "blk.0.attn_q.weight.lora_a", 0, 32, 10);
    image_end(im);
}

/* The rest of a header that is good up to its tensors. */
static void begin_tensors(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "llama.block_count", 1);
    image_u32(im, "llama.embedding_length", 32);
    image_tensor(im, "token_embd.weight", 0, 32, 10);
}

static void bad_layer_empty(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "blk.1.attn_q.weight", 0, 32, 32);
    image_end(im);
}

static void bad_layer_index(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "blk.99999999999999999999.attn_q.weight", 0, 32, 32);
    image_end(im);
}

static void bad_no_embeddings(struct gguf_image *im)
{
    begin_small(im);
    image_u32(im, "llama.block_count", 1);
    image_u32(im, "llama.embedding_length", 32);
    image_tensor(im, "blk.0.attn_q.weight", 0, 32, 32);
    image_end(im);
}

static void bad_tensor_twice(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "token_embd.weight", 0, 32, 10);
    image_end(im);
}

static void bad_tensor_type(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "blk.0.attn_q.weight", 43, 32, 32);
    image_end(im);
}

static void bad_tensor_type_removed(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "blk.0.attn_q.weight", 31, 32, 32);
    image_end(im);
}

static void bad_tensor_row(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "blk.0.attn_q.weight", 8, 48, 32);
    image_end(im);
}

static void bad_tensor_name_long(struct gguf_image *im)
{
    begin_tensors(im);
    image_tensor(im, "blk.0.0123456789012345678901234567890123456789012345678901234567", 0, 32, 32);
    image_end(im);
}

static void add_raw(struct gguf_image *im, const char *name, uint32_t n_dims, uint64_t d0, uint64_t d1, uint64_t offset)
{
    image_raw_text(im, name);
    image_raw_u32(im, n_dims);
    image_raw_u64(im, d0);
    image_raw_u64(im, d1);
    image_raw_u32(im, 0);
    image_raw_u64(im, offset);
    im->n_tensors++;
}

static void tensor_raw(struct gguf_image *im, uint32_t n_dims, uint64_t d0, uint64_t d1, uint64_t offset)
{
    begin_tensors(im);
    add_raw(im, "blk.0.x", n_dims, d0, d1, offset);
    image_end(im);
    im->size_bytes += 1000;
}

static void bad_tensor_dims(struct gguf_image *im)
{
    tensor_raw(im, 5, 1, 1, 0);
}

static void bad_tensor_no_dims(struct gguf_image *im)
{
    tensor_raw(im, 0, 1, 1, 0);
}

static void bad_tensor_empty(struct gguf_image *im)
{
    tensor_raw(im, 2, 32, 0, 1280);
}

static void bad_tensor_overflow(struct gguf_image *im)
{
    tensor_raw(im, 2, UINT64_C(1) << 40, UINT64_C(1) << 40, 1280);
}

/* Each possible, together beyond 2^63. */
static void bad_tensor_sum(struct gguf_image *im)
{
    begin_tensors(im);
    add_raw(im, "blk.0.x", 2, UINT64_C(1) << 31, (UINT64_C(1) << 30) - 1, 1280);
    add_raw(im, "blk.0.y", 2, UINT64_C(1) << 30, 8, 1280 + (UINT64_C(1) << 63) - (UINT64_C(1) << 33));
    image_end(im);
}

static void bad_tensor_misaligned(struct gguf_image *im)
{
    tensor_raw(im, 2, 32, 32, 1281);
}

static void bad_tensor_gap(struct gguf_image *im)
{
    tensor_raw(im, 2, 32, 32, 1280 + 32);
}

static void bad_split(struct gguf_image *im)
{
    begin_small(im);
    image_u16(im, "split.no", 4);
    image_u16(im, "split.count", 4);
    image_u32(im, "llama.block_count", 1);
    image_u32(im, "llama.embedding_length", 32);
    image_end(im);
}

static void test_malformed(void **state)
{
    static const struct {
        void (*make)(struct gguf_image *im);
        int outcome;
        const char *words;
    } rows[] = {
        {bad_counts, GGUF_E_TOO_LARGE, "18446744073709551615 keys"},
        {bad_key_twice, GGUF_E_MALFORMED, "llama.block_count is there twice"},
        {bad_key_long, GGUF_E_MALFORMED, "a key is 100000 bytes long"},
        {bad_key_zero_byte, GGUF_E_MALFORMED, "zero byte"},
        {bad_value_type, GGUF_E_MALFORMED, "x has type 13"},
        {bad_array_of_arrays, GGUF_E_MALFORMED, "x is an array of type 9"},
        {bad_array_huge, GGUF_E_TRUNCATED, "inside its header"},
        {bad_array_endless, GGUF_E_TOO_LARGE, "longer than 128 MiB"},
        {bad_text_huge, GGUF_E_TRUNCATED, "inside its header"},
        {bad_arch_type, GGUF_E_MALFORMED, "general.architecture is not a text"},
        {bad_number, GGUF_E_MALFORMED, "llama.block_count is not a whole number"},
        {bad_negative, GGUF_E_MALFORMED, "llama.block_count is negative"},
        {bad_number_large, GGUF_E_MALFORMED, "llama.block_count is 4294967296"},
        {bad_list_long, GGUF_E_MALFORMED, "llama.feed_forward_length has 1025 entries"},
        {bad_alignment, GGUF_E_MALFORMED, "general.alignment is 24"},
        {bad_alignment_zero, GGUF_E_MALFORMED, "general.alignment is 0"},
        {bad_no_arch, GGUF_E_MALFORMED, "general.architecture is missing"},
        {bad_no_layers, GGUF_E_MALFORMED, "llama.block_count is missing"},
        {bad_many_layers, GGUF_E_TOO_LARGE, "llama.block_count is 1025"},
        {bad_adapter, GGUF_E_NOT_A_MODEL, "\"adapter\""},
        {bad_layer_empty, GGUF_E_MALFORMED, "layer 0 of 1 has no tensors"},
        {bad_layer_index, GGUF_E_TOO_LARGE, "more than 1024 layers"},
        {bad_no_embeddings, GGUF_E_MALFORMED, "token_embd.weight is missing"},
        {bad_tensor_twice, GGUF_E_MALFORMED, "token_embd.weight is there twice"},
        {bad_tensor_type, GGUF_E_TENSOR_TYPE, "type 43, which this version does not know"},
        {bad_tensor_type_removed, GGUF_E_TENSOR_TYPE, "type 31, which llama.cpp no longer reads"},
        {bad_tensor_row, GGUF_E_MALFORMED, "rows of 48, not a multiple of 32 as q8_0 needs"},
        {bad_tensor_name_long, GGUF_E_MALFORMED, "a tensor's name is 64 bytes long"},
        {bad_tensor_dims, GGUF_E_MALFORMED, "5 dimensions"},
        {bad_tensor_no_dims, GGUF_E_MALFORMED, "0 dimensions"},
        {bad_tensor_empty, GGUF_E_MALFORMED, "impossible size"},
        {bad_tensor_overflow, GGUF_E_MALFORMED, "impossible size"},
        {bad_tensor_sum, GGUF_E_MALFORMED, "impossible size"},
        {bad_tensor_misaligned, GGUF_E_MALFORMED, "not a multiple of 32"},
        {bad_tensor_gap, GGUF_E_MALFORMED, "lies at 1312 instead of 1280"},
        {bad_split, GGUF_E_MALFORMED, "file 5 of 4"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gguf_image im;

        rows[i].make(&im);
        expect(&im, rows[i].outcome, rows[i].words);
    }
}

static void test_foreign_names_are_made_printable(void **state)
{
    struct gguf_image im;

    (void)state;
    begin_small(&im);
    image_u32(&im, "evil\n\033[2J", 1);
    image_u32(&im, "evil\n\033[2J", 1);
    image_end(&im);
    expect(&im, GGUF_E_MALFORMED, "evil??[2J is there twice");
}

static void test_a_read_error_is_passed_on(void **state)
{
    struct gguf_image im;
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    image_llama(&im, &small);
    im.fail_read = -EIO;
    assert_int_equal(read_image(&im, &g, why), -EIO);
    assert_null(g);
    image_clear(&im);
}

/* ---- several files ---- */

static void shard_image(struct gguf_image *im, uint16_t no, uint16_t count, uint32_t n_tensors)
{
    image_begin(im, 3);
    if (no == 0) {
        image_text(im, "general.architecture", "llama");
        image_u32(im, "llama.block_count", 2);
        image_u32(im, "llama.embedding_length", 32);
    }
    image_u16(im, "split.no", no);
    image_u16(im, "split.count", count);
    image_u32(im, "split.tensors.count", n_tensors);
    if (no == 1) {
        image_tensor(im, "token_embd.weight", 0, 32, 10);
        image_tensor(im, "blk.0.attn_q.weight", 0, 32, 32);
        image_tensor(im, "blk.1.attn_q.weight", 0, 32, 32);
    }
    if (no == 2) {
        image_tensor(im, "blk.1.attn_k.weight", 0, 32, 64);
        image_tensor(im, "output.weight", 0, 32, 10);
    }
    image_end(im);
}

static void read_shards(struct gguf *shard[3])
{
    for (uint16_t i = 0; i < 3; i++) {
        struct gguf_image im;
        char why[GGUF_WHY_MAX];

        shard_image(&im, i, 3, 5);
        assert_int_equal(read_image(&im, &shard[i], why), 0);
        image_clear(&im);
    }
}

static int merge(const struct gguf *const *shard, size_t n, struct gguf **ret, char *why)
{
    return gguf_merge("m", shard, n, ret, why, GGUF_WHY_MAX);
}

static void test_merges_the_files_of_a_split_model(void **state)
{
    struct gguf *shard[3] = {0}, *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    read_shards(shard);
    assert_int_equal(merge((const struct gguf *const *)shard, 3, &g, why), 0);
    assert_int_equal(g->n_tensors, 5);
    assert_int_equal(g->needed_bytes, shard[0]->needed_bytes + shard[1]->needed_bytes + shard[2]->needed_bytes);
    assert_int_equal(g->shape->n_layer, 2);
    assert_int_equal(g->shape->n_vocab, 10);
    assert_int_equal(g->shape->layer[0].weight_bytes, 32 * 32 * 4);
    assert_int_equal(g->shape->layer[1].weight_bytes, 32 * 32 * 4 + 32 * 64 * 4);
    assert_int_equal(g->shape->layer[1].max_tensor_bytes, 32 * 64 * 4);
    assert_int_equal(g->shape->output_bytes, 32 * 10 * 4);
    assert_false(g->shape->output_tied);
    assert_int_not_equal(g->header_hash, shard[0]->header_hash);
    gguf_destroy(&g);
    for (int i = 0; i < 3; i++)
        gguf_destroy(&shard[i]);
}

static void test_names_the_file_that_is_missing(void **state)
{
    struct gguf *shard[3] = {0}, *g = NULL;
    const struct gguf *set[3];
    char why[GGUF_WHY_MAX];

    (void)state;
    read_shards(shard);
    for (size_t missing = 0; missing < 3; missing++) {
        char file[GGUF_FILE_MAX];

        for (size_t i = 0; i < 3; i++)
            set[i] = i == missing ? NULL : shard[i];
        assert_int_equal(merge(set, 3, &g, why), GGUF_E_MISSING_SHARD);
        assert_non_null(strstr(why, gguf_shard_file_name("m", (uint32_t)missing, 3, file)));
    }
    set[0] = shard[0];
    set[1] = shard[2];
    set[2] = shard[1];
    assert_int_equal(merge(set, 3, &g, why), GGUF_E_OTHER_SHARD);
    assert_non_null(strstr(why, "m-00002-of-00003.gguf says it is file 3 of 3"));
    assert_int_equal(merge(set, 2, &g, why), GGUF_E_OTHER_SHARD);
    assert_int_equal(merge(set, 0, &g, why), GGUF_E_MISSING_SHARD);
    shard[0]->split_tensors = 6;
    assert_int_equal(merge((const struct gguf *const *)shard, 3, &g, why), GGUF_E_OTHER_SHARD);
    assert_non_null(strstr(why, "5 tensors together instead of 6"));
    assert_null(g);
    for (int i = 0; i < 3; i++)
        gguf_destroy(&shard[i]);
}

static void test_a_set_that_is_not_a_whole_model(void **state)
{
    struct gguf *shard[3] = {0}, *g = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    read_shards(shard);
    shard[1]->shape->layer[0].weight_bytes = 0;
    assert_int_equal(merge((const struct gguf *const *)shard, 3, &g, why), GGUF_E_MALFORMED);
    assert_non_null(strstr(why, "layer 0 of 2 has no tensors"));
    for (int i = 0; i < 3; i++)
        gguf_destroy(&shard[i]);
}

static void test_file_names(void **state)
{
    static const struct {
        const char *file, *stem;
        uint32_t no, count;
    } rows[] = {
        {"a.gguf", "a", 0, 1},
        {"a-00001-of-00003.gguf", "a", 0, 3},
        {"a-00003-of-00003.gguf", "a", 2, 3},
        {"a-00004-of-00003.gguf", "a-00004-of-00003", 0, 1},
        {"a-00000-of-00003.gguf", "a-00000-of-00003", 0, 1},
        {"a-0001-of-00003.gguf", "a-0001-of-00003", 0, 1},
        {"-00001-of-00003.gguf", "-00001-of-00003", 0, 1},
        {"q8-00001-of-00001.gguf", "q8", 0, 1},
    };
    static const char *const bad[] = {"", ".gguf", "a.bin", "gguf", "a.gguf.part"};
    char stem[GGUF_FILE_MAX], back[GGUF_FILE_MAX];
    uint32_t no, count;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(gguf_parse_file_name(rows[i].file, stem, &no, &count));
        assert_string_equal(stem, rows[i].stem);
        assert_int_equal(no, rows[i].no);
        assert_int_equal(count, rows[i].count);
        if (count > 1)
            assert_string_equal(gguf_shard_file_name(stem, no, count, back), rows[i].file);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(gguf_parse_file_name(bad[i], stem, &no, &count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tells_tensors),
        cmocka_unit_test(test_reads_a_model),
        cmocka_unit_test(test_a_tied_output_is_a_copy_of_the_embeddings),
        cmocka_unit_test(test_hash_is_of_the_header_alone),
        cmocka_unit_test(test_figures_per_layer),
        cmocka_unit_test(test_silent_header),
        cmocka_unit_test(test_architecture_may_come_last),
        cmocka_unit_test(test_a_projector_is_known_as_one),
        cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_not_gguf),
        cmocka_unit_test(test_truncated_and_header_only),
        cmocka_unit_test(test_the_last_padding_may_be_missing),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_foreign_names_are_made_printable),
        cmocka_unit_test(test_a_read_error_is_passed_on),
        cmocka_unit_test(test_merges_the_files_of_a_split_model),
        cmocka_unit_test(test_names_the_file_that_is_missing),
        cmocka_unit_test(test_a_set_that_is_not_a_whole_model),
        cmocka_unit_test(test_file_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
