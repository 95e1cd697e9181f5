/* Which difference of the two clocks is a night's sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/wake.h"

static void test_looks(void **state)
{
    static const struct {
        uint64_t boot_ms, mono_ms;
        bool seen;
    } rows[] = {
        {90000, 10000, false}, /* it had slept before we began */
        {90500, 10500, false},   {95000, 13000, false}, /* 2 s: a busy machine may take so long between two looks, but these clocks go together */
        {97001, 13000, true},    {97501, 13500, false}, {3600000, 14000, true},
        {3600001, 14002, false}, /* a millisecond less by rounding */
        {10, 20, false},
    };
    struct wake w = {.begun = false};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(wake_seen(&w, rows[i].boot_ms, rows[i].mono_ms), rows[i].seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_looks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
