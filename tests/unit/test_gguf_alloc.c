/* Reading a GGUF header when memory runs out: -ENOMEM at each allocation, nothing returned, nothing leaked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/failing_alloc.h"

#include "common/core/gguf.c"
#include "common/core/gguf_shape.c"
#include "common/core/gguf_split.c"
#include "common/core/model_shape.c"

#include "tests/lib/gguf_image.h"

static const struct llama_dims dims = {
    .n_layer = 40, .n_embd = 64, .n_head = 4, .n_head_kv = 2, .n_ff = 192, .n_vocab = 100, .type = 1};

static void test_read(void **state)
{
    struct gguf_image im;
    struct gguf_source source;
    char why[GGUF_WHY_MAX] = "";
    long n;
    int r = -ENOMEM;

    (void)state;
    image_llama(&im, &dims);
    source = image_source(&im);
    for (n = 0; r == -ENOMEM; n++) {
        struct gguf *g = NULL;

        allocs_until_failure = n;
        r = gguf_read(&source, &g, why, sizeof(why));
        assert_true(r == -ENOMEM || r == 0);
        assert_true((r == 0) == (g != NULL));
        gguf_destroy(&g);
    }
    assert_true(n > 5); /* scan, result, two sets of names of which one grows, shape */
    allocs_until_failure = -1;
    image_clear(&im);
}

static void test_merge(void **state)
{
    struct gguf *whole = NULL;
    struct gguf_image im;
    struct gguf_source source;
    char why[GGUF_WHY_MAX] = "";

    (void)state;
    image_llama(&im, &dims);
    source = image_source(&im);
    assert_int_equal(gguf_read(&source, &whole, why, sizeof(why)), 0);
    for (long n = 0; n < 3; n++) {
        struct gguf *g = NULL;

        allocs_until_failure = n;
        assert_int_equal(gguf_merge("m", (const struct gguf *const *)&whole, 1, &g, why, sizeof(why)),
                         n < 2 ? -ENOMEM : 0);
        assert_true((n < 2) == (g == NULL));
        gguf_destroy(&g);
    }
    allocs_until_failure = -1;
    gguf_destroy(&whole);
    image_clear(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
