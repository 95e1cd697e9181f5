/* Each allocation of each step fails once, through whole stories: the step returns NULL, the cluster is byte for byte as
 * it was, the message too; nothing leaks (the sanitizer looks), and the same event then does
 * what it would have done.
 *
 * malloc and its sisters are defined here, in front of the sanitizer's or the C library's: the core is tested as it is
 * linked into the controller. */
#include "controller/core/state.h"
#include "tests/unit/access_harness.h"
#include "tests/unit/serving_harness.h"

void *__interceptor_malloc(size_t n) __attribute__((weak));
void *__interceptor_calloc(size_t n, size_t size) __attribute__((weak));
void *__interceptor_realloc(void *p, size_t n) __attribute__((weak));
void *__libc_malloc(size_t n) __attribute__((weak));
void *__libc_calloc(size_t n, size_t size) __attribute__((weak));
void *__libc_realloc(void *p, size_t n) __attribute__((weak));

static bool counting;
static unsigned n_allocations, fail_at; /* 0: never */

/* The sanitizer itself allocates before it is ready to look at anybody's memory accesses. */
#define UNSEEN __attribute__((no_sanitize("address", "undefined", "thread")))

UNSEEN static bool fails(void)
{
    return counting && ++n_allocations == fail_at;
}

UNSEEN void *malloc(size_t n)
{
    if (fails())
        return NULL;
    return __interceptor_malloc ? __interceptor_malloc(n) : __libc_malloc(n);
}

UNSEEN void *calloc(size_t n, size_t size)
{
    if (fails())
        return NULL;
    return __interceptor_calloc ? __interceptor_calloc(n, size) : __libc_calloc(n, size);
}

UNSEEN void *realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    return __interceptor_realloc ? __interceptor_realloc(p, n) : __libc_realloc(p, n);
}

/* ---- what there is, as bytes --------------------------------------------------------------------------------------- */

struct picture {
    size_t n;
    unsigned char bytes[1 << 20];
};

static void picture_add(struct picture *p, const void *bytes, size_t n)
{
    assert_true(p->n + n <= sizeof(p->bytes));
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static void picture_table(struct picture *p, const struct table *t, size_t size)
{
    picture_add(p, &t->n, sizeof(t->n));
    for (size_t i = 0; i < t->n; i++) {
        picture_add(p, &t->item[i], sizeof(t->item[i])); /* objects stay where they are */
        picture_add(p, t->item[i], size);
    }
}

static void take_picture(struct picture *p, const struct message *m)
{
    const struct cluster *c = w.c;

    p->n = 0;
    picture_table(p, &c->nodes, sizeof(struct node));
    picture_table(p, &c->instances, sizeof(struct instance));
    picture_table(p, &c->tasks, sizeof(struct task));
    picture_table(p, &c->held, sizeof(struct held));
    picture_table(p, &c->pending, sizeof(struct pending));
    picture_table(p, &c->answers, sizeof(struct pending_answer));
    picture_table(p, &c->keys, sizeof(struct access_key));
    picture_table(p, &c->tokens, sizeof(struct access_key));
    picture_table(p, &c->api_keys, sizeof(struct access_api_key));
    picture_add(p, c->join_refused, sizeof(c->join_refused));
    picture_add(p, &c->numbers, sizeof(c->numbers));
    picture_add(p, c->boot, c->n_served * sizeof(*c->boot));
    picture_add(p, &c->brake, sizeof(c->brake));
    picture_add(p, c->node_refused, sizeof(c->node_refused));
    picture_add(p, c->instance_refused, sizeof(c->instance_refused));
    picture_add(p, c->task_refused, sizeof(c->task_refused));
    if (m)
        picture_add(p, m, sizeof(*m));
    if (m && m->kind == MESSAGE_REPORT)
        picture_add(p, m->report, sizeof(*m->report));
}

/* ---- the step that fails ------------------------------------------------------------------------------------------- */

static unsigned n_failed;

static struct cluster_effects *failing_step(struct cluster *c, struct cluster_ev *ev, uint64_t now_ms)
{
    static struct picture before, after;
    struct cluster_effects *fx = NULL;

    take_picture(&before, ev->message);
    for (fail_at = 1; !fx; fail_at++) {
        n_allocations = 0;
        counting = true;
        fx = cluster_step(c, ev, now_ms);
        counting = false;
        if (fx)
            break;
        n_failed++;
        take_picture(&after, ev->message);
        assert_int_equal(before.n, after.n);
        assert_memory_equal(before.bytes, after.bytes, before.n);
    }
    assert_true(n_allocations < fail_at);
    return fx;
}

static int setup(void **state)
{
    (void)state;
    world_open();
    w.step = failing_step;
    n_failed = 0;
    begin();
    return 0;
}

static void test_a_whole_life(void **state)
{
    (void)state;
    hello(1);
    report(1);
    join(2);
    deploy(7, "m", 2);
    deploy(8, "m", 2);
    commit();
    done(1, COMMAND_LEASE);
    done(2, COMMAND_LEASE);
    done(1, COMMAND_START_WORKER);
    done(2, COMMAND_START_WORKER);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    warmed(true, "");
    commit();
    report(1);
    stop(9, "m");
    commit();
    deploy(10, "m", 0); /* held */
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    commit();
    pass_reporting(61000, 2);
    commit();
    assert_true(n_failed > 100);
}

static void test_what_goes_wrong(void **state)
{
    (void)state;
    join(1);
    join(2);
    deploy(1, "nothing", 0);
    deploy(2, "m", 9);
    commit();
    deploy(3, "m", 2);
    commit();
    done(1, COMMAND_LEASE);
    answer_with(2, COMMAND_LEASE, RESULT_REFUSED, "no_memory", "full");
    pass_reporting(9000, 2);
    done(1, COMMAND_STOP);
    done(2, COMMAND_STOP);
    commit();
    deploy(4, "m", 2); /* takes the failed one's place */
    commit();
    pass(6000); /* both nodes are silent */
    commit();
    report(1);
    report(2);
    hello(2);
    report(2);
    hear(2, message_from(2, MESSAGE_RESULT));
    deploy(5, "m", 0);
    stop(6, "m");
    commit_all(false);
    stop(7, "nothing");
    assert_true(n_failed > 100);
}

static void test_nodes_that_go_silent(void **state)
{
    struct cluster_host host = {.carrier = false};
    struct message *m = message_from(1, MESSAGE_RELAY);

    (void)state;
    make_ready(7, 3);
    pass_reporting(1000, 3); /* neighbours are told */
    vanish(3, 3);
    pass(0); /* its unit is recovered without it */
    done(1, COMMAND_STOP);
    commit();
    strcpy(m->relay.key, "k3");
    m->relay.inner = hello_of(3);
    hear(1, m);
    m = message_from(1, MESSAGE_RELAY);
    strcpy(m->relay.key, "k3");
    m->relay.inner = report_of(3);
    hear(1, m);
    pass(1000); /* everybody at once */
    step(&(struct cluster_ev){.kind = CLUSTER_EV_LIFT_BRAKE, .request_id = 1});
    step(&(struct cluster_ev){.kind = CLUSTER_EV_HOST, .host = &host});
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
    step(&(struct cluster_ev){.kind = CLUSTER_EV_CLOSED, .peer_addr = "10.0.0.1"});
    pass(11000);
    knocked(1, KNOCK_REFUSED);
    assert_true(n_failed > 100);
}

static void test_a_unit_that_hangs(void **state)
{
    const struct cluster_ev traffic = {
        .kind = CLUSTER_EV_TRAFFIC, .instance = id_of(107), .epoch = 1, .traffic = {.in_flight = 1}};
    struct cluster_ev ev = traffic;

    (void)state;
    make_ready(7, 2);
    step(&ev);
    ev.kind = CLUSTER_EV_UPSTREAM;
    ev.upstream = UPSTREAM_BROKEN;
    step(&ev);
    warmed(true, "");
    pass_reporting(11000, 2);
    commit();
    assert_true(n_failed > 100);
}

static void test_an_operators_word(void **state)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_RETIRE, .request_id = 5, .target = "n2"};
    struct record rec = {.kind = RECORD_NODE, .instance = id_of(5), .node = {.name = "n5", .draining = true}};

    (void)state;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    join(5);
    make_ready(7, 2);
    step(&ev);
    commit();
    assert_true(n_failed > 100);
}

static void test_who_is_let_in(void **state)
{
    (void)state;
    new_token(1, 1, 2, 5000);
    new_token(2, 2, 0, 5000);
    new_token(3, 2, 1, 5000);
    commit();
    ask_to_join(1, 1);
    ask_to_join(1, 2);
    ask_to_join(1, 3);
    commit();
    ask_to_join(2, 1);
    ask_to_join(2, 3);
    commit_all(false);
    withdraw(4, "f2000000");
    commit();
    approve(5, 5, "n5");
    commit_all(false);
    approve(6, 5, "n5");
    commit();
    new_token(7, 3, 1, 1000);
    commit();
    pass(1000); /* and it is over */
    commit();
    hello_by_key(1);
    report_by_key(1);
    revoke(8, "n1");
    commit();
    hello_by_key(1);
    revoke(9, "a5000000");
    commit_all(false);
    api_key(10, "boss", 'b', API_ADMIN);
    commit();
    api_key(11, "cat", 'c', API_INFER);
    commit_all(false);
    api_key(12, "cat", 'c', API_INFER);
    commit();
    api_unkey(13, "cat");
    commit();
    assert_true(n_failed > 100);
}

static void test_keys_that_were_kept(void **state)
{
    struct record key = {.kind = RECORD_KEY}, api = {.kind = RECORD_API_KEY};

    (void)state;
    key.key = (struct view_key){.scope = KEY_NODE, .name = "n1"};
    node_key(1, key.key.key);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &key});
    key.key = (struct view_key){.scope = KEY_JOIN, .expires_wall_ms = 1000500, .uses_left = 1};
    token_key(1, key.key.key);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &key});
    api.api_key = (struct view_api_key){.scope = API_ADMIN, .name = "boss"};
    node_key(9, api.api_key.hash);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &api});
    begin();
    assert_true(n_failed > 8);
}

/* Refused until it is given up, with a wait for room in between. */
static void test_what_is_tried_again(void **state)
{
    struct message *m;

    (void)state;
    join(1);
    deploy(7, "m", 1);
    commit();
    for (int k = 0; k < 6; k++) {
        answer_with(1, COMMAND_LEASE, RESULT_REFUSED, k ? "no_memory" : "stale_epoch", "");
        done(1, COMMAND_STOP);
        if (k == 3) { /* it is full for a while */
            m = report_of(1);
            m->report->host_free_bytes = m->report->device[0].free_bytes = 1 << 20;
            hear(1, m);
            pass(5000);
            deploy(8, "m", 1);
        }
        pass_reporting(16000, 1);
        commit();
        commit();
    }
    answer_with(1, COMMAND_LEASE, RESULT_REFUSED, "unservable", "");
    done(1, COMMAND_STOP);
    commit();
    assert_true(n_failed > 100);
}

static void drain_or_not(enum cluster_ev_kind kind, uint64_t request_id, const char *target)
{
    step(&(struct cluster_ev){.kind = kind, .request_id = request_id, .target = target});
}

static void test_nodes_that_are_drained(void **state)
{
    (void)state;
    make_ready(7, 2);
    join(3);
    drain_or_not(CLUSTER_EV_DRAIN, 1, "n2"); /* by a successor */
    commit();
    drain_or_not(CLUSTER_EV_UNDRAIN, 2, "n2");
    commit();
    drain_or_not(CLUSTER_EV_UNDRAIN, 2, "n2");
    done(1, COMMAND_STOP);
    pass_reporting(2000, 3);
    drain_or_not(CLUSTER_EV_DRAIN, 3, "n2");
    drain_or_not(CLUSTER_EV_DRAIN, 3, "n2");
    commit();
    drain_or_not(CLUSTER_EV_DRAIN, 4, "n3"); /* and now there is no other place */
    commit();
    stop(5, "m");
    commit();
    pass_reporting(10000, 3);
    drain_or_not(CLUSTER_EV_DRAIN, 6, "n9");
    assert_true(n_failed > 100);
}

static void restore_one_that_was_being_stopped(void)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(98), .i = {.state = INSTANCE_STOPPING}};

    strcpy(rec.i.name, "gone");
    strcpy(rec.i.request.model, "m");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    for (enum task_kind kind = TASK_DEPLOY; kind <= TASK_STOP; kind++) {
        rec = (struct record){.kind = RECORD_TASK,
                              .task = {.id = 40 + kind, .kind = kind, .state = TASK_RUNNING, .instance = id_of(98)}};
        strcpy(rec.task.name, "gone");
        step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    }
}

static void test_a_controller_that_begins(void **state)
{
    struct record rec = {.kind = RECORD_INSTANCE, .instance = id_of(107)};
    struct plan plan;

    (void)state;
    make_ready(7, 2);
    plan = w.plan;
    strcpy(rec.i.name, "old");
    strcpy(rec.i.request.model, "m");
    rec.i.state = INSTANCE_READY;
    rec.i.epoch = 1;
    rec.i.plan = &plan;
    rec.instance = id_of(99);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    rec = (struct record){.kind = RECORD_TASK,
                          .task = {.id = 40, .kind = TASK_DEPLOY, .state = TASK_RUNNING, .instance = id_of(99)}};
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    restore_one_that_was_being_stopped();
    begin();
    report(1);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RETIRE, .request_id = 8, .target = "n1"});
    commit();
    report(2);
    pass_reporting(11000, 2);
    assert_true(n_failed > 100);
}

static void test_what_is_asked_for_comes_and_goes(void **state)
{
    struct served sections[] = {section_of("early", "m", SERVED_BOOT), section_of("a", "a", SERVED_DEMAND),
                                section_of("pair", "b", SERVED_DEMAND)};
    struct id128 id;

    world_teardown(state);
    sections[0].request.pinned = true;
    sections[1].request.ttl_ms = 20000;
    sections[2].request.replicas = 2;
    serve_open(sections, 3, SERVED_DEMAND, 0);
    w.step = failing_step;
    serve_join(1);
    serve_join(2);
    commit();
    bring_up(live("early", 0)->id);
    settle(2);
    ensure(7, "a");
    ensure(8, "nothing");
    commit();
    id = live("a", 0)->id;
    bring_up(id);
    ensure(9, "pair"); /* one of them waits, and "a" leaves for it */
    commit();
    serve_pass(500, 2);
    ensure(10, "a"); /* or not */
    commit();
    serve_pass(22000, 2);
    commit();
    bring_down(id);
    serve_pass(1000, 2);
    commit();
    assert_int_equal(n_live("pair"), 2);
    stop(11, "pair");
    commit();
    assert_true(n_failed > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_whole_life, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_goes_wrong, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nodes_that_go_silent, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_unit_that_hangs, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_an_operators_word, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_who_is_let_in, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_keys_that_were_kept, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_tried_again, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nodes_that_are_drained, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_controller_that_begins, setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_asked_for_comes_and_goes, setup, world_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
