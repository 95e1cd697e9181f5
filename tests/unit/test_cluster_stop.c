/* Stopping, what is still shown afterwards, and a controller that begins with what its store says. */
#include "controller/core/state.h" /* for the bounds */
#include "tests/unit/cluster_harness.h"

static void test_stop_ends_the_coordinator_first_and_is_done_when_all_are_empty(void **state)
{
    (void)state;
    make_ready(7, 2);
    stop(8, "m");
    EXPECT("task 2 pending -> running (begin)\n"
           "commit 4: task 2 running, instance m stopping e1\n");
    commit();
    EXPECT("answer 8: task 2\n"
           "instance m ready -> stopping (stop)\n"
           "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    EXPECT("n2 < stop e1\n");
    stop(9, "m");
    EXPECT("answer 9: task 2 attached\n");
    done(2, COMMAND_STOP);
    EXPECT("instance m stopping -> stopped (released): stopped\n"
           "task 2 running -> complete (done)\n"
           "commit 5: task 2 complete, instance m stopped e1\n");
    commit();
    stop(10, "m");
    EXPECT("answer 10: refused not_found: nothing named m runs; `caravan instances` lists what does\n");
}

static void test_stop_finds_by_name_alias_model_and_id(void **state)
{
    struct place_request r = request_of("m", 0);

    (void)state;
    join(1);
    strcpy(r.alias, "chat");
    deploy_request(1, &r, NULL);
    commit();
    quiet();
    stop(2, "m"); /* its model */
    EXPECT("task 2 pending -> running (begin)\n"
           "commit 2: task 2 running, instance chat stopping e1\n");
    stop(3, ID128(&w.instance));
    stop(4, "chat");
    EXPECT("");
    commit();
    assert_non_null(strstr(w.log, "answer 2: task 2\nanswer 3: task 2 attached\nanswer 4: task 2 attached\n"));
    quiet();
    deploy(5, "m", 0);
    strcpy(r.alias, "talk");
    deploy_request(6, &r, NULL);
    commit();
    quiet();
    done(1, COMMAND_STOP);
    quiet();
    strcpy(r.alias, "third");
    deploy_request(7, &r, NULL);
    quiet();
    stop(8, "m"); /* the one that is named so, though two more serve that model */
    assert_non_null(strstr(w.log, "instance m stopping"));
    commit();
    done(1, COMMAND_STOP);
    quiet();
    stop(9, "m");
    EXPECT("answer 9: refused not_found: m is served by talk and by third: name one of them\n");
    stop(10, "nobody");
    EXPECT("answer 10: refused not_found: nothing named nobody runs; `caravan instances` lists what does\n");
}

static void test_stop_in_mid_start_cancels_the_deploy(void **state)
{
    (void)state;
    begin_load(7, 2);
    stop(8, "m");
    quiet();
    commit();
    EXPECT("answer 8: task 2\n"
           "instance m loading -> stopping (stop)\n"
           "task 1 running -> cancelled (cancel): somebody stopped it\n"
           "n1 < stop e1\n"
           "commit 3: task 1 cancelled\n");
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    EXPECT("n2 < stop e1\n"
           "instance m stopping -> stopped (released): stopped\n"
           "task 2 running -> complete (done)\n"
           "commit 4: task 2 complete, instance m stopped e1\n");
}

static void test_stop_before_the_plan_is_durable(void **state)
{
    (void)state;
    join(1);
    deploy(7, "m", 0);
    stop(8, "m");
    quiet();
    commit();
    EXPECT("answer 7: task 1\n"
           "instance m placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n"
           "answer 8: task 2\n"
           "instance m leasing -> stopping (stop)\n"
           "task 1 running -> cancelled (cancel): somebody stopped it\n"
           "n1 < stop e1\n"
           "commit 3: task 1 cancelled\n");
}

static void test_stop_of_a_failing_one_joins_its_release(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_WORKER, 0, 9, "");
    stop(8, "m");
    quiet();
    commit();
    EXPECT("answer 8: task 2\n"
           "instance m recovering -> stopping (stop)\n"); /* n1 was told already */
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    assert_non_null(strstr(w.log, "instance m stopping -> stopped (released)"));
}

static void test_stop_of_a_failed_one_removes_it(void **state)
{
    struct view *v;

    (void)state;
    join(1);
    deploy(7, "m", 1);
    commit();
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "unservable", "");
    done(1, COMMAND_STOP);
    stop(8, "m");
    quiet();
    commit();
    EXPECT("answer 8: task 2\n"
           "instance m failed -> stopped (stop)\n"
           "task 2 running -> complete (done)\n"
           "commit 4: task 2 complete, instance m stopped e1\n");
    pass_reporting(59500, 1);
    EXPECT("");
    pass_reporting(500, 1); /* shown for a minute */
    EXPECT("commit 5: instance m gone e1\n");
    v = view_now();
    assert_int_equal(v->n_instances, 0);
    view_unref(&v);
}

static void test_a_stop_that_cannot_be_written_stops_nothing(void **state)
{
    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    quiet();
    commit_all(false);
    EXPECT(
        "task 2 running -> failed (fail): the controller's store refused the record; see its log, and free disk space "
        "if that is it\n"
        "answer 8: refused store_failed: the controller's store refused the record; see its log, and free disk space "
        "if that is it\n"
        "commit 5: task 2 failed\n");
    {
        struct view *v = view_now();

        assert_int_equal(v->instance[0].state, INSTANCE_READY);
        view_unref(&v);
    }
}

static void test_what_has_ended_is_kept_to_a_bound(void **state)
{
    struct view *v;

    (void)state;
    for (uint64_t i = 1; i <= 90; i++) { /* each fails in its lease and stays as failed under a name of its own */
        struct place_request r = request_of("m", 0);

        join(1);
        snprintf(r.alias, sizeof(r.alias), "m%llu", (unsigned long long)i);
        deploy_request(i, &r, NULL);
        commit();
        answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "unservable", "");
        quiet();
        done(1, COMMAND_STOP);
        assert_int_equal(strstr(w.log, " gone e1") != NULL, i > CLUSTER_ENDED_MAX);
        commit();
        quiet();
    }
    v = view_now();
    assert_int_equal(v->n_instances, CLUSTER_ENDED_MAX);
    assert_string_equal(v->instance[0].name, "m90");
    assert_int_equal(v->n_tasks, 90);
    view_unref(&v);
    for (uint64_t i = 0; i < 400; i++) {
        stop(1000 + i, v ? "" : "m90");
        commit();
        deploy(2000 + i, "m", 3); /* fails at once */
        commit();
        quiet();
    }
    v = view_now();
    assert_int_equal(v->n_tasks, CLUSTER_TASKS_MAX);
    view_unref(&v);
}

/* What is written of it after the wish must not be what the store says in the end: the next controller would go on with it. */
static void test_a_stop_outlives_what_was_written_meanwhile(void **state)
{
    (void)state;
    begin_load(7, 1);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    quiet();
    stop(8, "m");
    warmed(true, "");
    EXPECT("task 2 pending -> running (begin)\n"
           "commit 2: task 2 running, instance m stopping e1\n"
           "commit 3: instance m ready e1\n");
    commit();
    EXPECT("answer 8: task 2\n"
           "instance m loading -> stopping (stop)\n"
           "task 1 running -> cancelled (cancel): somebody stopped it\n"
           "n1 < stop e1\n"
           "commit 4: instance m stopping e1, task 1 cancelled\n"
           "instance m stopping ranks_proven: ignore: its epoch is being ended already\n");
}

/* ---- a controller that begins -------------------------------------------------------------------------------------- */

static void restore_instance(enum instance_state at, struct plan *plan)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(107), .wall_ms = 5};

    strcpy(rec.i.name, "m");
    strcpy(rec.i.request.model, "m");
    rec.i.state = at;
    rec.i.epoch = 4;
    rec.i.plan = plan;
    w.instance = rec.instance;
    w.epoch = 4;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

static void restore_task(uint64_t id, enum task_kind kind, enum task_state at)
{
    struct record rec = {.kind = RECORD_TASK, .task = {.id = id, .kind = kind, .state = at, .instance = id_of(107)}};

    strcpy(rec.task.name, "m");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

/* The controller is gone; the processes are not. */
static struct plan restart(void)
{
    static struct world before;
    struct plan plan = w.plan;

    before = w;
    cluster_destroy(&w.c);
    world_open();
    memcpy(w.unit, before.unit, sizeof(w.unit));
    memcpy(w.n_units, before.n_units, sizeof(w.n_units));
    for (int node = 1; node < NODES; node++) {
        for (size_t u = 0; u < w.n_units[node]; u++)
            w.unit[node][u].epoch = 4;
    }
    w.plan = plan;
    return plan;
}

/* n2 was away when epoch 1 went on elsewhere, and when the controller that knew of it ended. */
static void come_back_with_debts(size_t n_debts, bool tunnel)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(107), .wall_ms = 5};

    make_ready(7, 2);
    restart();
    w.unit[2][0].epoch = 1;
    w.unit[2][0].instance = id_of(107);
    strcpy(rec.i.name, "m");
    strcpy(rec.i.request.model, "m");
    rec.i.state = INSTANCE_STOPPED;
    rec.i.epoch = 2;
    rec.i.n_debts = n_debts;
    rec.i.debt[0] = (struct debt){.node = id_of(2), .epoch = 1};
    rec.i.debt[1] = (struct debt){.node = id_of(1), .epoch = 1, .tunnel = tunnel};
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    begin();
    pass(70000); /* far longer than an instance that has stopped is shown */
    commit_all(true);
    quiet();
    hello(2);
    report(2);
}

static void test_a_node_that_was_away_over_a_restart_is_still_told(void **state)
{
    (void)state;
    come_back_with_debts(1, false);
    assert_non_null(strstr(w.log, "n2 < stop e1\n"));
}

/* n1, where its coordinator was, is still away. */
static void test_and_that_its_coordinator_may_live(void **state)
{
    (void)state;
    come_back_with_debts(2, false);
    assert_non_null(strstr(w.log, "n2 < stop e1 at large\n"));
}

/* Its carrier lets in nobody of another epoch. */
static void test_which_does_not_matter_where_carriers_stood_between(void **state)
{
    (void)state;
    come_back_with_debts(2, true);
    assert_non_null(strstr(w.log, "n2 < stop e1\n"));
}

/* n1's first word after it was lost lists what it had before the epoch began there. */
static void test_what_a_node_owes_is_not_forgiven_for_a_word_from_before(void **state)
{
    struct message *m;

    (void)state;
    begin_load(7, 1);
    join(2);
    vanish(1, 2);
    commit();
    done(2, COMMAND_LEASE);
    quiet();
    m = message_from(1, MESSAGE_REPORT);
    m->report = calloc(1, sizeof(*m->report));
    assert_non_null(m->report);
    hear(1, m);
    stop(8, "m");
    commit();
    done(2, COMMAND_STOP);
    commit();
    pass_reporting(70000, 0); /* far longer than an instance that has stopped is shown */
    commit();
    quiet();
    hello(1);
    report(1);
    assert_non_null(strstr(w.log, "n1 < stop e1\n"));
}

static void test_a_ready_instance_is_adopted_when_all_of_it_is_there(void **state)
{
    struct plan plan;
    struct view *v;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    restore_task(11, TASK_DEPLOY, TASK_COMPLETE);
    begin();
    v = view_now();
    assert_int_equal(v->instance[0].state,
                     INSTANCE_RECOVERING); /* nothing is routed to it before its nodes have spoken */
    view_unref(&v);
    hello(1);
    report(1);
    EXPECT("node n1 unknown -> joining (hello)\n"
           "n1 < welcome\n"
           "node n1 joining -> ready (report)\n");
    hello(2);
    report(2);
    EXPECT("node n2 unknown -> joining (hello)\n"
           "n2 < welcome\n"
           "node n2 joining -> ready (report)\n"
           "instance m recovering -> ready (adopted)\n");
    v = view_now();
    assert_int_equal(v->instance[0].epoch, 4);
    assert_string_equal(v->instance[0].coordinator_addr, "10.0.0.1");
    assert_int_equal(v->instance[0].coordinator_port, 18080);
    assert_string_equal(v->instance[0].rank[1].endpoint, "10.0.0.2:20052");
    assert_true(v->node[0].leased_bytes > 0);
    view_unref(&v);
    deploy(1, "m", 0);
    EXPECT("answer 1: task 11 attached\n");
    pass_reporting(20000, 2);
    EXPECT("");
    exits(2, UNIT_WORKER, 0, 9, "");
    EXPECT("instance m ready -> recovering (trouble): rank 1 on n2: worker killed by signal 9 (SIGKILL)\n"
           "n1 < stop e4\n");
}

static void assert_reason(const char *reason)
{
    struct view *v = view_now();

    assert_string_equal(v->instance[0].reason, reason);
    view_unref(&v);
}

static void test_whom_a_restored_one_waits_for_is_named(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    assert_reason("waiting for n1 and n2 to report after the controller's restart");
    hello(1);
    report(1);
    hello(2);
    assert_reason("waiting for n2 to report after the controller's restart");
    report(2);
    assert_reason("");
}

static void test_one_that_is_not_whole_is_ended(void **state)
{
    struct plan plan;
    struct view *v;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    w.n_units[2] = 0;
    join(1);
    hello(2);
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "n1 < stop e4\n");
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    EXPECT("n2 < stop e4\n"
           "instance m recovering -> placing (place)\n"
           "commit 1: instance m leasing e5\n");
    v = view_now();
    assert_string_equal(v->instance[0].tried[0].text,
                        "after the controller's restart rank 1 on n2 did not run any more");
    assert_int_equal(v->instance[0].attempts, 1);
    view_unref(&v);
}

static void test_one_whose_rank_changed_places_is_ended(void **state)
{
    struct plan plan;
    struct view *v;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    w.unit[2][0].rank = 0; /* not what the plan says of n2 */
    join(1);
    join(2);
    pass(0);
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    v = view_now();
    assert_string_equal(v->instance[0].reason, "after the controller's restart rank 1 on n2 did not run any more");
    view_unref(&v);
}

static void test_a_record_of_a_broken_plan_is_not_followed(void **state)
{
    struct plan plan = {.n_ranks = PROTO_RANKS_MAX + 1};
    struct view *v;

    (void)state;
    restore_instance(INSTANCE_READY, &plan);
    begin();
    pass(0);
    EXPECT(
        "instance m recovering -> placing (place)\n"
        "instance m placing -> waiting (no_room): no node has a model named m; no node has any model: put GGUF files "
        "where the agents' `models =` points\n"
        "commit 1: instance m waiting e4\n");
    join(1);
    EXPECT(""); /* of a join's lines join() keeps none */
    v = view_now();
    assert_int_equal(v->instance[0].state, INSTANCE_PLACING);
    view_unref(&v);
}

static void test_nodes_that_do_not_come_back_are_waited_for_until_settle(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    restore_task(11, TASK_DEPLOY, TASK_COMPLETE);
    begin();
    join(1);
    pass_reporting(9500, 1);
    EXPECT("");
    pass_reporting(500, 1);
    EXPECT("n1 < stop e4\n");
    done(1, COMMAND_STOP);
    EXPECT("instance m recovering -> placing (place)\n"
           "commit 1: instance m leasing e5\n"); /* one node will do */
    hello(2);                                    /* it comes after all */
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "n2 < stop e4\n");
}

static void host(bool carrier)
{
    struct cluster_host h = {.carrier = carrier, .n_addrs = 1, .addr = {"10.0.0.1"}};

    step(&(struct cluster_ev){.kind = CLUSTER_EV_HOST, .host = &h});
}

/* n2 cannot be heard while our own cable is out: that it is silent says nothing of it. */
static void test_without_a_carrier_nodes_are_waited_for_beyond_settle(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    host(false);
    assert_non_null(strstr(w.log, "brake ctl off -> on (no_carrier)")); /* so that an operator can say otherwise */
    quiet();
    join(1);
    pass_reporting(30000, 1);
    EXPECT("");
    host(true);
    pass_reporting(9500, 1);
    assert_null(strstr(w.log, "n1 < stop"));
    join(2);
    pass(0);
    assert_reason("");
    assert_null(strstr(w.log, "n1 < stop"));
}

static void test_after_the_carrier_is_back_they_have_settle_once_more(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    host(false);
    restore_instance(INSTANCE_READY, &plan);
    begin();
    join(1);
    pass_reporting(9500, 1);
    host(true);
    pass_reporting(9500, 1);
    assert_null(strstr(w.log, "n1 < stop"));
    pass_reporting(500, 1);
    assert_non_null(strstr(w.log, "n1 < stop e4\n"));
}

/* Two machines on one cable, and the other one is off. */
static void test_an_operator_ends_the_wait_for_nodes_without_a_carrier(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    host(false);
    restore_instance(INSTANCE_READY, &plan);
    begin();
    join(1);
    pass_reporting(15000, 1);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_LIFT_BRAKE, .request_id = 9});
    quiet();
    pass_reporting(500, 1);
    EXPECT("n1 < stop e4\n");
    done(1, COMMAND_STOP); /* and n2 is not waited for */
    EXPECT("instance m recovering -> placing (place)\n"
           "commit 1: instance m leasing e5\n");
}

static void test_one_that_was_being_started_begins_anew_and_so_does_its_task(void **state)
{
    struct plan plan;
    struct view *v;

    (void)state;
    begin_load(7, 2);
    plan = restart();
    restore_instance(INSTANCE_LEASING, &plan);
    restore_task(11, TASK_DEPLOY, TASK_RUNNING);
    begin();
    join(1);
    hello(2);
    quiet();
    report(2);
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    EXPECT("node n2 joining -> ready (report)\n"
           "n1 < stop e4\n"
           "n2 < stop e4\n"
           "instance m recovering -> placing (place)\n"
           "commit 1: instance m leasing e5\n");
    v = view_now();
    assert_int_equal(v->task[0].state, TASK_RUNNING);
    assert_string_equal(v->task[0].step, "placing");
    assert_string_equal(v->instance[0].reason, "after the controller's restart its coordinator did not run any more");
    view_unref(&v);
}

/* Its agents tell again what its log has shown when their link is up, rank 0's before the other one is there. */
static void test_a_load_under_way_goes_on_under_another_controller(void **state)
{
    struct plan plan;
    struct view *v;

    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    plan = restart();
    restore_instance(INSTANCE_LEASING, &plan);
    restore_task(11, TASK_DEPLOY, TASK_RUNNING);
    begin();
    join(1);
    shows_buffers(1, -1, 0);
    hear(1, event_of(1, AGENT_EVENT_LISTENING, UNIT_COORDINATOR));
    EXPECT("");
    hello(2);
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "instance m recovering -> loading (found)\n"
           "warm_up m 10.0.0.1:18080\n");
    warmed(true, "");
    commit();
    EXPECT("commit 1: instance m ready e4\n"
           "instance m loading -> ready (ranks_proven)\n"
           "task 11 running -> complete (done)\n"
           "commit 2: task 11 complete\n");
    v = view_now();
    assert_int_equal(v->instance[0].attempts, 0);
    view_unref(&v);
}

static void test_a_load_that_has_shown_nothing_yet_is_watched_on(void **state)
{
    struct plan plan;

    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    plan = restart();
    restore_instance(INSTANCE_LEASING, &plan);
    begin();
    join(1);
    hello(2);
    quiet();
    report(2);
    assert_non_null(strstr(w.log, "instance m recovering -> loading (found)\n"));
    shows_buffers(1, -1, 0);
    quiet();
    listens(1);
    EXPECT("warm_up m 10.0.0.1:18080\n");
}

static void test_what_waited_waits_on_or_is_placed(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_WAITING, &plan);
    begin();
    w.n_units[1] = w.n_units[2] = 0;
    join(1);
    hello(2);
    quiet();
    report(2);
    done(1, COMMAND_STOP); /* whatever its last epoch left */
    done(2, COMMAND_STOP);
    assert_non_null(strstr(w.log, "instance m recovering -> placing (place)\n"
                                  "commit 1: instance m leasing e5\n"));
}

static void test_what_is_known_of_an_instance_outlives_the_controller(void **state)
{
    struct plan plan;
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(107)};
    const struct instance *i;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    strcpy(rec.i.name, "m");
    strcpy(rec.i.request.model, "m");
    rec.i.state = INSTANCE_READY;
    rec.i.epoch = 4;
    rec.i.plan = rec.i.pinned = &plan;
    rec.i.attempts = 3;
    rec.i.load_ms = 60000;
    rec.i.served = true;
    rec.i.follows = id_of(9);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    i = CLUSTER_INSTANCE(w.c, 0);
    assert_int_equal(i->recovery.attempts, 3);
    assert_int_equal(i->load_ms, 60000);
    assert_true(i->served && i->pinned);
    assert_true(id128_equal(&i->follows, &rec.i.follows));
}

static void test_a_stop_goes_on_after_a_restart(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 1);
    plan = restart();
    restore_instance(INSTANCE_STOPPING, &plan);
    restore_task(12, TASK_STOP, TASK_RUNNING);
    begin();
    hello(1);
    quiet();
    report(1);
    EXPECT("node n1 joining -> ready (report)\n"
           "n1 < stop e4\n");
    done(1, COMMAND_STOP);
    EXPECT("instance m stopping -> stopped (released)\n"
           "task 12 running -> complete (done)\n"
           "commit 1: task 12 complete, instance m stopped e4\n");
}

/* That the deploy was called off may not have been written when the controller ended. */
static void test_a_deploy_that_was_stopped_is_cancelled_after_a_restart(void **state)
{
    struct plan plan;

    (void)state;
    begin_load(7, 1);
    plan = restart();
    restore_instance(INSTANCE_STOPPING, &plan);
    restore_task(11, TASK_DEPLOY, TASK_RUNNING);
    restore_task(12, TASK_STOP, TASK_RUNNING);
    begin();
    EXPECT("task 11 running -> cancelled (cancel): somebody stopped it\n"
           "commit 1: task 11 cancelled\n");
}

/* Two bear the name while one takes the place of the other, and one task stops both. */
static void test_a_stop_of_two_goes_on_after_a_restart(void **state)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(108)};
    struct plan plan;

    (void)state;
    make_ready(7, 1);
    plan = restart();
    restore_instance(INSTANCE_STOPPED, &plan);
    strcpy(rec.i.name, "m");
    strcpy(rec.i.request.model, "m");
    rec.i.state = INSTANCE_STOPPING;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    restore_task(12, TASK_STOP, TASK_RUNNING);
    begin();
    EXPECT("");
    tick();
    EXPECT("instance m stopping -> stopped (released)\n"
           "task 12 running -> complete (done)\n"
           "commit 1: task 12 complete, instance m stopped e0\n");
}

/* Two bear the name, and each is being stopped by a task of its own. */
static void test_two_stops_of_one_name_go_on_after_a_restart(void **state)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(108)};
    struct record own = {.kind = RECORD_TASK,
                         .task = {.id = 13, .kind = TASK_STOP, .state = TASK_RUNNING, .instance = id_of(108)}};
    struct plan plan;

    (void)state;
    make_ready(7, 1);
    plan = restart();
    restore_instance(INSTANCE_STOPPING, &plan);
    strcpy(rec.i.name, "m");
    strcpy(rec.i.request.model, "m");
    rec.i.state = INSTANCE_STOPPING;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    restore_task(12, TASK_STOP, TASK_RUNNING);
    strcpy(own.task.name, "m");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &own});
    begin();
    EXPECT("");
    tick();
    EXPECT("instance m stopping -> stopped (released)\n"
           "task 13 running -> complete (done)\n"
           "commit 1: task 13 complete, instance m stopped e0\n");
    hello(1);
    report(1);
    quiet();
    done(1, COMMAND_STOP);
    EXPECT("instance m stopping -> stopped (released)\n"
           "task 12 running -> complete (done)\n"
           "commit 2: task 12 complete, instance m stopped e4\n");
}

static void test_a_restored_one_can_be_stopped_before_its_nodes_are_back(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 1);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    stop(8, "m");
    quiet();
    commit();
    EXPECT("answer 8: task 1\n"
           "instance m recovering -> stopping (stop)\n");
    pass(3000);
    EXPECT(""); /* there is nobody to tell */
    hello(1);
    quiet();
    report(1);
    EXPECT("node n1 joining -> ready (report)\n");
    pass(900);
    report(1);
    pass(100);
    EXPECT("n1 < stop e4\n");
    done(1, COMMAND_STOP);
    EXPECT("instance m stopping -> stopped (released): stopped\n"
           "task 1 running -> complete (done)\n"
           "commit 2: task 1 complete, instance m stopped e4\n");
    pass_reporting(15000, 1); /* settle changes nothing any more */
    EXPECT("");
}

static void test_what_was_stopped_in_the_store_is_ended_where_it_still_runs(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 1);
    plan = restart();
    restore_instance(INSTANCE_STOPPED, &plan);
    begin();
    hello(1);
    quiet();
    report(1);
    EXPECT("node n1 joining -> ready (report)\n"
           "n1 < stop e4\n");
}

/* It could not write that this was over, and believes its disk after a power cut. */
static void test_what_was_stopped_in_the_store_is_ended_where_it_comes_up_again(void **state)
{
    struct plan plan;
    size_t n_units;

    (void)state;
    make_ready(7, 1);
    plan = restart();
    n_units = w.n_units[1];
    restore_instance(INSTANCE_STOPPED, &plan);
    begin();
    hello(1);
    report(1);
    done(1, COMMAND_STOP);
    report(1);
    quiet();
    w.n_units[1] = n_units;
    report(1);
    EXPECT("n1 < stop e4\n");
}

static void test_a_task_without_its_instance_has_failed(void **state)
{
    (void)state;
    restore_task(12, TASK_DEPLOY, TASK_RUNNING);
    begin();
    EXPECT("task 12 running -> failed (fail): the controller was restarted before this was done\n"
           "commit 1: task 12 failed\n");
    join(1);
    deploy(1, "m", 0);
    assert_non_null(strstr(w.log, "task 13 pending")); /* numbers go on */
}

static void test_an_older_epoch_on_a_node_that_was_away_is_ended(void **state)
{
    (void)state;
    make_ready(7, 2);
    w.unit[2][1] = w.unit[2][0];
    w.unit[2][1].epoch = 0;
    w.n_units[2] = 2;
    report(2);
    EXPECT("n2 < stop e0\n");
    pass(500);
    report(2);
    EXPECT(""); /* once a second */
}

/* "Returns when its workers are empty": where nobody can know, the task says of whom. */
static void test_a_stop_names_the_nodes_that_it_did_not_reach(void **state)
{
    struct view *v;

    (void)state;
    make_ready(7, 2);
    vanish(1, 2);
    stop(8, "m");
    commit_all(true);
    done(2, COMMAND_STOP);
    assert_int_equal(cluster_view(w.c, w.now, 1000000 + w.now, &v), 0);
    assert_int_equal(v->task[0].kind, TASK_STOP);
    assert_int_equal(v->task[0].state, TASK_COMPLETE);
    assert_string_equal(v->task[0].code, "not_reached");
    assert_string_equal(v->task[0].text,
                        "n1 could not be reached: what still runs there is ended once the node is back");
    view_unref(&v);
}

/* What the epoch that may still serve is made of is being found out; one before it is dead all the same. */
static void test_an_older_epoch_is_ended_before_it_is_known_what_runs(void **state)
{
    struct plan plan;
    struct message *m;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    hello(3);
    quiet();
    m = report_of(3);
    m->report->n_leases = 1;
    m->report->lease[0] = (struct lease_facts){.instance = id_of(107), .epoch = 3, .bytes = GIB};
    hear(3, m);
    EXPECT("node n3 joining -> ready (report)\n"
           "n3 < stop e3\n");
}

/* A node that is retired while it answers hears that its coordinator is to end; what that still does to the others takes as
 * long as its grace. */
static void test_a_retired_coordinators_node_has_time_to_end_it(void **state)
{
    (void)state;
    make_ready(7, 2);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RETIRE, .request_id = 8, .target = "n1"});
    quiet();
    commit();
    assert_null(strstr(w.log, "n2 < stop"));
    assert_non_null(strstr(w.log, "n1 < stop e1\n"));
    quiet();
    for (int k = 0; k < 4; k++) {
        pass(500);
        report(2);
        EXPECT("");
    }
    pass(500);
    EXPECT("n2 < stop e1 at large\n");
}

static void test_a_retired_node_that_was_silent_is_not_waited_for(void **state)
{
    (void)state;
    make_ready(7, 2);
    vanish(1, 2);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RETIRE, .request_id = 8, .target = "n1"});
    quiet();
    commit();
    assert_non_null(strstr(w.log, "n2 < stop e1 at large\n"));
}

/* What a node had of it is no sign that it is whole once that node is retired. */
static void test_a_restored_one_whose_node_is_retired_meanwhile_is_not_adopted(void **state)
{
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = restart();
    restore_instance(INSTANCE_READY, &plan);
    begin();
    join(2);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RETIRE, .request_id = 8, .target = "n2"});
    commit();
    hello(1);
    quiet();
    report(1);
    EXPECT("node n1 joining -> ready (report)\n"
           "n1 < stop e4\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_stop_ends_the_coordinator_first_and_is_done_when_all_are_empty),
        TEST(test_stop_finds_by_name_alias_model_and_id),
        TEST(test_stop_in_mid_start_cancels_the_deploy),
        TEST(test_stop_before_the_plan_is_durable),
        TEST(test_stop_of_a_failing_one_joins_its_release),
        TEST(test_stop_of_a_failed_one_removes_it),
        TEST(test_a_stop_that_cannot_be_written_stops_nothing),
        TEST(test_what_has_ended_is_kept_to_a_bound),
        TEST(test_a_node_that_was_away_over_a_restart_is_still_told),
        TEST(test_and_that_its_coordinator_may_live),
        TEST(test_which_does_not_matter_where_carriers_stood_between),
        TEST(test_what_a_node_owes_is_not_forgiven_for_a_word_from_before),
        TEST(test_a_ready_instance_is_adopted_when_all_of_it_is_there),
        TEST(test_one_that_is_not_whole_is_ended),
        TEST(test_one_whose_rank_changed_places_is_ended),
        TEST(test_a_record_of_a_broken_plan_is_not_followed),
        TEST(test_whom_a_restored_one_waits_for_is_named),
        TEST(test_nodes_that_do_not_come_back_are_waited_for_until_settle),
        TEST(test_without_a_carrier_nodes_are_waited_for_beyond_settle),
        TEST(test_after_the_carrier_is_back_they_have_settle_once_more),
        TEST(test_an_operator_ends_the_wait_for_nodes_without_a_carrier),
        TEST(test_one_that_was_being_started_begins_anew_and_so_does_its_task),
        TEST(test_a_load_under_way_goes_on_under_another_controller),
        TEST(test_a_load_that_has_shown_nothing_yet_is_watched_on),
        TEST(test_what_waited_waits_on_or_is_placed),
        TEST(test_what_is_known_of_an_instance_outlives_the_controller),
        TEST(test_a_stop_goes_on_after_a_restart),
        TEST(test_a_stop_outlives_what_was_written_meanwhile),
        TEST(test_a_deploy_that_was_stopped_is_cancelled_after_a_restart),
        TEST(test_a_stop_of_two_goes_on_after_a_restart),
        TEST(test_two_stops_of_one_name_go_on_after_a_restart),
        TEST(test_a_restored_one_can_be_stopped_before_its_nodes_are_back),
        TEST(test_what_was_stopped_in_the_store_is_ended_where_it_still_runs),
        TEST(test_what_was_stopped_in_the_store_is_ended_where_it_comes_up_again),
        TEST(test_a_task_without_its_instance_has_failed),
        TEST(test_an_older_epoch_on_a_node_that_was_away_is_ended),
        TEST(test_an_older_epoch_is_ended_before_it_is_known_what_runs),
        TEST(test_a_retired_coordinators_node_has_time_to_end_it),
        TEST(test_a_retired_node_that_was_silent_is_not_waited_for),
        TEST(test_a_restored_one_whose_node_is_retired_meanwhile_is_not_adopted),
        TEST(test_a_stop_names_the_nodes_that_it_did_not_reach),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
