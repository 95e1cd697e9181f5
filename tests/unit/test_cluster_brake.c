/* The brake on mass loss: when it is put on, what it holds back, how it lifts. */
#include "tests/unit/cluster_harness.h"

#define ON_2_OF_3                                                                                                  \
    "brake ctl off -> on (mass_loss): 2 of 3 nodes on other machines went silent within 10 s, so none of them is " \
    "called lost for that\n"
#define NO_CARRIER                                                                                                \
    "brake ctl off -> on (no_carrier): this controller's own network link is down, so nobody is called lost for " \
    "being silent\n"

/* Nodes from..to report for that long; every knock at the others finds nobody. */
static void pass_without(uint64_t ms, int from, int to, int n)
{
    for (uint64_t t = 0; t < ms; t += 500) {
        pass(500);
        for (int node = from; node <= to; node++)
            report(node);
        for (int node = 1; node <= n; node++) {
            for (uint64_t back = 0; back < 8 && (node < from || node > to); back++)
                step(&(struct cluster_ev){.kind = CLUSTER_EV_KNOCKED,
                                          .node = id_of(node),
                                          .token = w.round - back,
                                          .knock = KNOCK_UNANSWERED});
        }
    }
}

static void join_all(int n)
{
    for (int node = 1; node <= n; node++)
        join(node);
    quiet();
}

static void host(bool carrier, const char *addr)
{
    struct cluster_host h = {.carrier = carrier, .n_addrs = 1};

    snprintf(h.addr[0], sizeof(h.addr[0]), "%s", addr);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_HOST, .host = &h});
}

static bool is_on(void)
{
    struct view *v = view_now();
    bool on = v->brake.on;

    assert_int_equal(on, v->brake.text[0] != '\0');
    assert_int_equal(on, v->brake.since_wall_ms != 0);
    view_unref(&v);
    return on;
}

static void test_two_of_three_at_once_are_not_called_lost(void **state)
{
    (void)state;
    join_all(3);
    pass_without(500, 3, 3, 0);
    quiet();
    pass(500);
    report(3);
    assert_non_null(strstr(w.log, ON_2_OF_3));
    pass_without(59500, 3, 3, 3);
    assert_null(strstr(w.log, "lost (")); /* no matter what the knocks find */
    assert_true(is_on());
    quiet();
    pass_without(500, 3, 3, 0); /* a minute has passed, and one other machine answers */
    assert_non_null(strstr(w.log, "brake ctl on -> off (hold_over): the others have had their time to come back\n"));
    assert_non_null(strstr(w.log, "knock n1\n")); /* silence is judged anew */
    assert_non_null(strstr(w.log, "knock n2\n"));
    knocked(2, KNOCK_UNANSWERED);
    witnessed(1, KNOCK_UNANSWERED);
    witnessed(3, KNOCK_UNANSWERED);
    assert_null(strstr(w.log, "lost (")); /* by two rounds, as at first */
    pass_without(1500, 3, 3, 3);
    assert_non_null(strstr(w.log, "node n1 suspect -> lost"));
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
    assert_false(is_on());
}

static void test_one_of_three_is_no_mass_loss(void **state)
{
    (void)state;
    join_all(3);
    pass_without(5000, 2, 3, 3);
    assert_non_null(strstr(w.log, "node n1 suspect -> lost"));
    assert_false(is_on());
}

static void test_half_of_them_is_no_mass_loss(void **state)
{
    (void)state;
    join_all(4);
    pass_without(5000, 3, 4, 4);
    assert_false(is_on());
}

static void test_one_after_the_other_within_ten_seconds(void **state)
{
    (void)state;
    join_all(3);
    pass_without(8000, 2, 3, 3);
    assert_false(is_on());
    quiet();
    pass_without(1500, 3, 3, 3);
    assert_true(is_on()); /* n1 was called lost before: n2 is not */
    assert_null(strstr(w.log, "n2 suspect -> lost"));
}

static void test_one_after_the_other_in_more_than_that(void **state)
{
    (void)state;
    join_all(3);
    pass_without(12000, 2, 3, 3);
    quiet();
    pass_without(4000, 3, 3, 3);
    assert_false(is_on());
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
}

static void test_a_majority_that_is_back_lifts_it(void **state)
{
    (void)state;
    join_all(3);
    pass_without(1500, 3, 3, 0);
    assert_true(is_on());
    quiet();
    report(1);
    EXPECT("node n1 suspect -> ready (report)\n"
           "brake ctl on -> off (majority_back): most nodes on other machines answer\n"
           "knock n2\n"
           "n1 < knock n2\n"
           "n3 < knock n2\n");
}

static void test_nobody_at_all_keeps_it_on(void **state)
{
    (void)state;
    join_all(3);
    pass_without(300000, 1, 0, 3);
    assert_true(is_on());
    assert_null(strstr(w.log, "lost ("));
    quiet();
    report(1);
    report(2);
    assert_non_null(strstr(w.log, "brake ctl on -> off"));
}

static void test_one_other_is_enough_once_its_time_is_over(void **state)
{
    (void)state;
    join_all(4);
    pass_without(61000, 1, 0, 4);
    assert_true(is_on());
    quiet();
    report(4);
    assert_non_null(strstr(w.log, "brake ctl on -> off (hold_over)"));
}

static void test_whoever_was_evicted_by_then_went_silent_too(void **state)
{
    struct cluster_config config = world_config();

    cluster_destroy(&w.c);
    config.evict_after_ms = 2500;
    world_open_with(&config);
    begin();
    (void)state;
    join_all(4);
    pass_without(1500, 1, 2, 2);
    pass_without(3500, 1, 2, 4);
    assert_non_null(strstr(w.log, "node n4 lost -> evicted"));
    assert_false(is_on());
    pass_without(1500, 1, 1, 4);
    assert_non_null(strstr(w.log, "(mass_loss): 3 of 4 nodes on other machines"));
}

/* It did when the brake was put on. */
static void test_a_stuck_machine_that_is_gone_by_now_answers_nobody(void **state)
{
    (void)state;
    join_all(3);
    pass_without(1500, 2, 3, 0);
    knocked(1, KNOCK_REFUSED);
    witnessed(2, KNOCK_REFUSED);
    witnessed(3, KNOCK_REFUSED);
    assert_non_null(strstr(w.log, "node n1 suspect -> stuck"));
    pass_without(1500, 1, 0, 3);
    assert_true(is_on());
    pass_without(90000, 1, 0, 3);
    assert_true(is_on());
}

/* The leader's own node is no other machine. */
static void test_our_own_node_is_not_counted(void **state)
{
    struct view *v;

    (void)state;
    join_all(3);
    host(true, "10.0.0.3");
    v = view_now();
    assert_false(v->node[0].own_host);
    assert_true(v->node[2].own_host);
    assert_true(v->carrier);
    view_unref(&v);
    quiet();
    pass_without(1500, 3, 3, 0);
    assert_non_null(strstr(w.log, "(mass_loss): 2 of 2 nodes on other machines"));
}

/* Two machines, one of them ours: the other one's loss is no mass loss. */
static void test_of_two_machines_the_other_one_may_be_lost(void **state)
{
    (void)state;
    join_all(2);
    host(true, "10.0.0.1");
    quiet();
    pass_without(3000, 1, 1, 2);
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
    assert_false(is_on());
}

static void test_without_a_carrier_nothing_is_said_of_others(void **state)
{
    struct view *v;

    (void)state;
    join_all(2);
    host(true, "10.0.0.1");
    quiet();
    host(false, "10.0.0.1");
    EXPECT(NO_CARRIER);
    v = view_now();
    assert_false(v->carrier);
    view_unref(&v);
    pass_without(90000, 1, 1, 2);
    assert_null(strstr(w.log, "lost ("));
    assert_true(is_on()); /* not by time alone */
    quiet();
    host(true, "10.0.0.1"); /* its time to come back begins now */
    EXPECT("");
    pass_without(59500, 1, 1, 2);
    assert_true(is_on());
    report(2);
    assert_false(is_on());
}

/* Whoever says something all the same changes nothing: the others cannot be judged by that. */
static void test_without_a_carrier_it_stays_on_whoever_speaks(void **state)
{
    (void)state;
    join_all(3);
    host(true, "10.0.0.1");
    host(false, "10.0.0.1");
    pass_without(61000, 1, 2, 0);
    hello(2);
    report(2);
    assert_true(is_on());
}

static void test_the_others_have_their_time_once_the_link_is_back(void **state)
{
    (void)state;
    join_all(4);
    host(true, "10.0.0.1");
    host(false, "10.0.0.1");
    pass_without(90000, 1, 1, 0);
    host(true, "10.0.0.1");
    pass_without(59500, 1, 2, 4); /* one of three is back */
    assert_true(is_on());
    pass_without(1000, 1, 2, 4);
    assert_false(is_on());
}

static void test_a_link_that_was_down_for_a_moment(void **state)
{
    (void)state;
    join_all(2);
    host(false, "10.0.0.1");
    quiet();
    host(true, "10.0.0.1");
    EXPECT("");
    pass_without(500, 1, 2, 0);
    EXPECT("");
    pass_without(500, 1, 2, 0); /* whoever is away has been silent for long enough to be known by now */
    EXPECT("brake ctl on -> off (majority_back): most nodes on other machines answer\n");
}

/* A switch that lets nothing through for half a minute after its port came up: nobody was silent when it did. */
static void test_a_link_that_is_up_carries_nothing_yet(void **state)
{
    (void)state;
    join_all(2);
    host(true, "10.0.0.1");
    host(false, "10.0.0.1");
    pass_without(500, 1, 1, 0);
    host(true, "10.0.0.1");
    pass_without(30000, 1, 1, 2);
    assert_true(is_on());
    assert_null(strstr(w.log, "lost ("));
    quiet();
    report(2);
    EXPECT("node n2 suspect -> ready (report)\n"
           "brake ctl on -> off (majority_back): most nodes on other machines answer\n");
}

static void test_a_machine_alone_needs_no_brake(void **state)
{
    (void)state;
    join_all(1);
    host(true, "10.0.0.1");
    host(false, "10.0.0.1");
    assert_false(is_on());
}

/* ---- an operator -------------------------------------------------------------------------------------------------- */

static void lift(uint64_t request_id)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_LIFT_BRAKE, .request_id = request_id});
}

static void test_an_operator_may_lift_it(void **state)
{
    (void)state;
    join_all(3);
    lift(5);
    EXPECT("answer 5: refused not_braking: the brake is not on\n");
    pass_without(1500, 3, 3, 0);
    quiet();
    lift(6);
    EXPECT("brake ctl on -> off (operator): an operator says that it is over\n"
           "knock n1\n"
           "n3 < knock n1\n"
           "knock n2\n"
           "n3 < knock n2\n"
           "answer 6: task 0\n");
    pass_without(2500, 3, 3, 3);
    assert_non_null(strstr(w.log, "node n1 suspect -> lost"));
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
    pass_without(2000, 1, 0, 0);         /* n3 too */
    assert_null(strstr(w.log, "brake")); /* what was judged is not counted again */
}

/* Two machines on one cable: if the other one is off, our carrier is down too. Only a person can know. */
static void test_an_operators_word_counts_more_than_our_own_link(void **state)
{
    (void)state;
    join_all(2);
    host(true, "10.0.0.1");
    host(false, "10.0.0.1");
    pass_without(2000, 1, 1, 0);
    lift(6);
    quiet();
    for (int round = 0; round < 2; round++) {
        witnessed(1, KNOCK_NO_CARRIER);
        knocked(2, KNOCK_NO_CARRIER);
    }
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
    host(false, "10.0.0.1");
    assert_false(is_on());
    host(true, "10.0.0.1");
    report(2);
    quiet();
    host(false, "10.0.0.1"); /* the next time it is a new one */
    EXPECT(NO_CARRIER);
}

/* ---- what it holds back -------------------------------------------------------------------------------------------- */

static void test_nothing_is_evicted_while_it_is_on(void **state)
{
    struct cluster_config config = world_config();

    (void)state;
    cluster_destroy(&w.c);
    config.evict_after_ms = 15000;
    world_open_with(&config);
    begin();
    make_ready(7, 3);
    pass_without(5000, 1, 2, 3);
    assert_non_null(strstr(w.log, "node n3 suspect -> lost"));
    pass_without(20000, 1, 1, 3);
    assert_true(is_on());
    assert_null(strstr(w.log, "instance"));
    quiet();
    report(2);
    assert_false(is_on());
    pass(0);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): node n3 is lost"));
}

static void test_an_instance_over_the_silent_ones_serves_on(void **state)
{
    (void)state;
    make_ready(7, 3);
    pass_without(40000, 1, 1, 3);
    assert_true(is_on());
    assert_null(strstr(w.log, "instance"));
}

/* What fails on evidence is recovered, and does not wait for those whom only the brake keeps from being lost. */
static void test_what_fails_on_evidence_is_recovered_all_the_same(void **state)
{
    (void)state;
    make_ready(7, 3);
    pass_without(4000, 1, 1, 3);
    assert_true(is_on());
    quiet();
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    EXPECT("instance m ready -> recovering (trouble): coordinator on n1: killed by signal 6 (SIGABRT)\n"
           "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    assert_non_null(strstr(w.log, "instance m recovering -> "));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_two_of_three_at_once_are_not_called_lost),
        TEST(test_one_of_three_is_no_mass_loss),
        TEST(test_half_of_them_is_no_mass_loss),
        TEST(test_one_after_the_other_within_ten_seconds),
        TEST(test_one_after_the_other_in_more_than_that),
        TEST(test_a_majority_that_is_back_lifts_it),
        TEST(test_nobody_at_all_keeps_it_on),
        TEST(test_one_other_is_enough_once_its_time_is_over),
        TEST(test_our_own_node_is_not_counted),
        TEST(test_of_two_machines_the_other_one_may_be_lost),
        TEST(test_without_a_carrier_nothing_is_said_of_others),
        TEST(test_without_a_carrier_it_stays_on_whoever_speaks),
        TEST(test_the_others_have_their_time_once_the_link_is_back),
        TEST(test_a_link_that_was_down_for_a_moment),
        TEST(test_a_link_that_is_up_carries_nothing_yet),
        TEST(test_whoever_was_evicted_by_then_went_silent_too),
        TEST(test_a_stuck_machine_that_is_gone_by_now_answers_nobody),
        TEST(test_a_machine_alone_needs_no_brake),
        TEST(test_an_operator_may_lift_it),
        TEST(test_an_operators_word_counts_more_than_our_own_link),
        TEST(test_nothing_is_evicted_while_it_is_on),
        TEST(test_an_instance_over_the_silent_ones_serves_on),
        TEST(test_what_fails_on_evidence_is_recovered_all_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
