/* A model whose large tensors are asked for by hash, made in memory: one layer, of which the three matrices of the
 * feed-forward part are over 10 MiB. */
#ifndef CARAVAN_TESTS_UNIT_TENSOR_HARNESS_H
#define CARAVAN_TESTS_UNIT_TENSOR_HARNESS_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/gguf_image.h"

enum { N_EMBD = 1024, N_FF = 5248, BIG_BYTES = N_EMBD * N_FF * 2, N_BIG = 3 };

struct model {
    uint8_t *data; /* of the file */
    size_t n;
};

static inline void model_make_of(struct model *m, const struct llama_dims *dims, uint64_t seed)
{
    uint64_t x = 88172645463325252u + seed;
    struct gguf_image im;

    image_llama(&im, dims);
    m->n = im.size_bytes;
    m->data = malloc(m->n);
    assert_non_null(m->data);
    for (size_t i = 0; i + 8 <= m->n; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(m->data + i, &x, 8);
    }
    memcpy(m->data, im.bytes, im.n);
    image_clear(&im);
}

/* Another seed: another model of the same shape and size. */
static inline void model_make(struct model *m, uint64_t seed)
{
    static const struct llama_dims dims = {
        .n_layer = 1, .n_embd = N_EMBD, .n_head = 8, .n_head_kv = 1, .n_ff = N_FF, .n_vocab = 100, .type = 1};

    model_make_of(m, &dims, seed);
}

/* The file ends with them. */
static inline uint8_t *model_big(const struct model *m, size_t i)
{
    return m->data + m->n - (N_BIG - i) * BIG_BYTES;
}

static inline void model_write(const struct model *m, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, m->data, m->n, 0), m->n);
    assert_int_equal(ftruncate(fd, (off_t)m->n), 0);
    close(fd);
}

/* By another hand than the code's. */
static inline uint64_t model_hash(const uint8_t *p, size_t n)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

#endif
