/* Who is refused most: each is counted, few are told of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/core/talkers.h"

static uint64_t from(struct talkers *t, unsigned host, uint64_t now_ms)
{
    char addr[PROTO_ADDR_MAX];

    snprintf(addr, sizeof(addr), "10.0.%u.%u", host / 256, host % 256);
    return talkers_count(t, addr, now_ms);
}

static uint64_t sum(const struct talkers *t)
{
    uint64_t n = t->n_others;

    for (size_t i = 0; i < t->n; i++)
        n += t->talker[i].n;
    return n;
}

static void test_once_a_minute(void **state)
{
    struct talkers t = {.n = 0};

    (void)state;
    assert_int_equal(from(&t, 1, 5), 1); /* also in the first minute after a boot */
    assert_int_equal(from(&t, 1, 6), 0);
    assert_int_equal(from(&t, 2, 7), 1);
    assert_int_equal(from(&t, 1, 5 + TALKERS_MS - 1), 0);
    assert_int_equal(from(&t, 1, 5 + TALKERS_MS), 3);
    assert_int_equal(from(&t, 1, 5 + TALKERS_MS), 0);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.talker[0].addr, "10.0.0.1");
    assert_int_equal(t.talker[0].n, 5);
    assert_int_equal(t.talker[1].n, 1);
}

/* As many addresses as an IPv6 network has: a bounded table, a bounded number of lines, and none is forgotten in the sum. */
static void test_more_addresses_than_places(void **state)
{
    struct talkers t = {.n = 0};
    uint64_t n_said = 0, now_ms = 1000;

    (void)state;
    for (unsigned i = 0; i < 10 * TALKERS_MAX; i++)
        n_said += from(&t, i, now_ms++) ? 1 : 0;
    assert_int_equal(n_said, TALKERS_MAX);
    assert_int_equal(t.n, TALKERS_MAX);
    assert_int_equal(sum(&t), 10 * TALKERS_MAX);
    assert_int_equal(from(&t, 0, now_ms), 0);              /* has a place; the others have made no difference to it */
    assert_int_equal(from(&t, 999, 1001 + TALKERS_MS), 1); /* 1 is silent for a minute now, and 0 is not */
    assert_int_equal(from(&t, 0, 1002 + TALKERS_MS), 2);
    assert_int_equal(sum(&t), 10 * TALKERS_MAX + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_a_minute),
        cmocka_unit_test(test_more_addresses_than_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
