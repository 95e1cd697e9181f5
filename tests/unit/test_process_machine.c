/* The table of the Process machine: whole, and as the design draws it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/process_machine.h"

static void test_every_cell_is_decided(void **state)
{
    (void)state;
    for (enum unit_state s = UNIT_IDLE; s <= UNIT_FAILED; s++) {
        for (enum process_event e = 0; e < PROCESS_EV_N; e++) {
            const struct process_cell *cell = process_machine_cell(s, e);

            if (cell->verdict == PROCESS_UNDECIDED)
                fail_msg("undecided: %s in %s", process_event_name(e), unit_state_name(s));
            if (cell->verdict == PROCESS_GO) {
                assert_in_range(cell->to, UNIT_IDLE, UNIT_FAILED);
                assert_null(cell->sentence);
            } else { /* whoever is refused is told why */
                assert_non_null(cell->sentence);
                assert_true(strlen(cell->sentence) > 20 && cell->sentence[strlen(cell->sentence) - 1] == '.');
            }
        }
    }
}

/* Every move there is; what is not here must not be one. */
static const char *const moves[] = {
    "idle start starting",          "idle stop exited",
    "starting spawned starting",    "starting spawn_failed failed",
    "starting answered running",    "starting silent stopping",
    "starting stop stopping",       "starting dying starting",
    "starting exited exited",       "running empty running",
    "running not_empty stopping",   "running stop stopping",
    "running dying running",        "running exited exited",
    "stopping spawned stopping",    "stopping spawn_failed exited",
    "stopping grace_over stopping", "stopping dying stopping",
    "stopping exited exited",       "exited back_off backoff",
    "backoff start starting",       "backoff stop exited",
    "failed back_off backoff",
};

static void test_the_moves_are_those_of_the_design(void **state)
{
    size_t n = 0;

    (void)state;
    for (enum unit_state s = UNIT_IDLE; s <= UNIT_FAILED; s++) {
        for (enum process_event e = 0; e < PROCESS_EV_N; e++) {
            const struct process_cell *cell = process_machine_cell(s, e);
            char text[64];

            if (cell->verdict != PROCESS_GO)
                continue;
            snprintf(text, sizeof(text), "%s %s %s", unit_state_name(s), process_event_name(e),
                     unit_state_name(cell->to));
            assert_true(n < sizeof(moves) / sizeof(moves[0]));
            assert_string_equal(text, moves[n++]);
        }
    }
    assert_int_equal(n, sizeof(moves) / sizeof(moves[0]));
}

static void test_one_function_writes_the_state(void **state)
{
    struct effects fx;
    struct unit_facts u = {.id = "w1", .state = UNIT_IDLE};

    (void)state;
    assert_int_equal(effects_begin(&fx), 0);
    assert_true(process_machine_apply(&u, PROCESS_EV_START, &fx));
    assert_int_equal(u.state, UNIT_STARTING);
    assert_false(process_machine_apply(&u, PROCESS_EV_EMPTY, &fx));
    assert_int_equal(u.state, UNIT_STARTING); /* a refusal changes nothing */
    assert_int_equal(fx.list->n, 2);
    assert_string_equal(fx.list->item[0].transition.machine, "process");
    assert_string_equal(fx.list->item[0].transition.id, "w1");
    assert_string_equal(fx.list->item[0].transition.from, "idle");
    assert_string_equal(fx.list->item[0].transition.to, "starting");
    assert_string_equal(fx.list->item[0].transition.event, "start");
    assert_string_equal(fx.list->item[0].transition.verdict, "go");
    assert_null(fx.list->item[0].transition.sentence);
    assert_string_equal(fx.list->item[1].transition.to, "starting");
    assert_string_equal(fx.list->item[1].transition.verdict, "refuse");
    assert_non_null(fx.list->item[1].transition.sentence);
    agent_effects_destroy(&fx.list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_decided),
        cmocka_unit_test(test_the_moves_are_those_of_the_design),
        cmocka_unit_test(test_one_function_writes_the_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
