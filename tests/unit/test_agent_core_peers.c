/* Neighbours and what they carry for each other, as transcripts. This node's key is "me". */
#include "tests/unit/agent_harness.h"

/* Linked, with neighbours b (dialled) and d (a guest), both up; the first health is said. */
static void begin_with_peers(void)
{
    simple(AGENT_EV_LINK_UP);
    neighbours("b", "d");
    peer_up("b");
    peer_up("d");
    skip_output();
}

/* ---- who they are ----------------------------------------------------------------------------------------------- */

static void test_the_list_is_the_controllers(void **state)
{
    (void)state;
    simple(AGENT_EV_LINK_UP);
    tick(20000);
    EXPECT("");
    neighbours("bc", "d");
    EXPECT("peers dial b c let in d\n");
    neighbours("", "d");
    EXPECT("peers dial let in d\n");
}

static void test_health_is_said_each_second(void **state)
{
    (void)state;
    simple(AGENT_EV_LINK_UP);
    neighbours("b", "d");
    skip_output();
    peer_up("b");
    EXPECT("to b: health linked\n");
    tick(1999);
    EXPECT("");
    assert_int_equal(agent_deadline_ms(h.agent), 2000);
    tick(2000);
    EXPECT("to b: health linked\n");
    at(2300);
    peer_up("d"); /* who has just come need not wait */
    EXPECT("to b: health linked\n"
           "to d: health linked\n");
    peer_down("b");
    peer_down("d");
    tick(4000);
    EXPECT("");
}

static void test_a_change_of_our_link_is_said_at_once(void **state)
{
    (void)state;
    begin_with_peers();
    at(1200);
    simple(AGENT_EV_LINK_DOWN);
    EXPECT("to b: health\n"
           "to d: health\n");
    at(1300);
    simple(AGENT_EV_LINK_UP);
    EXPECT("to b: health linked\n"
           "to d: health linked\n");
}

static void test_strangers_are_not_peers(void **state)
{
    (void)state;
    begin_with_peers();
    peer_up("x");
    tick(2000);
    EXPECT("to b: health linked\n"
           "to d: health linked\n");
    relayed_kind("x", "x", MESSAGE_HELLO);
    health("x", true);
    peer_down("x");
    EXPECT("");
}

static void test_who_is_not_in_a_newer_list_is_dropped(void **state)
{
    (void)state;
    begin_with_peers();
    neighbours("d", "");
    EXPECT("peers dial d let in\n");
    relayed_kind("b", "b", MESSAGE_HELLO);
    tick(2000);
    EXPECT("to d: health linked\n"); /* its link was kept: it need not come up again */
}

static void test_the_list_outlives_the_link(void **state)
{
    (void)state;
    begin_with_peers();
    at(1500);
    simple(AGENT_EV_LINK_DOWN);
    skip_output();
    tick(60000);
    EXPECT("to b: health\n"
           "to d: health\n");
}

static void test_a_new_controller_that_tells_none_has_none(void **state)
{
    (void)state;
    begin_with_peers();
    simple(AGENT_EV_LINK_DOWN);
    at(20000);
    simple(AGENT_EV_LINK_UP);
    tick(29999);
    skip_output();
    tick(30000);
    EXPECT("peers dial let in\n");
    tick(31000);
    EXPECT("");
}

static void test_a_new_controller_that_tells_some_has_those(void **state)
{
    (void)state;
    begin_with_peers();
    simple(AGENT_EV_LINK_UP);
    neighbours("b", "");
    skip_output();
    tick(30000);
    EXPECT("to b: health linked\n");
}

/* ---- carrying --------------------------------------------------------------------------------------------------- */

static void test_a_neighbours_words_are_passed_on(void **state)
{
    (void)state;
    begin_with_peers();
    relayed_kind("b", "b", MESSAGE_HELLO);
    EXPECT("relay b [68 4 0] hello  rpc 0\n");
    controller_relays("b", MESSAGE_WELCOME);
    EXPECT("to b: relay b [67 9 1] welcome\n");
    controller_relays("b", MESSAGE_COMMAND);
    EXPECT("to b: relay b [67 9 1] command 0 unknown\n");
}

static void test_a_result_that_is_carried_is_not_ours(void **state)
{
    struct message m = {.kind = MESSAGE_RESULT, .instance = instance_of("a"), .epoch = 1, .command_id = 1};

    (void)state;
    begin_with_peers();
    m.result.code = RESULT_DONE;
    strcpy(m.result.text, "It runs.");
    relayed("b", "b", &m);
    EXPECT("relay b [68 4 0] result 1 done\n");
    lease(1, "a", 1, 100);
    EXPECT("persist a/1 leased 100 #1\n");
}

static void test_what_is_not_carried(void **state)
{
    (void)state;
    begin_with_peers();
    relayed_kind("b", "d", MESSAGE_REPORT);  /* in another's name */
    relayed_kind("b", "b", MESSAGE_COMMAND); /* nodes do not command */
    relayed_kind("b", "b", MESSAGE_RELAY);   /* for one behind it */
    controller_relays("x", MESSAGE_COMMAND); /* who is not here */
    controller_relays("b", MESSAGE_REPORT);
    assert_int_equal(agent_relays_dropped(h.agent), 5);
    simple(AGENT_EV_LINK_DOWN);
    skip_output();
    relayed_kind("b", "b", MESSAGE_HELLO);
    EXPECT("");
    assert_int_equal(agent_relays_dropped(h.agent), 6);
}

static void test_carrying_is_bounded_by_neighbour(void **state)
{
    (void)state;
    begin_with_peers();
    for (int i = 0; i < 45; i++)
        relayed_kind("b", "b", MESSAGE_HELLO);
    assert_int_equal(agent_relays_dropped(h.agent), 5); /* a burst of 40 */
    relayed_kind("d", "d", MESSAGE_HELLO);
    assert_int_equal(agent_relays_dropped(h.agent), 5);
    at(h.now_ms + 1000);
    for (int i = 0; i < 25; i++)
        relayed_kind("b", "b", MESSAGE_HELLO);
    assert_int_equal(agent_relays_dropped(h.agent), 10); /* then 20 a second */
    at(h.now_ms + 60000);
    for (int i = 0; i < 45; i++)
        relayed_kind("b", "b", MESSAGE_HELLO);
    assert_int_equal(agent_relays_dropped(h.agent), 15);
}

/* ---- being carried ---------------------------------------------------------------------------------------------- */

/* begin_serving with b and d; the link is cut at 2000, where b says that it has one. */
static void begin_cut(void)
{
    begin_serving();
    sample(500);
    neighbours("b", "d");
    peer_up("b");
    peer_up("d");
    at(2000);
    simple(AGENT_EV_LINK_DOWN);
    skip_output();
    health("b", true);
    EXPECT("");
}

static void test_a_node_that_is_cut_off_speaks_through_a_neighbour(void **state)
{
    (void)state;
    begin_cut();
    at(2300);
    peer_up("d");
    skip_output();
    assert_int_equal(agent_deadline_ms(h.agent), 3000);
    tick(2999);
    EXPECT("");
    tick(3000);
    EXPECT("to b: relay me [67 9 1] hello node-me rpc 8\n");
    assert_null(agent_via(h.agent));
    relayed_kind("b", "me", MESSAGE_WELCOME);
    EXPECT("to b: relay me [68 4 2] report full devices 1 units 2 models 1 lease a/1 100\n"
           "to b: relay me [68 4 3] event loading c1001 a/1\n"
           "to b: relay me [68 4 4] event rank_buffers c1001 a/1 buffers 2\n"
           "to b: relay me [68 4 5] event listening c1001 a/1\n");
    assert_string_equal(agent_via(h.agent), "b");
    tick(3500);
    EXPECT("to b: health\n"
           "to d: health\n"
           "to b: relay me [68 4 6] report lease a/1 100\n");
    for (uint64_t t = 4000; t <= 20000; t += 1000) {
        at(t);
        health("b", true);
        assert_string_equal(agent_via(h.agent), "b");
    }
}

static void begin_via(void)
{
    begin_cut();
    tick(3000);
    relayed_kind("b", "me", MESSAGE_WELCOME);
    skip_output();
}

static void test_commands_come_and_results_go_the_same_way(void **state)
{
    struct message m = command(9, "b", 1, COMMAND_LEASE), end = command(10, "b", 1, COMMAND_STOP);

    (void)state;
    begin_via();
    relayed("b", "me", &m);
    EXPECT("persist b/1 leased 0 #3\n");
    persisted(3, true);
    EXPECT("to b: relay me [68 4 6] result 9 done\n");
    end.command.stop.grace_ms = 500;
    relayed("b", "me", &end);
    EXPECT("persist b/1 #4\n"
           "to b: relay me [68 4 7] result 10 done\n");
    relayed("b", "me", &m); /* it is remembered, whichever way it went */
    EXPECT("to b: relay me [68 4 8] result 9 done\n");
    exited("w1000", 9, "killed");
    EXPECT("w1000 running -> exited\n"
           "to b: relay me [68 4 9] event unit_exited w1000 a/1 signal 9: killed\n"
           "withdraw\n");
}

static void test_neighbours_come_the_same_way(void **state)
{
    struct neighbours n = neighbours_of("bc", "");
    struct message m = {.kind = MESSAGE_NEIGHBOURS, .neighbours = &n};

    (void)state;
    begin_via();
    relayed("b", "me", &m);
    EXPECT("peers dial b c let in\n");
    assert_string_equal(agent_via(h.agent), "b");
}

static void test_only_whom_we_asked_speaks_for_the_controller(void **state)
{
    struct message m = command(9, "b", 1, COMMAND_LEASE);
    struct neighbours n = neighbours_of("b", "");
    struct message list = {.kind = MESSAGE_NEIGHBOURS, .neighbours = &n};

    (void)state;
    begin_cut();
    relayed("b", "me", &m); /* not asked yet */
    relayed_kind("b", "me", MESSAGE_WELCOME);
    EXPECT("");
    tick(3000);
    skip_output();
    relayed_kind("d", "me", MESSAGE_WELCOME);
    relayed("b", "me", &m); /* not welcomed yet */
    relayed("b", "me", &list);
    EXPECT("");
    relayed_kind("b", "me", MESSAGE_WELCOME);
    skip_output();
    relayed("d", "me", &m);
    relayed_kind("b", "me", MESSAGE_WELCOME);
    EXPECT("");
}

static void test_our_own_link_is_taken_at_once(void **state)
{
    struct message m = command(9, "b", 1, COMMAND_LEASE);

    (void)state;
    begin_via();
    at(3100);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 2 models 1 lease a/1 100\n"
           "event loading c1001 a/1\n"
           "event rank_buffers c1001 a/1 buffers 2\n"
           "event listening c1001 a/1\n"
           "to b: health linked\n"
           "to d: health linked\n");
    assert_null(agent_via(h.agent));
    relayed("b", "me", &m); /* late */
    EXPECT("");
}

static void test_a_link_that_was_down_already(void **state)
{
    (void)state;
    begin_via();
    simple(AGENT_EV_LINK_DOWN);
    EXPECT("");
    assert_string_equal(agent_via(h.agent), "b");
}

static void test_not_before_all_children_are_adopted(void **state)
{
    (void)state;
    begin_with_peers();
    simple(AGENT_EV_LINK_DOWN);
    health("b", true);
    skip_output();
    tick(2000);
    EXPECT("to b: health\n"
           "to d: health\n");
    health("b", true);
    simple(AGENT_EV_BEGIN);
    skip_output();
    tick(3000);
    EXPECT("to b: health\n"
           "to d: health\n"
           "to b: relay me [67 9 1] hello node-me rpc 0\n");
}

static void test_the_next_neighbour_is_asked(void **state)
{
    (void)state;
    begin_via();
    health("d", true);
    health("b", false);
    EXPECT("to d: relay me [68 4 1] hello node-me rpc 8\n");
    health("b", true);
    peer_down("d");
    EXPECT("to b: relay me [68 4 1] hello node-me rpc 8\n");
}

static void test_a_neighbour_that_falls_silent_is_left(void **state)
{
    (void)state;
    begin_via();
    assert_int_equal(agent_unit(h.agent, "w1000")->epoch, 1);
    tick(4000);
    health("d", true);
    skip_output();
    tick(4999);
    assert_string_equal(agent_via(h.agent), "b");
    skip_output();
    exited("w1000", 9, "killed");
    skip_output();
    tick(5000); /* b was heard at 2000 */
    EXPECT("to b: health\n"
           "to d: health\n"
           "to d: relay me [68 4 1] hello node-me rpc 8\n");
}

static void test_a_neighbour_that_brings_no_welcome(void **state)
{
    (void)state;
    begin_cut();
    health("d", true);
    tick(3000);
    skip_output();
    for (uint64_t t = 3500; t < 6000; t += 500) {
        at(t);
        health("b", true);
        health("d", true);
    }
    peer_up("d");
    health("d", true);
    skip_output();
    assert_int_equal(agent_deadline_ms(h.agent), 6000);
    tick(6000);
    EXPECT("to d: relay me [67 9 1] hello node-me rpc 8\n");
}

static void test_a_refusal_is_the_controllers_and_holds(void **state)
{
    struct message m = {.kind = MESSAGE_WELCOME, .welcome.refused = "there are 64 nodes already"};

    (void)state;
    begin_cut();
    health("d", true);
    tick(3000);
    skip_output();
    relayed("b", "me", &m);
    for (uint64_t t = 4000; t < 33000; t += 1000) {
        at(t);
        health("b", true);
        EXPECT("to b: health\n"
               "to d: health\n");
    }
    tick(33000);
    EXPECT("to b: health\n"
           "to d: health\n"
           "to b: relay me [67 9 1] hello node-me rpc 8\n");
}

/* It was retired, and is heard over a neighbour. */
static void test_a_refusal_ends_the_way_through_a_neighbour(void **state)
{
    struct message m = {.kind = MESSAGE_WELCOME, .welcome.refused = "it was retired"};

    (void)state;
    begin_via();
    relayed("b", "me", &m);
    assert_null(agent_via(h.agent));
    for (uint64_t t = 4000; t < 33000; t += 1000) {
        at(t);
        health("b", true);
        EXPECT("to b: health\n"
               "to d: health\n");
    }
    tick(33000);
    EXPECT("to b: health\n"
           "to d: health\n"
           "to b: relay me [68 4 1] hello node-me rpc 8\n");
}

static void test_nobody_has_a_link(void **state)
{
    (void)state;
    begin_cut();
    health("b", false);
    tick(3000);
    EXPECT("to b: health\n"
           "to d: health\n");
    at(3500);
    health("d", true); /* now somebody has */
    EXPECT("to d: relay me [67 9 1] hello node-me rpc 8\n");
}

/* Each exit is told once, and one that no way was open for is not told. */
static void test_what_no_way_was_open_for_is_untold(void **state)
{
    (void)state;
    begin_cut();
    exited("w1000", 9, "killed");
    EXPECT("w1000 running -> exited\n"
           "withdraw\n");
    tick(3000);
    exited("c1001", 6, "aborted"); /* said hello, not welcomed */
    skip_output();
    relayed_kind("b", "me", MESSAGE_WELCOME);
    EXPECT("to b: relay me [68 4 2] report full devices 1 units 2 models 1 lease a/1 100\n"
           "to b: relay me [68 4 3] event unit_exited w1000 a/1 signal 9: killed\n"
           "to b: relay me [68 4 4] event unit_exited c1001 a/1 signal 6: aborted\n");
    at(3100);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 2 models 1 lease a/1 100\n"
           "to b: health linked\n"
           "to d: health linked\n");
}

static void test_a_lost_way_is_closed_before_anything_is_said(void **state)
{
    (void)state;
    begin_via();
    stop_within(9, "a", 1, 500); /* ours, over a link that was up a moment ago */
    skip_output();
    at(3500); /* the coordinator's grace is over, and a report is due */
    peer_down("b");
    EXPECT("c1001 stopping -> stopping\n"
           "signal c1001 9\n");
}

static void test_sleep_closes_it_too(void **state)
{
    (void)state;
    begin_via();
    at(3500);
    simple(AGENT_EV_RESUMED); /* our clock may have stood still, theirs has not */
    assert_null(agent_via(h.agent));
    tick(4500);
    EXPECT("to b: health\n"
           "to d: health\n");
    health("b", true);
    EXPECT("to b: relay me [68 4 1] hello node-me rpc 8\n");
    relayed_kind("b", "me", MESSAGE_WELCOME);
    EXPECT("to b: relay me [68 4 2] report full devices 1 units 2 models 1 lease a/1 100\n"
           "to b: relay me [68 4 3] event resumed\n"
           "to b: relay me [68 4 4] event loading c1001 a/1\n"
           "to b: relay me [68 4 5] event rank_buffers c1001 a/1 buffers 2\n"
           "to b: relay me [68 4 6] event listening c1001 a/1\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_list_is_the_controllers),
        TEST(test_health_is_said_each_second),
        TEST(test_a_change_of_our_link_is_said_at_once),
        TEST(test_strangers_are_not_peers),
        TEST(test_who_is_not_in_a_newer_list_is_dropped),
        TEST(test_the_list_outlives_the_link),
        TEST(test_a_new_controller_that_tells_none_has_none),
        TEST(test_a_new_controller_that_tells_some_has_those),
        TEST(test_a_neighbours_words_are_passed_on),
        TEST(test_a_result_that_is_carried_is_not_ours),
        TEST(test_what_is_not_carried),
        TEST(test_carrying_is_bounded_by_neighbour),
        TEST(test_a_node_that_is_cut_off_speaks_through_a_neighbour),
        TEST(test_commands_come_and_results_go_the_same_way),
        TEST(test_neighbours_come_the_same_way),
        TEST(test_only_whom_we_asked_speaks_for_the_controller),
        TEST(test_our_own_link_is_taken_at_once),
        TEST(test_a_link_that_was_down_already),
        TEST(test_not_before_all_children_are_adopted),
        TEST(test_the_next_neighbour_is_asked),
        TEST(test_a_neighbour_that_falls_silent_is_left),
        TEST(test_a_neighbour_that_brings_no_welcome),
        TEST(test_a_refusal_is_the_controllers_and_holds),
        TEST(test_a_refusal_ends_the_way_through_a_neighbour),
        TEST(test_nobody_has_a_link),
        TEST(test_what_no_way_was_open_for_is_untold),
        TEST(test_a_lost_way_is_closed_before_anything_is_said),
        TEST(test_sleep_closes_it_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
