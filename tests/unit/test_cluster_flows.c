/* What carriers see of a rank's streams, and what follows: a rank that owes an answer is named with the command that waits,
 * a load is judged by what it has got. */
#include "controller/core/loading.h"
#include "tests/unit/cluster_harness.h"

static struct unit_facts *worker_on(int node)
{
    struct unit_facts *u = unit_at(node, UNIT_WORKER);

    assert_non_null(u);
    return u;
}

static struct view_rank rank_of(size_t k)
{
    struct view *v = view_now();
    struct view_rank rank = v->instance[0].rank[k];

    view_unref(&v);
    return rank;
}

static struct rank_flow *far(void)
{
    return flow_of(2, 1, true);
}

static struct rank_flow *near(void)
{
    return flow_of(1, 1, false);
}

/* Rank 1 has been asked, and does not answer from now on. */
static void ask(const char *command)
{
    strcpy(far()->oldest, command);
    far()->oldest_ms = 0;
}

/* Both nodes report for that long; what waits grows older, and work does what it likes. */
static void watch(uint64_t ms, void (*work)(uint64_t t))
{
    for (uint64_t t = 0; t < ms; t += 500) {
        if (work)
            work(t);
        pass_reporting(500, 2);
        if (far()->oldest[0])
            far()->oldest_ms += 500;
    }
}

/* ---- P3 ------------------------------------------------------------------------------------------------------------- */

static void test_case_11_a_rank_that_owes_an_answer_is_named_with_the_command(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(15000, NULL);
    ask("GET_TENSOR");
    watch(10000, NULL);
    EXPECT("");
    watch(500, NULL);
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2 hangs: GET_TENSOR waits for 10 s\n"
           "n1 < stop e1\n");
}

/* In a load, too: then nobody asks for tokens. */
static void test_a_stopped_rank_is_said_to_be_stopped(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    quiet();
    ask("SET_TENSOR_HASH");
    worker_on(2)->proc_state = 'T';
    watch(10500, NULL);
    EXPECT(
        "instance m loading -> recovering (trouble): rank 1 on n2 hangs: SET_TENSOR_HASH waits for 10 s; its process is "
        "stopped (state T)\n"
        "n1 < stop e1\n");
}

/* Both rules hold at once where it is stopped in the middle of an answer: the command is said by either. */
static void test_a_rank_that_reads_nothing_is_named_with_the_command_too(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(15000, NULL);
    ask("GET_TENSOR");
    far()->oldest_ms = 9000;
    worker_on(2)->frozen_ms = 9900;
    report(2);
    EXPECT(
        "instance m ready -> recovering (trouble): rank 1 on n2 hangs: for 10 s it has read nothing of what waits for it "
        "and used no CPU time; GET_TENSOR waits for 9 s\n"
        "n1 < stop e1\n");
}

static void computes(uint64_t t)
{
    if (t % 9000 == 0)
        worker_on(2)->cpu_ms += 10;
}

static void is_answered(uint64_t t)
{
    if (t % 9000 == 0)
        far()->oldest_ms = 0;
}

static void has_nothing_to_do(uint64_t t)
{
    (void)t;
    far()->oldest[0] = '\0';
    far()->oldest_ms = 50000; /* of nothing */
}

static void pages(uint64_t t)
{
    worker_on(2)->proc_state = t % 9000 ? 'S' : 'D';
}

static void test_whatever_moves_owes_nothing(void **state)
{
    static void (*const works[])(uint64_t) = {computes, is_answered, has_nothing_to_do, pages};

    for (size_t k = 0; k < sizeof(works) / sizeof(works[0]); k++) {
        make_ready(7, 2);
        watch(5000, NULL);
        ask("GET_TENSOR");
        watch(40000, works[k]);
        EXPECT("");
        world_teardown(state);
        tunnel_setup(state);
    }
}

/* One that cannot be read counts as busy. */
static void test_a_device_that_works_owes_nothing(void **state)
{
    static const int32_t utilization[] = {-1, 500, 0};

    for (size_t k = 0; k < 3; k++) {
        make_ready(7, 2);
        watch(5000, NULL);
        ask("GET_TENSOR");
        for (uint64_t t = 0; t < 20000 && !w.log[0]; t += 500) {
            struct message *m;

            pass(500);
            report(1);
            m = report_of(2);
            m->report->device[0].kind = DEVICE_UNIFIED;
            m->report->device[0].utilization_permille = utilization[k];
            hear(2, m);
            far()->oldest_ms += 500;
        }
        assert_int_equal(strstr(w.log, "GET_TENSOR waits") != NULL, utilization[k] == 0);
        world_teardown(state);
        tunnel_setup(state);
    }
}

/* What came late to the worker is the network's doing: its own end alone is judged. */
static void test_the_near_end_accuses_nobody(void **state)
{
    (void)state;
    make_ready(7, 2);
    strcpy(near()->oldest, "GET_TENSOR");
    for (uint64_t t = 0; t < 30000; t += 500) {
        near()->oldest_ms = t;
        watch(500, NULL);
    }
    EXPECT("");
    assert_int_equal(rank_of(1).away_ms, 29500);
}

static void test_a_rank_beside_its_coordinator_is_judged_too(void **state)
{
    struct rank_flow *f;

    (void)state;
    make_ready(7, 2);
    watch(5000, NULL);
    f = flow_of(1, 0, false);
    strcpy(f->oldest, "GET_TENSOR");
    f->oldest_ms = 500;
    for (int half = 0; half < 24 && !w.log[0]; half++) {
        pass_reporting(500, 2);
        f->oldest_ms += 500;
    }
    assert_non_null(strstr(w.log, "rank 0 on n1 hangs: GET_TENSOR waits for 1"));
}

/* A cut that heals ends no clock early: each begins anew. */
static void test_no_rank_is_accused_while_a_member_is_silent_nor_right_after(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(5000, NULL);
    ask("GET_TENSOR");
    watch(8000, NULL);
    for (int half = 0; half < 10; half++) {
        pass(500);
        report(1);
        knocked(2, KNOCK_ANSWERED);
    }
    far()->oldest_ms += 5000;
    report(2);
    assert_null(strstr(w.log, "instance"));
    quiet();
    watch(9500, NULL);
    EXPECT("");
    watch(1000, NULL);
    assert_non_null(strstr(w.log, "rank 1 on n2 hangs: GET_TENSOR waits"));
}

/* What a carrier has on the network counts as its worker's, or its coordinator's. */
static void test_no_rank_is_accused_while_a_connection_repeats_itself(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(5000, NULL);
    ask("GET_TENSOR");
    unit_at(1, UNIT_COORDINATOR)->retransmits = true;
    watch(30000, NULL);
    EXPECT("");
    unit_at(1, UNIT_COORDINATOR)->retransmits = false;
    watch(9500, NULL);
    EXPECT("");
    watch(1500, NULL);
    assert_non_null(strstr(w.log, "rank 1 on n2 hangs: GET_TENSOR waits"));
}

/* It computed a long answer when its agent was stopped: the last word of that says nothing of what goes on. */
static void test_of_a_stuck_node_the_last_word_does_not_count(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(5000, NULL);
    ask("GET_TENSOR");
    watch(20000, computes);
    quiet();
    for (int half = 0; half < 60; half++) {
        pass(500);
        report(1);
        knocked(2, KNOCK_REFUSED);
        witnessed(1, KNOCK_REFUSED);
    }
    assert_non_null(strstr(w.log, "node n2 suspect -> stuck"));
    assert_null(strstr(w.log, "instance m"));
}

static void traffic(uint32_t in_flight, uint64_t progress)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_TRAFFIC,
                              .instance = w.instance,
                              .epoch = w.epoch,
                              .traffic = {.in_flight = in_flight, .progress = progress}});
}

/* That nothing moves is known by another rule: then half the time is enough to name somebody. */
static void test_who_owes_is_named_for_the_whole(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(5000, NULL);
    traffic(1, 0);
    watch(4000, NULL);
    ask("GET_TENSOR");
    watch(7000, NULL);
    assert_non_null(strstr(w.log,
                           "a request stood still for 10 s: rank 1 on n2 hangs, it does not answer; GET_TENSOR waits "
                           "for 5 s\n"));
}

/* Through it nothing comes, so no rank owes anything. */
static void stop_carrier(int node)
{
    make_ready(7, 2);
    watch(5000, NULL);
    traffic(1, 0);
    unit_at(node, UNIT_CARRIER)->proc_state = 'T';
    watch(11000, NULL);
}

static void test_a_stopped_carrier_is_named(void **state)
{
    (void)state;
    stop_carrier(2);
    assert_non_null(strstr(w.log, "stood still for 10 s: rank 1 on n2 hangs, its carrier is stopped (state T)\n"));
}

static void test_the_coordinators_carrier_is_rank_0s(void **state)
{
    (void)state;
    stop_carrier(1);
    assert_non_null(strstr(w.log, "stood still for 10 s: rank 0 on n1 hangs, its carrier is stopped (state T)\n"));
}

static void test_a_carrier_that_is_stopped_for_long_is_named_though_nobody_asks(void **state)
{
    for (int node = 1; node <= 2; node++) {
        make_ready(7, 2);
        watch(15000, NULL);
        unit_at(node, UNIT_CARRIER)->frozen_ms = 9899;
        watch(1000, NULL);
        EXPECT("");
        unit_at(node, UNIT_CARRIER)->frozen_ms = 9900;
        report(node);
        if (node == 1)
            EXPECT(
                "instance m ready -> recovering (trouble): the carrier of rank 0 on n1 hangs: it has been stopped (state "
                "T) for 10 s\n"
                "n1 < stop e1\n");
        else
            EXPECT(
                "instance m ready -> recovering (trouble): the carrier of rank 1 on n2 hangs: it has been stopped (state "
                "T) for 10 s\n"
                "n1 < stop e1\n");
        world_teardown(state);
        tunnel_setup(state);
    }
}

static void test_a_carrier_that_is_stopped_in_a_load(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    watch(15000, NULL);
    quiet();
    unit_at(2, UNIT_CARRIER)->frozen_ms = 10000;
    report(2);
    assert_non_null(
        strstr(w.log, "instance m loading -> recovering (trouble): the carrier of rank 1 on n2 hangs: it has been"));
}

/* As of a rank. */
static void test_no_carrier_is_accused_while_a_member_is_silent_nor_right_after(void **state)
{
    (void)state;
    make_ready(7, 2);
    watch(15000, NULL);
    for (int half = 0; half < 10; half++) {
        pass(500);
        report(1);
        knocked(2, KNOCK_ANSWERED);
    }
    unit_at(2, UNIT_CARRIER)->frozen_ms = 20000;
    report(2);
    assert_null(strstr(w.log, "instance"));
    quiet();
    watch(9500, NULL);
    EXPECT("");
    watch(500, NULL);
    assert_non_null(strstr(w.log, "the carrier of rank 1 on n2 hangs"));
}

/* ---- what is believed ------------------------------------------------------------------------------------------------ */

static void test_each_node_speaks_for_its_own_ends(void **state)
{
    (void)state;
    make_ready(7, 3);
    flow_of(3, 1, true)->request_bytes = 1;                   /* rank 1's worker is on n2 */
    flow_of(2, 2, false)->request_bytes = 2;                  /* its coordinator on n1 */
    flow_of(2, PROTO_RANKS_MAX - 1, true)->request_bytes = 3; /* there is no such rank */
    *flow_of(2, 5, true) = (struct rank_flow){.instance = w.instance, .epoch = 9, .rank = 1, .at_worker = true};
    *flow_of(2, 6, true) = (struct rank_flow){.instance = id_of(50), .epoch = 1, .rank = 1, .at_worker = true};
    pass_reporting(500, 3);
    for (size_t k = 0; k < 3; k++)
        assert_false(rank_of(k).has_flow);
    flow_of(2, 1, true)->request_bytes = 4;
    pass_reporting(500, 3);
    assert_int_equal(rank_of(1).flow.request_bytes, 4);
}

static void test_both_ends_are_put_together(void **state)
{
    (void)state;
    make_ready(7, 2);
    near()->request_bytes = 100;
    near()->graph_ms = 7;
    report(1);
    assert_true(rank_of(1).has_flow);
    assert_int_equal(rank_of(1).flow.request_bytes, 100); /* the only one that is known */
    far()->request_bytes = 60;
    far()->graph_ms = 3000;
    flow_of(1, 0, true)->graph_ms = 1000;
    strcpy(near()->oldest, "GET_TENSOR");
    near()->oldest_ms = 2500;
    strcpy(far()->oldest, "GET_TENSOR");
    far()->oldest_ms = 1500;
    pass_reporting(500, 2);
    assert_int_equal(rank_of(1).flow.request_bytes, 60);
    assert_true(rank_of(1).flow.at_worker);
    assert_int_equal(rank_of(1).away_ms, 1000);
    assert_int_equal(rank_of(0).share_permille, 250);
    assert_int_equal(rank_of(1).share_permille, 750);
    strcpy(far()->blind, "stale"); /* then nobody knows where it waits */
    far()->oldest[0] = '\0';
    pass_reporting(500, 2);
    assert_int_equal(rank_of(1).away_ms, 0);
    assert_string_equal(rank_of(1).flow.blind, "stale");
}

static void test_what_was_seen_goes_with_its_epoch(void **state)
{
    (void)state;
    make_ready(7, 2);
    far()->request_bytes = 60;
    pass_reporting(500, 2);
    assert_true(rank_of(1).has_flow);
    exits(2, UNIT_WORKER, 0, 9, "");
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    commit();
    pass_reporting(500, 2); /* the old one is still told */
    assert_int_equal(w.epoch, 2);
    assert_false(rank_of(1).has_flow);
}

/* ---- loads ----------------------------------------------------------------------------------------------------------- */

enum { MIB = 1024 * 1024 };

static uint64_t planned(size_t k)
{
    return w.plan.rank[k].device[0].weight_bytes;
}

static struct view_instance instance_now(void)
{
    struct view *v = view_now();
    struct view_instance i = v->instance[0];

    i.plan = NULL;
    view_unref(&v);
    return i;
}

static const char *task_text(void)
{
    static char text[PROTO_TEXT_MAX];
    struct view *v = view_now();

    snprintf(text, sizeof(text), "%s", v->task[0].text);
    view_unref(&v);
    return text;
}

static void loads(void)
{
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    flow_of(1, 0, true);
    far();
    pass_reporting(500, 2);
    quiet();
}

static void test_a_load_is_measured_by_what_it_has_got(void **state)
{
    (void)state;
    loads();
    worker_on(2)->rss_bytes = 300 * MIB; /* not all that it holds is weights */
    flow_of(1, 0, true)->tensor_bytes = 24 * MIB;
    far()->tensor_bytes = 10 * MIB;
    far()->fed_bytes = 14 * MIB;
    pass_reporting(9500, 2);
    assert_int_equal(rank_of(0).loaded_bytes, 24 * MIB);
    assert_int_equal(rank_of(1).loaded_bytes, 24 * MIB);
    assert_int_equal(instance_now().progress_permille,
                     (uint32_t)(48.0 * MIB / (double)(planned(0) + planned(1)) * 999.0));
    assert_in_range(instance_now().eta_ms, (planned(0) + planned(1) - 48 * MIB) * 10000 / (48 * MIB) - 2000,
                    (planned(0) + planned(1) - 48 * MIB) * 10000 / (48 * MIB) + 2000);
    assert_string_equal(task_text(), "loading: 48 MiB of 193 MiB, 14 MiB of it from the nodes' own files");
    far()->tensor_bytes = 1000 * MIB; /* inputs come the same way */
    pass_reporting(500, 2);
    assert_int_equal(rank_of(1).loaded_bytes, planned(1));
}

static void test_a_stream_that_is_not_understood_tells_nothing_of_a_load(void **state)
{
    (void)state;
    loads();
    strcpy(far()->blind, "version");
    far()->request_bytes = 50 * MIB;
    worker_on(2)->rss_bytes = 20 * MIB;
    pass_reporting(500, 2);
    assert_int_equal(rank_of(1).loaded_bytes, 20 * MIB);
}

static uint64_t stalls_after(void (*work)(uint64_t t))
{
    uint64_t t = 0;

    for (; t < 200000 && !w.log[0]; t += 500) {
        work(t);
        pass_reporting(500, 2);
    }
    return t;
}

static void gets_nothing(uint64_t t)
{
    worker_on(2)->rss_bytes += t ? MIB : 0; /* whatever that is, it is no weights */
}

static void gets_crumbs(uint64_t t)
{
    (void)t;
    far()->tensor_bytes += 100;
}

static void gets_a_little(uint64_t t)
{
    far()->tensor_bytes += t < 100000 ? 4096 : 0;
}

static void is_fed(uint64_t t)
{
    far()->fed_bytes += t < 100000 ? 4096 : 0;
}

static void test_a_load_stalls_when_no_rank_gets_anything(void **state)
{
    static void (*const work[])(uint64_t) = {gets_nothing, gets_crumbs};

    for (size_t k = 0; k < 2; k++) {
        loads();
        assert_in_range(stalls_after(work[k]), 58000, 62000);
        assert_non_null(strstr(w.log,
                               "instance m loading -> recovering (trouble): the load has not moved for 60 s: no rank "
                               "got anything and the coordinator on n1 did nothing\n"));
        world_teardown(state);
        tunnel_setup(state);
    }
}

static void test_a_load_goes_on_while_any_rank_gets_something(void **state)
{
    static void (*const work[])(uint64_t) = {gets_a_little, is_fed};

    for (size_t k = 0; k < 2; k++) {
        loads();
        assert_in_range(stalls_after(work[k]), 150000, 162000);
        world_teardown(state);
        tunnel_setup(state);
    }
}

/* A controller that begins in the middle of a load counts from there. */
static void test_the_time_that_is_left_counts_from_where_it_began(void **state)
{
    (void)state;
    begin_load(7, 2);
    flow_of(1, 0, true)->tensor_bytes = far()->tensor_bytes = 40 * MIB;
    pass_reporting(500, 2);
    done(1, COMMAND_START_COORDINATOR);
    assert_int_equal(instance_now().eta_ms, UINT64_MAX);
    far()->tensor_bytes += 10 * MIB;
    pass_reporting(10000, 2);
    assert_in_range(instance_now().eta_ms, (planned(0) + planned(1) - 90 * MIB) / MIB * 1000 - 5000,
                    (planned(0) + planned(1) - 90 * MIB) / MIB * 1000 + 5000);
}

/* Where nothing is told nothing is said, and what it holds is what counts. */
static void test_without_carriers_a_load_is_what_it_was(void **state)
{
    world_teardown(state);
    world_setup(state);
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    worker_on(2)->rss_bytes = 30 * MIB;
    pass_reporting(500, 2);
    assert_int_equal(rank_of(1).loaded_bytes, 30 * MIB);
    assert_false(rank_of(1).has_flow);
    assert_string_equal(task_text(), "");
}

int main(void)
{
#define TUNNEL(test) cmocka_unit_test_setup_teardown(test, tunnel_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TUNNEL(test_case_11_a_rank_that_owes_an_answer_is_named_with_the_command),
        TUNNEL(test_a_stopped_rank_is_said_to_be_stopped),
        TUNNEL(test_a_rank_that_reads_nothing_is_named_with_the_command_too),
        TUNNEL(test_whatever_moves_owes_nothing),
        TUNNEL(test_a_device_that_works_owes_nothing),
        TUNNEL(test_the_near_end_accuses_nobody),
        TUNNEL(test_a_rank_beside_its_coordinator_is_judged_too),
        TUNNEL(test_no_rank_is_accused_while_a_member_is_silent_nor_right_after),
        TUNNEL(test_no_rank_is_accused_while_a_connection_repeats_itself),
        TUNNEL(test_of_a_stuck_node_the_last_word_does_not_count),
        TUNNEL(test_who_owes_is_named_for_the_whole),
        TUNNEL(test_a_stopped_carrier_is_named),
        TUNNEL(test_the_coordinators_carrier_is_rank_0s),
        TUNNEL(test_a_carrier_that_is_stopped_for_long_is_named_though_nobody_asks),
        TUNNEL(test_a_carrier_that_is_stopped_in_a_load),
        TUNNEL(test_no_carrier_is_accused_while_a_member_is_silent_nor_right_after),
        TUNNEL(test_each_node_speaks_for_its_own_ends),
        TUNNEL(test_both_ends_are_put_together),
        TUNNEL(test_what_was_seen_goes_with_its_epoch),
        TUNNEL(test_a_load_is_measured_by_what_it_has_got),
        TUNNEL(test_a_stream_that_is_not_understood_tells_nothing_of_a_load),
        TUNNEL(test_a_load_stalls_when_no_rank_gets_anything),
        TUNNEL(test_a_load_goes_on_while_any_rank_gets_something),
        TUNNEL(test_the_time_that_is_left_counts_from_where_it_began),
        TUNNEL(test_without_carriers_a_load_is_what_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
