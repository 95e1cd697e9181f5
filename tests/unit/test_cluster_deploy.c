/* From a wish to `ready`: the whole way line by line, attaching, what is refused, what is held. */
#include "tests/unit/cluster_harness.h"

static void test_the_whole_way_to_ready(void **state)
{
    (void)state;
    join(1);
    join(2);
    deploy(7, "m", 2);
    EXPECT("task 1 pending -> running (begin)\n"
           "instance m requested -> placing (place)\n"
           "commit 1: task 1 running, instance m leasing e1\n"); /* nothing leaves before it is durable */
    commit();
    EXPECT("answer 7: task 1\n"
           "instance m placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n"); /* one after the other, in id order */
    done(1, COMMAND_LEASE);
    EXPECT("n2 < lease e1 CPU\n");
    done(2, COMMAND_LEASE);
    EXPECT("instance m leasing -> starting (leased)\n"
           "n1 < start_worker e1 rank 0 CPU\n"
           "n2 < start_worker e1 rank 1 CPU\n");
    done(2, COMMAND_START_WORKER);
    EXPECT("");
    done(1, COMMAND_START_WORKER);
    EXPECT("instance m starting -> loading (workers_up)\n"
           "n1 < start_coordinator e1 10.0.0.1:20052 RPC0=8 10.0.0.2:20052 RPC1=9\n");
    done(1, COMMAND_START_COORDINATOR);
    EXPECT("");
    shows_buffers(1, -1, 0);
    EXPECT("");
    listens(1);
    EXPECT("warm_up m 10.0.0.1:18080\n");
    warmed(true, "");
    EXPECT("commit 2: instance m ready e1\n");
    commit();
    EXPECT("instance m loading -> ready (ranks_proven)\n"
           "task 1 running -> complete (done)\n"
           "commit 3: task 1 complete\n");
    pass_reporting(60000, 2); /* nothing is sent while it serves */
    EXPECT("");
}

static void test_proof_and_listening_are_both_needed_in_either_order(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    listens(1);
    EXPECT("");
    shows_buffers(1, -1, 0);
    EXPECT("warm_up m 10.0.0.1:18080\n");
    shows_buffers(1, -1, 0);
    listens(1);
    EXPECT(""); /* once */
}

/* It generates nothing, and may crash where it is asked to. */
static void test_one_for_embeddings_is_proven_by_one(void **state)
{
    static const char *const flags[] = {"--embeddings", "--embedding", "--reranking", "--rerank"};

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct place_request r = request_of("m", 1);
        char arg[2][PROTO_ARG_MAX] = {"--no-warmup"};

        snprintf(arg[1], sizeof(arg[1]), "%s", flags[i]);
        r.n_args = 2;
        r.arg = arg;
        if (i) {
            world_teardown(state);
            world_setup(state);
        }
        join(1);
        deploy_request(7, &r, NULL);
        commit();
        done(1, COMMAND_LEASE);
        done(1, COMMAND_START_WORKER);
        done(1, COMMAND_START_COORDINATOR);
        shows_buffers(1, -1, 0);
        quiet();
        listens(1);
        EXPECT("warm_up m 10.0.0.1:18080 by an embedding\n");
    }
}

static void test_the_coordinators_own_answer_may_come_last(void **state)
{
    (void)state;
    begin_load(7, 1);
    done(1, COMMAND_START_COORDINATOR);
    w.unit[1][1].port = 0;
    world_teardown(state);

    world_setup(state);
    begin_load(7, 1);
    carry_out(&w.asked[0]); /* it runs, and its answer is on the way */
    w.unit[1][1].port = 0;
    shows_buffers(1, -1, 0);
    listens(1);
    EXPECT("");
    hear(1, result_of(&w.asked[0], RESULT_DONE, "", ""));
    EXPECT("warm_up m 10.0.0.1:18080\n");
}

static void test_an_unanswered_command_is_sent_again_under_its_id(void **state)
{
    (void)state;
    join(1);
    deploy(7, "m", 1);
    commit();
    quiet();
    report(1);
    pass(1000);
    EXPECT("node n1 ready -> suspect (silent): nothing heard for 1000 ms\n"
           "knock n1\n"
           "n1 < lease e1 CPU host again\n");
    done(1, COMMAND_LEASE);
    EXPECT("instance m leasing -> starting (leased)\n"
           "n1 < start_worker e1 rank 0 CPU\n");
}

static void test_what_comes_late_or_twice_is_counted_and_nothing_else(void **state)
{
    struct asked lease, worker;
    struct view *v;

    (void)state;
    join(1);
    join(2);
    deploy(7, "m", 1);
    commit();
    lease = w.asked[0];
    hear(2, result_of(&lease, RESULT_DONE, "", "")); /* not the node that was asked */
    done(1, COMMAND_LEASE);
    worker = w.asked[0];
    quiet();
    hear(1, result_of(&lease, RESULT_DONE, "", "")); /* twice */
    lease.m.epoch = 9;
    hear(1, result_of(&lease, RESULT_REFUSED, "x", "y")); /* of an epoch that is not */
    worker.m.command_id++;
    hear(1, result_of(&worker, RESULT_DONE, "", "")); /* never asked */
    EXPECT("");
    v = view_now();
    assert_int_equal(v->late_messages, 4);
    assert_int_equal(v->instance[0].state, INSTANCE_STARTING);
    view_unref(&v);
}

/* ---- single flight ----------------------------------------------------------------------------------------------- */

static void test_case_01_a_hundred_first_requests_start_one_coordinator(void **state)
{
    struct view *v;

    (void)state;
    join(1);
    for (int i = 1; i <= 100; i++)
        deploy((uint64_t)i, "m", 0);
    assert_int_equal(w.n_tokens, 1);
    commit();
    done(1, COMMAND_LEASE);
    done(1, COMMAND_START_WORKER);
    done(1, COMMAND_START_COORDINATOR);
    quiet();
    deploy(101, "m", 0);
    EXPECT("answer 101: task 1 attached\n");
    v = view_now();
    assert_int_equal(v->n_instances, 1);
    assert_int_equal(v->n_tasks, 1);
    assert_int_equal(v->coordinator_starts, 1);
    view_unref(&v);
}

static void test_case_02_the_second_caller_gets_the_firsts_answer(void **state)
{
    (void)state;
    join(1);
    deploy(1, "m", 0);
    quiet();
    deploy(2, "m", 0);
    EXPECT(""); /* it may not be told before the first is durable either */
    commit();
    EXPECT("answer 1: task 1\n"
           "answer 2: task 1 attached\n"
           "instance m placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n");
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "no_memory", "2 GiB are promised to others.");
    EXPECT("instance m leasing -> recovering (trouble): the lease on n1 was refused: 2 GiB are promised to others.\n"
           "n1 < stop e1\n");
    deploy(3, "m", 0); /* into the failing start: its end is this caller's too */
    EXPECT("answer 3: task 1 attached\n");
    done(1, COMMAND_STOP);
    EXPECT("instance m recovering -> placing (place)\n"
           "commit 2: instance m leasing e2\n");
}

static void test_a_ready_one_is_attached_to(void **state)
{
    (void)state;
    make_ready(7, 1);
    deploy(8, "m", 0);
    EXPECT("answer 8: task 1 attached\n");
    assert_true(id128_equal(&w.answer.instance, &w.instance));
}

static void test_a_ready_one_whose_task_is_forgotten_gets_a_new_one(void **state)
{
    (void)state;
    make_ready(7, 1);
    for (uint64_t i = 0; i < 300; i++) {
        {
            struct place_request r = request_of("m", 9); /* too many nodes: a task that fails at once */

            strcpy(r.alias, "big");
            deploy_request(1000 + i, &r, NULL);
            commit();
        }
        quiet();
    }
    deploy(9, "m", 0);
    EXPECT("task 302 pending -> running (begin)\n"
           "task 302 running -> complete (done)\n"
           "commit 304: task 302 complete, task 46 gone\n");
    commit();
    EXPECT("answer 9: task 302 attached\n");
    deploy(10, "m", 0);
    EXPECT("answer 10: task 302 attached\n");
}

static void test_a_first_token_counts_once(void **state)
{
    (void)state;
    begin_load(7, 1);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    quiet();
    warmed(true, "");
    warmed(true, "");
    warmed(false, "late");
    EXPECT("commit 2: instance m ready e1\n");
    pass_reporting(200000, 1); /* and its time does not run out while the store is slow */
    EXPECT("");
}

/* The connection by which it was asked for was reset while our own machine slept: that says nothing of the coordinator, and
 * neither does one that is refused before our links are up again. */
static void test_a_first_token_that_our_own_suspend_cut_off_is_asked_for_again(void **state)
{
    (void)state;
    begin_load(7, 1);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    quiet();
    pass_reporting(2000, 1);
    warmed(false, "reset");
    pass_reporting(7500, 1);
    EXPECT("");
    pass_reporting(500, 1);
    EXPECT("warm_up m 10.0.0.1:18080\n");
    pass_reporting(119000, 1); /* it has all its time again */
    EXPECT("");
    warmed(false, "HTTP 500");
    EXPECT("instance m loading -> recovering (trouble): the first token did not come: HTTP 500\n"
           "n1 < stop e1\n");
}

static struct message *report_with_second_model(int node)
{
    struct message *m = report_of(node);

    m->report->n_models = 2;
    m->report->model = realloc(m->report->model, 2 * sizeof(*m->report->model));
    assert_non_null(m->report->model);
    fill_model(&m->report->model[1], "other");
    return m;
}

static void test_case_10_five_of_one_and_two_at_once(void **state)
{
    struct view *v;

    (void)state;
    join(1);
    hear(1, report_with_second_model(1));
    for (int i = 1; i <= 5; i++)
        deploy((uint64_t)i, "m", 0);
    deploy(6, "other", 0);
    commit();
    v = view_now();
    assert_int_equal(v->n_instances, 2);
    assert_int_equal(v->n_tasks, 2);
    assert_true(v->node[0].leased_bytes > v->instance[0].plan->rank[0].device[0].peak_bytes); /* both are promised */
    view_unref(&v);
}

static void test_an_alias_is_a_name_of_its_own(void **state)
{
    struct place_request r = request_of("m", 0);

    (void)state;
    make_ready(7, 1);
    strcpy(r.alias, "chat");
    deploy_request(8, &r, NULL);
    EXPECT("task 2 pending -> running (begin)\n"
           "instance chat requested -> placing (place)\n"
           "commit 4: task 2 running, instance chat leasing e1\n");
    hear(1, report_with_second_model(1));
    r = request_of("other", 0);
    strcpy(r.alias, "chat");
    deploy_request(9, &r, NULL);
    EXPECT("answer 9: refused name_taken: chat is the name of an instance of m; choose another --alias\n");
}

/* ---- what is refused, and what fails at once ---------------------------------------------------------------------- */

static void test_an_unknown_model_is_refused_with_near_names(void **state)
{
    (void)state;
    deploy(1, "m", 0);
    EXPECT(
        "answer 1: refused unknown_model: no node has a model named m; no node has any model: put GGUF files where the "
        "agents' `models =` points\n");
    join(1);
    hear(1, report_with_second_model(1));
    deploy(2, "Oter", 0);
    EXPECT("answer 2: refused unknown_model: no node has a model named Oter; there is other\n");
    deploy(3, "quite-another", 0);
    EXPECT(
        "answer 3: refused unknown_model: no node has a model named quite-another; `caravan models` lists what there "
        "is\n");
    deploy(4, "", 0);
    EXPECT("answer 4: refused unknown_model: no model is named\n");
}

static void test_a_bad_file_is_refused_with_its_problem(void **state)
{
    struct message *m;

    (void)state;
    join(1);
    m = report_of(1);
    free(m->report->model[0].shape);
    m->report->model[0].shape = NULL;
    strcpy(m->report->model[0].problem, "the file ends after 4096 of 216399872 bytes; copy it again");
    hear(1, m);
    deploy(1, "m", 0);
    EXPECT(
        "answer 1: refused bad_model: m cannot be served: the file ends after 4096 of 216399872 bytes; copy it again\n");
    join(2); /* a whole copy elsewhere will do */
    deploy(2, "m", 0);
    commit();
    assert_non_null(strstr(w.log, "n2 < lease"));
}

static void test_owned_flags_are_refused_by_name(void **state)
{
    struct place_request r = request_of("m", 0);
    char args[2][PROTO_ARG_MAX] = {"--temp", "--rpc=10.0.0.9:50052"};

    (void)state;
    join(1);
    r.n_args = 2;
    r.arg = args;
    deploy_request(1, &r, NULL);
    EXPECT("answer 1: refused owned_flag: --rpc is set by Caravan itself; leave it out of the arguments\n");
}

static void test_case_17_what_does_not_fit_says_how_much_is_missing(void **state)
{
    struct message *m;

    (void)state;
    join(1);
    m = report_of(1);
    m->report->host_free_bytes = m->report->device[0].free_bytes = 64 * 1024 * 1024;
    hear(1, m);
    deploy(1, "m", 0);
    assert_non_null(strstr(w.log, "instance m placing -> failed (unplaceable): no set of nodes holds m"));
    assert_non_null(strstr(w.log, "task 1 running -> failed (fail): no set of nodes holds m"));
    assert_non_null(strstr(w.log, "missing"));
    quiet();
    commit();
    EXPECT("answer 1: task 1\n");
    {
        struct view *v = view_now();

        assert_int_equal(v->n_instances, 0);
        assert_string_equal(v->task[0].code, "no_fit");
        view_unref(&v);
    }
}

static void test_case_18_two_nodes_on_purpose(void **state)
{
    (void)state;
    join(1);
    deploy(1, "m", 2);
    EXPECT("task 1 pending -> running (begin)\n"
           "instance m requested -> placing (place)\n"
           "instance m placing -> failed (unplaceable): 1 node can be used, 2 needed\n"
           "task 1 running -> failed (fail): 1 node can be used, 2 needed\n"
           "commit 1: task 1 failed\n");
    commit();
    join(2);
    deploy(2, "m", 2);
    quiet();
    commit();
    assert_int_equal(w.plan.n_ranks, 2);
    assert_string_equal(w.plan.rank[0].node_name, "n1");
    assert_string_equal(w.plan.rank[1].node_name, "n2");
}

static void test_a_pinned_plan_is_what_runs_or_it_says_why_not(void **state)
{
    struct place_request r = request_of("m", 0);
    struct plan pinned;

    (void)state;
    join(1);
    join(2);
    deploy(1, "m", 2);
    commit();
    pinned = w.plan;
    strcpy(r.alias, "again");
    deploy_request(2, &r, &pinned);
    quiet();
    commit();
    assert_int_equal(w.plan.n_ranks, 2);
    w.now += 500;
    report(1);
    pass(500); /* n2 is silent now */
    quiet();
    strcpy(r.alias, "third");
    deploy_request(3, &r, &pinned);
    assert_non_null(strstr(w.log, "instance third placing -> failed (unplaceable): "));
    assert_non_null(strstr(w.log, "n2"));
}

static void test_the_newest_file_of_a_name_counts(void **state)
{
    struct message *m;
    bool noted = false;

    (void)state;
    join(1);
    join(2);
    m = report_of(2);
    m->report->model[0].header_hash = 0xbeef;
    m->report->model[0].mtime_wall_ms = 5;
    hear(2, m);
    deploy(1, "m", 1);
    commit();
    assert_true(w.plan.header_hash == 0xbeef);
    assert_string_equal(w.plan.rank[0].node_name, "n2");
    for (size_t i = 0; i < w.plan.n_notes; i++)
        noted |= strstr(w.plan.note[i], "n1 holds another file named m") != NULL;
    assert_true(noted);
}

static void test_nothing_begins_where_the_store_fails(void **state)
{
    (void)state;
    join(1);
    deploy(1, "m", 0);
    quiet();
    commit_all(false);
    EXPECT(
        "task 1 running -> failed (fail): the controller's store refused the record; see its log, and free disk space "
        "if that is it\n"
        "answer 1: refused store_failed: the controller's store refused the record; see its log, and free disk space "
        "if that is it\n"
        "instance m placing -> failed (unplaceable): the controller's store refused the record; see its log, and free "
        "disk space if that is it\n"
        "commit 2: task 1 failed\n");
}

/* ---- held --------------------------------------------------------------------------------------------------------- */

static void test_case_16_a_deploy_during_a_stop_is_held_and_then_done(void **state)
{
    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    commit();
    quiet();
    deploy(9, "m", 0);
    EXPECT("commit 5: task 3 pending\n");
    commit();
    EXPECT(""); /* no answer yet */
    done(1, COMMAND_STOP);
    EXPECT("instance m stopping -> stopped (released): stopped\n"
           "task 2 running -> complete (done)\n"
           "task 3 pending -> running (begin)\n"
           "answer 9: task 3\n"
           "instance m requested -> placing (place)\n"
           "instance m stopped deploy: ignore: it has ended; a new one takes its place\n"
           "commit 6: task 2 complete, instance m gone e1, task 3 running, instance m leasing e1\n");
}

static void test_case_16_two_that_were_held_become_one(void **state)
{
    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    commit();
    deploy(9, "m", 0);
    deploy(10, "m", 0);
    commit();
    quiet();
    done(1, COMMAND_STOP);
    assert_non_null(strstr(w.log, "answer 9: task 3\n"));
    assert_non_null(
        strstr(w.log, "task 4 pending -> cancelled (cancel): task 3 does the same\nanswer 10: task 3 attached\n"));
}

/* Its task is said to have failed, so nothing is begun by it. */
static void test_a_held_deploy_that_cannot_be_written_is_not_done_later(void **state)
{
    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    commit();
    deploy(9, "m", 0);
    quiet();
    commit_all(false);
    EXPECT(
        "task 3 pending -> failed (fail): the controller's store refused the record; see its log, and free disk space "
        "if that is it\n"
        "answer 9: refused store_failed: the controller's store refused the record; see its log, and free disk space "
        "if that is it\n"
        "commit 6: task 3 failed\n");
    done(1, COMMAND_STOP);
    EXPECT("instance m stopping -> stopped (released): stopped\n"
           "task 2 running -> complete (done)\n"
           "commit 7: task 2 complete, instance m stopped e1\n");
}

static void test_case_15_an_invalid_transition_is_refused_and_all_lives(void **state)
{
    struct view *v;
    bool counted = false;

    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    commit();
    deploy(9, "m", 0);
    deploy(10, "m", 0);
    commit();
    quiet();
    report(1);
    pass(499);
    EXPECT("");
    pass(1);
    EXPECT(
        "instance m stopping deploy: refuse: it is being stopped; deploy it again when that is done\n"
        "task 3 pending -> refused (refuse): instance m is stopping: it is being stopped; deploy it again when that is "
        "done\n"
        "answer 9: refused invalid_transition: instance m is stopping: it is being stopped; deploy it again when that "
        "is done\n"
        "instance m stopping deploy: refuse: it is being stopped; deploy it again when that is done\n"
        "task 4 pending -> refused (refuse): instance m is stopping: it is being stopped; deploy it again when that is "
        "done\n"
        "answer 10: refused invalid_transition: instance m is stopping: it is being stopped; deploy it again when that "
        "is done\n"
        "commit 7: task 3 refused, task 4 refused\n");
    v = view_now();
    for (size_t i = 0; i < v->n_refusals; i++)
        counted |= !strcmp(v->refusal[i].machine, "instance") && !strcmp(v->refusal[i].state, "stopping") &&
                   !strcmp(v->refusal[i].event, "deploy") && v->refusal[i].n == 2;
    assert_true(counted);
    view_unref(&v);
    done(1, COMMAND_STOP); /* and the stop goes on as if nothing had been asked */
    assert_non_null(strstr(w.log, "instance m stopping -> stopped (released)"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_the_whole_way_to_ready),
        TEST(test_proof_and_listening_are_both_needed_in_either_order),
        TEST(test_one_for_embeddings_is_proven_by_one),
        TEST(test_the_coordinators_own_answer_may_come_last),
        TEST(test_an_unanswered_command_is_sent_again_under_its_id),
        TEST(test_what_comes_late_or_twice_is_counted_and_nothing_else),
        TEST(test_case_01_a_hundred_first_requests_start_one_coordinator),
        TEST(test_case_02_the_second_caller_gets_the_firsts_answer),
        TEST(test_a_ready_one_is_attached_to),
        TEST(test_a_ready_one_whose_task_is_forgotten_gets_a_new_one),
        TEST(test_a_first_token_that_our_own_suspend_cut_off_is_asked_for_again),
        TEST(test_a_first_token_counts_once),
        TEST(test_case_10_five_of_one_and_two_at_once),
        TEST(test_an_alias_is_a_name_of_its_own),
        TEST(test_an_unknown_model_is_refused_with_near_names),
        TEST(test_a_bad_file_is_refused_with_its_problem),
        TEST(test_owned_flags_are_refused_by_name),
        TEST(test_case_17_what_does_not_fit_says_how_much_is_missing),
        TEST(test_case_18_two_nodes_on_purpose),
        TEST(test_a_pinned_plan_is_what_runs_or_it_says_why_not),
        TEST(test_the_newest_file_of_a_name_counts),
        TEST(test_nothing_begins_where_the_store_fails),
        TEST(test_case_16_a_deploy_during_a_stop_is_held_and_then_done),
        TEST(test_case_16_two_that_were_held_become_one),
        TEST(test_a_held_deploy_that_cannot_be_written_is_not_done_later),
        TEST(test_case_15_an_invalid_transition_is_refused_and_all_lives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
