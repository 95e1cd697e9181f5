/* What is counted each time and said now and then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/seldom.h"

static void test_said_now_and_then(void **state)
{
    struct seldom s = {0};

    (void)state;
    assert_int_equal(seldom_count(&s, 500), 1); /* the first is news, however early */
    for (int i = 0; i < 99; i++)
        assert_int_equal(seldom_count(&s, 500 + SELDOM_MS - 1), 0);
    assert_int_equal(seldom_count(&s, 500 + SELDOM_MS), 100);
    assert_int_equal(seldom_count(&s, 500 + SELDOM_MS), 0);
    assert_int_equal(seldom_count(&s, 500 + 3 * SELDOM_MS), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_said_now_and_then)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
