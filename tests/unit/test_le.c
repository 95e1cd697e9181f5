/* Little endian: each width, and nothing beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/le.h"

static const uint8_t bytes[8] = {0xf1, 0xe2, 0xd3, 0xc4, 0xb5, 0xa6, 0x97, 0x88};

static void test_get(void **state)
{
    (void)state;
    assert_int_equal(le_get(bytes, 8), UINT64_C(0x8897a6b5c4d3e2f1));
    assert_int_equal(le_get(bytes, 4), UINT64_C(0xc4d3e2f1));
    assert_int_equal(le_get(bytes, 1), 0xf1);
    assert_int_equal(le_get(NULL, 0), 0);
}

static void test_put(void **state)
{
    uint8_t to[9];

    (void)state;
    for (size_t n = 0; n <= 8; n++) {
        memset(to, 0x55, sizeof(to));
        le_put(to, n, UINT64_C(0x8897a6b5c4d3e2f1));
        assert_memory_equal(to, bytes, n);
        for (size_t i = n; i < sizeof(to); i++)
            assert_int_equal(to[i], 0x55);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_put),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
