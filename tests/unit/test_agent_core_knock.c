/* A witness: what it is asked and what it says, as transcripts. */
#include "tests/unit/agent_harness.h"

static void test_a_knock_is_answered_with_what_it_found(void **state)
{
    static const struct {
        enum knock_outcome outcome;
        const char *expected;
    } cases[] = {
        {KNOCK_ANSWERED, "result 1 done answered\n"},
        {KNOCK_REFUSED, "result 1 done refused\n"},
        {KNOCK_UNANSWERED, "result 1 done unanswered\n"},
        {KNOCK_NO_CARRIER, "result 1 done no_carrier\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        boot_with(NULL, 0);
        knock_at(1, "b");
        EXPECT("knock b #1\n");
        knocked(2, cases[i].outcome); /* another's */
        EXPECT("");
        knocked(1, cases[i].outcome);
        EXPECT(cases[i].expected);
        knocked(1, cases[i].outcome);
        EXPECT("");
    }
}

/* It is of no instance: neither the newest epoch nor what was answered before has a say in it. */
static void test_a_knock_that_comes_again_is_knocked_again(void **state)
{
    (void)state;
    knock_at(1, "b");
    knock_at(1, "b");
    EXPECT("knock b #1\n");
    knocked(1, KNOCK_UNANSWERED);
    EXPECT("result 1 done unanswered\n");
    knock_at(1, "b");
    EXPECT("knock b #2\n");
    knocked(2, KNOCK_ANSWERED);
    EXPECT("result 1 done answered\n");
}

static void test_knocks_do_not_crowd_out_results(void **state)
{
    (void)state;
    lease(1, "a", 1, 5);
    persisted(1, false);
    skip_output();
    for (uint64_t i = 0; i < AGENT_RESULTS_MAX; i++) {
        knock_at(100 + i, "b");
        tick(h.now_ms + AGENT_KNOCK_MS);
    }
    skip_output();
    lease(1, "a", 1, 5);
    EXPECT("result 1 refused disk\n");
}

static void test_several_at_once_are_bounded(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= AGENT_KNOCKS_MAX; i++)
        knock_at(i, "b");
    skip_output();
    knock_at(50, "c");
    EXPECT("result 50 refused busy\n");
    knocked(3, KNOCK_ANSWERED);
    EXPECT("result 3 done answered\n");
    knock_at(51, "c");
    EXPECT("knock c #9\n");
    knocked(9, KNOCK_REFUSED);
    knocked(1, KNOCK_REFUSED);
    EXPECT("result 51 done refused\n"
           "result 1 done refused\n");
}

/* What was lost here must never count as unanswered. */
static void test_a_knock_that_does_not_come_back(void **state)
{
    (void)state;
    knock_at(1, "b");
    assert_int_equal(agent_deadline_ms(h.agent), 4000);
    tick(3999);
    EXPECT("knock b #1\n");
    tick(4000);
    EXPECT("result 1 failed knock_lost\n");
    knocked(1, KNOCK_ANSWERED);
    EXPECT("");
    assert_true(agent_deadline_ms(h.agent) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_knock_is_answered_with_what_it_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_knock_that_comes_again_is_knocked_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_knocks_do_not_crowd_out_results, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_at_once_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_knock_that_does_not_come_back, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
