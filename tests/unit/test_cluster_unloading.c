/* Who leaves without anybody having said so: what nobody asks for, and what another one needs the memory of. */
#include "controller/core/unloading.h"
#include "tests/unit/serving_harness.h"

enum { TTL_MS = 600000 };

static struct served sections[3];

static void open_with(int n_nodes)
{
    serve_open(sections, 3, SERVED_DEMAND, n_nodes);
    settle(n_nodes);
}

/* "a" with a ttl, "b" without, "c" pinned; each takes a node. */
static int setup(void **state)
{
    (void)state;
    sections[0] = section_of("a", "a", SERVED_DEMAND);
    sections[0].request.ttl_ms = TTL_MS;
    sections[1] = section_of("b", "b", SERVED_DEMAND);
    sections[2] = section_of("c", "c", SERVED_DEMAND);
    sections[2].request.pinned = true;
    open_with(1);
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

static struct id128 deployed(uint64_t request_id, const char *name)
{
    struct id128 id;

    deploy(request_id, name, 0);
    commit();
    id = live(name, 0)->id;
    bring_up(id);
    quiet();
    return id;
}

/* ---- ttl ---------------------------------------------------------------------------------------------------------- */

static void test_case_09_what_nobody_asks_for_is_unloaded(void **state)
{
    struct id128 id = started(7, "a");
    struct view *v;

    (void)state;
    serve_pass(TTL_MS - 500, 1);
    assert_int_equal(the(&id)->state, INSTANCE_READY);
    v = view_now();
    assert_int_equal(v->instance[0].idle_ms, TTL_MS - 500);
    assert_int_equal(v->instance[0].ttl_ms, TTL_MS);
    assert_true(v->instance[0].demand && !v->instance[0].leaving && !v->instance[0].pinned);
    view_unref(&v);
    quiet();
    serve_pass(500, 1);
    EXPECT("instance a ready -> draining (unload): idle for 10 min\n"); /* it is shown first, and ends later */
    v = view_now();
    assert_true(v->instance[0].leaving);
    assert_string_equal(v->instance[0].reason, "idle for 10 min");
    view_unref(&v);
    serve_pass(UNLOADING_QUIET_MS - 1, 1);
    EXPECT("");
    pass(1);
    EXPECT("commit 4: instance a stopping e1\n");
    commit();
    EXPECT("instance a draining -> stopping (stop): idle for 10 min\n"
           "n1 < stop e1\n");
    bring_down(id);
    v = view_now();
    assert_int_equal(v->instance[0].state, INSTANCE_STOPPED);
    assert_string_equal(v->instance[0].reason, "idle for 10 min");
    assert_int_equal(v->node[0].leased_bytes, 0);
    view_unref(&v);
}

static void test_each_request_begins_the_time_anew(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS - 500, 1);
    serve_busy(2 * TTL_MS, id, 1); /* it takes long */
    assert_int_equal(the(&id)->state, INSTANCE_READY);
    asked(id, 0);
    serve_pass(TTL_MS - 500, 1);
    assert_int_equal(the(&id)->state, INSTANCE_READY);
    serve_pass(500, 1);
    assert_int_equal(the(&id)->state, INSTANCE_DRAINING);
}

static void test_a_request_that_was_on_its_way_keeps_it(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    assert_int_equal(the(&id)->state, INSTANCE_DRAINING);
    pass(100);
    quiet();
    asked(id, 1);
    EXPECT("instance a draining -> ready (keep): somebody asks for it\n");
    serve_busy(60000, id, 1);
    assert_int_equal(the(&id)->state, INSTANCE_READY);
    assert_string_equal(the(&id)->reason, "");
    asked(id, 0);
    serve_pass(TTL_MS, 1);
    assert_int_equal(the(&id)->state, INSTANCE_DRAINING);
}

static void test_who_asks_while_it_leaves_has_it_back(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    quiet();
    ensure(8, "a");
    EXPECT("instance a draining -> ready (keep): somebody asks for it\n"
           "answer 8: task 0 attached\n");
    assert_int_equal(n_live("a"), 1);
    assert_true(id128_equal(&live("a", 0)->id, &id));
}

/* By its id too; that starts nothing. */
static void test_who_asks_for_just_this_one_has_it_back(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    quiet();
    ensure(8, ID128(&id));
    EXPECT("instance a draining -> ready (keep): somebody asks for it\n"
           "answer 8: task 0 attached\n");
    stop(9, "a");
    commit();
    bring_down(id);
    quiet();
    ensure(10, ID128(&id));
    assert_true(strncmp(w.log, "answer 10: refused not_found", 28) == 0);
}

/* Its end was being written when somebody asked: what was written is taken back. */
static void test_a_request_at_the_last_moment_keeps_it(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    pass(UNLOADING_QUIET_MS);
    quiet();
    asked(id, 1);
    EXPECT("instance a draining -> ready (keep): somebody asks for it\n");
    commit();
    EXPECT("commit 5: instance a ready e1\n");
    assert_int_equal(the(&id)->state, INSTANCE_READY);
    asked(id, 0);
    serve_pass(TTL_MS, 1); /* and the next time it goes */
    pass(UNLOADING_QUIET_MS);
    commit();
    assert_int_equal(the(&id)->state, INSTANCE_STOPPING);
}

static void test_a_store_that_fails_lets_it_stay_a_moment_longer(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    pass(UNLOADING_QUIET_MS);
    commit_all(false);
    assert_int_equal(the(&id)->state, INSTANCE_DRAINING);
    pass(999);
    assert_int_equal(w.n_tokens, 0);
    pass(1);
    commit();
    assert_int_equal(the(&id)->state, INSTANCE_STOPPING);
}

static void test_one_that_breaks_while_it_leaves_does_not_come_back(void **state)
{
    struct id128 id = started(7, "a");

    (void)state;
    serve_pass(TTL_MS, 1);
    exits(1, UNIT_COORDINATOR, 1, 0, "");
    assert_int_equal(the(&id)->state, INSTANCE_RECOVERING);
    commit();
    assert_int_equal(the(&id)->state, INSTANCE_STOPPING);
    bring_down(id);
    assert_int_equal(n_live("a"), 0);
}

static void test_without_a_ttl_it_stays(void **state)
{
    struct id128 id = started(7, "b");

    (void)state;
    serve_pass(24 * 3600000, 0);
    (void)id;
    assert_int_equal(n_live("b"), 1);
}

static void test_pinned_stays_whatever_its_ttl(void **state)
{
    struct id128 id;

    world_teardown(state);
    sections[0].request.pinned = true;
    open_with(1);
    id = started(7, "a");
    serve_pass(2 * TTL_MS, 1);
    assert_int_equal(the(&id)->state, INSTANCE_READY);
}

/* As long as one of them is asked for, all are. */
static void test_replicas_leave_together(void **state)
{
    struct id128 id[2];

    world_teardown(state);
    sections[0] = section_of("a", "m", SERVED_DEMAND);
    sections[0].request.ttl_ms = TTL_MS;
    sections[0].request.replicas = 2;
    open_with(2);
    ensure(7, "a");
    commit();
    for (size_t k = 0; k < 2; k++)
        id[k] = live("a", k)->id;
    bring_up(id[0]);
    bring_up(id[1]);
    serve_busy(2 * TTL_MS, id[1], 2);
    assert_int_equal(the(&id[0])->state, INSTANCE_READY);
    asked(id[1], 0);
    serve_pass(TTL_MS, 2);
    assert_int_equal(the(&id[0])->state, INSTANCE_DRAINING);
    assert_int_equal(the(&id[1])->state, INSTANCE_DRAINING);
}

/* ---- want of memory ----------------------------------------------------------------------------------------------- */

static void test_another_one_that_is_asked_for_makes_it_leave(void **state)
{
    struct id128 b = started(7, "b"), c;

    (void)state;
    ensure(8, "c");
    assert_non_null(strstr(w.log, "instance c placing -> waiting (no_room): "));
    assert_non_null(strstr(w.log, "instance b ready -> draining (unload): c needs its memory\n"));
    assert_non_null(strstr(live("c", 0)->reason, "; b leaves for it"));
    commit();
    assert_non_null(strstr(w.log, "answer 8: task 2\n"));
    serve_pass(UNLOADING_QUIET_MS, 1);
    commit();
    assert_int_equal(the(&b)->state, INSTANCE_STOPPING);
    bring_down(b);
    serve_pass(500, 1); /* what it held is measured to be free */
    commit();
    c = live("c", 0)->id;
    bring_up(c);
    assert_string_equal(the(&c)->reason, "");
}

static void test_a_busy_one_is_not_cut(void **state)
{
    struct id128 b = started(7, "b");

    (void)state;
    asked(b, 1);
    quiet();
    ensure(8, "c");
    commit();
    assert_non_null(strstr(w.log, "answer 8: task 2\n")); /* when it has answered it may leave, so that is waited for */
    serve_busy(30000, b, 1);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    asked(b, 0);
    serve_pass(UNLOADING_LOOK_MS, 1);
    assert_int_equal(the(&b)->state, INSTANCE_DRAINING);
    asked(b, 1); /* it was on its way */
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    serve_busy(30000, b, 1);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    assert_int_equal(live("c", 0)->state, INSTANCE_WAITING);
    asked(b, 0);
    serve_pass(UNLOADING_LOOK_MS, 1);
    assert_int_equal(the(&b)->state, INSTANCE_DRAINING);
}

static void test_what_a_person_has_deployed_without_a_ttl_stays(void **state)
{
    struct id128 b = deployed(7, "b");

    (void)state;
    ensure(8, "a");
    assert_true(strncmp(w.log, "answer 8: refused no_fit", 24) == 0);
    serve_pass(60000, 1);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
}

static void test_what_a_person_has_deployed_with_a_ttl_may_leave(void **state)
{
    struct id128 a = deployed(7, "a"); /* its section says so */

    (void)state;
    deploy(8, "b", 0); /* and for a person's deploy as for a request */
    commit();
    assert_int_equal(the(&a)->state, INSTANCE_DRAINING);
    assert_int_equal(live("b", 0)->state, INSTANCE_WAITING);
}

static void test_a_pinned_one_stays(void **state)
{
    struct id128 c = started(7, "c");

    (void)state;
    ensure(8, "a");
    assert_true(strncmp(w.log, "answer 8: refused no_fit", 24) == 0);
    serve_pass(60000, 1);
    assert_int_equal(the(&c)->state, INSTANCE_READY);
}

static int two_nodes(void **state)
{
    (void)state;
    sections[0] = section_of("a", "a", SERVED_DEMAND);
    sections[1] = section_of("b", "b", SERVED_DEMAND);
    sections[2] = section_of("c", "c", SERVED_DEMAND);
    open_with(2);
    return 0;
}

static void test_the_one_asked_for_longest_ago_leaves(void **state)
{
    struct id128 a = started(7, "a"), b = started(8, "b");

    (void)state;
    serve_pass(5000, 2);
    asked(a, 1);
    asked(a, 0);
    ensure(9, "c");
    commit();
    assert_int_equal(the(&b)->state, INSTANCE_DRAINING);
    serve_pass(60000, 2);
    assert_int_equal(the(&a)->state, INSTANCE_READY); /* one at a time, and one is enough */
}

/* The oldest one is small: without it the other would not fit any better. */
static void test_nobody_leaves_who_makes_no_room(void **state)
{
    struct id128 m = started(6, "m"), a = started(7, "a"), b = started(8, "b");

    (void)state;
    ensure(9, "c");
    commit();
    assert_int_equal(the(&m)->state, INSTANCE_READY);
    assert_int_equal(the(&a)->state, INSTANCE_DRAINING);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
}

/* It takes both nodes: both leave, one after the other. */
static void test_several_leave_where_one_is_not_enough(void **state)
{
    struct id128 a = started(7, "a"), b = started(8, "b");
    struct place_request r = request_of("c", 2);

    (void)state;
    r.ctx = 260000;
    deploy_request(9, &r, NULL);
    commit();
    assert_int_equal(live("c", 0)->state, INSTANCE_WAITING);
    assert_int_equal(the(&a)->state, INSTANCE_DRAINING);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    serve_pass(UNLOADING_LOOK_MS, 2);
    assert_int_equal(the(&b)->state, INSTANCE_DRAINING);
}

static void test_nobody_leaves_where_it_would_not_help(void **state)
{
    struct id128 a = started(7, "a"), b = started(8, "b");
    struct place_request r = request_of("c", 0);

    (void)state;
    r.ctx = 1 << 24; /* more than both nodes have */
    deploy_request(9, &r, NULL);
    serve_pass(60000, 2);
    assert_int_equal(the(&a)->state, INSTANCE_READY);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    assert_int_equal(n_live("c"), 0); /* and it does not wait for what cannot be */
}

/* What has been let go is in no report yet: nobody else leaves for the sake of that. */
static void test_what_was_let_go_is_waited_for(void **state)
{
    struct id128 a = started(7, "a"), b = started(8, "b");

    (void)state;
    ensure(9, "c");
    commit();
    pass(UNLOADING_QUIET_MS);
    commit();
    assert_int_equal(the(&a)->state, INSTANCE_STOPPING);
    serve_pass(3000, 2);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
    bring_down(a);
    pass(800);
    assert_int_equal(the(&b)->state, INSTANCE_READY);
}

/* A node that is not heard for a moment may be all that is missing. */
static void test_nobody_leaves_while_a_node_is_silent(void **state)
{
    struct id128 a = started(7, "a"), b = started(8, "b");

    (void)state;
    for (int half = 0; half < 3; half++) {
        pass(500);
        hear(1, models_of(1));
    }
    quiet();
    ensure(9, "c");
    assert_null(strstr(w.log, "unload"));
    (void)a;
    (void)b;
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, setup, world_teardown)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, two_nodes, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_case_09_what_nobody_asks_for_is_unloaded),
        TEST(test_each_request_begins_the_time_anew),
        TEST(test_a_request_that_was_on_its_way_keeps_it),
        TEST(test_who_asks_while_it_leaves_has_it_back),
        TEST(test_who_asks_for_just_this_one_has_it_back),
        TEST(test_a_request_at_the_last_moment_keeps_it),
        TEST(test_a_store_that_fails_lets_it_stay_a_moment_longer),
        TEST(test_one_that_breaks_while_it_leaves_does_not_come_back),
        TEST(test_without_a_ttl_it_stays),
        TEST(test_pinned_stays_whatever_its_ttl),
        TEST(test_replicas_leave_together),
        TEST(test_another_one_that_is_asked_for_makes_it_leave),
        TEST(test_a_busy_one_is_not_cut),
        TEST(test_what_a_person_has_deployed_without_a_ttl_stays),
        TEST(test_what_a_person_has_deployed_with_a_ttl_may_leave),
        TEST(test_a_pinned_one_stays),
        TEST_TWO(test_the_one_asked_for_longest_ago_leaves),
        TEST_TWO(test_nobody_leaves_who_makes_no_room),
        TEST_TWO(test_several_leave_where_one_is_not_enough),
        TEST_TWO(test_nobody_leaves_where_it_would_not_help),
        TEST_TWO(test_what_was_let_go_is_waited_for),
        TEST_TWO(test_nobody_leaves_while_a_node_is_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
