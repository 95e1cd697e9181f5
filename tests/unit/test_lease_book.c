/* The book of leases: sums, limits, and what is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/lease_book.h"

static const struct id128 a = {{1}}, b = {{2}};

static void test_grant_find_release(void **state)
{
    struct lease_book book = {0};

    (void)state;
    assert_int_equal(lease_book_grant(&book, &a, 1, 100, 0), 0);
    assert_int_equal(lease_book_grant(&book, &a, 3, 20, 0), 0);
    assert_int_equal(lease_book_grant(&book, &b, 1, 3, 0), 0);
    assert_int_equal(lease_book_sum(&book), 123);
    assert_int_equal(lease_book_find(&book, &a, 1)->bytes, 100);
    assert_null(lease_book_find(&book, &a, 2));
    assert_null(lease_book_find(&book, &b, 3));
    lease_book_release(&book, &a, 2);
    assert_null(lease_book_find(&book, &a, 1));
    assert_int_equal(lease_book_sum(&book), 23);
    lease_book_release(&book, &a, 9);
    lease_book_release(&book, &a, 9);
    assert_int_equal(book.n, 1);
    assert_int_equal(lease_book_find(&book, &b, 1)->bytes, 3);
}

static void test_granted_again_is_granted_once(void **state)
{
    struct lease_book book = {0};

    (void)state;
    assert_int_equal(lease_book_grant(&book, &a, 1, 100, 100), 0);
    assert_int_equal(lease_book_grant(&book, &a, 1, 500, 100), 0);
    assert_int_equal(lease_book_sum(&book), 100);
}

static void test_limit(void **state)
{
    static const struct {
        uint64_t have, want, limit;
        int outcome;
    } cases[] = {
        {0, 100, 100, 0},
        {0, 101, 100, LEASE_E_LIMIT},
        {60, 40, 100, 0},
        {60, 41, 100, LEASE_E_LIMIT},
        {60, 41, 0, 0},
        {200, 0, 100, LEASE_E_LIMIT}, /* the limit was lowered meanwhile */
        {1, UINT64_MAX, 100, LEASE_E_LIMIT},
        {UINT64_MAX, UINT64_MAX, 0, 0},
        {100, 0, 100, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lease_book book = {0};

        assert_int_equal(lease_book_grant(&book, &b, 1, cases[i].have, 0), 0);
        assert_int_equal(lease_book_grant(&book, &a, 1, cases[i].want, cases[i].limit), cases[i].outcome);
        assert_int_equal(book.n, cases[i].outcome ? 1 : 2);
    }
}

static void test_sum_never_wraps(void **state)
{
    struct lease_book book = {0};

    (void)state;
    lease_book_grant(&book, &a, 1, UINT64_MAX, 0);
    lease_book_grant(&book, &a, 2, 2, 0);
    assert_true(lease_book_sum(&book) == UINT64_MAX);
}

static void test_full(void **state)
{
    struct lease_book book = {0};

    (void)state;
    for (uint64_t i = 1; i <= LEASE_MAX; i++)
        assert_int_equal(lease_book_grant(&book, &a, i, 1, 0), 0);
    assert_int_equal(lease_book_grant(&book, &b, 1, 1, 0), LEASE_E_FULL);
    assert_int_equal(lease_book_grant(&book, &a, 1, 1, 0), 0);
    lease_book_release(&book, &a, 1);
    assert_int_equal(lease_book_grant(&book, &b, 1, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grant_find_release),
        cmocka_unit_test(test_granted_again_is_granted_once),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_sum_never_wraps),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
