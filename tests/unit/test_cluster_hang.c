/* Epochs that are dead though their processes live: P1, P2, a rank that is late, a coordinator that refuses or breaks. */
#include "tests/unit/cluster_harness.h"

static struct unit_facts *worker_on(int node)
{
    struct unit_facts *u = unit_at(node, UNIT_WORKER);

    assert_non_null(u);
    return u;
}

static struct unit_facts *the_coordinator(void)
{
    struct unit_facts *u = unit_at(1, UNIT_COORDINATOR);

    assert_non_null(u);
    return u;
}

static void traffic(uint32_t in_flight, uint64_t progress)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_TRAFFIC,
                              .instance = w.instance,
                              .epoch = w.epoch,
                              .traffic = {.in_flight = in_flight, .progress = progress}});
}

static void upstream(enum cluster_upstream what)
{
    step(&(struct cluster_ev){
        .kind = CLUSTER_EV_UPSTREAM, .instance = w.instance, .epoch = w.epoch, .upstream = what, .text = ""});
}

/* Both nodes report for that long; what moves meanwhile is up to work. */
static void watch(uint64_t ms, void (*work)(uint64_t t))
{
    for (uint64_t t = 0; t < ms; t += 500) {
        if (work)
            work(t);
        pass_reporting(500, 2);
    }
}

static struct view_rank rank_of(size_t k)
{
    struct view *v = view_now();
    struct view_rank rank = v->instance[0].rank[k];

    view_unref(&v);
    return rank;
}

/* ---- P1 ------------------------------------------------------------------------------------------------------------- */

static void test_case_11_a_rank_that_reads_nothing_is_named(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(15000, NULL);
    worker_on(2)->frozen_ms = 9899;
    watch(1000, NULL);
    EXPECT("");
    assert_int_equal(rank_of(1).frozen_ms, 9899);
    worker_on(2)->frozen_ms = 9900;
    report(2);
    EXPECT(
        "instance m ready -> recovering (trouble): rank 1 on n2 hangs: for 10 s it has read nothing of what waits for it "
        "and used no CPU time\n"
        "n1 < stop e1\n");
}

static void test_a_stopped_rank_is_said_to_be_stopped(void **state)
{
    (void)state;
    make_ready(7, 2);
    worker_on(2)->frozen_ms = 12000;
    worker_on(2)->proc_state = 'T';
    watch(10000, NULL);
    assert_non_null(strstr(w.log,
                           "rank 1 on n2 hangs: for 12 s it has read nothing of what waits for it and used no CPU "
                           "time; its process is stopped (state T)\n"));
}

static void test_a_rank_that_hangs_in_a_load(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    w.now += 15000;
    quiet();
    worker_on(2)->frozen_ms = 11000;
    watch(11000, NULL);
    assert_non_null(strstr(w.log, "instance m loading -> recovering (trouble): rank 1 on n2 hangs"));
}

/* Ten seconds of a member that is silent are the network's, not the rank's. */
static void test_no_rank_is_accused_while_a_member_is_silent_nor_right_after(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(10000, NULL);
    for (int half = 0; half < 30; half++) {
        pass(500);
        report(1);
        knocked(2, KNOCK_ANSWERED);
    }
    worker_on(2)->frozen_ms = 16000;
    report(2);
    assert_null(strstr(w.log, "instance"));
    quiet();
    watch(9500, NULL);
    EXPECT("");
    watch(500, NULL);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): rank 1 on n2 hangs"));
}

static void test_no_rank_is_accused_while_a_connection_repeats_itself(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(10000, NULL);
    worker_on(1)->retransmits = true; /* any of them */
    worker_on(2)->frozen_ms = 30000;
    watch(30000, NULL);
    EXPECT("");
    worker_on(1)->retransmits = false;
    watch(9500, NULL);
    EXPECT("");
    watch(1000, NULL);
    assert_non_null(strstr(w.log, "rank 1 on n2 hangs"));
}

static void test_a_suspend_of_a_member_is_no_hang(void **state)
{
    struct message *m = message_from(2, MESSAGE_EVENT);

    (void)state;
    make_ready(7, 2);
    watch(10000, NULL);
    m->event = calloc(1, sizeof(*m->event));
    m->event->kind = AGENT_EVENT_RESUMED;
    hear(2, m);
    worker_on(2)->frozen_ms = 20000;
    watch(9500, NULL);
    EXPECT("");
    watch(1000, NULL);
    assert_non_null(strstr(w.log, "rank 1 on n2 hangs"));
}

static void test_our_own_suspend_restarts_every_clock(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    watch(9000, NULL);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    traffic(2, 0);
    worker_on(2)->frozen_ms = 9000;
    watch(9500, NULL);
    EXPECT("");
    watch(1500, NULL);
    assert_non_null(strstr(w.log, "instance m ready -> recovering"));
}

/* ---- P2 ------------------------------------------------------------------------------------------------------------- */

static void test_a_request_that_stands_still_for_ten_seconds(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(5500, NULL);
    traffic(1, 0);
    watch(9500, NULL);
    EXPECT("");
    watch(1000, NULL);
    EXPECT(
        "instance m ready -> recovering (trouble): a request stood still for 10 s and no process of it did anything; "
        "which of them hangs is unknown\n"
        "n1 < stop e1\n");
}

static void test_nothing_hangs_that_has_nothing_to_do(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(60000, NULL);
    traffic(1, 0);
    watch(5000, NULL);
    traffic(0, 3);
    watch(60000, NULL);
    EXPECT("");
}

static void a_token(uint64_t t)
{
    if (t % 9000 == 0)
        traffic(1, t + 1);
}

static void a_batch(uint64_t t)
{
    if (t % 9000 == 0)
        the_coordinator()->n_decode++;
}

static void one_rank_computes(uint64_t t)
{
    if (t % 9000 == 0)
        worker_on(2)->cpu_ms += 10;
}

static void the_coordinator_computes(uint64_t t)
{
    if (t % 9000 == 0)
        the_coordinator()->cpu_ms += 60;
}

static void the_coordinator_answers_health(uint64_t t)
{
    if (t % 8000 == 0)
        the_coordinator()->cpu_ms += 10; /* as measured in a hang: 0.12 % of a core */
}

static void test_whatever_moves_is_no_hang(void **state)
{
    static void (*const moves[])(uint64_t) = {a_token, a_batch, one_rank_computes, the_coordinator_computes};

    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    for (size_t k = 0; k < sizeof(moves) / sizeof(moves[0]); k++) {
        watch(45000, moves[k]);
        EXPECT("");
    }
    watch(11000, the_coordinator_answers_health);
    assert_non_null(strstr(w.log, "a request stood still for 10 s"));
}

static void test_a_worker_in_state_d_is_not_hung(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    worker_on(2)->proc_state = 'D'; /* paging */
    watch(60000, NULL);
    EXPECT("");
}

static void test_the_coordinator_is_named_first(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    the_coordinator()->proc_state = 'T';
    worker_on(2)->proc_state = 'T';
    watch(11000, NULL);
    assert_non_null(strstr(w.log, "coordinator on n1 hangs: its process is stopped (state T)\n"));
}

static void test_a_coordinator_that_answers_no_http_is_named(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    the_coordinator()->http_silent_ms = 2000;
    watch(11000, NULL);
    assert_non_null(strstr(w.log, "coordinator on n1 hangs: it has not answered HTTP for 2 s\n"));
}

static void test_then_a_stopped_worker(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    worker_on(1)->proc_state = 'T';
    worker_on(2)->frozen_ms = 8000;
    watch(11000, NULL);
    assert_non_null(
        strstr(w.log, "a request stood still for 10 s: rank 0 on n1 hangs, its process is stopped (state T)\n"));
}

static void test_then_a_rank_that_does_not_read(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    worker_on(2)->frozen_ms = 9500;
    watch(11000, NULL);
    assert_non_null(
        strstr(w.log, "a request stood still for 10 s: rank 1 on n2 hangs, it does not read what waits for it\n"));
}

/* Its agent is frozen with the machine: nothing is known of the worker, which counts as none. */
static void test_then_a_rank_on_a_stuck_node(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    worker_on(2)->proc_state = 'D';
    report(2);
    for (int half = 0; half < 28; half++) {
        pass(500);
        report(1);
        knocked(2, KNOCK_REFUSED);
        witnessed(1, KNOCK_REFUSED);
    }
    assert_non_null(strstr(w.log, "node n2 suspect -> stuck"));
    assert_non_null(strstr(w.log,
                           "instance m ready -> recovering (trouble): a request stood still for 10 s: rank 1 on n2 "
                           "hangs, its node's agent does not answer\n"));
}

/* The coordinator, too, waits for a page of its model. */
static void test_a_coordinator_in_state_d_is_not_hung(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    the_coordinator()->proc_state = 'D';
    watch(60000, NULL);
    EXPECT("");
}

/* Its agent was stopped, and a prefill goes on: what nobody looks at does not stand still for that. */
static void test_where_no_agent_answers_nothing_is_known(void **state)
{
    (void)state;
    make_ready(7, 1);
    traffic(1, 0);
    for (int half = 0; half < 620 && !strstr(w.log, "instance"); half++) {
        pass(500);
        knocked(1, KNOCK_REFUSED);
        assert_true(half > 590 || !strstr(w.log, "instance"));
    }
    assert_non_null(strstr(w.log, "node n1 suspect -> stuck"));
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): no token came for 300 s, and no agent of "
                                  "its nodes answers\n"));
}

static void test_a_gpu_that_works_or_cannot_be_read_is_no_hang(void **state)
{
    static const int32_t utilization[] = {500, -1};
    struct message *m;

    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    for (size_t k = 0; k < 2; k++) {
        for (uint64_t t = 0; t < 30000; t += 500) {
            pass(500);
            report(1);
            m = report_of(2);
            m->report->device[0].kind = DEVICE_GPU;
            m->report->device[0].utilization_permille = utilization[k];
            hear(2, m);
        }
        EXPECT("");
    }
}

/* Of the CPU its processes' own time is asked, whatever the device as a whole does. */
static void test_a_busy_cpu_is_not_the_workers(void **state)
{
    struct message *m;

    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    for (uint64_t t = 0; t < 11000; t += 500) {
        pass(500);
        for (int node = 1; node <= 2; node++) {
            m = report_of(node);
            m->report->device[0].utilization_permille = -1;
            hear(node, m);
        }
    }
    assert_non_null(strstr(w.log, "a request stood still for 10 s"));
}

static void test_nobody_hangs_while_nobody_is_heard(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    pass(30000);
    assert_null(strstr(w.log, "instance"));
}

/* ---- late ----------------------------------------------------------------------------------------------------------- */

static void rank_1_computes(uint64_t t)
{
    (void)t;
    worker_on(2)->cpu_ms += 450;
}

static void test_a_slow_rank_is_shown_and_not_killed(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    watch(9000, rank_1_computes);
    assert_false(rank_of(1).slow);
    watch(51000, rank_1_computes);
    EXPECT("");
    assert_true(rank_of(1).slow);
    assert_false(rank_of(0).slow);
    the_coordinator()->n_decode++; /* a batch has ended */
    watch(2000, rank_1_computes);
    assert_false(rank_of(1).slow);
}

static void test_a_slow_rank_is_bounded_by_graph_max(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 0);
    watch(299000, rank_1_computes);
    EXPECT("");
    watch(1500, rank_1_computes);
    EXPECT("instance m ready -> recovering (trouble): no token came for 300 s, though rank 1 on n2 computes\n"
           "n1 < stop e1\n");
}

/* ---- the coordinator ------------------------------------------------------------------------------------------------- */

static void test_case_14_a_rank_connection_that_was_closed_is_noticed_idle(void **state)
{
    (void)state;
    make_ready(7, 2);
    the_coordinator()->closed_streams = 1;
    report(1);
    EXPECT(
        "instance m ready -> recovering (trouble): coordinator on n1: 1 of its rank connections were closed by the other "
        "side\n"
        "n1 < stop e1\n");
}

/* While it loads, its own exit tells. */
static void test_a_connection_that_is_closed_in_a_load_says_nothing(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    quiet();
    the_coordinator()->closed_streams = 1;
    report(1);
    EXPECT("");
}

static void test_a_refused_port_is_an_exit(void **state)
{
    (void)state;
    make_ready(7, 2);
    w.epoch--;
    upstream(UPSTREAM_REFUSED); /* of an epoch that is over */
    EXPECT("");
    w.epoch++;
    upstream(UPSTREAM_REFUSED);
    EXPECT("instance m ready -> recovering (trouble): coordinator on n1: its port refused or reset a connection\n"
           "n1 < stop e1\n");
    upstream(UPSTREAM_REFUSED);
    EXPECT("");
}

static void test_errors_are_a_reason_to_ask_for_a_token_of_our_own(void **state)
{
    (void)state;
    make_ready(7, 2);
    upstream(UPSTREAM_BROKEN);
    EXPECT("warm_up m 10.0.0.1:18080\n");
    upstream(UPSTREAM_BROKEN); /* one at a time */
    EXPECT("");
    warmed(true, "");
    EXPECT("");
    upstream(UPSTREAM_BROKEN); /* not more often than each 5 s */
    EXPECT("");
    watch(5000, NULL);
    upstream(UPSTREAM_BROKEN);
    EXPECT("warm_up m 10.0.0.1:18080\n");
    warmed(false, "HTTP 500");
    EXPECT(
        "instance m ready -> recovering (trouble): coordinator on n1 answers errors, and not the token that was asked of "
        "it: HTTP 500\n"
        "n1 < stop e1\n");
    warmed(false, "");
    EXPECT("");
}

static void test_a_token_that_nobody_asked_for_says_nothing(void **state)
{
    (void)state;
    make_ready(7, 2);
    warmed(false, "HTTP 500");
    EXPECT("");
}

/* Connections of before a suspend of ours are reset: that is no word on the coordinator. */
static void test_after_our_own_suspend_the_gateway_is_not_believed(void **state)
{
    (void)state;
    make_ready(7, 2);
    upstream(UPSTREAM_BROKEN);
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    upstream(UPSTREAM_REFUSED);
    warmed(false, "reset");
    watch(9500, NULL);
    upstream(UPSTREAM_BROKEN);
    EXPECT("");
    watch(1000, NULL);
    upstream(UPSTREAM_REFUSED);
    assert_non_null(strstr(w.log, "instance m ready -> recovering"));
}

/* Nobody may ever end a connection that was open then, and the coordinator has done with it: a request that is new stands
 * still or does not, that one says nothing. */
static void test_what_was_in_flight_when_we_slept_does_not_stand_still(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(1, 5);
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    watch(40000, NULL);
    EXPECT("");
    traffic(2, 5);
    watch(9000, NULL);
    EXPECT("");
    watch(2000, NULL);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble)"));
}

/* As soon as one of them has ended, one more is one more. */
static void test_what_was_in_flight_when_we_slept_may_end(void **state)
{
    (void)state;
    make_ready(7, 2);
    traffic(2, 5);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    traffic(1, 5);
    quiet();
    watch(20000, NULL);
    EXPECT("");
    traffic(2, 5);
    watch(11000, NULL);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble)"));
}

/* All slots are taken: our own request waits like any other, which says nothing. */
static void test_a_token_that_does_not_come_may_be_asked_for_again(void **state)
{
    (void)state;
    make_ready(7, 2);
    upstream(UPSTREAM_BROKEN);
    quiet();
    watch(120000, NULL);
    upstream(UPSTREAM_BROKEN);
    EXPECT("");
    watch(6000, NULL);
    EXPECT("");
    upstream(UPSTREAM_BROKEN);
    EXPECT("warm_up m 10.0.0.1:18080\n");
}

/* ---- whose fault, and whether another try can help --------------------------------------------------------------------- */

static void test_an_error_that_cannot_change_is_said_to_be_one(void **state)
{
    struct view *v;

    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    exits(1, UNIT_COORDINATOR, 1, 0, "llama_model_load: error loading model: unknown model architecture: 'nope'");
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    v = view_now();
    assert_string_equal(v->task[0].code, "unservable");
    view_unref(&v);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_case_11_a_rank_that_reads_nothing_is_named),
        TEST(test_a_stopped_rank_is_said_to_be_stopped),
        TEST(test_a_rank_that_hangs_in_a_load),
        TEST(test_no_rank_is_accused_while_a_member_is_silent_nor_right_after),
        TEST(test_no_rank_is_accused_while_a_connection_repeats_itself),
        TEST(test_a_suspend_of_a_member_is_no_hang),
        TEST(test_our_own_suspend_restarts_every_clock),
        TEST(test_a_request_that_stands_still_for_ten_seconds),
        TEST(test_nothing_hangs_that_has_nothing_to_do),
        TEST(test_whatever_moves_is_no_hang),
        TEST(test_a_worker_in_state_d_is_not_hung),
        TEST(test_the_coordinator_is_named_first),
        TEST(test_a_coordinator_that_answers_no_http_is_named),
        TEST(test_then_a_stopped_worker),
        TEST(test_then_a_rank_that_does_not_read),
        TEST(test_then_a_rank_on_a_stuck_node),
        TEST(test_a_coordinator_in_state_d_is_not_hung),
        TEST(test_where_no_agent_answers_nothing_is_known),
        TEST(test_a_gpu_that_works_or_cannot_be_read_is_no_hang),
        TEST(test_a_busy_cpu_is_not_the_workers),
        TEST(test_nobody_hangs_while_nobody_is_heard),
        TEST(test_a_slow_rank_is_shown_and_not_killed),
        TEST(test_a_slow_rank_is_bounded_by_graph_max),
        TEST(test_case_14_a_rank_connection_that_was_closed_is_noticed_idle),
        TEST(test_a_connection_that_is_closed_in_a_load_says_nothing),
        TEST(test_a_refused_port_is_an_exit),
        TEST(test_errors_are_a_reason_to_ask_for_a_token_of_our_own),
        TEST(test_a_token_that_nobody_asked_for_says_nothing),
        TEST(test_after_our_own_suspend_the_gateway_is_not_believed),
        TEST(test_what_was_in_flight_when_we_slept_does_not_stand_still),
        TEST(test_what_was_in_flight_when_we_slept_may_end),
        TEST(test_a_token_that_does_not_come_may_be_asked_for_again),
        TEST(test_an_error_that_cannot_change_is_said_to_be_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
