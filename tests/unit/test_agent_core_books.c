/* The books of epochs and results: bounded, and what is forgotten first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/epoch_book.h"
#include "agent/core/result_book.h"

static struct id128 id_of(unsigned n)
{
    return (struct id128){{(uint8_t)(1 + n / 250), (uint8_t)(n % 250)}};
}

static void test_epochs_forget_the_oldest_that_is_over(void **state)
{
    static struct epoch_book book;
    const struct id128 first = id_of(0), second = id_of(1), third = id_of(2), late = id_of(1000);

    (void)state;
    memset(&book, 0, sizeof(book));
    assert_null(epoch_book_find(&book, &first));
    for (unsigned i = 0; i < AGENT_EPOCHS_MAX; i++) {
        struct id128 id = id_of(i);

        epoch_book_enter(&book, &id)->epoch = i + 1;
    }
    epoch_book_find(&book, &first)->state = EPOCH_LIVE;
    assert_int_equal(epoch_book_enter(&book, &second)->epoch, 2); /* spoken of again */
    assert_int_equal(epoch_book_enter(&book, &late)->epoch, 0);
    assert_null(epoch_book_find(&book, &third));
    assert_int_equal(epoch_book_find(&book, &first)->epoch, 1);
    assert_int_equal(epoch_book_find(&book, &second)->epoch, 2);
    for (size_t i = 0; i < book.n; i++)
        book.epoch[i].state = EPOCH_LIVE;
    assert_null(epoch_book_enter(&book, &third));
    assert_non_null(epoch_book_enter(&book, &late));
}

static void test_results_keep_the_first_and_the_last(void **state)
{
    static struct result_book book;
    struct command_key key = {.instance = id_of(1), .epoch = 1};
    struct result r = {.code = RESULT_DONE};

    (void)state;
    memset(&book, 0, sizeof(book));
    for (uint64_t i = 1; i <= AGENT_RESULTS_MAX + 1; i++) {
        key.command_id = i;
        r.port = (uint16_t)i;
        result_book_put(&book, &key, &r);
        r.port = 0;
        result_book_put(&book, &key, &r);
    }
    key.command_id = 1;
    assert_null(result_book_find(&book, &key));
    for (uint64_t i = 2; i <= AGENT_RESULTS_MAX + 1; i++) {
        key.command_id = i;
        assert_int_equal(result_book_find(&book, &key)->port, i);
    }
    key.epoch = 2;
    assert_null(result_book_find(&book, &key));
    key = (struct command_key){.instance = id_of(2), .epoch = 1, .command_id = 2};
    assert_null(result_book_find(&book, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_epochs_forget_the_oldest_that_is_over),
        cmocka_unit_test(test_results_keep_the_first_and_the_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
