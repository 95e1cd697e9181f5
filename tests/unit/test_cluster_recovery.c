/* What becomes of an instance whose epochs fail: placed again at once, later, elsewhere, when there is room; or given up. */
#include "controller/core/instances.h"
#include "controller/core/recovery.h"
#include "tests/unit/cluster_harness.h"

static struct view_instance seen(void)
{
    struct view *v = view_now();
    struct view_instance i;

    assert_int_equal(v->n_instances, 1);
    i = v->instance[0];
    i.plan = NULL;
    view_unref(&v);
    return i;
}

/* The newest epoch's lease on n1 is refused, and what there is of it goes. */
static void refuse(const char *reason)
{
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, reason, "");
    quiet();
    done(1, COMMAND_STOP);
    commit();
}

static void begin_one(void)
{
    join(1);
    deploy(7, "m", 1);
    commit();
    quiet();
}

/* From the newest plan's leases on n1 to `ready`. */
static void go_ready(void)
{
    done(1, COMMAND_LEASE);
    done(1, COMMAND_START_WORKER);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    warmed(true, "");
    commit();
    quiet();
}

/* ---- again, and how often ---------------------------------------------------------------------------------------- */

static void test_the_first_time_at_once_then_ever_later_then_never(void **state)
{
    static const uint64_t wait_ms[] = {0, 1000, 2000, 4000, 8000};
    struct view *v;

    (void)state;
    begin_one();
    for (size_t k = 0; k < 5; k++) {
        refuse("no_memory");
        if (wait_ms[k]) {
            assert_int_equal(seen().state, INSTANCE_RECOVERING);
            assert_int_equal(seen().again_in_ms, wait_ms[k]);
            pass_reporting(wait_ms[k] - 500, 1);
            report(1);
            pass(499);
            EXPECT("");
            pass(1);
            report(1);
            commit();
        }
        assert_int_equal(seen().state, INSTANCE_LEASING);
        assert_int_equal(seen().epoch, k + 2);
        assert_int_equal(seen().attempts, k + 1);
    }
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "no_memory", "it is full");
    quiet();
    done(1, COMMAND_STOP);
    EXPECT("instance m recovering -> failed (give_up): given up after 6 epochs in a row (no_memory on n1 6 times); the "
           "last one: the lease on n1 was refused: it is full\n"
           "task 1 running -> failed (fail): given up after 6 epochs in a row (no_memory on n1 6 times); the last one: "
           "the lease on n1 was refused: it is full\n"
           "commit 7: task 1 failed, instance m failed e6\n");
    v = view_now();
    assert_string_equal(v->task[0].code, "no_memory");
    assert_int_equal(v->instance[0].n_tried, 6);
    assert_int_equal(v->node[0].leased_bytes, 0);
    view_unref(&v);
}

static void test_what_was_tried_is_said_once_for_each_way_and_node(void **state)
{
    (void)state;
    begin_one();
    refuse("no_memory");
    refuse("busy");
    for (int k = 0; k < 4; k++) {
        pass_reporting(8000, 1);
        commit();
        refuse(k % 2 ? "no_memory" : "disk_full");
    }
    assert_string_equal(
        seen().reason,
        "given up after 6 epochs in a row (no_memory on n1 3 times, busy on n1, disk_full on n1 2 times); "
        "the last one: the lease on n1 was refused");
}

/* Another controller, from the newest record of the instance. */
static void restart(void)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = w.instance, .i = w.kept};
    struct plan plan = w.plan;
    struct tried tried[VIEW_TRIES_MAX];

    memcpy(tried, w.tried, sizeof(tried));
    rec.i.tried = tried;
    rec.i.plan = &plan;
    cluster_destroy(&w.c);
    world_open();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    begin();
}

static void test_what_was_tried_outlives_the_controller(void **state)
{
    struct view_instance i;

    (void)state;
    begin_one();
    refuse("no_memory");
    refuse("busy");
    pass_reporting(1000, 1);
    commit();
    restart();
    i = seen();
    assert_int_equal(i.attempts, 2);
    assert_int_equal(i.n_tried, 2);
    assert_string_equal(i.tried[0].code, "no_memory");
    assert_string_equal(i.tried[0].node, "n1");
    assert_string_equal(i.tried[0].text, "the lease on n1 was refused");
    assert_int_equal(i.tried[0].epoch, 1);
    assert_string_equal(i.tried[1].code, "busy");
    assert_int_equal(i.tried[1].epoch, 2);
}

/* A pardon takes back what it counted, and a node that failed it twice is still avoided. */
static void test_what_was_tried_counts_after_a_restart_as_before(void **state)
{
    struct cluster_ev pardon = {.kind = CLUSTER_EV_UPSTREAM, .upstream = UPSTREAM_POISON, .epoch = 1};

    (void)state;
    begin_one();
    refuse("no_memory");
    refuse("no_memory");
    pass_reporting(1000, 1);
    commit();
    pardon.instance = w.instance;
    restart();
    assert_true(recovery_avoids(instance_find(w.c, &pardon.instance), &(struct id128){.b = {1, [15] = 1}}));
    step(&pardon);
    assert_int_equal(seen().attempts, 1);
    assert_int_equal(seen().n_tried, 1);
}

/* What an earlier version kept says how often, and nothing else. */
static void test_a_record_of_an_earlier_version_tells_only_how_often(void **state)
{
    (void)state;
    begin_one();
    refuse("no_memory");
    w.kept.n_tried = 0;
    restart();
    assert_int_equal(seen().attempts, 1);
    assert_int_equal(seen().n_tried, 0);
}

static void test_a_cause_that_cannot_change_fails_at_once(void **state)
{
    (void)state;
    begin_one();
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "unservable", "unknown model architecture: foo");
    quiet();
    done(1, COMMAND_STOP);
    EXPECT("instance m recovering -> failed (give_up): the lease on n1 was refused: unknown model architecture: foo\n"
           "task 1 running -> failed (fail): the lease on n1 was refused: unknown model architecture: foo\n"
           "commit 2: task 1 failed, instance m failed e1\n");
}

static void test_five_minutes_of_ready_and_all_is_forgotten(void **state)
{
    (void)state;
    begin_one();
    refuse("no_memory");
    refuse("no_memory");
    pass_reporting(1000, 1);
    commit();
    go_ready();
    assert_int_equal(seen().attempts, 2);
    pass_reporting(299500, 1);
    assert_int_equal(seen().attempts, 2);
    EXPECT("");
    pass_reporting(500, 1);
    EXPECT("commit 6: instance m ready e3\n"); /* another controller forgets it too */
    assert_int_equal(seen().attempts, 0);
    assert_int_equal(seen().n_tried, 0);
    exits(1, UNIT_WORKER, 0, 9, "");
    quiet();
    done(1, COMMAND_STOP);
    EXPECT("instance m recovering -> placing (place)\n"
           "commit 7: instance m leasing e4\n");
}

/* A crash of a node or two does not make a served model fail: only what never stays up does. */
static void test_four_minutes_of_ready_do_not_count(void **state)
{
    (void)state;
    make_ready(7, 1);
    for (int k = 0; k < 6; k++) {
        assert_int_equal(seen().state, INSTANCE_READY);
        pass_reporting(240000, 1);
        exits(1, UNIT_WORKER, 0, 9, "");
        done(1, COMMAND_STOP);
        if (k == 5)
            break;
        pass_reporting(8000, 1);
        commit();
        go_ready();
    }
    assert_int_equal(seen().state, INSTANCE_FAILED);
    deploy(8, "m", 0); /* a clean slate */
    commit();
    assert_int_equal(seen().attempts, 0);
    assert_int_equal(seen().epoch, 1);
}

/* ---- pardons ------------------------------------------------------------------------------------------------------ */

static void pardon(uint64_t epoch)
{
    struct step s = {.c = w.c, .now_ms = w.now};

    assert_int_equal(recovery_pardon(&s, CLUSTER_INSTANCE(w.c, 0), epoch), 0);
    journal_keep(&s.journal);
}

static void test_an_abort_that_was_a_requests_doing_is_no_attempt(void **state)
{
    (void)state;
    make_ready(7, 1);
    for (int k = 0; k < 20; k++) {
        if (k % 2)
            pardon(seen().epoch); /* the gateway saw it first */
        exits(1, UNIT_COORDINATOR, 0, 6, "");
        if (k % 2 == 0)
            pardon(seen().epoch);
        assert_int_equal(seen().attempts, 0);
        assert_int_equal(seen().n_tried, 0);
        done(1, COMMAND_STOP);
        pass_reporting(30000, 1);
        commit();
        go_ready();
    }
    assert_int_equal(seen().state, INSTANCE_READY);
    assert_int_equal(seen().epoch, 21);
    pardon(99); /* of an epoch that never was */
    assert_int_equal(seen().attempts, 0);
}

/* ---- epochs ------------------------------------------------------------------------------------------------------- */

static void test_a_newer_epoch_that_a_node_has_seen_is_passed(void **state)
{
    struct message *m;

    (void)state;
    begin_one();
    for (size_t k = 0; k < w.n_asked; k++) {
        if (w.asked[k].m.command.kind != COMMAND_LEASE)
            continue;
        m = result_of(&w.asked[k], RESULT_REFUSED, "stale_epoch", "");
        m->result.newest_epoch = 41;
        hear(1, m);
        break;
    }
    quiet();
    done(1, COMMAND_STOP);
    EXPECT("instance m recovering -> placing (place)\n"
           "commit 2: instance m leasing e42\n");
    assert_int_equal(seen().attempts, 0); /* nobody did anything wrong */
    w.n_asked = 0;
    commit();
    refuse("stale_epoch"); /* but one who always says so is not asked for ever */
    assert_int_equal(seen().attempts, 1);
}

static void test_a_number_that_cannot_be_is_not_followed(void **state)
{
    struct message *m;

    (void)state;
    join(1);
    join(2);
    m = report_of(2);
    m->report->n_leases = 2;
    m->report->lease[0] = (struct lease_facts){.instance = id_of(107), .epoch = UINT64_MAX, .bytes = 1};
    m->report->lease[1] = (struct lease_facts){.instance = id_of(107), .epoch = 6, .bytes = 1};
    hear(2, m);
    quiet();
    deploy(7, "m", 1);
    assert_non_null(strstr(w.log, "instance m leasing e7\n"));
}

/* ---- nodes that failed it twice ------------------------------------------------------------------------------------ */

static void fail_worker(int node)
{
    answer_with(node, COMMAND_START_WORKER, RESULT_FAILED, "port_taken", "");
}

/* Leases of the newest plan, in id order. */
static void grant_all(void)
{
    for (int node = 1; node < NODES; node++) {
        for (size_t r = 0; r < w.plan.n_ranks; r++) {
            if (id128_equal(&w.plan.rank[r].node, &(struct id128[]){id_of(node)}[0]))
                done(node, COMMAND_LEASE);
        }
    }
}

static bool planned_on(int node)
{
    const struct id128 id = id_of(node);

    for (size_t r = 0; r < w.plan.n_ranks; r++) {
        if (id128_equal(&w.plan.rank[r].node, &id))
            return true;
    }
    return false;
}

static void stop_planned(void)
{
    for (int node = 1; node < NODES; node++) {
        if (planned_on(node))
            done(node, COMMAND_STOP);
    }
}

static void test_a_node_that_failed_it_twice_in_one_way_is_left_out(void **state)
{
    bool noted = false;

    (void)state;
    for (int node = 1; node <= 3; node++)
        join(node);
    deploy(7, "m", 2);
    commit();
    for (int k = 0; k < 2; k++) {
        assert_true(planned_on(1) && planned_on(2));
        grant_all();
        done(1, COMMAND_START_WORKER);
        fail_worker(2);
        stop_planned();
        pass_reporting(1000, 3);
        commit();
    }
    assert_true(planned_on(1) && planned_on(3));
    for (size_t k = 0; k < w.plan.n_notes; k++)
        noted |= !strcmp(w.plan.note[k], "n2 left out: the same step failed there twice");
    assert_true(noted);
}

static void test_where_nothing_fits_without_it_it_is_taken_all_the_same(void **state)
{
    bool noted = false;

    (void)state;
    begin_one();
    refuse("no_memory");
    refuse("no_memory");
    pass_reporting(1000, 1);
    for (size_t k = 0; k < w.plan.n_notes; k++)
        noted |= !strcmp(w.plan.note[k],
                         "n1 is used again, though the same step failed there twice: nothing fits without it");
    assert_true(noted);
    assert_int_equal(seen().epoch, 3);
}

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

static void small_report(int node)
{
    struct message *m = report_of(node);

    m->report->host_free_bytes = m->report->device[0].free_bytes = 64 * 1024 * 1024;
    hear(node, m);
}

static void lose_the_room(void)
{
    make_ready(7, 1);
    exits(1, UNIT_WORKER, 0, 9, "");
    small_report(1); /* somebody else has taken the memory */
    w.now++;
    quiet();
    done(1, COMMAND_STOP);
    small_report(1);
}

static void test_what_had_a_place_waits_and_says_what_is_missing(void **state)
{
    (void)state;
    lose_the_room();
    assert_non_null(strstr(w.log, "instance m recovering -> placing (place)\n"
                                  "instance m placing -> waiting (no_room): no set of nodes holds m"));
    assert_non_null(strstr(w.log, "commit 4: instance m waiting e1\n"));
    assert_true(seen().missing_bytes > 0);
    assert_non_null(strstr(seen().reason, "missing on n1"));
    quiet();
    for (int k = 0; k < 40; k++) { /* it does not flap, and what it lacks is looked at anew */
        pass(500);
        small_report(1);
    }
    EXPECT("");
    report(1); /* memory alone is looked at every 5 s */
    pass_reporting(5000, 1);
    EXPECT("instance m waiting -> placing (place)\n"
           "commit 5: instance m leasing e2\n");
}

static void test_a_node_that_joins_is_taken_at_once(void **state)
{
    (void)state;
    lose_the_room();
    hello(2);
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "instance m waiting -> placing (place)\n"
           "commit 5: instance m leasing e2\n");
}

static void test_case_11_the_worker_that_an_abort_was_for_is_named_though_it_is_heard_of_later(void **state)
{
    struct view_instance v;

    (void)state;
    make_ready(7, 2);
    exits(1, UNIT_COORDINATOR, 0, 6, "Remote RPC server crashed");
    assert_string_equal(seen().tried[0].code, "coordinator_lost");
    exits(2, UNIT_WORKER, 0, 9, "");
    v = seen();
    assert_int_equal(v.n_tried, 1);
    assert_string_equal(v.tried[0].code, "rank_lost");
    assert_string_equal(v.tried[0].node, "n2");
    assert_string_equal(v.tried[0].text, "rank 1 on n2: worker killed by signal 9 (SIGKILL)");
    assert_string_equal(v.reason, v.tried[0].text);
    exits(1, UNIT_WORKER, 0, 9, ""); /* the first one is the one */
    assert_string_equal(seen().tried[0].node, "n2");
}

static void test_who_is_left_out_is_said_while_it_waits(void **state)
{
    (void)state;
    make_ready(7, 2);
    vanish(2, 2);
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    done(1, COMMAND_STOP);
    pass_reporting(500, 1);
    assert_int_equal(seen().state, INSTANCE_WAITING);
    assert_string_equal(seen().reason, "1 node can be used, 2 needed; n2 left out: lost");
}

static void test_whoever_waits_for_it_is_told_after_two_minutes_and_it_goes_on(void **state)
{
    struct view *v;

    (void)state;
    join(1);
    join(2);
    deploy(7, "m", 2);
    commit();
    done(1, COMMAND_LEASE);
    vanish(2, 2);
    done(1, COMMAND_STOP);
    pass_reporting(3000, 1);
    assert_int_equal(seen().state, INSTANCE_WAITING);
    commit();
    quiet();
    pass_reporting(116000, 1);
    assert_null(strstr(w.log, "task 1"));
    pass_reporting(3500, 1);
    assert_non_null(strstr(w.log,
                           "task 1 running -> failed (fail): it waits for room, and starts by itself when there is "
                           "some: 1 node can be used, 2 needed; n2 left out: "));
    deploy(8, "m", 2); /* a new caller gets a task of his own */
    commit();
    assert_false(w.answer.attached == false);
    assert_int_equal(w.answer.task_id, 2);
    report(2);
    v = view_now();
    assert_int_equal(v->task[0].state, TASK_RUNNING);
    assert_string_equal(v->task[0].step, "placing");
    view_unref(&v);
}

static void test_a_waiting_one_can_be_stopped(void **state)
{
    (void)state;
    lose_the_room();
    commit();
    quiet();
    stop(8, "m");
    commit();
    EXPECT("task 2 pending -> running (begin)\n"
           "commit 5: task 2 running, instance m stopping e1\n"
           "answer 8: task 2\n"
           "instance m waiting -> stopping (stop)\n"
           "instance m stopping -> stopped (released): stopped\n"
           "task 2 running -> complete (done)\n"
           "commit 6: task 2 complete, instance m stopped e1\n");
    pass_reporting(30000, 1);
    EXPECT("");
}

static void test_a_pinned_plan_that_does_not_hold_any_more_waits(void **state)
{
    struct place_request r = request_of("m", 0);
    struct plan pinned;

    (void)state;
    make_ready(7, 2);
    pinned = w.plan;
    stop(8, "m");
    commit();
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    join(3);
    report(1);
    report(2);
    deploy_request(9, &r, &pinned);
    commit();
    done(1, COMMAND_LEASE);
    vanish(2, 3);
    done(1, COMMAND_STOP);
    pass_reporting(3000, 1); /* n3 would do; but a person has said where */
    assert_int_equal(seen().state, INSTANCE_WAITING);
    assert_string_equal(seen().reason, "n2 of the plan cannot be used: lost");
    quiet();
    report(2);
    assert_non_null(strstr(w.log, "instance m waiting -> placing (place)"));
}

static void test_a_plan_that_the_store_refuses_is_made_again(void **state)
{
    (void)state;
    make_ready(7, 1);
    exits(1, UNIT_WORKER, 0, 9, "");
    done(1, COMMAND_STOP);
    quiet();
    commit_all(false);
    assert_non_null(
        strstr(w.log, "instance m placing -> waiting (no_room): the controller's store refused the record"));
    quiet();
    pass_reporting(5000, 1);
    EXPECT("instance m waiting -> placing (place)\n"
           "commit 6: instance m leasing e3\n");
    commit();
    EXPECT("instance m placing -> leasing (planned)\n"
           "n1 < lease e3 CPU host\n");
}

/* ---- what is left behind ------------------------------------------------------------------------------------------- */

/* A node lost with one epoch is told of its end also when the next one has come and gone. */
static void test_what_an_earlier_epoch_left_on_a_lost_node_is_ended_in_the_end(void **state)
{
    struct unit_facts left;

    (void)state;
    make_ready(7, 2);
    join(3);
    left = w.unit[2][0];
    vanish(2, 3);
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    done(1, COMMAND_STOP);
    commit();
    grant_all();
    assert_true(planned_on(1) && planned_on(3));
    stop(8, "m");
    commit();
    done(1, COMMAND_STOP);
    done(3, COMMAND_STOP);
    commit();
    assert_int_equal(seen().state, INSTANCE_STOPPED);
    for (int k = 0; k < 300; k++) { /* longer than what has ended is shown */
        pass(500);
        report(1);
        report(3);
    }
    assert_int_equal(seen().state, INSTANCE_STOPPED);
    quiet();
    w.unit[2][0] = left;
    w.n_units[2] = 1;
    report(2);
    assert_non_null(strstr(w.log, "n2 < stop e1\n"));
    w.n_units[2] = 0;
    pass_reporting(70000, 3);
    {
        struct view *v = view_now();

        assert_int_equal(v->n_instances, 0);
        view_unref(&v);
    }
}

static void lease_reported(int node, uint64_t instance, uint64_t epoch)
{
    struct message *m = report_of(node);

    m->report->n_leases = 1;
    m->report->lease[0] = (struct lease_facts){.instance = id_of((int)instance), .epoch = epoch, .bytes = GIB};
    hear(node, m);
}

static void test_a_promise_to_a_dead_epoch_is_swept_also_without_a_process(void **state)
{
    struct unit_facts *u = &w.unit[2][0];

    (void)state;
    make_ready(7, 1);
    join(2);
    lease_reported(2, 107, 0); /* an epoch that is over */
    EXPECT("n2 < stop e0\n");
    lease_reported(2, 107, 0);
    EXPECT(""); /* once a second */
    pass_reporting(1000, 2);
    lease_reported(2, 55, 9); /* of an instance that nobody knows */
    EXPECT("n2 < stop e9\n");
    pass_reporting(1000, 2);
    *u = (struct unit_facts){.role = UNIT_WORKER, .state = UNIT_RUNNING, .instance = id_of(55), .epoch = 9};
    w.n_units[2] = 1;
    lease_reported(2, 55, 9);
    EXPECT(""); /* while a process lives it may be another leader's */
    lease_reported(1, 107, 1);
    EXPECT(""); /* ours */
}

static void test_an_epoch_of_a_stopped_one_is_ended_whatever_its_number(void **state)
{
    (void)state;
    make_ready(7, 1);
    join(2);
    stop(8, "m");
    commit();
    done(1, COMMAND_STOP);
    commit();
    quiet();
    w.unit[2][0] = (struct unit_facts){.role = UNIT_WORKER, .state = UNIT_RUNNING, .instance = id_of(107), .epoch = 9};
    w.n_units[2] = 1;
    report(2);
    EXPECT("n2 < stop e9\n");
}

/* Nothing is decided about a node before its first full report. */
static void test_a_node_is_not_swept_before_it_has_told_all(void **state)
{
    struct message *m;

    (void)state;
    make_ready(7, 1);
    hello(2);
    quiet();
    m = report_of(2);
    m->report->full = false;
    m->report->n_leases = 1;
    m->report->lease[0] = (struct lease_facts){.instance = id_of(55), .epoch = 1};
    hear(2, m);
    EXPECT("");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_time_at_once_then_ever_later_then_never),
        TEST(test_what_was_tried_outlives_the_controller),
        TEST(test_what_was_tried_counts_after_a_restart_as_before),
        TEST(test_a_record_of_an_earlier_version_tells_only_how_often),
        TEST(test_what_was_tried_is_said_once_for_each_way_and_node),
        TEST(test_a_cause_that_cannot_change_fails_at_once),
        TEST(test_five_minutes_of_ready_and_all_is_forgotten),
        TEST(test_four_minutes_of_ready_do_not_count),
        TEST(test_an_abort_that_was_a_requests_doing_is_no_attempt),
        TEST(test_a_newer_epoch_that_a_node_has_seen_is_passed),
        TEST(test_a_number_that_cannot_be_is_not_followed),
        TEST(test_a_node_that_failed_it_twice_in_one_way_is_left_out),
        TEST(test_where_nothing_fits_without_it_it_is_taken_all_the_same),
        TEST(test_what_had_a_place_waits_and_says_what_is_missing),
        TEST(test_a_node_that_joins_is_taken_at_once),
        TEST(test_case_11_the_worker_that_an_abort_was_for_is_named_though_it_is_heard_of_later),
        TEST(test_who_is_left_out_is_said_while_it_waits),
        TEST(test_whoever_waits_for_it_is_told_after_two_minutes_and_it_goes_on),
        TEST(test_a_waiting_one_can_be_stopped),
        TEST(test_a_pinned_plan_that_does_not_hold_any_more_waits),
        TEST(test_a_plan_that_the_store_refuses_is_made_again),
        TEST(test_what_an_earlier_epoch_left_on_a_lost_node_is_ended_in_the_end),
        TEST(test_a_promise_to_a_dead_epoch_is_swept_also_without_a_process),
        TEST(test_an_epoch_of_a_stopped_one_is_ended_whatever_its_number),
        TEST(test_a_node_is_not_swept_before_it_has_told_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
