/* A person deploys what a request began, or what is just leaving: from then on it is as he says. */
#include "tests/unit/serving_harness.h"

enum { TTL_MS = 600000 };

static struct served sections[2];

/* "a" with a ttl, "b" without; each takes a node. */
static int setup(void **state)
{
    (void)state;
    sections[0] = section_of("a", "a", SERVED_DEMAND);
    sections[0].request.ttl_ms = TTL_MS;
    sections[1] = section_of("b", "b", SERVED_DEMAND);
    serve_open(sections, 2, SERVED_DEMAND, 1);
    settle(1);
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

static void deploy_as(uint64_t request_id, const char *name, bool pinned, uint64_t ttl_ms, uint32_t replicas)
{
    struct place_request r = request_of(name, 0);

    r.pinned = pinned;
    r.ttl_ms = ttl_ms;
    r.replicas = replicas;
    deploy_request(request_id, &r, NULL);
}

/* It is his, and nobody else's want of memory makes it leave: durable before he is told. */
static void test_what_a_request_began_is_a_persons_when_he_deploys_it(void **state)
{
    struct id128 b = started(7, "b");

    (void)state;
    deploy(8, "b", 0);
    EXPECT("commit 4: instance b ready e1\n");
    commit();
    EXPECT("answer 8: task 1 attached\n");
    assert_false(w.kept.demand);
    ensure(9, "a");
    assert_true(strncmp(w.log, "answer 9: refused no_fit", 24) == 0);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    quiet();
    deploy(10, "b", 0); /* nothing new is said */
    EXPECT("answer 10: task 1 attached\n");
}

static void test_what_he_says_of_its_stay_counts_from_then_on(void **state)
{
    struct id128 a = started(7, "a");

    (void)state;
    deploy_as(8, "a", false, 2 * TTL_MS, 0);
    commit();
    assert_int_equal(w.kept.request.ttl_ms, 2 * TTL_MS);
    serve_pass(TTL_MS, 1);
    assert_int_equal(the(&a)->state, INSTANCE_READY);
    deploy(9, "a", 0); /* what he leaves unsaid is as it was */
    assert_int_equal(the(&a)->request.ttl_ms, 2 * TTL_MS);
    deploy_as(10, "a", true, 0, 0);
    commit();
    assert_true(w.kept.request.pinned);
    assert_int_equal(w.kept.request.ttl_ms, 2 * TTL_MS);
    deploy_as(11, "a", false, PLACE_TTL_NEVER, 0);
    commit();
    assert_int_equal(w.kept.request.ttl_ms, 0);
    serve_pass(3 * TTL_MS, 1);
    assert_int_equal(the(&a)->state, INSTANCE_READY);
}

static void test_more_of_them_begin(void **state)
{
    (void)state;
    ensure(7, "m");
    commit();
    bring_up(live("m", 0)->id);
    quiet();
    deploy_as(8, "m", false, 0, 2);
    EXPECT("task 2 pending -> running (begin)\n"
           "instance m requested -> placing (place)\n"
           "commit 4: instance m ready e1, task 2 running, instance m leasing e1\n");
    commit();
    assert_int_equal(n_live("m"), 2);
    assert_int_equal(live("m", 0)->request.replicas, 2);
    assert_false(live("m", 0)->demand || live("m", 1)->demand);
    bring_up(live("m", 1)->id);
    deploy_as(9, "m", false, 0, 1); /* none is ended by it */
    assert_int_equal(n_live("m"), 2);
    assert_int_equal(live("m", 0)->request.replicas, 2);
}

static void test_one_that_is_just_being_placed_is_written_with_its_place(void **state)
{
    (void)state;
    ensure(7, "b");
    quiet();
    deploy(8, "b", 0);
    EXPECT("commit 2: instance b leasing e1\n");
    commit();
    assert_false(live("b", 0)->demand);
    assert_int_equal(live("b", 0)->state, INSTANCE_LEASING);
}

static void test_one_that_leaves_stays(void **state)
{
    struct id128 a = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    assert_int_equal(the(&a)->state, INSTANCE_DRAINING);
    quiet();
    deploy(8, "a", 0);
    EXPECT("instance a draining -> ready (keep): somebody asks for it\n"
           "commit 4: instance a ready e1\n");
    commit();
    EXPECT("answer 8: task 1 attached\n");
    serve_pass(TTL_MS - 500, 1);
    assert_int_equal(the(&a)->state, INSTANCE_READY);
}

/* Its end was being written. */
static void test_one_whose_end_is_being_written_stays(void **state)
{
    struct id128 a = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    pass(500);
    assert_true(the(&a)->drain.stop_asked);
    deploy(8, "a", 0);
    commit();
    commit();
    assert_int_equal(the(&a)->state, INSTANCE_READY);
    assert_int_equal(w.kept.state, INSTANCE_READY);
    assert_false(w.kept.demand);
}

/* It broke while it left: its end was asked for at once, and somebody wants it before that is durable. */
static void test_one_that_broke_while_it_left_is_kept_too(void **state)
{
    struct id128 a = started(7, "a");
    struct view *v;

    (void)state;
    serve_pass(TTL_MS, 1);
    exits(1, UNIT_COORDINATOR, 1, 0, "");
    assert_int_equal(the(&a)->state, INSTANCE_RECOVERING);
    v = view_now();
    assert_true(v->instance[0].leaving); /* nobody waits for what ends */
    view_unref(&v);
    ensure(8, "a");
    assert_non_null(strstr(w.log, "answer 8: task 0 attached\n"));
    commit();
    assert_int_equal(the(&a)->state, INSTANCE_RECOVERING);
    v = view_now();
    assert_false(v->instance[0].leaving);
    view_unref(&v);
    bring_down(a);
    serve_pass(2000, 1);
    commit();
    assert_int_equal(the(&a)->epoch, 2);
    bring_up(a);
}

/* Why it ends is seen until it has: whoever waits for it has it started anew, but not what a person has stopped. */
static void test_until_its_end_it_is_seen_to_leave(void **state)
{
    struct id128 a = started(7, "a");
    struct view *v;

    (void)state;
    serve_pass(TTL_MS, 1);
    pass(500);
    commit();
    assert_int_equal(the(&a)->state, INSTANCE_STOPPING);
    v = view_now();
    assert_true(v->instance[0].leaving);
    view_unref(&v);
    bring_down(a);
    v = view_now();
    assert_false(v->instance[0].leaving);
    view_unref(&v);
    serve_pass(500, 1); /* what it held is measured to be free */
    a = started(8, "a");
    serve_pass(TTL_MS, 1);
    stop(9, "a");
    commit();
    assert_int_equal(the(&a)->state, INSTANCE_STOPPING);
    v = view_now();
    assert_false(v->instance[0].leaving);
    view_unref(&v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_a_request_began_is_a_persons_when_he_deploys_it),
        TEST(test_what_he_says_of_its_stay_counts_from_then_on),
        TEST(test_more_of_them_begin),
        TEST(test_one_that_is_just_being_placed_is_written_with_its_place),
        TEST(test_one_that_leaves_stays),
        TEST(test_one_whose_end_is_being_written_stays),
        TEST(test_one_that_broke_while_it_left_is_kept_too),
        TEST(test_until_its_end_it_is_seen_to_leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
