/* Neighbours, and nodes whose own link is cut: what others carry for them. */
#include "tests/unit/cluster_harness.h"

static const char *via_of(int node)
{
    static char via[PROTO_NAME_MAX];
    struct view *v = view_now();

    strcpy(via, v->node[node - 1].via);
    view_unref(&v);
    return via;
}

static enum node_state state_of(int node)
{
    struct view *v = view_now();
    enum node_state state = v->node[node - 1].state;

    view_unref(&v);
    return state;
}

static void carries(int carrier, const char *key, struct message *inner)
{
    struct message *m = message_from(carrier, MESSAGE_RELAY);

    snprintf(m->relay.key, sizeof(m->relay.key), "%s", key);
    m->relay.inner = inner;
    hear(carrier, m);
}

static void carries_for(int carrier, int node, struct message *inner)
{
    char key[8];

    snprintf(key, sizeof(key), "k%d", node);
    carries(carrier, key, inner);
}

/* Node 2 is silent, 1 and 3 report; node 3 carries for it where it can. */
static void cut_off(uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 500) {
        pass(500);
        report(1);
        report(3);
        carries_for(3, 2, report_of(2)); /* late where its own link has just spoken */
    }
}

/* ---- who dials whom ------------------------------------------------------------------------------------------------ */

static void test_everybody_is_told_whom_to_dial(void **state)
{
    (void)state;
    w.show_neighbours = true;
    join(1);
    quiet();
    pass(0);
    EXPECT("n1 < neighbours: |\n");
    join(2);
    join(3);
    quiet();
    pass_reporting(500, 3);
    pass(499);
    EXPECT(""); /* once a second at most */
    pass(1);
    EXPECT("n1 < neighbours: n2 | k3\n"
           "n2 < neighbours: n3 | k1\n"
           "n3 < neighbours: n1 | k2\n");
    for (int node = 1; node <= 3; node++)
        report(node);
    pass_reporting(5000, 3);
    EXPECT(""); /* nothing has changed */
    hello(2);
    quiet();
    pass_reporting(1000, 3);
    EXPECT("node n2 joining -> ready (report)\n"
           "n2 < neighbours: n3 | k1\n"); /* a new link has heard nothing yet */
}

/* An agent that finds its port taken takes the next one. */
static void test_whoever_dials_a_node_is_told_where_it_is_now(void **state)
{
    struct cluster_ev ev = event_from(2, CLUSTER_EV_HELLO, hello_of(2));

    (void)state;
    w.show_neighbours = true;
    for (int node = 1; node <= 3; node++)
        join(node);
    pass_reporting(1000, 3);
    ev.message->hello.port = 7432;
    step(&ev);
    quiet();
    pass_reporting(1000, 3);
    EXPECT("node n2 joining -> ready (report)\n"
           "n1 < neighbours: n2 | k3\n"
           "n2 < neighbours: n3 | k1\n");
}

static void test_nobody_has_more_links_than_he_can_keep(void **state)
{
    (void)state;
    w.show_neighbours = true;
    for (int node = 1; node <= 8; node++)
        join(node);
    quiet();
    pass(0);
    EXPECT("n1 < neighbours: n2 n3 n4 | k8 k7 k6\n"
           "n2 < neighbours: n3 n4 n5 | k1 k8 k7\n"
           "n3 < neighbours: n4 n5 n6 | k2 k1 k8\n"
           "n4 < neighbours: n5 n6 n7 | k3 k2 k1\n"
           "n5 < neighbours: n6 n7 n8 | k4 k3 k2\n"
           "n6 < neighbours: n7 n8 n1 | k5 k4 k3\n"
           "n7 < neighbours: n8 n1 n2 | k6 k5 k4\n"
           "n8 < neighbours: n1 n2 n3 | k7 k6 k5\n");
}

static void test_members_of_an_instance_are_neighbours_first(void **state)
{
    (void)state;
    join(1);
    join(5);
    deploy(7, "m", 2);
    commit();
    for (int node = 2; node <= 8; node++) {
        if (node != 5)
            join(node);
    }
    w.show_neighbours = true;
    quiet();
    pass(0);
    assert_non_null(strstr(w.log, "n1 < neighbours: n5 n2 n3 | "));
    assert_non_null(strstr(w.log, "n5 < neighbours: n6 n7 n8 | k1 k4 k3\n"));
}

static void test_a_node_without_a_port_is_nobodys_neighbour(void **state)
{
    struct cluster_ev ev = event_from(2, CLUSTER_EV_HELLO, hello_of(2));

    (void)state;
    w.show_neighbours = true;
    ev.message->hello.port = 0;
    step(&ev);
    join(1);
    join(3);
    quiet();
    pass(0);
    EXPECT("n1 < neighbours: n3 |\n"
           "n3 < neighbours: | k1\n");
}

static void test_an_evicted_node_is_forgotten_a_lost_one_is_not(void **state)
{
    (void)state;
    for (int node = 1; node <= 3; node++)
        join(node);
    pass(0);
    vanish(2, 3);
    w.show_neighbours = true;
    quiet();
    pass_reporting(10000, 1);
    assert_null(strstr(w.log, "neighbours"));
    for (int half = 0; half < 50; half++) {
        pass(500);
        report(1);
        report(3);
    }
    assert_non_null(strstr(w.log, "n1 < neighbours: n3 |\n"));
}

/* ---- carried ------------------------------------------------------------------------------------------------------- */

static void begin_cut(void)
{
    for (int node = 1; node <= 3; node++)
        join(node);
    pass(0);
    quiet();
    cut_off(1000);
    assert_string_equal(via_of(2), "n3");
}

static void test_a_carried_report_keeps_a_node_ready(void **state)
{
    (void)state;
    begin_cut();
    EXPECT("node n2 ready -> suspect (silent): nothing heard for 1000 ms\n"
           "knock n2\n"
           "n1 < knock n2\n"
           "n3 < knock n2\n"
           "node n2 suspect -> ready (report)\n");
    assert_string_equal(via_of(2), "n3");
    assert_string_equal(via_of(1), "");
    cut_off(60000);
    EXPECT("");
    assert_int_equal(state_of(2), NODE_READY);
}

static void test_what_it_is_told_goes_the_same_way_and_so_does_its_answer(void **state)
{
    struct message *m;

    (void)state;
    begin_cut();
    quiet();
    deploy(7, "m", 3);
    commit();
    done(1, COMMAND_LEASE);
    assert_non_null(strstr(w.log, "by n3: n2 < lease e1 CPU\n"));
    assert_int_equal(w.asked[0].node, 2);
    m = result_of(&w.asked[0], RESULT_DONE, "", "");
    quiet();
    carries_for(3, 2, m);
    EXPECT("n3 < lease e1 CPU\n");
}

static void test_its_own_link_is_used_as_soon_as_it_speaks(void **state)
{
    (void)state;
    begin_cut();
    report(2);
    assert_string_equal(via_of(2), "");
    quiet();
    carries_for(3, 2, report_of(2)); /* on its way before: its own link speaks for it */
    assert_string_equal(via_of(2), "");
    deploy(7, "m", 3);
    commit();
    done(1, COMMAND_LEASE);
    assert_non_null(strstr(w.log, "\nn2 < lease e1 CPU\n"));
}

/* What the neighbour of before still had is older than what came by the one of now. */
static void test_only_one_carries_at_a_time(void **state)
{
    (void)state;
    begin_cut();
    carries_for(1, 2, report_of(2));
    assert_string_equal(via_of(2), "n3");
    carries_for(1, 2, hello_of(2)); /* it goes another way now */
    assert_string_equal(via_of(2), "n1");
    carries_for(3, 2, report_of(2));
    assert_string_equal(via_of(2), "n1");
    assert_int_equal(state_of(2), NODE_JOINING);
    pass(1000); /* that one is silent: anybody's word is better than none */
    carries_for(3, 2, report_of(2));
    assert_string_equal(via_of(2), "n3");
}

static void test_a_carrier_that_is_lost_carries_no_more(void **state)
{
    (void)state;
    join(4);
    join(5);
    begin_cut();
    for (int half = 0; half < 8; half++) {
        pass(500);
        report(1);
        report(4);
        report(5);
        for (uint64_t back = 0; back < 4; back++)
            step(&(struct cluster_ev){
                .kind = CLUSTER_EV_KNOCKED, .node = id_of(3), .token = w.round - back, .knock = KNOCK_UNANSWERED});
    }
    assert_non_null(strstr(w.log, "node n3 suspect -> lost"));
    assert_string_equal(via_of(2), "");
    assert_int_equal(state_of(2), NODE_SUSPECT);
}

static void test_a_silence_of_a_carried_node_is_a_reason_to_knock(void **state)
{
    (void)state;
    begin_cut();
    quiet();
    for (int half = 0; half < 2; half++) {
        pass(500);
        report(1);
        report(3);
    }
    EXPECT("node n2 ready -> suspect (silent): nothing heard for 1000 ms\n"
           "knock n2\n"
           "n1 < knock n2\n"
           "n3 < knock n2\n");
}

static void test_the_end_of_a_link_that_was_silent_anyway_says_nothing(void **state)
{
    (void)state;
    begin_cut();
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.2"});
    EXPECT("");
}

static void test_a_carried_hello_is_answered_by_the_same_way(void **state)
{
    (void)state;
    join(3);
    quiet();
    carries_for(3, 2, hello_of(2));
    EXPECT("node n2 unknown -> joining (hello)\n"
           "by n3: n2 < welcome\n");
    carries_for(3, 2, report_of(2));
    EXPECT("node n2 joining -> ready (report)\n");
    assert_string_equal(via_of(1), "n3"); /* the first by name */
}

/* It was on its way by a slow neighbour when the node's own link came back. */
static void test_a_carried_hello_that_comes_late_takes_nothing_away(void **state)
{
    (void)state;
    join(2);
    join(3);
    quiet();
    carries_for(3, 2, hello_of(2));
    EXPECT("");
    assert_string_equal(via_of(1), "");
    assert_int_equal(state_of(1), NODE_READY);
}

/* Slower still: its own link, on which it has said hello since, has been heard closing, and that was the one before. */
static void test_a_link_still_speaks_after_a_carried_hello_that_came_late(void **state)
{
    (void)state;
    join(2);
    join(3);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.2"});
    quiet();
    carries_for(3, 2, hello_of(2));
    EXPECT("node n2 suspect -> joining (hello)\n"
           "by n3: n2 < welcome\n");
    report(2);
    EXPECT("node n2 joining -> ready (report)\n");
    assert_string_equal(via_of(1), "");
}

/* The id that a stranger claims by way of another is not proven: it must not be anybody's. */
static void test_a_carried_hello_cannot_take_another_nodes_id(void **state)
{
    struct message *m = hello_of(2);

    (void)state;
    join(2);
    join(3);
    quiet();
    strcpy(m->hello.name, "thief");
    carries(3, "k9", m);
    EXPECT("node n2 ready bad_hello: refuse: its id 02000000 is another node's\n"
           "by n3: n9 < welcome refused: its id 02000000 is another node's\n");
    assert_string_equal(via_of(1), "");
}

static void test_the_owner_of_an_id_takes_it_back(void **state)
{
    struct message *m = hello_of(2);

    (void)state;
    join(3);
    strcpy(m->hello.name, "thief");
    strcpy(m->hello.boot_id, "another");
    carries(3, "k9", m);
    quiet();
    hello(2); /* by its own link: the id follows from the key */
    EXPECT("n2 < welcome\n");
    carries(3, "k9", report_of(2));
    EXPECT("");
    assert_int_equal(state_of(1), NODE_JOINING);
    report(2);
    EXPECT("node n2 joining -> ready (report)\n");
}

static void test_one_key_on_two_machines_one_of_them_carried(void **state)
{
    struct message *m = hello_of(2);

    (void)state;
    join(2);
    join(3);
    w.now += 500;
    quiet();
    strcpy(m->hello.boot_id, "another");
    strcpy(m->hello.addr[0], "10.0.0.99");
    carries_for(3, 2, m);
    EXPECT(
        "node n2 ready bad_hello: refuse: duplicate_identity: 10.0.0.2 and 10.0.0.99 by way of n3 use the same key at "
        "the same time; remove the state directory of the copy\n"
        "by n3: n2 < welcome refused: duplicate_identity: 10.0.0.2 and 10.0.0.99 by way of n3 use the same key at the "
        "same time; remove the state directory of the copy\n");
    assert_string_equal(via_of(1), "");
    report(2); /* the first one is not disturbed */
    EXPECT("");
    deploy(7, "m", 2);
    commit();
    assert_non_null(strstr(w.log, "\nn2 < lease"));
}

/* What a neighbour carries is its word for it; who dials has proven the key. So nobody keeps a node out by telling of it
 * while it is off. */
static void test_one_key_on_two_machines_the_proven_one_outweighs(void **state)
{
    struct cluster_ev ev;

    (void)state;
    begin_cut();
    quiet();
    ev = event_from(2, CLUSTER_EV_HELLO, hello_of(2));
    strcpy(ev.message->hello.boot_id, "another");
    strcpy(ev.peer_addr, "10.0.0.99");
    step(&ev);
    EXPECT("node n2 ready -> joining (hello)\n"
           "n2 < welcome\n");
    assert_string_equal(via_of(2), "");
    quiet();
    carries_for(3, 2, hello_of(2));
    EXPECT(
        "node n2 joining bad_hello: refuse: duplicate_identity: 10.0.0.99 and 10.0.0.2 by way of n3 use the same key at "
        "the same time; remove the state directory of the copy\n"
        "by n3: n2 < welcome refused: duplicate_identity: 10.0.0.99 and 10.0.0.2 by way of n3 use the same key at the "
        "same time; remove the state directory of the copy\n");
}

/* It began anew behind the cut, so that no link of its own has said hello: what comes by one is not its word. */
static void test_a_link_that_has_not_said_hello_does_not_speak_for_a_carried_node(void **state)
{
    struct cluster_ev ev;

    (void)state;
    begin_cut();
    carries_for(3, 2, hello_of(2));
    ev = event_from(2, CLUSTER_EV_MESSAGE, message_from(2, MESSAGE_REPORT));
    ev.message->report = calloc(1, sizeof(*ev.message->report));
    assert_non_null(ev.message->report);
    ev.message->report->full = true;
    strcpy(ev.peer_addr, "10.0.0.99");
    quiet();
    step(&ev);
    EXPECT("");
    assert_string_equal(via_of(2), "n3");
}

static void test_words_that_nobody_may_carry(void **state)
{
    struct message *m;

    (void)state;
    join(1);
    quiet();
    carries_for(1, 2, report_of(2)); /* of a stranger */
    carries_for(1, 1, report_of(1)); /* of itself */
    carries_for(1, 1, hello_of(1));
    carries_for(1, 2, NULL);
    m = message_from(2, MESSAGE_RELAY);
    carries_for(1, 2, m);
    carries_for(2, 1, report_of(1)); /* by a stranger */
    EXPECT("");
    assert_string_equal(via_of(1), "");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_everybody_is_told_whom_to_dial),
        TEST(test_whoever_dials_a_node_is_told_where_it_is_now),
        TEST(test_nobody_has_more_links_than_he_can_keep),
        TEST(test_members_of_an_instance_are_neighbours_first),
        TEST(test_a_node_without_a_port_is_nobodys_neighbour),
        TEST(test_an_evicted_node_is_forgotten_a_lost_one_is_not),
        TEST(test_a_carried_report_keeps_a_node_ready),
        TEST(test_what_it_is_told_goes_the_same_way_and_so_does_its_answer),
        TEST(test_its_own_link_is_used_as_soon_as_it_speaks),
        TEST(test_only_one_carries_at_a_time),
        TEST(test_a_carrier_that_is_lost_carries_no_more),
        TEST(test_a_silence_of_a_carried_node_is_a_reason_to_knock),
        TEST(test_the_end_of_a_link_that_was_silent_anyway_says_nothing),
        TEST(test_a_carried_hello_is_answered_by_the_same_way),
        TEST(test_a_carried_hello_that_comes_late_takes_nothing_away),
        TEST(test_a_link_still_speaks_after_a_carried_hello_that_came_late),
        TEST(test_a_carried_hello_cannot_take_another_nodes_id),
        TEST(test_the_owner_of_an_id_takes_it_back),
        TEST(test_one_key_on_two_machines_one_of_them_carried),
        TEST(test_one_key_on_two_machines_the_proven_one_outweighs),
        TEST(test_a_link_that_has_not_said_hello_does_not_speak_for_a_carried_node),
        TEST(test_words_that_nobody_may_carry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
