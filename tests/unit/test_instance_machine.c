/* The instance's table: every cell decided, every refusal explained, the ways of the design and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/instance_machine.h"

static void test_every_cell_is_decided_and_explained(void **state)
{
    (void)state;
    for (unsigned st = INSTANCE_REQUESTED; st < INSTANCE_STATE_N; st++) {
        for (unsigned ev = 0; ev < INSTANCE_EVENT_N; ev++) {
            const struct instance_cell *cell = instance_cell(st, ev);

            if (cell->verdict == UNDECIDED)
                fail_msg("%s, %s: undecided", instance_state_name(st), instance_event_name(ev));
            if (cell->verdict == GO)
                assert_in_range(cell->to, INSTANCE_REQUESTED, INSTANCE_FAILED);
            else if (!cell->sentence || !cell->sentence[0] || cell->to || cell->action)
                fail_msg("%s, %s: needs a sentence and nothing else", instance_state_name(st), instance_event_name(ev));
            if (cell->hold)
                assert_int_equal(cell->verdict, REFUSE);
        }
    }
}

static void test_names_are_there_and_differ(void **state)
{
    (void)state;
    for (unsigned ev = 0; ev < INSTANCE_EVENT_N; ev++) {
        assert_string_not_equal(instance_event_name(ev), "unknown");
        for (unsigned other = 0; other < ev; other++)
            assert_string_not_equal(instance_event_name(ev), instance_event_name(other));
    }
    assert_string_equal(instance_event_name(INSTANCE_EVENT_N), "unknown");
    assert_string_equal(instance_state_name(0), "unknown");
}

static void assert_goes(enum instance_state from, enum instance_event event, enum instance_state to)
{
    assert_int_equal(instance_cell(from, event)->verdict, GO);
    assert_int_equal(instance_cell(from, event)->to, to);
}

static void test_the_way_to_ready(void **state)
{
    (void)state;
    assert_goes(INSTANCE_REQUESTED, INSTANCE_EV_PLACE, INSTANCE_PLACING);
    assert_goes(INSTANCE_PLACING, INSTANCE_EV_PLANNED, INSTANCE_LEASING);
    assert_goes(INSTANCE_PLACING, INSTANCE_EV_NO_ROOM, INSTANCE_WAITING);
    assert_goes(INSTANCE_WAITING, INSTANCE_EV_PLACE, INSTANCE_PLACING);
    assert_goes(INSTANCE_LEASING, INSTANCE_EV_LEASED, INSTANCE_STARTING);
    assert_goes(INSTANCE_STARTING, INSTANCE_EV_WORKERS_UP, INSTANCE_LOADING);
    assert_goes(INSTANCE_LOADING, INSTANCE_EV_PROVEN, INSTANCE_READY);
}

/* ready has two doors: proven, and found whole after a restart. */
static void test_nothing_else_leads_to_ready(void **state)
{
    (void)state;
    for (unsigned st = INSTANCE_REQUESTED; st < INSTANCE_STATE_N; st++) {
        for (unsigned ev = 0; ev < INSTANCE_EVENT_N; ev++) {
            const struct instance_cell *cell = instance_cell(st, ev);

            if (cell->verdict != GO || cell->to != INSTANCE_READY || st == INSTANCE_READY)
                continue;
            assert_true((st == INSTANCE_LOADING && ev == INSTANCE_EV_PROVEN) ||
                        (st == INSTANCE_RECOVERING && ev == INSTANCE_EV_ADOPTED) ||
                        (st == INSTANCE_DRAINING && ev == INSTANCE_EV_KEEP)); /* it was, and has not stopped serving */
        }
    }
}

static void test_trouble_ends_every_epoch_that_runs(void **state)
{
    (void)state;
    for (unsigned st = INSTANCE_REQUESTED; st < INSTANCE_STATE_N; st++) {
        if (instance_state_runs(st))
            assert_goes(st, INSTANCE_EV_TROUBLE, INSTANCE_RECOVERING);
    }
    assert_goes(INSTANCE_RECOVERING, INSTANCE_EV_RELEASED, INSTANCE_RECOVERING);
    assert_goes(INSTANCE_RECOVERING, INSTANCE_EV_PLACE, INSTANCE_PLACING);
    assert_goes(INSTANCE_STOPPING, INSTANCE_EV_RELEASED, INSTANCE_STOPPED);
}

static void test_everything_can_be_stopped(void **state)
{
    (void)state;
    for (unsigned st = INSTANCE_REQUESTED; st < INSTANCE_STATE_N; st++) {
        if (!instance_state_ended(st))
            assert_goes(st, INSTANCE_EV_STOP, INSTANCE_STOPPING);
    }
    assert_goes(INSTANCE_FAILED, INSTANCE_EV_STOP, INSTANCE_STOPPED);
}

static void test_case_16_a_deploy_that_may_only_be_early_is_held(void **state)
{
    (void)state;
    assert_int_equal(instance_cell(INSTANCE_STOPPING, INSTANCE_EV_DEPLOY)->verdict, REFUSE);
    assert_true(instance_cell(INSTANCE_STOPPING, INSTANCE_EV_DEPLOY)->hold);
}

static void test_only_recovery_and_the_first_placement_give_up(void **state)
{
    (void)state;
    for (unsigned st = INSTANCE_REQUESTED; st < INSTANCE_STATE_N; st++) {
        for (unsigned ev = 0; ev < INSTANCE_EVENT_N; ev++) {
            const struct instance_cell *cell = instance_cell(st, ev);

            if (cell->verdict == GO && cell->to == INSTANCE_FAILED)
                assert_true(((st == INSTANCE_RECOVERING || st == INSTANCE_WAITING) && ev == INSTANCE_EV_GIVE_UP) ||
                            ((st == INSTANCE_REQUESTED || st == INSTANCE_PLACING) && ev == INSTANCE_EV_UNPLACEABLE));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_decided_and_explained),
        cmocka_unit_test(test_names_are_there_and_differ),
        cmocka_unit_test(test_the_way_to_ready),
        cmocka_unit_test(test_nothing_else_leads_to_ready),
        cmocka_unit_test(test_trouble_ends_every_epoch_that_runs),
        cmocka_unit_test(test_everything_can_be_stopped),
        cmocka_unit_test(test_only_recovery_and_the_first_placement_give_up),
        cmocka_unit_test(test_case_16_a_deploy_that_may_only_be_early_is_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
