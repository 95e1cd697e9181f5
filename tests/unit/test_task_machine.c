/* The task's table: every cell decided; what has ended stays as it ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/task_machine.h"

static void test_every_cell_is_decided_and_explained(void **state)
{
    (void)state;
    for (unsigned st = TASK_PENDING; st < TASK_STATE_N; st++) {
        for (unsigned ev = 0; ev < TASK_EVENT_N; ev++) {
            const struct task_cell *cell = task_cell(st, ev);

            if (cell->verdict == UNDECIDED)
                fail_msg("%s, %s: undecided", task_state_name(st), task_event_name(ev));
            if (cell->verdict == GO)
                assert_in_range(cell->to, TASK_PENDING, TASK_CANCELLED);
            else if (!cell->sentence || !cell->sentence[0] || cell->to)
                fail_msg("%s, %s: needs a sentence and nothing else", task_state_name(st), task_event_name(ev));
        }
    }
}

static void test_names_are_there_and_differ(void **state)
{
    (void)state;
    for (unsigned ev = 0; ev < TASK_EVENT_N; ev++) {
        assert_string_not_equal(task_event_name(ev), "unknown");
        for (unsigned other = 0; other < ev; other++)
            assert_string_not_equal(task_event_name(ev), task_event_name(other));
    }
    assert_string_equal(task_event_name(TASK_EVENT_N), "unknown");
    assert_string_equal(task_state_name(0), "unknown");
    assert_string_equal(task_kind_name(0), "unknown");
}

static void test_an_end_is_an_end(void **state)
{
    (void)state;
    for (unsigned st = TASK_PENDING; st < TASK_STATE_N; st++) {
        for (unsigned ev = 0; ev < TASK_EVENT_N && task_state_ended(st); ev++)
            assert_int_not_equal(task_cell(st, ev)->verdict, GO);
    }
    assert_false(task_state_ended(TASK_PENDING));
    assert_false(task_state_ended(TASK_RUNNING));
}

static void test_case_15_a_refusal_ends_the_task_by_how_far_it_came(void **state)
{
    (void)state;
    assert_int_equal(task_cell(TASK_PENDING, TASK_EV_REFUSE)->to, TASK_REFUSED);
    assert_int_equal(task_cell(TASK_RUNNING, TASK_EV_REFUSE)->to, TASK_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_decided_and_explained),
        cmocka_unit_test(test_names_are_there_and_differ),
        cmocka_unit_test(test_an_end_is_an_end),
        cmocka_unit_test(test_case_15_a_refusal_ends_the_task_by_how_far_it_came),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
