/* An operator's word on nodes: retired for good, durable, and known again after a restart. */
#include "controller/core/state.h"
#include "tests/unit/cluster_harness.h"

static void retire(uint64_t request_id, const char *target)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RETIRE, .request_id = request_id, .target = target});
}

static enum node_state state_of(int node)
{
    struct view *v = view_now();
    enum node_state state = v->node[node - 1].state;

    view_unref(&v);
    return state;
}

static void test_a_retired_node_is_told_so_and_its_units_end(void **state)
{
    (void)state;
    make_ready(7, 2);
    retire(5, "n2");
    EXPECT("commit 4: node n2 retired\n"); /* nothing is done before that is durable */
    assert_int_equal(state_of(2), NODE_READY);
    commit();
    EXPECT("answer 5: task 0\n"
           "node n2 ready -> retired (retire): an operator has retired it\n"
           "n2 < stop e1\n"
           "instance m ready -> recovering (trouble): node n2 was retired while the instance was ready\n"
           "n1 < stop e1\n"
           "n2 < welcome refused: the node was retired; join it again with a new key\n");
    quiet();
    report(2);
    EXPECT("node n2 retired report: refuse: the node was retired; join it again with a new key\n");
    hello(2);
    EXPECT("node n2 retired bad_hello: refuse: the node was retired; join it again with a new key\n"
           "n2 < welcome refused: the node was retired; join it again with a new key\n");
    pass_reporting(5000, 1);
    assert_null(strstr(w.log, "node n2"));
    retire(6, "n2");
    assert_non_null(strstr(w.log, "answer 6: task 0\n"));
}

static void test_a_node_may_be_retired_whatever_its_state(void **state)
{
    struct id128 id = id_of(1);

    (void)state;
    join(1);
    vanish(1, 1);
    quiet();
    retire(5, ID128(&id));
    commit();
    EXPECT("commit 1: node n1 retired\n"
           "answer 5: task 0\n"
           "node n1 lost -> retired (retire): an operator has retired it\n"
           "n1 < welcome refused: the node was retired; join it again with a new key\n");
    pass(60000);
    EXPECT(""); /* nobody knocks there any more */
}

static void test_who_is_meant_must_be_plain(void **state)
{
    struct cluster_ev ev = event_from(2, CLUSTER_EV_HELLO, hello_of(2));

    (void)state;
    retire(5, "n1");
    EXPECT("answer 5: refused not_found: there is no node n1; `caravan nodes` lists them\n");
    join(1);
    strcpy(ev.message->hello.name, "n1");
    step(&ev);
    quiet();
    retire(6, "n1");
    EXPECT("answer 6: refused not_found: two nodes are called n1: name one by its id, "
           "01000000000000000000000000000001 or 02000000000000000000000000000002\n");
    retire(7, "02000000"); /* as it is shown */
    EXPECT("commit 1: node n1 retired\n");
    commit();
    assert_int_equal(state_of(2), NODE_RETIRED);
}

static void hello_as(int node, const char *name)
{
    struct cluster_ev ev = event_from(node, CLUSTER_EV_HELLO, hello_of(node));

    strcpy(ev.message->hello.name, name);
    step(&ev);
}

/* With another key, as the controller has told it to. */
static void test_who_came_again_under_its_name_is_meant(void **state)
{
    (void)state;
    join(2);
    retire(5, "n2");
    commit();
    hello_as(1, "n2");
    retire(6, "n2");
    commit();
    assert_int_equal(state_of(1), NODE_RETIRED);
    hello_as(3, "n2");
    retire(7, "n2");
    commit();
    assert_int_equal(state_of(3), NODE_RETIRED);
    quiet();
    retire(8, "n2");
    assert_non_null(strstr(w.log, "two nodes are called n2"));
}

static void test_a_word_that_cannot_be_written_is_not_followed(void **state)
{
    (void)state;
    join(1);
    retire(5, "n1");
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "answer 5: refused store_failed"));
    assert_int_equal(state_of(1), NODE_READY);
    assert_false(CLUSTER_NODE(w.c, 0)->retired);
    hello(1);
    assert_int_equal(state_of(1), NODE_JOINING);
}

static void test_a_word_that_was_given_twice_and_written_once(void **state)
{
    (void)state;
    join(1);
    retire(5, "n1");
    retire(6, "n1");
    step(&(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = w.token[0], .ok = false});
    step(&(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = w.token[1], .ok = true});
    assert_int_equal(state_of(1), NODE_RETIRED);
    assert_true(CLUSTER_NODE(w.c, 0)->retired); /* or its next record would take it back */
}

/* ---- a controller that begins --------------------------------------------------------------------------------------- */

static void restore(int node, bool draining, bool retired)
{
    struct record rec = {.kind = RECORD_NODE, .instance = id_of(node)};

    snprintf(rec.node.name, sizeof(rec.node.name), "n%d", node);
    snprintf(rec.node.key, sizeof(rec.node.key), "k%d", node);
    rec.node.draining = draining;
    rec.node.retired = retired;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

static int fresh(void **state)
{
    (void)state;
    world_open();
    return 0;
}

static void test_a_retired_node_stays_so_over_a_restart(void **state)
{
    (void)state;
    restore(1, false, true);
    begin();
    hello(1);
    EXPECT("node n1 retired bad_hello: refuse: the node was retired; join it again with a new key\n"
           "n1 < welcome refused: the node was retired; join it again with a new key\n");
    pass(60000);
    EXPECT("");
}

static void test_a_draining_node_is_drained_again_when_it_comes_back(void **state)
{
    (void)state;
    restore(1, true, false);
    restore(1, false, true); /* a second record of it says nothing */
    begin();
    assert_int_equal(state_of(1), NODE_UNKNOWN);
    pass(60000);
    EXPECT("");
    hello(1);
    report(1);
    EXPECT("node n1 unknown -> joining (hello)\n"
           "n1 < welcome\n"
           "node n1 joining -> ready (report)\n"
           "node n1 ready -> draining (drain): it was being drained before\n"
           "node n1 draining -> drained (emptied)\n"); /* nothing of ours is there, and it may be switched off */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_retired_node_is_told_so_and_its_units_end, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_node_may_be_retired_whatever_its_state, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_who_is_meant_must_be_plain, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_who_came_again_under_its_name_is_meant, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_word_that_cannot_be_written_is_not_followed, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_word_that_was_given_twice_and_written_once, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_retired_node_stays_so_over_a_restart, fresh, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_draining_node_is_drained_again_when_it_comes_back, fresh,
                                        world_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
