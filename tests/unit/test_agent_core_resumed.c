/* The machine slept: nothing that was to happen meanwhile is held against anybody. */
#include "tests/unit/agent_harness.h"

enum { NIGHT_MS = 8 * 3600 * 1000 };

/* The jump is seen before anything else is. */
static void sleep_and_wake(void)
{
    at(h.now_ms + NIGHT_MS);
    simple(AGENT_EV_RESUMED);
}

static void test_it_is_told(void **state)
{
    (void)state;
    simple(AGENT_EV_LINK_UP);
    sleep_and_wake();
    EXPECT("event resumed\n");
    simple(AGENT_EV_TICK);
    EXPECT("");
}

static void test_it_is_told_to_the_next_link(void **state)
{
    (void)state;
    sleep_and_wake();
    EXPECT("");
    simple(AGENT_EV_LINK_UP);
    EXPECT("event resumed\n");
    simple(AGENT_EV_LINK_DOWN);
    simple(AGENT_EV_LINK_UP);
    EXPECT("");
}

static void test_a_start_gets_its_whole_time_again(void **state)
{
    (void)state;
    simple(AGENT_EV_BEGIN);
    spawned("w1000", 20052);
    skip_output();
    sleep_and_wake();
    EXPECT("");
    assert_int_equal(agent_deadline_ms(h.agent), h.now_ms + AGENT_WORKER_START_MS);
    probed("w1000", true);
    EXPECT("w1000 starting -> running\n"
           "advertise w1000 port 20052 idle\n");
}

static void test_so_does_a_stop(void **state)
{
    (void)state;
    begin_serving();
    simple(AGENT_EV_LINK_DOWN);
    stop_within(4, "a", 1, 2500);
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 15\n");
    sleep_and_wake();
    EXPECT("");
    tick(h.now_ms + 2499);
    EXPECT("");
    tick(h.now_ms + 1);
    EXPECT("c1001 stopping -> stopping\n"
           "signal c1001 9\n");
}

static void test_so_does_a_worker_that_is_asked_whether_it_is_empty(void **state)
{
    (void)state;
    begin_serving();
    stop(4, "a", 1);
    exited("c1001", 15, "");
    skip_output();
    simple(AGENT_EV_LINK_DOWN);
    sleep_and_wake();
    EXPECT("");
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "persist a/1 #4\n"
           "result 4 done\n"
           "advertise w1000 port 20052 idle\n");
}

static void test_so_does_a_knock(void **state)
{
    (void)state;
    knock_at(1, "b");
    skip_output();
    sleep_and_wake();
    EXPECT("");
    assert_int_equal(agent_deadline_ms(h.agent), h.now_ms + AGENT_KNOCK_MS);
}

static void test_a_backoff_is_over(void **state)
{
    (void)state;
    begin_idle();
    exited("w1000", 11, "");
    skip_output();
    sleep_and_wake();
    EXPECT("w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20052\n");
}

static void test_hang_clocks_start_anew(void **state)
{
    struct agent_unit_sample s = {
        .id = "w1000", .cpu_ms = 50, .proc_state = 'S', .has_sockets = true, .unread_bytes = 321};

    (void)state;
    begin_serving();
    sample_units(&s, 1);
    at(2000);
    sample_units(&s, 1);
    assert_int_equal(agent_unit(h.agent, "w1000")->frozen_ms, 1000);
    simple(AGENT_EV_RESUMED); /* a clock that stands still while the machine sleeps shows no gap */
    assert_int_equal(agent_unit(h.agent, "w1000")->frozen_ms, 0);
    at(3000);
    sample_units(&s, 1);
    assert_int_equal(agent_unit(h.agent, "w1000")->frozen_ms, 0);
    at(4000);
    sample_units(&s, 1);
    assert_int_equal(agent_unit(h.agent, "w1000")->frozen_ms, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_it_is_told_to_the_next_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_start_gets_its_whole_time_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_so_does_a_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_so_does_a_worker_that_is_asked_whether_it_is_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_so_does_a_knock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_backoff_is_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hang_clocks_start_anew, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
