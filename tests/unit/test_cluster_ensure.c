/* What requests ask for and nobody has deployed: one start however many ask, refusals in plain words; and what models.conf
 * wants from the start on. */
#include "controller/core/ensure.h"
#include "tests/unit/serving_harness.h"

static struct served sections[4];

static int setup(void **state)
{
    (void)state;
    sections[0] = section_of("chat", "m", SERVED_DEMAND);
    sections[1] = section_of("slow", "a", SERVED_MANUAL);
    sections[2] = section_of("gone", "nowhere", SERVED_DEMAND);
    strcpy(sections[0].section, "talk"); /* [talk] alias = chat */
    serve_open(sections, 3, SERVED_DEMAND, 1);
    settle(1);
    return 0;
}

static void test_case_02_the_first_request_starts_it_and_the_next_waits_for_that(void **state)
{
    struct id128 id;

    (void)state;
    ensure(7, "chat");
    EXPECT("task 1 pending -> running (begin)\n"
           "instance chat requested -> placing (place)\n"
           "commit 1: task 1 running, instance chat leasing e1\n");
    ensure(8, "chat"); /* it is not durable yet, so nobody is told */
    EXPECT("");
    commit();
    EXPECT("answer 7: task 1\n"
           "answer 8: task 1 attached\n"
           "instance chat placing -> leasing (planned)\n"
           "n1 < lease e1 CPU host\n");
    id = live("chat", 0)->id;
    bring_up(id);
    quiet();
    ensure(9, "chat");
    EXPECT("answer 9: task 0 attached\n");
    assert_int_equal(n_live("chat"), 1);
    assert_true(the(&id)->demand);
}

static void test_case_01_a_hundred_first_requests_are_one_start(void **state)
{
    (void)state;
    for (uint64_t k = 0; k < 50; k++)
        ensure(7, "chat");
    commit();
    for (uint64_t k = 0; k < 50; k++)
        ensure(7, "chat");
    assert_int_equal(w.c->instances.n, 1);
    assert_int_equal(w.c->tasks.n, 1);
    bring_up(live("chat", 0)->id);
    assert_int_equal(w.c->numbers.coordinator_starts, 1);
}

/* Nothing is begun by what cannot be kept. */
static void test_a_start_that_cannot_be_written_is_told_to_all(void **state)
{
    (void)state;
    ensure(7, "chat");
    ensure(8, "chat");
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "answer 7: refused store_failed"));
    assert_non_null(strstr(w.log, "answer 8: refused store_failed"));
    assert_int_equal(w.c->instances.n, 0);
}

static void test_who_is_refused(void **state)
{
    static const struct {
        const char *name, *answer;
    } cases[] = {
        {"chatt", "answer 7: refused not_found: no node has a model named chatt"},
        {"talk", "answer 7: refused not_found: no node has a model named talk"}, /* requests use its alias */
        {"m", "answer 7: refused not_found: m is served under another name"},
        {"slow", "answer 7: refused manual: slow does not run, and is started by hand: caravan deploy slow\n"},
        {"gone", "answer 7: refused unknown_model: no node has a model named nowhere"},
    };

    (void)state;
    for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
        quiet();
        ensure(7, cases[k].name);
        if (strncmp(w.log, cases[k].answer, strlen(cases[k].answer)) != 0)
            fail_msg("%s: %s", cases[k].name, w.log);
    }
    assert_int_equal(w.c->tasks.n, 0); /* and no task for each that asks */
}

static void test_what_no_section_names_is_started_as_the_option_says(void **state)
{
    (void)state;
    ensure(7, "b");
    commit();
    assert_int_equal(n_live("b"), 1);
    world_teardown(state);
    serve_open(NULL, 0, 0, 1); /* not said: by hand */
    ensure(7, "b");
    EXPECT("answer 7: refused manual: b does not run, and is started by hand: caravan deploy b\n");
}

static void test_what_a_person_has_deployed_is_there_for_requests_too(void **state)
{
    struct place_request r = request_of("a", 0);

    (void)state;
    strcpy(r.alias, "mine"); /* no section is called so */
    deploy_request(7, &r, NULL);
    commit();
    quiet();
    ensure(8, "mine");
    EXPECT("answer 8: task 1 attached\n");
    assert_false(live("mine", 0)->demand);
}

/* Nothing of it is begun, and no task is left of each asking. */
static void test_no_room_is_said_at_once(void **state)
{
    struct place_request r = request_of("a", 0);

    (void)state;
    deploy_request(7, &r, NULL); /* a person's, without a ttl: nobody makes it leave */
    commit();
    bring_up(live("a", 0)->id);
    quiet();
    ensure(8, "b");
    assert_true(strncmp(w.log, "answer 8: refused no_fit: ", 26) == 0);
    assert_int_equal(w.c->tasks.n, 1);
    assert_int_equal(w.c->instances.n, 1);
}

/* The next try, and the reason why it was the last. */
static void fail_for_good(const char *name)
{
    struct id128 id = live(name, 0)->id;

    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "unservable", "unknown model architecture: foo");
    bring_down(id);
    commit();
    assert_int_equal(the(&id)->state, INSTANCE_FAILED);
}

static void test_case_05_what_has_just_failed_is_not_begun_again_at_once(void **state)
{
    (void)state;
    ensure(7, "chat");
    commit();
    fail_for_good("chat");
    quiet();
    for (int k = 0; k < 100; k++) {
        ensure(8, "chat");
        EXPECT("answer 8: refused unservable: the lease on n1 was refused: unknown model architecture: foo\n");
    }
    serve_pass(ENSURE_FAILED_MS - 500, 1);
    quiet();
    ensure(8, "chat");
    assert_true(strncmp(w.log, "answer 8: refused unservable", 28) == 0);
    serve_pass(500, 1);
    ensure(9, "chat"); /* somebody asks later: it may be better by now */
    commit();
    assert_int_equal(n_live("chat"), 1);
    assert_int_equal(w.c->instances.n, 1); /* the failed one has made room */
}

/* A person sees to it, and does not wait. */
static void test_a_deploy_of_what_has_just_failed_begins_it(void **state)
{
    (void)state;
    ensure(7, "chat");
    commit();
    fail_for_good("chat");
    deploy(8, "chat", 0);
    commit();
    assert_int_equal(n_live("chat"), 1);
    assert_false(live("chat", 0)->demand);
}

static void test_what_is_being_stopped_is_begun_anew(void **state)
{
    struct id128 old;

    (void)state;
    ensure(7, "chat");
    commit();
    old = live("chat", 0)->id;
    bring_up(old);
    stop(8, "chat");
    commit();
    assert_int_equal(the(&old)->state, INSTANCE_STOPPING);
    ensure(9, "chat");
    commit();
    assert_int_equal(n_live("chat"), 2);
    bring_down(old);
    assert_int_equal(n_live("chat"), 1);
    bring_up(live("chat", 0)->id);
}

static void test_too_many(void **state)
{
    (void)state;
    for (int k = 0; k < CLUSTER_INSTANCES_MAX; k++) {
        const struct place_request r = request_of("m", 0);
        const struct id128 id = id_of(1000 + k);
        struct step s = {.c = w.c, .now_ms = w.now};
        struct instance *i;

        assert_int_equal(instance_add(&s, &id, "x", &r, NULL, &i), 0);
        journal_keep(&s.journal);
    }
    quiet();
    ensure(7, "chat");
    EXPECT("answer 7: refused too_many: there are 256 instances already, and 256 at most; stop one first\n");
}

/* ---- durable ------------------------------------------------------------------------------------------------------ */

static void restore(const struct record_instance *kept, const struct id128 *id, struct plan *plan)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = *id};

    rec.i = *kept;
    rec.i.plan = plan;
    rec.i.pinned = NULL;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

static void test_who_began_it_is_known_after_a_restart(void **state)
{
    static struct world before;
    struct plan plan;
    struct id128 id;

    (void)state;
    ensure(7, "chat");
    commit();
    id = live("chat", 0)->id;
    plan = w.plan;
    bring_up(id);
    assert_true(w.kept.demand);
    assert_int_equal(w.kept.deploy_task, 1);
    before = w;
    cluster_destroy(&w.c);
    serve_open(sections, 3, SERVED_DEMAND, 0);
    memcpy(w.unit, before.unit, sizeof(w.unit));
    memcpy(w.n_units, before.n_units, sizeof(w.n_units));
    restore(&before.kept, &id, &plan);
    begin();
    serve_join(1);
    assert_int_equal(the(&id)->state, INSTANCE_READY);
    assert_true(the(&id)->demand);
    ensure(8, "chat");
    assert_int_equal(n_live("chat"), 1);
}

/* ---- from the start on ------------------------------------------------------------------------------------------- */

static int boot_setup(void **state)
{
    (void)state;
    sections[0] = section_of("early", "m", SERVED_BOOT);
    serve_open(sections, 1, SERVED_DEMAND, 0);
    return 0;
}

static void test_boot_begins_when_the_model_appears(void **state)
{
    struct message *m;

    (void)state;
    serve_pass(3000, 0);
    assert_int_equal(w.c->instances.n, 0);
    hello(1);
    m = report_of(1);
    m->report->n_models = 0;
    free(m->report->model[0].shape);
    hear(1, m);
    assert_int_equal(w.c->instances.n, 0);
    hear(1, models_of(1)); /* copied to the node just now */
    commit();
    assert_int_equal(n_live("early"), 1);
    assert_false(live("early", 0)->demand); /* no request did it: it is not unloaded for another one's sake */
    bring_up(live("early", 0)->id);
    stop(7, "early");
    commit();
    bring_down(live("early", 0)->id);
    serve_pass(120000, 1);
    assert_int_equal(n_live("early"), 0); /* a person has said so */
    ensure(8, "early");
    commit();
    assert_int_equal(n_live("early"), 1); /* a request may */
}

static void test_boot_that_is_refused_is_tried_again(void **state)
{
    struct message *m;

    (void)state;
    hello(1);
    m = models_of(1);
    m->report->host_free_bytes = 64 * MIB;
    quiet();
    hear(1, m);
    assert_non_null(strstr(w.log, "served early waiting boot: refuse: "));
    assert_null(strstr(w.log, "task"));
    quiet();
    hear(1, models_of(1)); /* there is room; it is looked at in its time */
    assert_int_equal(w.c->instances.n, 0);
    serve_pass(ENSURE_BOOT_MS, 1);
    commit();
    assert_int_equal(n_live("early"), 1);
    assert_null(strstr(w.log, "refuse")); /* said once */
}

/* ---- what may be asked for --------------------------------------------------------------------------------------- */

static void test_the_picture_lists_what_may_be_asked_for(void **state)
{
    static const struct {
        const char *name, *model;
        enum served_start start;
        bool there;
    } want[] = {
        {"a", "a", SERVED_DEMAND, true}, /* named by "slow": not under its own name */
        {"b", "b", SERVED_DEMAND, true},    {"c", "c", SERVED_DEMAND, true},
        {"chat", "m", SERVED_DEMAND, true}, {"gone", "nowhere", SERVED_DEMAND, false},
        {"slow", "a", SERVED_MANUAL, true},
    };
    struct view *v = view_now();
    size_t at = 0;

    (void)state;
    for (size_t k = 1; k < sizeof(want) / sizeof(want[0]); k++, at++) {
        assert_true(at < v->n_served);
        assert_string_equal(v->served[at].name, want[k].name);
        assert_string_equal(v->served[at].model, want[k].model);
        assert_int_equal(v->served[at].start, want[k].start);
        assert_int_equal(v->served[at].there, want[k].there);
        assert_int_equal(v->served[at].section, strcmp(want[k].name, want[k].model) != 0);
    }
    assert_int_equal(v->n_served, at);
    assert_ptr_equal(view_find_served(v, "chat"), &v->served[2]);
    assert_null(view_find_served(v, "m"));
    view_unref(&v);
}

static void test_a_deploy_takes_from_its_section_what_it_does_not_say(void **state)
{
    static char args[1][PROTO_ARG_MAX] = {"--temp"};
    struct place_request r = request_of("talk", 0);

    (void)state;
    world_teardown(state);
    sections[0].request.ctx = 1024;
    sections[0].request.slots = 4;
    sections[0].request.ttl_ms = 600000;
    sections[0].request.n_args = 1;
    sections[0].request.arg = args;
    serve_open(sections, 3, SERVED_DEMAND, 1);
    memset(args, 0, sizeof(args)); /* it was copied */
    r.slots = 2;
    r.ttl_ms = PLACE_TTL_NEVER;
    deploy_request(7, &r, NULL);
    commit();
    assert_string_equal(live("chat", 0)->request.model, "m");
    assert_int_equal(live("chat", 0)->request.ctx, 1024);
    assert_int_equal(live("chat", 0)->request.slots, 2);
    assert_int_equal(live("chat", 0)->request.ttl_ms, 0);
    assert_string_equal(live("chat", 0)->request.arg[0], "--temp");
}

#define TEST(name)      cmocka_unit_test_setup_teardown(name, setup, world_teardown)
#define TEST_BOOT(name) cmocka_unit_test_setup_teardown(name, boot_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_case_02_the_first_request_starts_it_and_the_next_waits_for_that),
        TEST(test_case_01_a_hundred_first_requests_are_one_start),
        TEST(test_a_start_that_cannot_be_written_is_told_to_all),
        TEST(test_who_is_refused),
        TEST(test_what_no_section_names_is_started_as_the_option_says),
        TEST(test_what_a_person_has_deployed_is_there_for_requests_too),
        TEST(test_no_room_is_said_at_once),
        TEST(test_case_05_what_has_just_failed_is_not_begun_again_at_once),
        TEST(test_a_deploy_of_what_has_just_failed_begins_it),
        TEST(test_what_is_being_stopped_is_begun_anew),
        TEST(test_too_many),
        TEST(test_who_began_it_is_known_after_a_restart),
        TEST_BOOT(test_boot_begins_when_the_model_appears),
        TEST_BOOT(test_boot_that_is_refused_is_tried_again),
        TEST(test_the_picture_lists_what_may_be_asked_for),
        TEST(test_a_deploy_takes_from_its_section_what_it_does_not_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
