/* FNV-1a-64: the values of its authors' test suite, and the same in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/fnv.h"

static const struct {
    const char *text;
    uint64_t hash;
} known[] = {
    {"", UINT64_C(0xcbf29ce484222325)},
    {"a", UINT64_C(0xaf63dc4c8601ec8c)},
    {"foobar", UINT64_C(0x85944171f73967e8)},
    {"chongo was here!\n", UINT64_C(0x46810940eff5f915)},
};

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_int_equal(fnv1a(FNV1A_BASIS, known[i].text, strlen(known[i].text)), known[i].hash);
    assert_int_equal(fnv1a(FNV1A_BASIS, "\xff", 1), UINT64_C(0xaf64724c8602eb6e)); /* bytes have no sign */
}

static void test_in_pieces(void **state)
{
    const char text[] = "foobar";

    (void)state;
    for (size_t n = 0; n < sizeof(text); n++)
        assert_int_equal(fnv1a(fnv1a(FNV1A_BASIS, text, n), text + n, strlen(text) - n), known[2].hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
