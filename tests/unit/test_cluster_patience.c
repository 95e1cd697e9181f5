/* How long what requests ask for is waited for, and when it is tried again. */
#include "controller/core/ensure.h"
#include "controller/core/recovery.h"
#include "controller/core/unloading.h"
#include "tests/unit/serving_harness.h"

enum { TTL_MS = 20000 };

static struct served sections[3];

/* "a" and "b" take a node each; of "pair" there are to be two, with a ttl. */
static void open_with(int n_nodes)
{
    sections[0] = section_of("a", "a", SERVED_DEMAND);
    sections[1] = section_of("b", "b", SERVED_DEMAND);
    sections[2] = section_of("pair", "c", SERVED_DEMAND);
    sections[2].request.replicas = 2;
    sections[2].request.ttl_ms = TTL_MS;
    serve_open(sections, 3, SERVED_DEMAND, n_nodes);
    settle(n_nodes);
}

static int setup(void **state)
{
    (void)state;
    open_with(1);
    return 0;
}

static int two_nodes(void **state)
{
    (void)state;
    open_with(2);
    return 0;
}

static struct id128 started(uint64_t request_id, const char *name)
{
    struct id128 id;

    ensure(request_id, name);
    commit();
    assert_non_null(live(name, 0));
    id = live(name, 0)->id;
    bring_up(id);
    quiet();
    return id;
}

/* Somebody makes use of it before it has left. */
static struct id128 wait_in_vain(const char *name, struct id128 of)
{
    struct id128 id;

    ensure(8, name);
    commit();
    asked(of, 1);
    id = live(name, 0)->id;
    assert_int_equal(the(&id)->state, INSTANCE_WAITING);
    serve_busy(RECOVERY_PATIENCE_MS - 5000, of, 1);
    assert_int_equal(the(&id)->state, INSTANCE_WAITING);
    serve_busy(5000, of, 1);
    return id;
}

static void test_what_requests_alone_want_waits_for_room_so_long(void **state)
{
    struct id128 a = started(7, "a"), b = wait_in_vain("b", a);

    (void)state;
    assert_int_equal(the(&b)->state, INSTANCE_FAILED);
    assert_non_null(strstr(the(&b)->reason, "there was no room for it in 120 s: "));
    commit();
    quiet();
    ensure(9, "b"); /* and for a while whoever asks hears it at once */
    assert_true(strncmp(w.log, "answer 9: refused no_fit: there was no room for it in 120 s: ", 60) == 0);
    asked(a, 0);
    serve_pass(ENSURE_FAILED_MS, 1);
    ensure(10, "b");
    commit();
    assert_int_equal(n_live("b"), 1);
}

/* It may wait in the store, too. */
static void test_a_person_has_it_wait_on(void **state)
{
    struct id128 a = started(7, "a"), b;

    (void)state;
    ensure(8, "b");
    deploy(9, "b", 0);
    commit();
    asked(a, 1);
    b = live("b", 0)->id;
    serve_busy(RECOVERY_PATIENCE_MS, a, 1);
    assert_int_equal(the(&b)->state, INSTANCE_WAITING);
    asked(a, 0);
    serve_pass(UNLOADING_LOOK_MS, 1);
    assert_int_equal(the(&a)->state, INSTANCE_DRAINING);
}

/* It waits to join one that nobody asks for any more. */
static void test_one_that_waits_ends_with_the_last_that_serves(void **state)
{
    struct id128 id[2];

    (void)state;
    ensure(7, "pair");
    commit();
    id[0] = live("pair", 0)->id;
    id[1] = live("pair", 1)->id;
    bring_up(id[0]);
    bring_up(id[1]);
    asked(id[0], 1);
    vanish(node_of_instance(&id[1]), 2);
    serve_busy(40000, id[0], 1);
    commit();
    assert_int_equal(the(&id[1])->state, INSTANCE_WAITING);
    asked(id[0], 0);
    serve_pass(TTL_MS, 1);
    assert_int_equal(the(&id[0])->state, INSTANCE_DRAINING);
    commit();
    assert_int_equal(the(&id[1])->state, INSTANCE_STOPPED);
    ensure(8, "pair"); /* whoever asks keeps what is still there */
    assert_int_equal(the(&id[0])->state, INSTANCE_READY);
}

/* ---- replicas ----------------------------------------------------------------------------------------------------- */

static void test_a_replica_that_failed_is_tried_again_for_those_who_ask(void **state)
{
    struct id128 id[2];

    (void)state;
    ensure(7, "pair");
    commit();
    id[0] = live("pair", 0)->id;
    id[1] = live("pair", 1)->id;
    answer_with(node_of_instance(&id[1]), COMMAND_LEASE, RESULT_REFUSED, "unservable", "no such flag");
    bring_down(id[1]);
    commit();
    bring_up(id[0]);
    assert_int_equal(the(&id[1])->state, INSTANCE_FAILED);
    asked(id[0], 1);
    serve_busy(ENSURE_FAILED_MS - 5000, id[0], 2);
    quiet();
    ensure(8, "pair");
    EXPECT("answer 8: task 0 attached\n");
    serve_busy(5000, id[0], 2);
    ensure(9, "pair");
    commit();
    assert_int_equal(n_live("pair"), 2);
    assert_int_equal(live("pair", 1)->replica, 1);
    assert_true(live("pair", 1)->demand);
    assert_null(instance_find(w.c, &id[1]));
}

static void test_a_replica_that_somebody_stopped_is_not(void **state)
{
    struct id128 id[2];

    (void)state;
    ensure(7, "pair");
    commit();
    id[0] = live("pair", 0)->id;
    id[1] = live("pair", 1)->id;
    bring_up(id[0]);
    bring_up(id[1]);
    stop(8, ID128(&id[1]));
    commit();
    bring_down(id[1]);
    serve_busy(ENSURE_FAILED_MS, id[0], 2);
    quiet();
    ensure(9, "pair");
    EXPECT("answer 9: task 0 attached\n");
    assert_int_equal(n_live("pair"), 1);
}

/* ---- what is not known yet ---------------------------------------------------------------------------------------- */

/* The agents of a controller that has just started join one after the other. */
static void test_nothing_is_refused_before_all_had_time_to_join(void **state)
{
    struct view *v;

    world_teardown(state);
    serve_open(sections, 3, SERVED_DEMAND, 0);
    ensure(7, "a");
    assert_true(strncmp(w.log, "answer 7: refused too_early: no node has a model named a", 55) == 0);
    v = view_now();
    assert_true(v->settling);
    view_unref(&v);
    serve_join(1);
    ensure(8, "a"); /* what can be begun is */
    commit();
    assert_int_equal(n_live("a"), 1);
    serve_pass(10000, 1);
    quiet();
    ensure(9, "nowhere");
    assert_true(strncmp(w.log, "answer 9: refused not_found", 27) == 0);
}

static void test_the_picture_says_when_all_had_time_to_join(void **state)
{
    struct view *v;

    world_teardown(state);
    serve_open(sections, 3, SERVED_DEMAND, 0);
    pass(9999);
    w.changed = false;
    pass(1);
    assert_true(w.changed); /* though nothing else has happened */
    v = view_now();
    assert_false(v->settling);
    view_unref(&v);
    assert_true(cluster_deadline_ms(w.c) > w.now);
}

/* What has just been let go is measured with the next report. */
static void test_nothing_is_refused_for_memory_that_has_just_been_let_go(void **state)
{
    struct id128 a = started(7, "a");

    (void)state;
    stop(8, "a");
    commit();
    bring_down(a);
    quiet();
    ensure(9, "b");
    assert_true(strncmp(w.log, "answer 9: refused too_early: ", 29) == 0);
    serve_pass(500, 1);
    ensure(10, "b");
    commit();
    assert_int_equal(n_live("b"), 1);
}

/* A node says hello again and again, and never what it has: what waits for memory does not wait for that. */
static void test_a_node_that_never_joins_puts_it_off_for_so_long(void **state)
{
    struct id128 a = started(7, "a");

    (void)state;
    hello(2);
    ensure(8, "b");
    commit();
    for (uint64_t ms = 0; ms < UNLOADING_UNSURE_MS; ms += 500) {
        hello(2);
        assert_int_equal(the(&a)->state, INSTANCE_READY);
        serve_pass(500, 1);
    }
    hello(2);
    serve_pass(2 * UNLOADING_LOOK_MS, 1);
    assert_int_not_equal(the(&a)->state, INSTANCE_READY);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, world_teardown)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, two_nodes, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_requests_alone_want_waits_for_room_so_long),
        TEST(test_a_person_has_it_wait_on),
        TEST_TWO(test_one_that_waits_ends_with_the_last_that_serves),
        TEST_TWO(test_a_replica_that_failed_is_tried_again_for_those_who_ask),
        TEST_TWO(test_a_replica_that_somebody_stopped_is_not),
        TEST(test_nothing_is_refused_before_all_had_time_to_join),
        TEST(test_the_picture_says_when_all_had_time_to_join),
        TEST(test_nothing_is_refused_for_memory_that_has_just_been_let_go),
        TEST(test_a_node_that_never_joins_puts_it_off_for_so_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
