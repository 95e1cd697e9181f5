/* The picture that HTTP, CLI and metrics show. */
#include "tests/unit/cluster_harness.h"

static void test_an_empty_cluster_has_every_counter_at_zero(void **state)
{
    struct view *v = view_now();
    size_t n_deploy = 0;

    (void)state;
    assert_true(v->leader && v->trust_open);
    assert_int_equal(v->term, 3);
    assert_int_equal(v->n_nodes + v->n_instances + v->n_tasks + v->n_models, 0);
    assert_true(v->n_refusals > 0);
    for (size_t i = 0; i < v->n_refusals; i++) {
        assert_int_equal(v->refusal[i].n, 0);
        n_deploy += !strcmp(v->refusal[i].machine, "instance") && !strcmp(v->refusal[i].event, "deploy");
    }
    assert_int_equal(n_deploy, 1);
    view_unref(&v);
    assert_null(v);
}

static void test_a_view_lives_as_long_as_somebody_reads_it(void **state)
{
    struct view *v, *reader;

    (void)state;
    make_ready(7, 2);
    v = view_now();
    reader = view_ref(v);
    view_unref(&v);
    cluster_destroy(&w.c); /* and needs nothing of the cluster */
    assert_string_equal(reader->instance[0].plan->model, "m");
    view_unref(&reader);
    view_unref(&reader); /* NULL is fine */
    world_open();
}

static void test_nodes_are_sorted_by_name_and_show_their_age(void **state)
{
    struct view *v;

    (void)state;
    join(3);
    w.now += 300;
    join(1);
    w.now += 200;
    v = view_now();
    assert_string_equal(v->node[0].hello.name, "n1");
    assert_string_equal(v->node[1].hello.name, "n3");
    assert_int_equal(v->node[0].last_report_ms, 200);
    assert_int_equal(v->node[1].last_report_ms, 500);
    assert_string_equal(v->node[0].key, "k1");
    assert_string_equal(v->node[0].peer_addr, "10.0.0.1");
    assert_int_equal(v->node[0].n_models, 1);
    view_unref(&v);
}

static void test_who_answers(void **state)
{
    struct view_node n = {.state = NODE_UNKNOWN};

    (void)state;
    for (int k = NODE_UNKNOWN; k <= NODE_RETIRED; k++) {
        n.state = (enum node_state)k;
        assert_int_equal(view_node_answers(&n),
                         k == NODE_READY || k == NODE_SUSPECT || k == NODE_DRAINING || k == NODE_DRAINED);
    }
}

static void test_models_are_put_together_over_nodes(void **state)
{
    struct message *m;
    struct view *v;

    (void)state;
    join(1);
    join(2);
    m = report_of(3);
    hello(3);
    m->report->model[0].header_hash = 0xbad;
    m->report->model[0].mtime_wall_ms = 0; /* an older file of that name */
    hear(3, m);
    v = view_now();
    assert_int_equal(v->n_models, 1);
    assert_string_equal(v->model[0].name, "m");
    assert_string_equal(v->model[0].arch, "llama");
    assert_int_equal(v->model[0].n_layer, 16);
    assert_int_equal(v->model[0].n_nodes, 2);
    assert_string_equal(v->model[0].node_name[1], "n2");
    view_unref(&v);
}

static void test_a_load_shows_how_far_each_rank_is(void **state)
{
    uint64_t weights[2];
    struct view *v;

    (void)state;
    begin_load(7, 2);
    for (size_t r = 0; r < 2; r++)
        weights[r] = w.plan.rank[r].device[0].weight_bytes;
    done(1, COMMAND_START_COORDINATOR);
    report(1);
    report(2);
    v = view_now();
    assert_int_equal(v->instance[0].state, INSTANCE_LOADING);
    assert_string_equal(v->task[0].step, "loading");
    view_unref(&v);

    pass_reporting(10000, 2);
    w.unit[1][0].rss_bytes = weights[0] / 2;
    w.unit[2][0].rss_bytes = weights[1] / 2;
    report(1);
    report(2);
    v = view_now();
    assert_int_equal(v->instance[0].rank[0].loaded_bytes, weights[0] / 2);
    assert_int_equal(v->instance[0].rank[1].planned_bytes, weights[1]);
    assert_in_range(v->instance[0].progress_permille, 495, 505);
    assert_in_range(v->instance[0].eta_ms, 10000, 14000); /* as much again, less what the process had to begin with */
    assert_false(v->instance[0].rank[0].proven);
    view_unref(&v);

    shows_buffers(1, -1, 0);
    v = view_now();
    assert_true(v->instance[0].rank[0].proven && v->instance[0].rank[1].proven);
    view_unref(&v);
    listens(1);
    warmed(true, "");
    commit();
    v = view_now();
    assert_int_equal(v->instance[0].progress_permille, 1000);
    assert_int_equal(v->instance[0].eta_ms, 0);
    assert_int_equal(v->instance[0].coordinator_port, 18080);
    assert_true(v->instance[0].ready_wall_ms > 0);
    assert_int_equal(v->node[0].leased_bytes, w.plan.rank[0].device[0].peak_bytes + w.plan.host_bytes);
    view_unref(&v);
}

static void test_the_newest_come_first(void **state)
{
    struct view *v;

    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    v = view_now();
    assert_int_equal(v->task[0].id, 2);
    assert_int_equal(v->task[0].kind, TASK_STOP);
    assert_int_equal(v->task[1].id, 1);
    view_unref(&v);
}

static void test_a_request_finds_the_instance_that_it_means(void **state)
{
    struct view_instance in[] = {
        {.id = {{4}}, .name = "new", .model = "m", .state = INSTANCE_LOADING},
        {.id = {{3}}, .name = "chat", .model = "m", .state = INSTANCE_READY},
        {.id = {{2}}, .name = "m", .model = "m", .state = INSTANCE_READY},
        {.id = {{1}}, .name = "old", .model = "o", .state = INSTANCE_FAILED},
    };
    struct view v = {.n_instances = 4, .instance = in};

    (void)state;
    assert_ptr_equal(view_find_instance(&v, "m"), &in[2]); /* its name, before it is a model's */
    assert_ptr_equal(view_find_instance(&v, "chat"), &in[1]);
    assert_ptr_equal(view_find_instance(&v, "04000000000000000000000000000000"), &in[0]);
    assert_ptr_equal(view_find_instance(&v, "old"), &in[3]);
    in[2].state = INSTANCE_RECOVERING;
    assert_ptr_equal(view_find_instance(&v, "m"), &in[1]); /* one that serves the model, before one that does not */
    in[1].state = INSTANCE_STOPPED;
    assert_ptr_equal(view_find_instance(&v, "m"), &in[2]);
    assert_null(view_find_instance(&v, "M"));
    assert_null(view_find_instance(&v, ""));
}

/* "m" and "chat" are made of one file, in different ways. */
static void test_a_section_is_not_answered_by_another_one_of_its_model(void **state)
{
    struct view_instance in[] = {{.id = {{3}}, .name = "chat", .model = "m", .state = INSTANCE_READY},
                                 {.id = {{2}}, .name = "m", .model = "m", .state = INSTANCE_STOPPED}};
    struct view_served served = {.name = "m", .model = "m", .start = SERVED_DEMAND};
    struct view v = {.n_instances = 2, .instance = in, .n_served = 1, .served = &served};

    (void)state;
    assert_ptr_equal(view_find_instance(&v, "m"), &in[0]); /* nobody has said how else */
    served.section = true;
    assert_ptr_equal(view_find_instance(&v, "m"), &in[1]);
    v.n_instances = 1;
    assert_null(view_find_instance(&v, "m"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_an_empty_cluster_has_every_counter_at_zero),
        TEST(test_a_view_lives_as_long_as_somebody_reads_it),
        TEST(test_nodes_are_sorted_by_name_and_show_their_age),
        TEST(test_models_are_put_together_over_nodes),
        TEST(test_a_load_shows_how_far_each_rank_is),
        TEST(test_the_newest_come_first),
        TEST(test_a_request_finds_the_instance_that_it_means),
        TEST(test_a_section_is_not_answered_by_another_one_of_its_model),
        cmocka_unit_test(test_who_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
