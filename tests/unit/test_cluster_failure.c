/* Everything that can go wrong on the way and after it: the step, the node and the rank are named, the epoch ends whole,
 * and only then is the next one placed. What becomes of it after that is test_cluster_recovery's. */
#include "tests/unit/cluster_harness.h"

/* The rest of every story here: rank 0's node is told first, then the others. */
#define RELEASED_OF_2 \
    "n1 < stop e1\n"  \
    "n2 < stop e1\n"  \
    "instance m recovering -> placing (place)\n"

static void both_stop(void)
{
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
}

static uint64_t leased_bytes(const struct view *v)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < v->n_nodes; i++)
        sum += v->node[i].leased_bytes;
    return sum;
}

/* The first epoch failed for this, everything of it went, and the second has its place. */
static void assert_failed_once(const char *code)
{
    struct view *v = view_now();
    uint64_t planned = w.plan.host_bytes;

    assert_int_equal(v->instance[0].state, INSTANCE_PLACING);
    assert_int_equal(v->instance[0].epoch, 2);
    assert_int_equal(v->instance[0].attempts, 1);
    assert_int_equal(v->instance[0].n_tried, 1);
    assert_int_equal(v->instance[0].tried[0].epoch, 1);
    assert_string_equal(v->instance[0].tried[0].code, code);
    assert_string_equal(v->instance[0].tried[0].text, v->instance[0].reason);
    for (size_t r = 0; r < w.plan.n_ranks; r++)
        planned += w.plan.rank[r].device[0].peak_bytes;
    assert_int_equal(leased_bytes(v), planned);
    view_unref(&v);
}

/* ---- leasing ------------------------------------------------------------------------------------------------------ */

static void begin_lease(void)
{
    join(1);
    join(2);
    deploy(7, "m", 2);
    commit();
    quiet();
}

static void test_case_05_a_refused_lease_gives_the_first_one_back(void **state)
{
    (void)state;
    begin_lease();
    done(1, COMMAND_LEASE);
    quiet();
    answer_with(2, COMMAND_LEASE, RESULT_REFUSED, "no_memory", "too much is promised");
    both_stop();
    EXPECT(
        "instance m leasing -> recovering (trouble): the lease on n2 was refused: too much is promised\n" RELEASED_OF_2
        "commit 2: instance m leasing e2\n");
    assert_failed_once("no_memory");
}

static void test_a_lease_that_is_not_answered_runs_out(void **state)
{
    (void)state;
    begin_lease();
    pass_reporting(4500, 2);
    quiet();
    pass_reporting(500, 2);
    EXPECT("instance m leasing -> recovering (trouble): the lease on n1 was not answered within 5 s\n"
           "n1 < stop e1\n");
    done(1, COMMAND_STOP); /* n2 was never told anything, so it is not asked to end anything */
    assert_failed_once("lease_timeout");
}

static void test_a_node_that_vanishes_between_plan_and_start(void **state)
{
    (void)state;
    begin_lease();
    done(1, COMMAND_LEASE);
    quiet();
    vanish(2, 2);
    EXPECT("node n2 suspect -> lost (knock_unanswered): knocked at twice and not answered, by this controller n1\n"
           "instance m leasing -> recovering (trouble): node n2 was lost while the instance was leasing\n"
           "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    pass_reporting(2000, 1); /* until n1 has reported what it has left */
    assert_non_null(strstr(w.log, "instance m placing -> waiting (no_room): 1 node can be used, 2 needed"));
}

static void test_a_node_lost_before_its_turn_is_not_waited_for(void **state)
{
    (void)state;
    join(1);
    join(2);
    deploy(7, "m", 2);
    vanish(2, 2);
    quiet();
    commit();
    EXPECT("answer 7: task 1\n"
           "instance m placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n");
    done(1, COMMAND_LEASE);
    EXPECT("instance m leasing -> recovering (trouble): node n2 was lost before it could be leased\n"
           "n1 < stop e1\n");
}

/* ---- workers ------------------------------------------------------------------------------------------------------ */

static void begin_start(void)
{
    begin_lease();
    done(1, COMMAND_LEASE);
    done(2, COMMAND_LEASE);
    quiet();
}

static void test_case_05_a_worker_that_cannot_start_is_named(void **state)
{
    (void)state;
    begin_start();
    done(1, COMMAND_START_WORKER);
    answer_with(2, COMMAND_START_WORKER, RESULT_FAILED, "port_taken", "20052 to 20099 are held by uid 1000");
    both_stop();
    EXPECT(
        "instance m starting -> recovering (trouble): rank 1 on n2: the start of its worker failed: 20052 to 20099 are held "
        "by uid 1000\n" RELEASED_OF_2 "commit 2: instance m leasing e2\n");
    assert_failed_once("port_taken");
}

static void test_a_worker_that_does_not_come_up_runs_out(void **state)
{
    (void)state;
    begin_start();
    done(1, COMMAND_START_WORKER);
    pass_reporting(19500, 2);
    quiet();
    pass_reporting(500, 2);
    EXPECT(
        "instance m starting -> recovering (trouble): rank 1 on n2: the start of its worker was not answered within 20 "
        "s\n"
        "n1 < stop e1\n");
    both_stop();
    assert_failed_once("worker_timeout");
}

static void test_a_worker_that_dies_before_the_others_are_up(void **state)
{
    (void)state;
    begin_start();
    done(2, COMMAND_START_WORKER);
    exits(2, UNIT_WORKER, 1, 0, "unknown device: CUDA7");
    EXPECT(
        "instance m starting -> recovering (trouble): rank 1 on n2: worker exited with code 1; it said: unknown device: "
        "CUDA7\n"
        "n1 < stop e1\n");
    both_stop();
    assert_failed_once("worker_exited");
}

/* ---- coordinator -------------------------------------------------------------------------------------------------- */

/* Its agent's event may come before its answer: nothing has run, so nothing exited and nothing "said" anything. */
static void test_a_worker_that_was_never_started_is_not_said_to_be_gone(void **state)
{
    struct message *m;

    (void)state;
    begin_start();
    done(1, COMMAND_START_WORKER);
    m = event_of(1, AGENT_EVENT_UNIT_EXITED, UNIT_WORKER);
    m->event->unit.state = UNIT_FAILED;
    m->event->unit.exit = (struct exit_facts){.known = false};
    strcpy(m->event->text, "every port from 20052 to 20061 is taken");
    hear(1, m);
    EXPECT("instance m starting -> recovering (trouble): rank 0 on n1: worker could not be started: every port from "
           "20052 to 20061 is taken\n"
           "n1 < stop e1\n");
    both_stop();
}

static void test_case_05_a_coordinator_that_dies_in_the_load(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    exits(1, UNIT_COORDINATOR, 1, 0, "error loading model");
    both_stop();
    EXPECT("instance m loading -> recovering (trouble): coordinator on n1: exited with code 1; it said: error loading "
           "model\n" RELEASED_OF_2 "commit 2: instance m leasing e2\n");
    assert_failed_once("coordinator_exited");
}

static void test_a_coordinator_that_cannot_start(void **state)
{
    (void)state;
    begin_load(7, 1);
    answer_with(1, COMMAND_START_COORDINATOR, RESULT_REFUSED, "no_file", "this node has no model \"m\"");
    EXPECT(
        "instance m loading -> recovering (trouble): the start of the coordinator on n1 was refused: this node has no "
        "model \"m\"\n"
        "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    assert_failed_once("no_file");
}

static void test_a_coordinator_that_is_never_heard_of_runs_out(void **state)
{
    (void)state;
    begin_load(7, 1);
    pass_reporting(19500, 1);
    quiet();
    pass_reporting(500, 1);
    EXPECT(
        "instance m loading -> recovering (trouble): the start of the coordinator on n1 was not answered within 20 s\n"
        "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    assert_failed_once("coordinator_timeout");
}

static void test_case_05_a_rank_of_the_wrong_size_is_named_at_once(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, 1, 12 * 1024 * 1024);
    EXPECT("instance m loading -> recovering (trouble): rank 1 on n2 holds 12.00 MiB, the plan says 97.00 MiB\n"
           "n1 < stop e1\n");
    both_stop();
    assert_failed_once("rank_mismatch");
}

static void test_rounding_of_the_log_is_no_mismatch(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, 1, w.plan.rank[1].device[0].weight_bytes + 11534);
    EXPECT("");
    listens(1);
    EXPECT("warm_up m 10.0.0.1:18080\n");
}

static void test_one_byte_more_than_rounding_is(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, 1, w.plan.rank[1].device[0].weight_bytes + 11535);
    assert_non_null(strstr(w.log, "loading -> recovering"));
}

static void test_a_rank_that_was_skipped_is_named(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, 1, 0); /* not seen: may still come */
    listens(1);
    EXPECT("");
    pass_reporting(4500, 2);
    EXPECT("");
    pass_reporting(500, 2);
    EXPECT("instance m loading -> recovering (trouble): rank 1 on n2 holds 0 MiB, the plan says 97.00 MiB\n"
           "n1 < stop e1\n");
}

static void test_an_endpoint_that_nobody_planned(void **state)
{
    struct message *m;

    (void)state;
    begin_load(7, 1);
    done(1, COMMAND_START_COORDINATOR);
    m = event_of(1, AGENT_EVENT_RANK_BUFFERS, UNIT_COORDINATOR);
    m->event->n_buffers = 1;
    strcpy(m->event->buffers[0].endpoint, "10.0.0.9:50052");
    m->event->buffers[0].device = 0;
    hear(1, m);
    EXPECT(
        "instance m loading -> recovering (trouble): the coordinator uses device 0 of 10.0.0.9:50052, which is not in the "
        "plan\n"
        "n1 < stop e1\n");
}

/* A load is watched by movement, not by a clock. */
static void test_a_load_may_take_long_while_it_moves_and_fails_when_it_stands(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    for (int i = 0; i < 20; i++) {
        pass_reporting(50000, 2);
        w.unit[2][0].rss_bytes += 1024 * 1024;
        report(2);
    }
    EXPECT("");
    for (int i = 0; i < 5; i++) { /* nothing grows, but the coordinator computes */
        pass_reporting(50000, 2);
        w.unit[1][1].cpu_ms += 2000;
        report(1);
    }
    EXPECT("");
    pass_reporting(50000, 2);
    w.unit[1][1].cpu_ms += 20; /* answering /health is not loading */
    pass_reporting(9500, 2);
    EXPECT("");
    pass_reporting(500, 2);
    EXPECT(
        "instance m loading -> recovering (trouble): the load has not moved for 60 s: no rank grew and the coordinator on "
        "n1 did nothing\n"
        "n1 < stop e1\n");
    both_stop();
    assert_failed_once("load_stalled");
}

static void begin_warm_up(void)
{
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    quiet();
}

static void test_a_first_token_that_fails(void **state)
{
    (void)state;
    begin_warm_up();
    warmed(false, "HTTP 500");
    EXPECT("instance m loading -> recovering (trouble): the first token did not come: HTTP 500\n"
           "n1 < stop e1\n");
    both_stop();
    assert_failed_once("warm_up_failed");
    quiet();
    warmed(true, ""); /* too late */
    EXPECT("");
}

static void test_a_first_token_that_never_comes(void **state)
{
    (void)state;
    begin_warm_up();
    pass_reporting(120000, 2);
    EXPECT("instance m loading -> recovering (trouble): the first token did not come within 120 s\n"
           "n1 < stop e1\n");
}

static void test_a_worker_that_dies_while_ready_is_being_written(void **state)
{
    (void)state;
    begin_warm_up();
    warmed(true, "");
    EXPECT("commit 2: instance m ready e1\n");
    exits(2, UNIT_WORKER, 0, 11, "");
    EXPECT("instance m loading -> recovering (trouble): rank 1 on n2: worker killed by signal 11 (SIGSEGV)\n"
           "n1 < stop e1\n");
    commit();
    EXPECT("instance m recovering ranks_proven: ignore: its epoch is being ended already\n");
    both_stop();
    assert_failed_once("worker_exited");
}

static void test_ready_that_cannot_be_written_is_not_ready(void **state)
{
    (void)state;
    begin_warm_up();
    warmed(true, "");
    quiet();
    commit_all(false);
    assert_non_null(
        strstr(w.log, "instance m loading -> recovering (trouble): the controller's store refused the record"));
}

/* ---- ready -------------------------------------------------------------------------------------------------------- */

static void test_a_killed_worker_takes_the_instance_out_of_ready_in_that_step(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_WORKER, 0, 9, "");
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2: worker killed by signal 9 (SIGKILL)\n"
           "n1 < stop e1\n");
    exits(1, UNIT_COORDINATOR, 0, 6, ""); /* it aborts for want of a rank: that is no new reason */
    EXPECT("");
    done(1, COMMAND_STOP);
    EXPECT("n2 < stop e1\n");
    done(2, COMMAND_STOP);
    EXPECT("instance m recovering -> placing (place)\n"
           "commit 4: instance m leasing e2\n");
    assert_failed_once("rank_lost");
}

static void test_a_lost_coordinator_is_said_so(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    EXPECT("instance m ready -> recovering (trouble): coordinator on n1: killed by signal 6 (SIGABRT)\n"
           "n1 < stop e1\n");
}

static void test_a_dying_worker_counts_at_once_and_its_exit_gives_the_reason(void **state)
{
    struct view *v;

    (void)state;
    make_ready(7, 2);
    hear(2, event_of(2, AGENT_EVENT_UNIT_DYING, UNIT_WORKER));
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2: worker going down\n"
           "n1 < stop e1\n");
    exits(2, UNIT_WORKER, 0, 9, "");
    EXPECT("");
    v = view_now();
    assert_string_equal(v->instance[0].reason, "rank 1 on n2: worker killed by signal 9 (SIGKILL)");
    view_unref(&v);
}

static void test_an_end_whose_event_was_lost_is_seen_in_a_report(void **state)
{
    (void)state;
    make_ready(7, 2);
    w.unit[2][0].state = UNIT_EXITED;
    w.unit[2][0].exit = (struct exit_facts){.known = true, .signal = 9};
    report(2);
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2: worker killed by signal 9 (SIGKILL)\n"
           "n1 < stop e1\n");
}

static void test_a_unit_that_is_not_there_any_more(void **state)
{
    (void)state;
    make_ready(7, 2);
    w.n_units[2] = 0;
    report(2);
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2: worker not there any more\n"
           "n1 < stop e1\n");
}

static void test_a_lost_node_alone_ends_nothing_that_serves(void **state)
{
    (void)state;
    make_ready(7, 2);
    vanish(2, 2);
    EXPECT("node n2 suspect -> lost (knock_unanswered): knocked at twice and not answered, by this controller n1\n");
    report(2);
    EXPECT("node n2 lost -> ready (report)\n");
}

/* ---- release ------------------------------------------------------------------------------------------------------ */

static void test_the_others_are_told_when_rank_0s_node_does_not_answer(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_WORKER, 0, 9, "");
    quiet();
    pass_reporting(7500, 2);
    assert_null(strstr(w.log, "n2 < stop"));
    quiet();
    pass_reporting(500, 2);
    EXPECT("n2 < stop e1 at large\n"
           "n1 < stop e1 again\n");
    done(2, COMMAND_STOP);
    EXPECT(""); /* rank 0's node is still waited for */
    done(1, COMMAND_STOP);
    assert_non_null(strstr(w.log, "instance m recovering -> placing (place)"));
}

static void test_a_node_lost_in_the_release_is_not_waited_for_but_told_when_back(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_WORKER, 0, 9, "");
    vanish(1, 2);
    EXPECT("node n1 suspect -> lost (knock_unanswered): knocked at twice and not answered, by this controller n2\n"
           "n2 < stop e1 at large\n");
    done(2, COMMAND_STOP);
    report(2);
    assert_non_null(strstr(w.log, "instance m placing -> waiting (no_room): 1 node can be used, 2 needed"));
    quiet();
    report(1);
    EXPECT("node n1 lost -> ready (report)\n"
           "n1 < stop e1 again\n"
           "instance m waiting -> placing (place)\n"
           "commit 5: instance m leasing e2\n");
}

static void test_a_node_that_never_answers_does_not_hold_the_instance_for_ever(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    done(1, COMMAND_STOP);
    pass_reporting(59500, 2);
    assert_null(strstr(w.log, "recovering -> placing"));
    pass_reporting(500, 2);
    assert_non_null(strstr(w.log, "recovering -> placing"));
    quiet();
    pass_reporting(1000, 2);
    EXPECT("n2 < stop e1\n"); /* it is asked on while its reports show something of that epoch */
}

/* Until it reports, a node offers the lower figure: what it last said was free may be taken since. */
static void test_a_node_that_has_not_reported_since_a_lease_ended_offers_less(void **state)
{
    struct place_request r = request_of("m", 1);
    struct plan *p = NULL;
    uint64_t before, after;
    char why[PROTO_TEXT_MAX];

    (void)state;
    make_ready(7, 1);
    report(1);
    assert_int_equal(cluster_plan(w.c, &r, w.now, &p, why, sizeof(why)), 0);
    before = p->rank[0].device[0].offer_bytes;
    free(p);
    stop(8, "m");
    commit();
    done(1, COMMAND_STOP);
    assert_int_equal(cluster_plan(w.c, &r, w.now, &p, why, sizeof(why)), 0);
    assert_int_equal(p->rank[0].device[0].offer_bytes, before);
    free(p);
    report(1);
    assert_int_equal(cluster_plan(w.c, &r, w.now, &p, why, sizeof(why)), 0);
    after = p->rank[0].device[0].offer_bytes;
    assert_true(after > before);
    free(p);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_case_05_a_refused_lease_gives_the_first_one_back),
        TEST(test_a_lease_that_is_not_answered_runs_out),
        TEST(test_a_node_that_vanishes_between_plan_and_start),
        TEST(test_a_node_lost_before_its_turn_is_not_waited_for),
        TEST(test_case_05_a_worker_that_cannot_start_is_named),
        TEST(test_a_worker_that_does_not_come_up_runs_out),
        TEST(test_a_worker_that_dies_before_the_others_are_up),
        TEST(test_a_worker_that_was_never_started_is_not_said_to_be_gone),
        TEST(test_case_05_a_coordinator_that_dies_in_the_load),
        TEST(test_a_coordinator_that_cannot_start),
        TEST(test_a_coordinator_that_is_never_heard_of_runs_out),
        TEST(test_case_05_a_rank_of_the_wrong_size_is_named_at_once),
        TEST(test_rounding_of_the_log_is_no_mismatch),
        TEST(test_one_byte_more_than_rounding_is),
        TEST(test_a_rank_that_was_skipped_is_named),
        TEST(test_an_endpoint_that_nobody_planned),
        TEST(test_a_load_may_take_long_while_it_moves_and_fails_when_it_stands),
        TEST(test_a_first_token_that_fails),
        TEST(test_a_first_token_that_never_comes),
        TEST(test_a_worker_that_dies_while_ready_is_being_written),
        TEST(test_ready_that_cannot_be_written_is_not_ready),
        TEST(test_a_killed_worker_takes_the_instance_out_of_ready_in_that_step),
        TEST(test_a_lost_coordinator_is_said_so),
        TEST(test_a_dying_worker_counts_at_once_and_its_exit_gives_the_reason),
        TEST(test_an_end_whose_event_was_lost_is_seen_in_a_report),
        TEST(test_a_unit_that_is_not_there_any_more),
        TEST(test_a_lost_node_alone_ends_nothing_that_serves),
        TEST(test_the_others_are_told_when_rank_0s_node_does_not_answer),
        TEST(test_a_node_lost_in_the_release_is_not_waited_for_but_told_when_back),
        TEST(test_a_node_that_never_answers_does_not_hold_the_instance_for_ever),
        TEST(test_a_node_that_has_not_reported_since_a_lease_ended_offers_less),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
