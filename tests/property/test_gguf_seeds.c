/* GGUF headers that nobody meant: cut at every length, and with bytes changed by seed. Each must end in an outcome with
 * a sentence, or in a shape within its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/gguf.h"
#include "tests/lib/gguf_image.h"
#include "tests/lib/random.h"

enum { SEEDS = 3000 };

static const struct llama_dims dims = {
    .n_layer = 2, .n_embd = 32, .n_head = 4, .n_head_kv = 2, .n_ff = 96, .n_vocab = 10, .type = 8};

static int read_image(struct gguf_image *im, struct gguf **ret, char *why)
{
    struct gguf_source source = image_source(im);

    why[0] = '\0';
    return gguf_read(&source, ret, why, GGUF_WHY_MAX);
}

static void test_cut_at_every_length(void **state)
{
    struct gguf_image im;
    uint64_t size;

    (void)state;
    image_llama(&im, &dims);
    size = im.size_bytes;
    for (uint64_t n = 0; n < size; n += n < im.n + 64 ? 1 : 997) {
        struct gguf *g = NULL;
        char why[GGUF_WHY_MAX];
        int r;

        im.size_bytes = n;
        r = read_image(&im, &g, why);
        assert_in_range(r, n < 4 ? GGUF_E_NOT_GGUF : GGUF_E_TRUNCATED, n < 4 ? GGUF_E_NOT_GGUF : GGUF_E_HEADER_ONLY);
        assert_true(why[0] != '\0');
        assert_null(g);
    }
    image_clear(&im);
}

static void check_shape(const struct gguf *g, uint64_t size)
{
    uint64_t sum = g->shape->token_embd_bytes + g->shape->output_bytes + g->shape->other_bytes;

    assert_true(g->needed_bytes <= size);
    assert_true(g->shape->n_layer <= MODEL_LAYERS_MAX);
    for (uint32_t i = 0; i < g->shape->n_layer; i++) {
        assert_true(g->shape->layer[i].max_tensor_bytes <= g->shape->layer[i].weight_bytes);
        sum += g->shape->layer[i].weight_bytes;
    }
    assert_true(sum <= size + (g->shape->output_tied ? g->shape->token_embd_bytes : 0));
}

static void test_changed_bytes(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < SEEDS; s++) {
        uint64_t seed = s;
        struct gguf_image im;
        struct gguf *g = NULL;
        char why[GGUF_WHY_MAX];
        int r;

        image_llama(&im, &dims);
        for (uint64_t i = random_in(&seed, 1, 4); i > 0; i--) {
            size_t at = (size_t)random_in(&seed, 0, im.n - 1);

            uint64_t bit = UINT64_C(1) << random_in(&seed, 0, 7);

            im.bytes[at] = (unsigned char)(random_one_in(&seed, 2) ? random_next(&seed) : im.bytes[at] ^ bit);
        }
        r = read_image(&im, &g, why);
        if (r < 0 || r > GGUF_E_NOT_A_MODEL || (r != 0) != (why[0] != '\0') || (r == 0) != (g != NULL))
            print_error("seed %llu: %d \"%s\"\n", (unsigned long long)s, r, why);
        assert_in_range(r, 0, GGUF_E_NOT_A_MODEL);
        assert_true((r != 0) == (why[0] != '\0'));
        assert_true((r == 0) == (g != NULL));
        if (g && g->split_count == 1)
            check_shape(g, im.size_bytes);
        gguf_destroy(&g);
        image_clear(&im);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_length),
        cmocka_unit_test(test_changed_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
