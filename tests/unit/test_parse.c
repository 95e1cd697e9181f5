/* Numbers, sizes and times as people write them: what is taken for one, and that nothing else is. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/parse.h"

static void test_sizes_and_times(void **state)
{
    static const struct {
        const char *text;
        bool bytes, duration;
        uint64_t n_bytes, ms;
    } row[] = {
        {"0", true, true, 0, 0},
        {"1024", true, false, 1024, 0},
        {"4G", true, false, UINT64_C(4) << 30, 0},
        {"1K", true, false, 1024, 0},
        {"1T", true, false, UINT64_C(1) << 40, 0},
        {"16777215T", true, false, UINT64_C(16777215) << 40, 0},
        {"16777216T", false, false, 0, 0}, /* 2^64 */
        {"18446744073709551615", true, false, UINT64_MAX, 0},
        {"18446744073709551616", false, false, 0, 0},
        {"500ms", false, true, 0, 500},
        {"10s", false, true, 0, 10000},
        {"5m", false, true, 0, 300000},
        {"1h", false, true, 0, 3600000},
        {"5124095576030h", false, true, 0, UINT64_C(18446744073708000000)},
        {"5124095576031h", false, false, 0, 0},
        {"0s", false, true, 0, 0},
        {"", false, false, 0, 0},
        {"G", false, false, 0, 0},
        {"-1", false, false, 0, 0},
        {"+1", false, false, 0, 0},
        {" 1", false, false, 0, 0},
        {"1 G", false, false, 0, 0},
        {"1g", false, false, 0, 0},
        {"1.5G", false, false, 0, 0},
        {"1GB", false, false, 0, 0},
        {"0x10", false, false, 0, 0},
        {"1e3", false, false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        uint64_t bytes = 77, ms = 77;

        assert_int_equal(parse_bytes(row[i].text, &bytes), row[i].bytes);
        assert_int_equal(bytes, row[i].bytes ? row[i].n_bytes : 77);
        assert_int_equal(parse_duration_ms(row[i].text, &ms), row[i].duration);
        assert_int_equal(ms, row[i].duration ? row[i].ms : 77);
    }
    assert_false(parse_bytes(NULL, NULL));
    assert_false(parse_duration_ms(NULL, NULL));
    assert_false(parse_uint(NULL, 0, 1, NULL));
}

static void test_hex_digits(void **state)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";

    (void)state;
    for (int i = 0; i < 32; i++)
        assert_int_equal(parse_hex_digit(digits[i]), i % 16);
    for (int c = CHAR_MIN; c <= CHAR_MAX; c++)
        if (!c || !strchr(digits, c))
            assert_int_equal(parse_hex_digit((char)c), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_times),
        cmocka_unit_test(test_hex_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
