/* Nodes: joining, refused hellos, reports, silence. */
#include "tests/unit/cluster_harness.h"

static void test_a_node_joins_with_hello_and_a_full_report(void **state)
{
    struct message *m;

    (void)state;
    hello(1);
    EXPECT("node n1 unknown -> joining (hello)\n"
           "n1 < welcome\n");
    m = report_of(1);
    m->report->full = false;
    hear(1, m);
    EXPECT(""); /* a part of a picture: still joining */
    report(1);
    EXPECT("node n1 joining -> ready (report)\n");
    assert_true(w.changed);
    report(1);
    EXPECT("");
}

static void test_partial_lists_replace_the_old_ones(void **state)
{
    struct message *m;
    struct view *v;

    (void)state;
    join(1);
    m = report_of(1);
    m->report->full = m->report->has_models = m->report->has_devices = false;
    m->report->host_free_bytes = 5 * GIB;
    m->report->n_units = 1;
    strcpy(m->report->unit[0].id, "worker-1");
    hear(1, m);
    v = view_now();
    assert_int_equal(v->n_nodes, 1);
    assert_int_equal(v->node[0].n_models, 1);
    assert_int_equal(v->node[0].n_devices, 1);
    assert_int_equal(v->node[0].n_units, 1);
    assert_int_equal(v->node[0].host_free_bytes, 5 * GIB);
    view_unref(&v);
    EXPECT("");
}

static void hello_with(int node, void (*change)(struct message *m))
{
    struct cluster_ev ev = event_from(node, CLUSTER_EV_HELLO, hello_of(node));

    change(ev.message);
    step(&ev);
}

static void newer_protocol(struct message *m)
{
    m->version_major = 2;
}

static void other_cluster(struct message *m)
{
    m->cluster = id_of(77);
}

static void same_cluster(struct message *m)
{
    m->cluster = id_of(200);
}

static void false_id(struct message *m)
{
    m->hello.node = id_of(5);
}

static void test_a_hello_that_cannot_be_accepted_is_told_why(void **state)
{
    (void)state;
    hello_with(1, newer_protocol);
    EXPECT(
        "node n1 unknown bad_hello: refuse: it speaks protocol 2, this controller 1: install the same version of "
        "Caravan on both\n"
        "n1 < welcome refused: it speaks protocol 2, this controller 1: install the same version of Caravan on both\n");
    hello_with(1, other_cluster);
    EXPECT(
        "node n1 unknown bad_hello: refuse: it belongs to cluster 4d000000, this is c8000000: remove it there first\n"
        "n1 < welcome refused: it belongs to cluster 4d000000, this is c8000000: remove it there first\n");
    hello_with(1, false_id);
    EXPECT("node n1 unknown bad_hello: refuse: its id 05000000 does not follow from its key\n"
           "n1 < welcome refused: its id 05000000 does not follow from its key\n");
    hello_with(1, same_cluster);
    EXPECT("node n1 unknown -> joining (hello)\n"
           "n1 < welcome\n");
}

static void second_boot(struct message *m)
{
    strcpy(m->hello.boot_id, "another");
}

static void hello_from_elsewhere(int node)
{
    struct cluster_ev ev = event_from(node, CLUSTER_EV_HELLO, hello_of(node));

    strcpy(ev.peer_addr, "10.0.0.99");
    second_boot(ev.message);
    step(&ev);
}

static void test_one_key_on_two_machines_is_refused_and_both_are_named(void **state)
{
    struct cluster_ev ev;

    (void)state;
    join(1);
    w.now += 500;
    hello_from_elsewhere(1);
    EXPECT(
        "node n1 ready bad_hello: refuse: duplicate_identity: 10.0.0.1 and 10.0.0.99 use the same key at the same time; "
        "remove the state directory of the copy\n"
        "n1 < welcome refused: duplicate_identity: 10.0.0.1 and 10.0.0.99 use the same key at the same time; remove the "
        "state directory of the copy\n");

    ev = event_from(1, CLUSTER_EV_MESSAGE, report_of(1)); /* what it says all the same is not the node's word */
    strcpy(ev.peer_addr, "10.0.0.99");
    ev.message->report->host_free_bytes = 1;
    step(&ev);
    EXPECT("");
    assert_false(w.changed);

    w.now += 500; /* the first has gone silent: this is the machine after a reboot, at another address */
    hello_from_elsewhere(1);
    EXPECT("node n1 ready -> joining (hello)\n"
           "n1 < welcome\n");
}

static void report_from_elsewhere(int node)
{
    struct cluster_ev ev = event_from(node, CLUSTER_EV_MESSAGE, report_of(node));

    strcpy(ev.peer_addr, "10.0.0.99");
    step(&ev);
}

/* It was silent for a moment, so its copy passed for it after a reboot. A boot that was replaced does not speak again, so
 * whoever speaks as it is another machine; and it is told, for it would go on reporting to nobody. */
static void test_a_boot_that_was_replaced_and_speaks_again_is_one_of_two(void **state)
{
    (void)state;
    join(1);
    w.now += 1000;
    hello_from_elsewhere(1);
    EXPECT("node n1 ready -> joining (hello)\n"
           "n1 < welcome\n");
    report(1);
    EXPECT("node n1 joining bad_hello: refuse: duplicate_identity: 10.0.0.99 and 10.0.0.1 use the same key at the same "
           "time; remove the state directory of the copy\n"
           "n1 < welcome refused: duplicate_identity: 10.0.0.99 and 10.0.0.1 use the same key at the same time; remove "
           "the state directory of the copy\n");
    report_from_elsewhere(1);
    EXPECT("node n1 joining -> ready (report)\n");

    w.now += 30000; /* the copy is gone, and the refused one tries again */
    hello(1);
    quiet();
    report(1);
    EXPECT("node n1 joining -> ready (report)\n");
    report_from_elsewhere(1); /* not gone: now it is the one that was replaced */
    assert_non_null(strstr(w.log, "duplicate_identity: 10.0.0.1 and 10.0.0.99 use the same key"));
}

/* A machine that was started anew elsewhere, and then once more there: what came first is forgotten. */
static void test_a_boot_says_nothing_of_the_one_before_the_last(void **state)
{
    struct cluster_ev ev;

    (void)state;
    join(1);
    w.now += 1000;
    hello_from_elsewhere(1);
    w.now += 1000;
    ev = event_from(1, CLUSTER_EV_HELLO, hello_of(1));
    strcpy(ev.message->hello.boot_id, "third");
    strcpy(ev.peer_addr, "10.0.0.98");
    step(&ev);
    quiet();
    report(1);
    EXPECT("");
}

static void named_n1(struct message *m)
{
    strcpy(m->hello.name, "n1");
}

static void test_two_nodes_of_one_name_are_both_kept(void **state)
{
    struct view *v;

    (void)state;
    join(1);
    hello_with(2, named_n1);
    EXPECT("node n1 unknown -> joining (hello): node 01000000 has the same name\n"
           "n2 < welcome\n");
    v = view_now();
    assert_int_equal(v->n_nodes, 2);
    assert_int_equal(v->node[0].id.b[0], 1);
    assert_int_equal(v->node[1].id.b[0], 2);
    view_unref(&v);
}

static void test_silence_is_suspect_and_only_a_reason_to_knock(void **state)
{
    (void)state;
    join(1);
    pass(999);
    EXPECT("");
    pass(1);
    EXPECT("node n1 ready -> suspect (silent): nothing heard for 1000 ms\n"
           "knock n1\n");
    pass(5000);
    assert_null(strstr(w.log, "lost"));
    quiet();
    report(1);
    EXPECT("node n1 suspect -> ready (report)\n");
}

static void test_an_agent_that_began_anew_is_asked_for_a_whole_picture(void **state)
{
    struct message *m;

    (void)state;
    join(1);
    hello(1);
    EXPECT("node n1 ready -> joining (hello)\n"
           "n1 < welcome\n");
    m = report_of(1);
    m->report->full = false;
    hear(1, m);
    EXPECT("");
    pass(1000);
    EXPECT("node n1 joining -> suspect (silent): nothing heard for 1000 ms\n"
           "knock n1\n");
    m = report_of(1);
    m->report->full = false;
    hear(1, m);
    EXPECT("node n1 suspect -> joining (partial_report)\n");
    report(1);
    EXPECT("node n1 joining -> ready (report)\n");
}

static void test_a_hello_ends_the_silence(void **state)
{
    (void)state;
    join(1);
    vanish(1, 1);
    quiet();
    hello(1);
    EXPECT("node n1 lost -> joining (hello)\n"
           "n1 < welcome\n");
    knocked(1, KNOCK_UNANSWERED); /* of before */
    pass(999);
    EXPECT("");
}

static void test_words_of_strangers_are_not_taken(void **state)
{
    (void)state;
    report(4);
    EXPECT("node 04000000 unknown report: refuse: the node has not joined\n");
    hear(4, message_from(4, MESSAGE_RESULT));
    EXPECT("");
    join(1);
    hear(1, message_from(1, MESSAGE_WELCOME));
    hear(1, message_from(1, MESSAGE_COMMAND));
    EXPECT("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_node_joins_with_hello_and_a_full_report, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_partial_lists_replace_the_old_ones, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_hello_that_cannot_be_accepted_is_told_why, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_one_key_on_two_machines_is_refused_and_both_are_named, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_boot_that_was_replaced_and_speaks_again_is_one_of_two, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_boot_says_nothing_of_the_one_before_the_last, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_two_nodes_of_one_name_are_both_kept, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_silence_is_suspect_and_only_a_reason_to_knock, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_an_agent_that_began_anew_is_asked_for_a_whole_picture, world_setup,
                                        world_teardown),
        cmocka_unit_test_setup_teardown(test_a_hello_ends_the_silence, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_words_of_strangers_are_not_taken, world_setup, world_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
