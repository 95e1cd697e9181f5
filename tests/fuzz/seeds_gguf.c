/* Writes the first inputs of fuzz_gguf into a directory: headers that are whole, in every flavour that the reader
 * tells apart. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/gguf_image.h"

/* As fuzz_gguf reads it: how much longer the file is than its header, then the header. */
static int write_seed(const char *dir, const char *name, struct gguf_image *im)
{
    char path[4096];
    uint64_t behind = im->size_bytes - im->n;
    FILE *f;
    int r = -1;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (f) {
        r = fwrite(&behind, sizeof(behind), 1, f) == 1 && fwrite(im->bytes, im->n, 1, f) == 1 ? 0 : -1;
        r = fclose(f) == 0 ? r : -1;
    }
    if (r)
        perror(path);
    image_clear(im);
    return r;
}

static void make_shard(struct gguf_image *im, uint16_t no)
{
    image_begin(im, 3);
    image_text(im, "general.architecture", "llama");
    image_u32(im, "llama.block_count", 1);
    image_u32(im, "llama.embedding_length", 32);
    image_u16(im, "split.no", no);
    image_u16(im, "split.count", 2);
    image_tensor(im, "blk.0.attn_q.weight", 2, 32, 4);
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
    struct gguf_image im;
    int failed = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: fuzz_gguf_seeds DIR\n");
        return 2;
    }
    image_llama(&im, &dense);
    failed |= write_seed(argv[1], "dense", &im);
    image_llama(&im, &experts);
    failed |= write_seed(argv[1], "experts", &im);
    make_shard(&im, 0);
    failed |= write_seed(argv[1], "shard-1", &im);
    make_shard(&im, 1);
    failed |= write_seed(argv[1], "shard-2", &im);
    return failed ? 1 : 0;
}
