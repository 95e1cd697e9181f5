/* Emptying a node: what moves, how, and what is said when it cannot. */
#include "tests/unit/cluster_harness.h"

static void drain(uint64_t request_id, const char *target)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_DRAIN, .request_id = request_id, .target = target});
}

static void undrain(uint64_t request_id, const char *target)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_UNDRAIN, .request_id = request_id, .target = target});
}

/* The gateway has that many requests in the instance, and some token of them came. */
static void in_flight(const struct id128 *instance, uint64_t epoch, uint32_t n)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_TRAFFIC,
                              .instance = *instance,
                              .epoch = epoch,
                              .traffic = {.in_flight = n, .progress = w.now}});
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

/* The coordinator that belongs to the newest plan, among others on its node. */
static struct message *of_newest(int node, enum agent_event_kind kind)
{
    struct message *m = event_of(node, kind, UNIT_COORDINATOR);

    for (size_t u = 0; u < w.n_units[node]; u++) {
        if (w.unit[node][u].role == UNIT_COORDINATOR && id128_equal(&w.unit[node][u].instance, &w.instance))
            m->event->unit = w.unit[node][u];
    }
    m->instance = w.instance;
    m->epoch = w.epoch;
    return m;
}

/* From its leases to `ready`, beside what else runs on its nodes. */
static void load_newest(void)
{
    struct message *m;
    int first = w.plan.rank[0].node.b[0];

    for (int node = 1; node < NODES; node++) {
        if (planned_on(node))
            done(node, COMMAND_LEASE);
    }
    for (int node = 1; node < NODES; node++) {
        if (planned_on(node))
            done(node, COMMAND_START_WORKER);
    }
    done(first, COMMAND_START_COORDINATOR);
    m = of_newest(first, AGENT_EVENT_RANK_BUFFERS);
    for (size_t r = 0; r < w.plan.n_ranks; r++) {
        struct rank_buffers *b = &m->event->buffers[m->event->n_buffers++];

        snprintf(b->endpoint, sizeof(b->endpoint), "%s:20052", w.plan.rank[r].addr);
        b->model_bytes = w.plan.rank[r].device[0].weight_bytes;
    }
    hear(first, m);
    hear(first, of_newest(first, AGENT_EVENT_LISTENING));
    warmed(true, "");
    quiet();
    commit();
}

/* A node obeys a STOP: only what it was told to end goes. */
static void stops(int node, const struct id128 *instance)
{
    struct unit_facts kept[PROTO_UNITS_MAX];
    size_t n = 0;

    for (size_t u = 0; u < w.n_units[node]; u++) {
        if (!id128_equal(&w.unit[node][u].instance, instance))
            kept[n++] = w.unit[node][u];
    }
    done(node, COMMAND_STOP);
    memcpy(w.unit[node], kept, sizeof(kept));
    w.n_units[node] = n;
}

static struct view_task newest_task(void)
{
    struct view *v = view_now();
    struct view_task t = v->task[0];

    view_unref(&v);
    return t;
}

static const struct view_node *node_named(const struct view *v, const char *name)
{
    for (size_t i = 0; i < v->n_nodes; i++) {
        if (!strcmp(v->node[i].hello.name, name))
            return &v->node[i];
    }
    return NULL;
}

static void assert_node(const char *name, enum node_state state)
{
    struct view *v = view_now();

    assert_int_equal(node_named(v, name)->state, state);
    view_unref(&v);
}

static struct id128 old_one;

/* m is ready on n1 and n2, n3 is idle, and n2 is to be emptied. */
static void begin_drain(void)
{
    make_ready(7, 2);
    join(3);
    old_one = w.instance;
    quiet();
    drain(8, "n2");
    EXPECT("task 2 pending -> running (begin)\n"
           "commit 4: task 2 running, node n2 draining\n");
    commit();
    EXPECT("answer 8: task 2\n"
           "node n2 ready -> draining (drain)\n"
           "instance m requested -> placing (place)\n"
           "commit 5: instance m leasing e1\n"
           "instance m placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n");
    assert_true(planned_on(1) && planned_on(3) && !planned_on(2));
    assert_false(id128_equal(&w.instance, &old_one));
}

static void test_what_is_ready_moves_by_a_successor(void **state)
{
    struct id128 successor;
    struct view *v;

    (void)state;
    begin_drain();
    assert_string_equal(newest_task().text, ""); /* nothing is done yet */
    assert_string_equal(newest_task().step, "moving m");
    v = view_now(); /* the old one serves until then */
    assert_true(id128_equal(&view_find_instance(v, "m")->id, &old_one));
    assert_true(id128_equal(&v->instance[0].follows, &old_one));
    view_unref(&v);
    load_newest();
    EXPECT("instance m loading -> ready (ranks_proven)\n"
           "instance m ready -> draining (drain): another one took its place\n");
    successor = w.instance;
    v = view_now(); /* the name's requests are the new one's from that step on */
    assert_true(id128_equal(&view_find_instance(v, "m")->id, &successor));
    view_unref(&v);

    quiet();
    for (int s = 0; s < 30; s++) {
        in_flight(&old_one, 1, 3);
        pass_reporting(1000, 3);
    }
    EXPECT("");
    in_flight(&old_one, 1, 0); /* its last request is over */
    EXPECT("commit 7: instance m stopping e1\n");
    commit();
    EXPECT("instance m draining -> stopping (stop): another one took its place\n"
           "n1 < stop e1\n");
    stops(1, &old_one);
    EXPECT("n2 < stop e1\n");
    stops(2, &old_one);
    EXPECT("instance m stopping -> stopped (released): another one took its place\n"
           "node n2 draining -> drained (emptied)\n"
           "task 2 running -> complete (done): m moved to another one that was loaded beside it\n"
           "commit 8: instance m stopped e1, instance m ready e1, task 2 complete\n");
    v = view_now();
    assert_true(id128_is_zero(&view_find_instance(v, "m")->follows));
    assert_int_equal(node_named(v, "n2")->leased_bytes, 0);
    view_unref(&v);
    exits(3, UNIT_WORKER, 0, 9, ""); /* a life of its own */
    assert_non_null(strstr(w.log, "instance m ready -> recovering"));
}

static void test_requests_that_do_not_end_have_a_minute(void **state)
{
    (void)state;
    begin_drain();
    load_newest();
    quiet();
    for (int s = 0; s < 59; s++) {
        in_flight(&old_one, 1, 1);
        pass_reporting(1000, 3);
    }
    EXPECT("");
    pass_reporting(1000, 3);
    EXPECT("commit 7: instance m stopping e1\n");
}

/* A request that the gateway sent there just before it learnt of the move is not cut off. */
static void test_nothing_in_flight_is_not_believed_at_once(void **state)
{
    (void)state;
    begin_drain();
    load_newest();
    quiet();
    pass_reporting(1500, 3);
    EXPECT("");
    pass_reporting(500, 3);
    EXPECT("commit 7: instance m stopping e1\n");
    commit_all(false); /* and what could not be written is tried again, not at once */
    quiet();
    pass_reporting(500, 3);
    EXPECT("");
    pass_reporting(500, 3);
    EXPECT("commit 8: instance m stopping e1\n");
}

static void test_where_there_is_no_place_beside_it_it_is_ended_first(void **state)
{
    (void)state;
    make_ready(7, 2);
    drain(8, "n2");
    commit();
    EXPECT("task 2 pending -> running (begin)\n"
           "commit 4: task 2 running, node n2 draining\n"
           "answer 8: task 2\n"
           "node n2 ready -> draining (drain)\n"
           "instance m ready -> draining (drain): moving m\n");
    assert_string_equal(newest_task().text,
                        "m was ended first, since there was no place beside it: 1 node can be used, 2 "
                        "needed; n2 left out: draining");
    pass_reporting(2000, 2);
    EXPECT("instance m draining -> recovering (trouble): its node is being drained\n"
           "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    quiet();
    done(2, COMMAND_STOP);
    EXPECT(
        "instance m recovering -> placing (place)\n"
        "instance m placing -> waiting (no_room): 1 node can be used, 2 needed; n2 left out: draining\n"
        "node n2 draining -> drained (emptied)\n"
        "task 2 running -> complete (done): m was ended first, since there was no place beside it: 1 node can be used, 2 "
        "needed; n2 left out: draining\n"
        "commit 5: instance m waiting e1, task 2 complete\n");
    commit();
    quiet();
    undrain(9, "n2"); /* and there is room again */
    commit();
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "instance m waiting -> placing (place)\n"
           "commit 7: instance m leasing e2\n");
}

static void test_what_is_on_its_way_is_placed_elsewhere(void **state)
{
    struct view *v;

    (void)state;
    begin_load(7, 2);
    join(3);
    drain(8, "n2");
    quiet();
    commit();
    EXPECT("answer 8: task 2\n"
           "node n2 ready -> draining (drain)\n"
           "instance m loading -> recovering (trouble): node n2 is being drained\n"
           "n1 < stop e1\n");
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    commit();
    assert_true(planned_on(1) && planned_on(3));
    assert_node("n2", NODE_DRAINED);
    v = view_now();
    assert_int_equal(v->instance[0].attempts, 0); /* nobody's fault */
    assert_int_equal(v->task[0].state, TASK_COMPLETE);
    assert_int_equal(v->task[1].state, TASK_RUNNING); /* the deploy goes on */
    view_unref(&v);
}

static void test_a_successor_that_fails_leaves_the_old_one_and_says_so(void **state)
{
    struct view *v;

    (void)state;
    begin_drain();
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "unservable", "unknown flag --foo");
    quiet();
    stops(1, &w.instance);
    EXPECT(
        "instance m recovering -> failed (give_up): the lease on n1 was refused: unknown flag --foo\n"
        "task 2 running -> failed (fail): m could not move and is served where it is; drain again, stop it, or undrain "
        "the node: the lease on n1 was refused: unknown flag --foo\n"
        "commit 6: instance m failed e1, task 2 failed\n");
    commit();
    assert_node("n2", NODE_DRAINING);
    v = view_now();
    assert_int_equal(view_find_instance(v, "m")->state, INSTANCE_READY);
    view_unref(&v);
    quiet();
    pass_reporting(60000, 3);
    EXPECT(""); /* nothing is tried without a task */
    drain(9, "n2");
    commit();
    EXPECT("task 3 pending -> running (begin)\n"
           "commit 7: task 3 running, node n2 draining\n"
           "answer 9: task 3\n"
           "instance m requested -> placing (place)\n"
           "commit 8: instance m leasing e1\n"
           "instance m placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n");
}

static void test_undrain_ends_the_move(void **state)
{
    (void)state;
    begin_drain();
    undrain(9, "n2");
    EXPECT("commit 6: node n2 gone\n");
    commit();
    EXPECT("answer 9: task 2\n"
           "task 2 running -> cancelled (cancel): an operator has taken the node into use again\n"
           "node n2 draining -> ready (undrain)\n"
           "commit 7: task 2 cancelled, instance m stopping e1\n"
           "instance m leasing -> stopping (stop): another one took its place\n"
           "n1 < stop e1\n");
    stops(1, &w.instance);
    quiet();
    pass_reporting(70000, 3); /* the successor is no longer shown */
    {
        struct view *v = view_now();

        assert_int_equal(v->n_instances, 1);
        assert_int_equal(v->instance[0].state, INSTANCE_READY);
        assert_true(id128_equal(&v->instance[0].id, &old_one));
        view_unref(&v);
    }
    undrain(10, "n2");
    assert_non_null(strstr(w.log, "answer 10: task 2 attached\n"));
}

static void test_stop_and_deploy_while_two_bear_the_name(void **state)
{
    (void)state;
    begin_drain();
    deploy(9, "m", 0);
    EXPECT("answer 9: task 1 attached\n"); /* it is served */
    stop(10, "m");
    quiet();
    commit();
    assert_non_null(strstr(w.log, "instance m ready -> stopping (stop)\n"));
    assert_non_null(strstr(w.log, "instance m leasing -> stopping (stop)\n"));
    quiet();
    stops(1, &old_one);
    stops(2, &old_one);
    assert_int_equal(newest_task().state, TASK_RUNNING); /* the other one is not yet */
    done(1, COMMAND_STOP);
    assert_int_equal(newest_task().state, TASK_COMPLETE);
    assert_node("n2", NODE_DRAINED);
}

/* Each stop is of what no other one was ending already, and both come to their end. */
static void test_a_stop_by_name_leaves_one_that_is_stopped_already_to_its_own_task(void **state)
{
    (void)state;
    begin_drain();
    stop(9, ID128(&old_one));
    commit();
    quiet();
    stop(10, "m");
    EXPECT("task 4 pending -> running (begin)\n"
           "commit 7: task 4 running, instance m stopping e1\n");
    commit();
    quiet();
    stops(1, &old_one);
    stops(2, &old_one);
    assert_non_null(strstr(w.log, "task 3 running -> complete (done)\n"));
    assert_int_equal(newest_task().state, TASK_RUNNING);
    done(1, COMMAND_STOP);
    assert_int_equal(newest_task().state, TASK_COMPLETE);
}

static void test_an_idle_node_is_drained_at_once_and_gets_nothing_new(void **state)
{
    (void)state;
    join(1);
    join(2);
    drain(1, "n2");
    commit();
    EXPECT("task 1 pending -> running (begin)\n"
           "commit 1: task 1 running, node n2 draining\n"
           "answer 1: task 1\n"
           "node n2 ready -> draining (drain)\n"
           "node n2 draining -> drained (emptied)\n"
           "task 1 running -> complete (done)\n"
           "commit 2: task 1 complete\n");
    deploy(2, "m", 2);
    assert_non_null(strstr(w.log, "1 node can be used, 2 needed; n2 left out: drained"));
    quiet();
    drain(3, "n2"); /* again: a task of its own, done at once */
    commit();
    assert_non_null(strstr(w.log, "task 3 running -> complete (done)"));
    quiet();
    hello(2); /* its agent begins anew, or the machine boots */
    report(2);
    assert_node("n2", NODE_DRAINED);
}

static void test_what_cannot_be_drained_is_refused_and_counted(void **state)
{
    struct view *v;
    bool counted = false;

    (void)state;
    drain(1, "n9");
    EXPECT("answer 1: refused not_found: there is no node n9; `caravan nodes` lists them\n");
    join(1);
    join(2);
    vanish(2, 2);
    quiet();
    drain(2, "n2");
    EXPECT(
        "node n2 lost drain: refuse: the node is lost; retire it, or drain it when it is back\n"
        "task 1 pending -> refused (refuse): node n2 is lost: the node is lost; retire it, or drain it when it is back\n"
        "answer 2: refused invalid_transition: node n2 is lost: the node is lost; retire it, or drain it when it is "
        "back\n"
        "commit 1: task 1 refused\n");
    v = view_now();
    for (size_t i = 0; i < v->n_refusals; i++)
        counted |= !strcmp(v->refusal[i].machine, "node") && !strcmp(v->refusal[i].state, "lost") &&
                   !strcmp(v->refusal[i].event, "drain") && v->refusal[i].n == 1;
    assert_true(counted);
    view_unref(&v);
}

static void test_a_word_that_could_not_be_written_is_taken_back(void **state)
{
    (void)state;
    join(1);
    drain(1, "n1");
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "answer 1: refused store_failed"));
    assert_node("n1", NODE_READY);
    deploy(2, "m", 0); /* and it is used */
    assert_null(strstr(w.log, "left out"));
}

/* What was there is recovered elsewhere by itself; the task has nothing more to do. */
static void test_a_draining_node_that_is_lost(void **state)
{
    (void)state;
    begin_drain();
    vanish(2, 3);
    quiet();
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    stops(1, &old_one);
    commit();
    assert_int_equal(newest_task().state, TASK_COMPLETE);
    assert_string_equal(newest_task().text, "n2 itself did not answer; nothing is served there any more");
    report(2);
    assert_node("n2", NODE_DRAINING); /* nothing is placed there when it is back; what it still runs is ended */
    assert_non_null(strstr(w.log, "n2 < stop e1"));
    w.n_units[2] = 0;
    pass_reporting(1500, 3);
    assert_node("n2", NODE_DRAINED);
}

/* ---- another controller -------------------------------------------------------------------------------------------- */

static void restore_node(int node)
{
    struct record rec = {.kind = RECORD_NODE, .instance = id_of(node), .node.draining = true};

    snprintf(rec.node.name, sizeof(rec.node.name), "n%d", node);
    snprintf(rec.node.key, sizeof(rec.node.key), "k%d", node);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

static void restore_instance(const struct id128 *id, const struct id128 *follows, enum instance_state state,
                             struct plan *plan)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = *id};

    strcpy(rec.i.name, "m");
    rec.i.request = request_of("m", 2);
    rec.i.state = state;
    rec.i.epoch = 1;
    rec.i.plan = plan;
    rec.i.follows = *follows;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

static void test_a_move_goes_on_under_another_controller(void **state)
{
    static struct world before;
    struct record task = {.kind = RECORD_TASK,
                          .task = {.id = 2, .kind = TASK_DRAIN, .state = TASK_RUNNING, .instance = id_of(2)}};
    const struct id128 nobody = {{0}};
    struct plan old_plan, new_plan;
    struct id128 successor;

    (void)state;
    make_ready(7, 2);
    old_plan = w.plan;
    world_teardown(state);
    world_setup(state);
    begin_drain();
    new_plan = w.plan;
    successor = w.instance;
    load_newest();
    before = w;
    cluster_destroy(&w.c);
    world_open();
    memcpy(w.unit, before.unit, sizeof(w.unit));
    memcpy(w.n_units, before.n_units, sizeof(w.n_units));
    restore_instance(&old_one, &nobody, INSTANCE_READY, &old_plan);
    restore_instance(&successor, &old_one, INSTANCE_READY, &new_plan);
    restore_node(2);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &task});
    begin();
    for (int node = 1; node <= 3; node++)
        hello(node);
    quiet();
    for (int node = 1; node <= 3; node++)
        report(node);
    EXPECT("node n1 joining -> ready (report)\n"
           "node n2 joining -> ready (report)\n"
           "node n2 ready -> draining (drain): it was being drained before\n"
           "instance m recovering -> ready (adopted)\n"
           "node n3 joining -> ready (report)\n"
           "instance m recovering -> ready (adopted)\n"
           "instance m ready -> draining (drain): another one took its place\n");
    pass_reporting(2000, 3);
    commit();
    stops(1, &old_one);
    stops(2, &old_one);
    assert_node("n2", NODE_DRAINED);
    assert_int_equal(newest_task().state, TASK_COMPLETE);
}

/* The end of the first could not be written: without this it would be `running` for ever. */
static void test_of_two_drains_in_the_store_the_newer_one_goes_on(void **state)
{
    struct record task = {.kind = RECORD_TASK,
                          .task = {.kind = TASK_DRAIN, .state = TASK_RUNNING, .instance = id_of(2)}};

    world_teardown(state);
    world_open();
    restore_node(2);
    for (task.task.id = 1; task.task.id <= 2; task.task.id++)
        step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &task});
    begin();
    EXPECT(
        "task 1 running -> failed (fail): how it ended could not be written down, and the controller was restarted; the "
        "node was drained again\n"
        "commit 1: task 1 failed\n");
    commit();
    hello(2);
    quiet();
    report(2);
    commit();
    assert_node("n2", NODE_DRAINED);
    assert_int_equal(newest_task().id, 2);
    assert_int_equal(newest_task().state, TASK_COMPLETE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_ready_moves_by_a_successor),
        TEST(test_requests_that_do_not_end_have_a_minute),
        TEST(test_nothing_in_flight_is_not_believed_at_once),
        TEST(test_where_there_is_no_place_beside_it_it_is_ended_first),
        TEST(test_what_is_on_its_way_is_placed_elsewhere),
        TEST(test_a_successor_that_fails_leaves_the_old_one_and_says_so),
        TEST(test_undrain_ends_the_move),
        TEST(test_stop_and_deploy_while_two_bear_the_name),
        TEST(test_a_stop_by_name_leaves_one_that_is_stopped_already_to_its_own_task),
        TEST(test_an_idle_node_is_drained_at_once_and_gets_nothing_new),
        TEST(test_what_cannot_be_drained_is_refused_and_counted),
        TEST(test_a_word_that_could_not_be_written_is_taken_back),
        TEST(test_a_draining_node_that_is_lost),
        TEST(test_a_move_goes_on_under_another_controller),
        TEST(test_of_two_drains_in_the_store_the_newer_one_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
