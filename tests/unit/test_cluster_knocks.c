/* Knocks: what becomes of a node that nothing is heard of. */
#include "controller/core/detector.h"
#include "tests/unit/cluster_harness.h"

static enum node_state state_of(int node)
{
    struct view *v = view_now();
    enum node_state state = v->node[node - 1].state;

    view_unref(&v);
    return state;
}

static void assert_reason(int node, const char *reason)
{
    struct view *v = view_now();

    assert_string_equal(v->node[node - 1].reason, reason);
    view_unref(&v);
}

static void reports(int from, int to)
{
    for (int node = from; node <= to; node++)
        report(node);
}

/* Time passes for node 1, which is silent; 2..n report. */
static void silent_1(uint64_t ms, int n)
{
    for (uint64_t t = 0; t < ms; t += 500) {
        pass(500);
        reports(2, n);
    }
}

static void begin_silence(int n)
{
    for (int node = 1; node <= n; node++)
        join(node);
    pass(0); /* neighbours are told */
    quiet();
    silent_1(1000, n);
    EXPECT(n == 1 ? "node n1 ready -> suspect (silent): nothing heard for 1000 ms\nknock n1\n"
           : n == 2
               ? "node n1 ready -> suspect (silent): nothing heard for 1000 ms\nknock n1\nn2 < knock n1\n"
               : "node n1 ready -> suspect (silent): nothing heard for 1000 ms\nknock n1\nn2 < knock n1\nn3 < knock "
                 "n1\n");
}

static void test_two_rounds_without_an_answer_and_it_is_lost(void **state)
{
    (void)state;
    begin_silence(3);
    w.now += 500;
    reports(2, 3);
    knocked(1, KNOCK_UNANSWERED);
    witnessed(2, KNOCK_UNANSWERED);
    EXPECT("");
    witnessed(3, KNOCK_UNANSWERED);
    EXPECT("knock n1\n"
           "n2 < knock n1\n"
           "n3 < knock n1\n");
    step(&(struct cluster_ev){
        .kind = CLUSTER_EV_KNOCKED, .node = id_of(1), .token = w.round - 1, .knock = KNOCK_ANSWERED}); /* late */
    w.now += 500;
    knocked(1, KNOCK_UNANSWERED);
    witnessed(2, KNOCK_UNANSWERED);
    witnessed(3, KNOCK_UNANSWERED);
    EXPECT("node n1 suspect -> lost (knock_unanswered): knocked at twice and not answered, by this controller n2 n3\n");
    assert_int_equal(w.now, 3000); /* 2 s after its last word */
}

static void test_one_answer_is_enough_and_it_is_knocked_at_again(void **state)
{
    (void)state;
    begin_silence(3);
    knocked(1, KNOCK_UNANSWERED);
    witnessed(3, KNOCK_ANSWERED);
    assert_int_equal(state_of(1), NODE_SUSPECT); /* alive, but it cannot be told anything */
    assert_reason(1, "it answers a knock, but its reports do not come");
    witnessed(2, KNOCK_UNANSWERED); /* of a round that is over */
    EXPECT("");
    silent_1(500, 3);
    EXPECT("");
    silent_1(500, 3);
    EXPECT("knock n1\n"
           "n2 < knock n1\n"
           "n3 < knock n1\n");
    report(1);
    EXPECT("node n1 suspect -> ready (report)\n");
    assert_reason(1, "");
    silent_1(500, 3);
    knocked(1, KNOCK_UNANSWERED);
    EXPECT("");
}

static void test_a_round_is_bounded_and_who_says_nothing_does_not_count(void **state)
{
    (void)state;
    begin_silence(3);
    witnessed(2, KNOCK_UNANSWERED);
    pass(599);
    EXPECT("");
    pass(1);
    reports(2, 3);
    EXPECT("knock n1\n" /* the second round */
           "n2 < knock n1\n"
           "n3 < knock n1\n");
    pass(600);
    reports(2, 3);
    EXPECT(""); /* nobody said anything at all: it stays as it is */
    assert_int_equal(state_of(1), NODE_SUSPECT);
    silent_1(1000, 3);
    EXPECT("knock n1\n"
           "n2 < knock n1\n"
           "n3 < knock n1\n");
    witnessed(2, KNOCK_UNANSWERED);
    witnessed(3, KNOCK_UNANSWERED);
    knocked(1, KNOCK_UNANSWERED);
    EXPECT("knock n1\n" /* two in a row are asked for */
           "n2 < knock n1\n"
           "n3 < knock n1\n");
}

static void test_a_knocker_without_a_carrier_does_not_count(void **state)
{
    (void)state;
    begin_silence(2);
    for (int round = 0; round < 5; round++) {
        knocked(1, KNOCK_NO_CARRIER);
        witnessed(2, KNOCK_NO_CARRIER);
        silent_1(1000, 2);
    }
    assert_int_equal(state_of(1), NODE_SUSPECT);
    quiet();
    for (int round = 0; round < 2; round++) {
        knocked(1, KNOCK_NO_CARRIER);
        witnessed(2, KNOCK_UNANSWERED);
    }
    assert_non_null(strstr(w.log, "suspect -> lost (knock_unanswered): knocked at twice and not answered, by n2\n"));
}

static void test_a_witness_that_could_not_knock_does_not_count(void **state)
{
    struct message *m;

    (void)state;
    begin_silence(2);
    for (int round = 0; round < 3; round++) {
        m = message_from(2, MESSAGE_RESULT);
        m->command_id = w.round;
        m->result.code = RESULT_REFUSED;
        strcpy(m->result.reason, "unanswered");
        hear(2, m);
        knocked(1, KNOCK_NO_CARRIER);
    }
    assert_int_equal(state_of(1), NODE_SUSPECT);
}

static void test_a_refused_knock_is_a_stuck_agent(void **state)
{
    (void)state;
    begin_silence(3);
    knocked(1, KNOCK_REFUSED);
    witnessed(2, KNOCK_REFUSED);
    witnessed(3, KNOCK_UNANSWERED);
    EXPECT("node n1 suspect -> stuck (knock_refused): its machine answers a knock, its agent does not\n");
    silent_1(4500, 3);
    EXPECT("");
    silent_1(500, 3);
    EXPECT("knock n1\n" /* each 5 s: a stuck agent's queue fills */
           "n2 < knock n1\n"
           "n3 < knock n1\n");
    knocked(1, KNOCK_REFUSED);
    witnessed(2, KNOCK_REFUSED);
    witnessed(3, KNOCK_REFUSED);
    EXPECT("");
    silent_1(5000, 3);
    quiet();
    knocked(1, KNOCK_ANSWERED);
    EXPECT("node n1 stuck -> suspect (knock_answered): it answers a knock, but its reports do not come\n");
    report(1);
    EXPECT("node n1 suspect -> ready (report)\n");
}

static void test_a_stuck_node_may_be_lost(void **state)
{
    (void)state;
    begin_silence(1);
    knocked(1, KNOCK_REFUSED);
    pass(5000);
    quiet();
    knocked(1, KNOCK_UNANSWERED);
    knocked(1, KNOCK_UNANSWERED);
    EXPECT("knock n1\n"
           "node n1 stuck -> lost (knock_unanswered): knocked at twice and not answered, by this controller\n");
}

static void test_a_closed_link_is_silence_at_once(void **state)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_CLOSED};

    (void)state;
    join(1);
    join(2);
    quiet();
    strcpy(ev.peer_addr, "10.0.0.1");
    step(&ev);
    EXPECT("node n1 ready -> suspect (silent): its link was closed\n"
           "knock n1\n");
    step(&ev);
    ev.peer_addr[0] = '\0';
    step(&ev);
    EXPECT("");
    hello(1);
    EXPECT("node n1 suspect -> joining (hello)\n"
           "n1 < welcome\n");
}

/* Two agents behind one address, as containers are. */
static void test_a_closed_link_is_that_of_its_key(void **state)
{
    struct cluster_ev ev = event_from(2, CLUSTER_EV_HELLO, hello_of(2));

    (void)state;
    join(1);
    strcpy(ev.peer_addr, "10.0.0.1");
    step(&ev);
    quiet();
    ev = (struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .node = id_of(1), .peer_addr = "10.0.0.1"};
    step(&ev);
    EXPECT("node n1 ready -> suspect (silent): its link was closed\n"
           "knock n1\n");
}

static void test_a_joining_node_that_vanishes(void **state)
{
    (void)state;
    hello(1);
    quiet();
    pass(1000);
    EXPECT("node n1 joining -> suspect (silent): nothing heard for 1000 ms\n"
           "knock n1\n");
    knocked(1, KNOCK_UNANSWERED);
    knocked(1, KNOCK_UNANSWERED);
    assert_int_equal(state_of(1), NODE_LOST);
}

static void test_a_node_without_a_door_stays_suspect(void **state)
{
    struct cluster_ev ev = event_from(1, CLUSTER_EV_HELLO, hello_of(1));

    (void)state;
    ev.message->hello.port = 0;
    step(&ev);
    report(1);
    quiet();
    pass(60000);
    EXPECT("node n1 ready -> suspect (silent): nothing heard for 1000 ms\n");
}

/* Members of its instances first: it is their link to it that matters. */
static void test_members_of_its_instances_are_the_first_witnesses(void **state)
{
    (void)state;
    join(3);
    join(4);
    deploy(7, "m", 2);
    commit();
    join(1);
    join(2);
    pass(0);
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.4"});
    EXPECT("node n4 ready -> suspect (silent): its link was closed\n"
           "knock n4\n"
           "n3 < knock n4\n"
           "n1 < knock n4\n");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.2"});
    EXPECT("node n2 ready -> suspect (silent): its link was closed\n"
           "knock n2\n"
           "n1 < knock n2\n"
           "n3 < knock n2\n");
}

/* ---- lost is not evicted ------------------------------------------------------------------------------------------ */

static void test_a_unit_is_recovered_when_its_time_to_come_back_is_over(void **state)
{
    (void)state;
    make_ready(7, 2);
    vanish(2, 2); /* 2 s after its last word, which is as long as a model that loads at once is waited for */
    quiet();
    pass(0);
    EXPECT("instance m ready -> recovering (trouble): node n2 is lost, and was last heard of 2000 ms ago\n"
           "n1 < stop e1\n");
    pass_reporting(0, 0);
}

static void evict_after(uint64_t ms)
{
    struct cluster_config config = world_config();

    cluster_destroy(&w.c);
    config.evict_after_ms = ms;
    world_open_with(&config);
    begin();
}

static void test_a_lost_node_that_is_back_in_time_costs_nothing(void **state)
{
    (void)state;
    evict_after(15000);
    make_ready(7, 2);
    vanish(2, 2);
    quiet();
    for (int half = 0; half < 16; half++) { /* until 10 s after its last word */
        pass(500);
        report(1);
        knocked(2, KNOCK_UNANSWERED);
        witnessed(1, KNOCK_UNANSWERED);
    }
    assert_null(strstr(w.log, "instance"));
    quiet();
    for (int half = 0; half < 2; half++) { /* the link is back, its agent has not dialled yet */
        pass_reporting(500, 1);
        knocked(2, KNOCK_ANSWERED);
    }
    assert_non_null(
        strstr(w.log, "node n2 lost -> suspect (knock_answered): it answers a knock, but its reports do not come\n"));
    pass_reporting(20000, 1);
    assert_null(strstr(w.log, "instance")); /* suspect is not lost */
    quiet();
    hello(2);
    report(2);
    assert_non_null(
        strstr(w.log, "node n2 suspect -> joining (hello)\nn2 < welcome\nnode n2 joining -> ready (report)\n"));
    assert_null(strstr(w.log, "instance"));
}

static void test_the_time_counts_from_the_last_sign_of_life(void **state)
{
    (void)state;
    evict_after(15000);
    make_ready(7, 2);
    vanish(2, 2);
    quiet();
    for (uint64_t t = 0; t < 12500; t += 500) {
        pass(500);
        report(1);
    }
    assert_null(strstr(w.log, "instance"));
    quiet();
    for (uint64_t t = 0; t < 500; t += 500) {
        pass(500);
        report(1);
    }
    assert_non_null(strstr(w.log,
                           "instance m ready -> recovering (trouble): node n2 is lost, and was last heard of 15000 "
                           "ms ago\n"));
}

/* A knock that its kernel answers is a sign of life too. */
static void test_an_answered_knock_begins_the_time_anew(void **state)
{
    (void)state;
    evict_after(15000);
    make_ready(7, 2);
    vanish(2, 2);
    for (uint64_t t = 0; t < 8000; t += 500) {
        pass(500);
        report(1);
        knocked(2, KNOCK_ANSWERED);
    }
    assert_int_equal(state_of(2), NODE_SUSPECT); /* 10 s after its last word */
    for (uint64_t t = 0; t < 8000; t += 500) {
        pass(500);
        report(1);
        witnessed(1, KNOCK_UNANSWERED);
        knocked(2, KNOCK_UNANSWERED);
    }
    assert_int_equal(state_of(2), NODE_LOST);
    assert_null(strstr(w.log, "instance"));
    pass_reporting(8000, 1);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): node n2 is lost"));
}

static void test_how_long_a_unit_waits(void **state)
{
    static const struct {
        uint64_t key_ms, load_ms, wait_ms;
    } is[] = {{0, 0, 2000},       {0, 8000, 2000},    {0, 8004, 2001},   {0, 60000, 15000},
              {0, 120000, 30000}, {0, 600000, 30000}, {15000, 0, 15000}, {500, 60000, 500}};

    (void)state;
    for (size_t k = 0; k < sizeof(is) / sizeof(is[0]); k++) {
        struct instance i = {.load_ms = is[k].load_ms};

        evict_after(is[k].key_ms);
        assert_int_equal(detector_evict_after_ms(w.c, &i), is[k].wait_ms);
    }
}

static void test_a_node_is_evicted_when_nobody_waits_for_it(void **state)
{
    (void)state;
    join(1);
    vanish(1, 1);
    quiet();
    pass(27999);
    assert_null(strstr(w.log, "evicted"));
    quiet();
    pass(1);
    EXPECT("node n1 lost -> evicted (evict): last heard of 30 s ago\n");
    pass(60000);
    EXPECT(""); /* nobody knocks any more */
    report(1);
    EXPECT("node n1 evicted -> ready (report)\n");
}

static void test_a_node_is_not_evicted_while_a_unit_waits_for_it(void **state)
{
    (void)state;
    evict_after(40000);
    make_ready(7, 2);
    vanish(2, 2);
    for (uint64_t t = 0; t < 37500; t += 500) {
        pass(500);
        report(1);
    }
    assert_null(strstr(w.log, "evicted"));
    quiet();
    pass(500);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): node n2 is lost"));
}

/* What fails on evidence does not wait for the answers of a node whose agent is stuck. */
static void test_a_release_goes_on_without_a_stuck_node(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    quiet();
    done(1, COMMAND_STOP);
    EXPECT("n2 < stop e1\n");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.2"});
    quiet();
    knocked(2, KNOCK_REFUSED);
    assert_non_null(strstr(w.log, "node n2 suspect -> stuck"));
    assert_non_null(strstr(w.log, "instance m recovering -> "));
}

/* A machine that has booted answers knocks before it says hello: that is no second one of its key. */
static void test_a_boot_is_no_duplicate(void **state)
{
    struct cluster_ev ev;

    (void)state;
    begin_silence(1);
    knocked(1, KNOCK_REFUSED);
    pass(5000);
    knocked(1, KNOCK_ANSWERED);
    quiet();
    ev = event_from(1, CLUSTER_EV_HELLO, hello_of(1));
    strcpy(ev.message->hello.boot_id, "another");
    step(&ev);
    EXPECT("node n1 suspect -> joining (hello)\n"
           "n1 < welcome\n");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.1"});
    quiet();
    ev = event_from(1, CLUSTER_EV_HELLO, hello_of(1));
    step(&ev);
    EXPECT("node n1 suspect -> joining (hello)\n"
           "n1 < welcome\n");
}

/* ---- our own suspend ---------------------------------------------------------------------------------------------- */

static void test_after_our_own_suspend_nobody_was_silent(void **state)
{
    (void)state;
    make_ready(7, 2);
    w.now += 3600 * 1000;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.2"});
    pass(9999);
    EXPECT("");
    report(1);
    pass(1);
    EXPECT("node n2 ready -> suspect (silent): nothing heard for 10000 ms\n"
           "knock n2\n"
           "n1 < knock n2\n");
}

static void test_a_silence_from_before_is_found_out_anew(void **state)
{
    (void)state;
    begin_silence(1);
    knocked(1, KNOCK_UNANSWERED);
    quiet();
    w.now += 3600 * 1000;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    knocked(1, KNOCK_UNANSWERED); /* asked before */
    pass(9999);
    EXPECT("");
    pass(1);
    EXPECT("knock n1\n");
    knocked(1, KNOCK_UNANSWERED);
    EXPECT("knock n1\n");
}

/* The clock does not go on in a suspend: what was heard just before it seems to be of just now. */
static void test_a_node_that_booted_while_we_slept_is_no_duplicate(void **state)
{
    struct cluster_ev ev;

    (void)state;
    join(1);
    w.now += 200;
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    ev = event_from(1, CLUSTER_EV_HELLO, hello_of(1));
    strcpy(ev.message->hello.boot_id, "another");
    step(&ev);
    EXPECT("node n1 ready -> joining (hello)\n"
           "n1 < welcome\n");
}

/* A controller that slept just after its start: the nodes of what it found in its store have all their time to come. */
static void test_a_suspend_after_a_start_gives_everybody_his_time_again(void **state)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(107)};
    struct id128 id = id_of(2);
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = w.plan;
    cluster_destroy(&w.c);
    world_open();
    strcpy(rec.i.name, "m");
    strcpy(rec.i.request.model, "m");
    rec.i.state = INSTANCE_READY;
    rec.i.epoch = 1;
    rec.i.plan = &plan;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    begin();
    pass(9000);
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    pass(9999);
    EXPECT("");
    assert_false(node_gone(w.c, &id, w.now));
    pass(1);
    assert_non_null(strstr(w.log, "instance m"));
    assert_true(node_gone(w.c, &id, w.now));
}

/* A brake that lifts in the time that is given to everybody does not take it from those who are still away. */
static void test_nobody_is_called_lost_while_nothing_is_decided(void **state)
{
    (void)state;
    for (int node = 1; node <= 3; node++)
        join(node);
    pass(1000);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    quiet();
    report(1);
    report(2);
    EXPECT("node n1 suspect -> ready (report)\n"
           "node n2 suspect -> ready (report)\n"
           "brake ctl on -> off (majority_back): most nodes on other machines answer\n");
    pass_reporting(9500, 2);
    EXPECT("");
    pass(500);
    EXPECT("knock n3\n"
           "n1 < knock n3\n"
           "n2 < knock n3\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_two_rounds_without_an_answer_and_it_is_lost),
        TEST(test_one_answer_is_enough_and_it_is_knocked_at_again),
        TEST(test_a_round_is_bounded_and_who_says_nothing_does_not_count),
        TEST(test_a_knocker_without_a_carrier_does_not_count),
        TEST(test_a_witness_that_could_not_knock_does_not_count),
        TEST(test_a_refused_knock_is_a_stuck_agent),
        TEST(test_a_stuck_node_may_be_lost),
        TEST(test_a_closed_link_is_silence_at_once),
        TEST(test_a_closed_link_is_that_of_its_key),
        TEST(test_a_joining_node_that_vanishes),
        TEST(test_a_node_without_a_door_stays_suspect),
        TEST(test_members_of_its_instances_are_the_first_witnesses),
        TEST(test_a_unit_is_recovered_when_its_time_to_come_back_is_over),
        TEST(test_a_lost_node_that_is_back_in_time_costs_nothing),
        TEST(test_the_time_counts_from_the_last_sign_of_life),
        TEST(test_an_answered_knock_begins_the_time_anew),
        TEST(test_how_long_a_unit_waits),
        TEST(test_a_node_is_evicted_when_nobody_waits_for_it),
        TEST(test_a_node_is_not_evicted_while_a_unit_waits_for_it),
        TEST(test_a_release_goes_on_without_a_stuck_node),
        TEST(test_a_boot_is_no_duplicate),
        TEST(test_after_our_own_suspend_nobody_was_silent),
        TEST(test_a_silence_from_before_is_found_out_anew),
        TEST(test_a_node_that_booted_while_we_slept_is_no_duplicate),
        TEST(test_a_suspend_after_a_start_gives_everybody_his_time_again),
        TEST(test_nobody_is_called_lost_while_nothing_is_decided),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
