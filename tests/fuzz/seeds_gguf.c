/* First inputs of fuzz_gguf: headers that are whole, in every flavour that the reader
 * tells apart. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/seeds.h"
#include "tests/lib/gguf_image.h"

/* As fuzz_gguf reads it: how much longer the file is than its header, then the header. */
static void write_seed(const char *dir, const char *name, struct gguf_image *im)
{
    uint64_t behind = im->size_bytes - im->n;
    unsigned char *bytes = malloc(sizeof(behind) + im->n);

    if (!bytes)
        abort();
    memcpy(bytes, &behind, sizeof(behind));
    memcpy(bytes + sizeof(behind), im->bytes, im->n);
    seed_write(dir, name, bytes, sizeof(behind) + im->n);
    free(bytes);
    image_clear(im);
}

/* One of n files of a set, with a tensor of its own. */
static void make_shard(struct gguf_image *im, uint16_t no, uint16_t count, uint32_t n_tensors)
{
    image_begin(im, 3);
    image_text(im, "general.architecture", "llama");
    image_u32(im, "llama.block_count", 1);
    image_u32(im, "llama.embedding_length", 32);
    image_u32(im, "llama.attention.head_count", 4);
    image_u16(im, "split.no", no);
    image_u16(im, "split.count", count);
    image_u32(im, "split.tensors.count", n_tensors);
    image_tensor(im, "token_embd.weight", 1, 32, 10);
    image_tensor(im, "output.weight", 1, 32, 10);
    image_tensor(im, "blk.0.attn_q.weight", 1, 32, 32);
    image_end(im);
}

/* What tools other than llama.cpp's write: the architecture last, and what differs by layer in lists. */
static void make_unusual(struct gguf_image *im, uint64_t n_list)
{
    static const uint32_t by_layer[600] = {2, 4};

    image_begin(im, 2);
    image_u32(im, "llama.block_count", 2);
    image_u32(im, "llama.embedding_length", 32);
    image_u32(im, "llama.attention.head_count", 4);
    image_u32_list(im, "llama.attention.head_count_kv", by_layer, n_list);
    image_u32_list(im, "llama.feed_forward_length", by_layer, n_list);
    image_u32(im, "general.alignment", 64);
    image_words(im, "tokenizer.ggml.tokens", 10);
    image_text(im, "general.architecture", "llama");
    image_tensor(im, "token_embd.weight", 1, 32, 10);
    image_tensor(im, "blk.0.attn_q.weight", 2, 32, 32);
    image_tensor(im, "blk.1.attn_q.weight", 2, 32, 32);
    image_end(im);
}

/* More keys than the table of names begins with. */
static void make_many_keys(struct gguf_image *im)
{
    char key[32];

    image_begin(im, 3);
    image_text(im, "general.architecture", "llama");
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%u", (unsigned)i);
        image_u16(im, key, 0);
    }
    image_end(im);
}

/* One key, and one tensor of that name and type. */
static void make_wrong(struct gguf_image *im, const char *key, const char *text, uint32_t value, const char *tensor,
                       uint32_t type)
{
    image_begin(im, 3);
    image_text(im, "general.architecture", "llama");
    if (text)
        image_text(im, key, text);
    else
        image_u32(im, key, value);
    image_u32(im, "llama.embedding_length", 32);
    image_u32(im, "llama.attention.head_count", 4);
    image_tensor(im, tensor, type, 32, 4);
    image_end(im);
}

int main(int argc, char **argv)
{
    static const struct llama_dims dense = {
        .n_layer = 2, .n_embd = 32, .n_head = 4, .n_head_kv = 2, .n_ff = 96, .n_vocab = 10, .type = 8};
    static const struct llama_dims experts = {.n_layer = 1,
                                              .n_embd = 32,
                                              .n_head = 4,
                                              .n_head_kv = 2,
                                              .n_vocab = 10,
                                              .n_expert = 4,
                                              .n_expert_used = 2,
                                              .n_ff_expert = 32,
                                              .type = 1,
                                              .tied = 1};
    const char *dir = seed_dir(argc, argv);
    struct gguf_image im;

    image_llama(&im, &dense);
    write_seed(dir, "dense", &im);
    image_llama(&im, &experts);
    write_seed(dir, "experts", &im);
    make_shard(&im, 0, 2, 6);
    write_seed(dir, "one_of_two", &im);
    make_shard(&im, 2, 3, 0);
    write_seed(dir, "last_of_three", &im);
    make_shard(&im, 0, 2, 7);
    write_seed(dir, "of_another_set", &im);
    make_unusual(&im, 2);
    write_seed(dir, "unusual", &im);
    make_unusual(&im, 600);
    write_seed(dir, "too_long_a_list", &im);
    make_many_keys(&im);
    write_seed(dir, "many_keys", &im);
    make_wrong(&im, "general.type", "adapter", 0, "blk.0.x", 1);
    write_seed(dir, "adapter", &im);
    make_wrong(&im, "general.alignment", NULL, 33, "blk.0.x", 1);
    write_seed(dir, "alignment", &im);
    make_wrong(&im, "llama.block_count", NULL, 2, "blk.1.x", 1);
    write_seed(dir, "missing_layer", &im);
    make_wrong(&im, "llama.block_count", NULL, 1, "blk.99999.x", 1);
    write_seed(dir, "layer_too_high", &im);
    make_wrong(&im, "llama.block_count", NULL, 1, "blk.0.x", 4);
    write_seed(dir, "removed_type", &im);
    image_llama(&im, &dense);
    im.size_bytes = im.n;
    write_seed(dir, "header_only", &im);
    return 0;
}
