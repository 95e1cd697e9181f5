/* Several instances under one name: on nodes of their own, one task, each recovered by itself. */
#include "tests/unit/serving_harness.h"

static struct served sections[1];

static void open_with(uint32_t replicas, int n_nodes)
{
    sections[0] = section_of("chat", "m", SERVED_DEMAND);
    sections[0].request.replicas = replicas;
    serve_open(sections, 1, SERVED_DEMAND, n_nodes);
    settle(n_nodes);
}

static const struct view_task *task_now(struct view *v)
{
    return &v->task[0];
}

static bool has_note(const struct instance *i, const char *note)
{
    for (size_t k = 0; k < i->plan->n_notes; k++) {
        if (!strcmp(i->plan->note[k], note))
            return true;
    }
    return false;
}

static void test_each_has_a_number_an_id_and_a_node_of_its_own(void **state)
{
    unsigned nodes = 0;

    (void)state;
    open_with(3, 3);
    deploy(7, "chat", 0);
    EXPECT("task 1 pending -> running (begin)\n"
           "instance chat requested -> placing (place)\n"
           "instance chat requested -> placing (place)\n"
           "instance chat requested -> placing (place)\n"
           "commit 1: task 1 running, instance chat leasing e1, instance chat leasing e1, instance chat leasing e1\n");
    commit();
    for (uint32_t k = 0; k < 3; k++) {
        assert_int_equal(live("chat", k)->replica, k);
        nodes |= 1u << node_of_instance(&live("chat", k)->id);
    }
    assert_int_equal(nodes, 2 + 4 + 8);
    assert_false(id128_equal(&live("chat", 0)->id, &live("chat", 1)->id));
    assert_false(id128_equal(&live("chat", 1)->id, &live("chat", 2)->id));
    assert_true(has_note(live("chat", 1), "n1 runs another replica: tried last"));
    assert_false(has_note(live("chat", 0), "n2 runs another replica: tried last"));
}

static void test_where_there_are_too_few_nodes_they_share(void **state)
{
    (void)state;
    open_with(3, 2);
    deploy(7, "chat", 0);
    commit();
    assert_int_equal(n_live("chat"), 3);
    assert_true(has_note(live("chat", 2), "n1 runs another replica too: no other node will do") ||
                has_note(live("chat", 2), "n2 runs another replica too: no other node will do"));
}

static void test_the_task_is_done_when_all_are_ready(void **state)
{
    struct view *v;

    (void)state;
    open_with(2, 2);
    deploy(7, "chat", 0);
    commit();
    bring_up(live("chat", 0)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_RUNNING);
    view_unref(&v);
    bring_up(live("chat", 1)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_COMPLETE);
    assert_int_equal(v->n_tasks, 1);
    assert_int_equal(v->instance[0].replica + v->instance[1].replica, 1);
    view_unref(&v);
}

static void test_the_task_says_which_failed(void **state)
{
    struct view *v;
    int node;

    (void)state;
    open_with(2, 2);
    deploy(7, "chat", 0);
    commit();
    node = node_of_instance(&live("chat", 1)->id);
    answer_with(node, COMMAND_LEASE, RESULT_REFUSED, "unservable", "unknown flag --foo");
    bring_down(live("chat", 1)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_RUNNING); /* the other one is on its way */
    view_unref(&v);
    bring_up(live("chat", 0)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_FAILED);
    assert_string_equal(task_now(v)->code, "unservable");
    assert_non_null(strstr(task_now(v)->text, "1 of 2 are ready; replica 1: "));
    assert_non_null(strstr(task_now(v)->text, "unknown flag --foo"));
    view_unref(&v);
    deploy(8, "chat", 0); /* once more: what is missing begins, what is there stays */
    commit();
    assert_int_equal(n_live("chat"), 2);
    assert_int_equal(live("chat", 1)->replica, 1);
    assert_int_equal(live("chat", 0)->state, INSTANCE_READY);
    bring_up(live("chat", 1)->id);
    quiet();
    deploy(9, "chat", 0);
    EXPECT("answer 9: task 2 attached\n");
}

static void test_one_that_has_no_place_does_not_keep_the_others(void **state)
{
    struct view *v;

    (void)state;
    sections[0] = section_of("chat", "a", SERVED_DEMAND); /* takes a node */
    sections[0].request.replicas = 2;
    serve_open(sections, 1, SERVED_DEMAND, 1);
    settle(1);
    deploy(7, "chat", 0);
    commit();
    assert_int_equal(n_live("chat"), 1);
    bring_up(live("chat", 0)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_FAILED);
    assert_string_equal(task_now(v)->code, "no_fit");
    assert_non_null(strstr(task_now(v)->text, "1 of 2 are ready; replica 1: "));
    view_unref(&v);
}

static void test_one_that_fails_is_recovered_by_itself(void **state)
{
    struct id128 id[2];
    int node;

    (void)state;
    open_with(2, 2);
    deploy(7, "chat", 0);
    commit();
    for (size_t k = 0; k < 2; k++)
        id[k] = live("chat", k)->id;
    bring_up(id[0]);
    bring_up(id[1]);
    node = node_of_instance(&id[1]);
    exits(node, UNIT_COORDINATOR, 1, 0, "");
    assert_int_equal(the(&id[1])->state, INSTANCE_RECOVERING);
    assert_int_equal(the(&id[0])->state, INSTANCE_READY);
    bring_down(id[1]);
    commit();
    assert_int_equal(node_of_instance(&id[1]), node); /* not where its sister is */
    bring_up(id[1]);
    assert_int_equal(n_live("chat"), 2);
}

static void test_a_stop_by_name_ends_all_by_one_task(void **state)
{
    struct id128 id[2];
    struct view *v;

    (void)state;
    open_with(2, 2);
    deploy(7, "chat", 0);
    commit();
    for (size_t k = 0; k < 2; k++)
        id[k] = live("chat", k)->id;
    bring_up(id[0]);
    stop(8, "chat");
    commit();
    bring_down(id[0]);
    v = view_now();
    assert_int_equal(v->task[0].kind, TASK_STOP);
    assert_int_equal(v->task[0].state, TASK_RUNNING);
    assert_int_equal(v->task[1].state, TASK_CANCELLED); /* the deploy of which one was on its way */
    view_unref(&v);
    bring_down(id[1]);
    v = view_now();
    assert_int_equal(v->n_tasks, 2);
    assert_int_equal(v->task[0].state, TASK_COMPLETE);
    view_unref(&v);
    assert_int_equal(n_live("chat"), 0);
}

static void test_a_stop_by_id_ends_one(void **state)
{
    (void)state;
    open_with(2, 2);
    deploy(7, "chat", 0);
    commit();
    bring_up(live("chat", 0)->id);
    bring_up(live("chat", 1)->id);
    stop(8, ID128(&live("chat", 1)->id));
    commit();
    bring_down(live("chat", 1)->id);
    assert_int_equal(n_live("chat"), 1);
    assert_int_equal(live("chat", 0)->state, INSTANCE_READY);
}

static void test_case_10_a_request_begins_all_of_them_once(void **state)
{
    (void)state;
    open_with(2, 2);
    ensure(7, "chat");
    ensure(8, "chat");
    commit();
    ensure(9, "chat");
    assert_int_equal(w.c->instances.n, 2);
    assert_int_equal(w.c->tasks.n, 1);
    assert_true(live("chat", 0)->demand && live("chat", 1)->demand);
}

/* A successor has the number of the one whose place it takes, and is nobody's sister to it. */
static void test_a_move_keeps_the_number(void **state)
{
    struct id128 id[2];
    struct instance *successor;
    int from;

    (void)state;
    open_with(2, 3);
    deploy(7, "chat", 0);
    commit();
    for (size_t k = 0; k < 2; k++) {
        id[k] = live("chat", k)->id;
        bring_up(id[k]);
    }
    from = node_of_instance(&id[1]);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_DRAIN, .request_id = 8, .target = from == 1 ? "n1" : "n2"});
    commit();
    commit();
    assert_int_equal(n_live("chat"), 3);
    successor = live("chat", 2);
    assert_true(id128_equal(&successor->follows, &id[1]));
    assert_int_equal(successor->replica, 1);
    assert_int_equal(node_of_instance(&successor->id), 3);
    bring_up(successor->id);
    assert_int_equal(the(&id[1])->state, INSTANCE_DRAINING);
    assert_int_equal(the(&id[0])->state, INSTANCE_READY);
}

static void test_a_saved_plan_is_for_one(void **state)
{
    struct place_request r = request_of("m", 0);
    struct plan *plan = NULL;
    char why[PROTO_TEXT_MAX];

    (void)state;
    open_with(1, 1);
    assert_int_equal(cluster_plan(w.c, &r, w.now, &plan, why, sizeof(why)), 0);
    r.replicas = 2;
    deploy_request(7, &r, plan);
    EXPECT("answer 7: refused one_plan: a plan is for one instance: deploy replicas without it\n");
    free(plan);
}

/* Under another controller the task still waits for both. */
static void test_a_deploy_goes_on_under_another_controller(void **state)
{
    struct record task = {
        .kind = RECORD_TASK,
        .task = {.id = 1, .kind = TASK_DEPLOY, .state = TASK_RUNNING, .instance = id_of(50), .name = "chat"}};
    struct record rec = {.kind = RECORD_INSTANCE};
    struct view *v;

    (void)state;
    open_with(2, 0);
    cluster_destroy(&w.c);
    serve_open(sections, 1, SERVED_DEMAND, 0);
    strcpy(rec.i.name, "chat");
    rec.i.request = sections[0].request;
    rec.i.state = INSTANCE_WAITING;
    rec.i.epoch = 1;
    rec.i.deploy_task = 1;
    for (uint32_t k = 0; k < 2; k++) {
        rec.instance = id_of(50 + (int)k);
        rec.i.replica = k;
        step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    }
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &task});
    begin();
    for (int node = 1; node <= 2; node++)
        serve_join(node);
    settle(2);
    commit();
    assert_int_equal(n_live("chat"), 2);
    bring_up(live("chat", 0)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_RUNNING);
    view_unref(&v);
    bring_up(live("chat", 1)->id);
    v = view_now();
    assert_int_equal(task_now(v)->state, TASK_COMPLETE);
    view_unref(&v);
}

#define TEST(name) cmocka_unit_test_teardown(name, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_has_a_number_an_id_and_a_node_of_its_own),
        TEST(test_where_there_are_too_few_nodes_they_share),
        TEST(test_the_task_is_done_when_all_are_ready),
        TEST(test_the_task_says_which_failed),
        TEST(test_one_that_has_no_place_does_not_keep_the_others),
        TEST(test_one_that_fails_is_recovered_by_itself),
        TEST(test_a_stop_by_name_ends_all_by_one_task),
        TEST(test_a_stop_by_id_ends_one),
        TEST(test_case_10_a_request_begins_all_of_them_once),
        TEST(test_a_move_keeps_the_number),
        TEST(test_a_saved_plan_is_for_one),
        TEST(test_a_deploy_goes_on_under_another_controller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
