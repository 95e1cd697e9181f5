/* Whose keys are let in by an operator's word, and let in no more; and after a restart. */
#include "controller/core/access.h"
#include "tests/unit/access_harness.h"

/* ---- operators ------------------------------------------------------------------------------------------------------ */

static void test_a_key_is_approved(void **state)
{
    (void)state;
    approve(1, 1, "n1");
    EXPECT("commit 1: key a1000000 node\n");
    assert_int_equal(keys_shown(), 0);
    approve(2, 1, "n1"); /* nothing is durable yet */
    EXPECT("commit 2: key a1000000 node\n");
    commit();
    EXPECT("answer 1: task 0\n"
           "access n1 unknown -> node (approve)\n"
           "allow a1000000 node\n"
           "answer 2: task 0\n");
    approve_key(3, "A100000000000000000000000000000000000000000000000000000000000000", 1, "other");
    EXPECT("answer 3: task 0 attached\n");
    assert_string_equal(w.answer.text, "key a1000000 is let in already");
    approve(4, 2, "");
    commit();
    assert_non_null(strstr(w.log, "access a2000000 unknown -> node (approve)"));
}

static void test_keys_that_cannot_be_approved(void **state)
{
    (void)state;
    give_up_keys();
    approve_key(4, "a1", 1, "n1");
    EXPECT("answer 4: refused bad_key: a key is 64 hexadecimal digits, as `caravan-agent --print-key` prints it\n");
    approve_key(5, "f100000000000000000000000000000000000000000000000000000000000000", 1, "n1");
    EXPECT("answer 5: refused bad_key: that is a join token's key; a node has one of its own\n");
    approve(6, 2, "n2");
    EXPECT("answer 6: refused revoked: this key was revoked and is not let in again; remove the file identity from the "
           "agent's state directory: it is a new node then\n");
    approve(7, 1, "n1");
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "answer 7: refused store_failed"));
    assert_null(strstr(w.log, "allow"));
    assert_null(access_find(&w.c->keys, "a100000000000000000000000000000000000000000000000000000000000000"));
}

static void begin_with_two_nodes(void)
{
    for (int n = 1; n <= 2; n++) {
        char name[8];

        snprintf(name, sizeof(name), "n%d", n);
        approve((uint64_t)n, n, name);
        commit();
        hello_by_key(n);
        report_by_key(n);
    }
    w.show_neighbours = true;
    pass(500);
    quiet();
}

static void test_a_revoked_node_is_out_at_once(void **state)
{
    (void)state;
    begin_with_two_nodes();
    revoke(5, "n2");
    EXPECT("commit 3: node n2 retired, key a2000000 revoked\n");
    commit();
    EXPECT("answer 5: task 0\n"
           "node n2 ready -> retired (retire): an operator has revoked its key\n"
           "n2 < welcome refused: the node was retired; join it again with a new key\n"
           "n1 < neighbours: |\n"
           "access n2 node -> revoked (revoke)\n"
           "forbid a2000000\n");
    revoke(6, "n2");
    EXPECT("answer 6: task 0\n");
    hello_by_key(2); /* it was on its way */
    EXPECT(
        "node n2 retired bad_hello: refuse: this key was revoked and is not let in again; remove the file identity from "
        "the agent's state directory: it is a new node then\n");
    report_by_key(2);
    EXPECT("node n2 retired report: refuse: the node was retired; join it again with a new key\n");
}

/* What runs there ends as on a retired node, and nothing is sent there once it is forbidden. */
static void test_what_runs_on_a_revoked_node_ends(void **state)
{
    (void)state;
    make_ready(7, 2); /* under open doors: nothing is kept of it yet */
    revoke(5, "n2");
    EXPECT("commit 4: node n2 retired, key k2 revoked\n");
    commit();
    EXPECT("answer 5: task 0\n"
           "node n2 ready -> retired (retire): an operator has revoked its key\n"
           "n2 < stop e1\n"
           "instance m ready -> recovering (trouble): node n2 was retired while the instance was ready\n"
           "n1 < stop e1\n"
           "n2 < welcome refused: the node was retired; join it again with a new key\n"
           "access n2 unknown -> revoked (revoke)\n"
           "forbid k2\n");
    pass_reporting(3000, 1);
    assert_null(strstr(w.log, "n2 <"));
    done(1, COMMAND_STOP);
    pass_reporting(1000, 1);
    assert_non_null(strstr(w.log, "instance m recovering -> placing"));
    assert_null(strstr(w.log, "n2 <"));
}

static void test_a_retired_node_gives_its_key_back(void **state)
{
    (void)state;
    begin_with_two_nodes();
    w.show_neighbours = false;
    order(CLUSTER_EV_RETIRE, 5, "n2");
    commit();
    EXPECT("commit 3: node n2 retired, key a2000000 revoked\n"
           "answer 5: task 0\n"
           "node n2 ready -> retired (retire): an operator has retired it\n"
           "n2 < welcome refused: the node was retired; join it again with a new key\n"
           "access n2 node -> revoked (retire)\n"
           "forbid a2000000\n");
}

static void test_a_key_is_revoked_whose_node_has_not_come(void **state)
{
    (void)state;
    approve(1, 1, "n1");
    approve(2, 2, "n2");
    approve(3, 3, "n3");
    commit();
    quiet();
    revoke(4, "n1");
    revoke(5, "A2000000");
    revoke(6, "a3000000000000000000000000000000000000000000000000000000000000000"); /* a digit too many */
    commit();
    EXPECT(
        "commit 4: key a1000000 revoked\n"
        "commit 5: key a2000000 revoked\n"
        "answer 6: refused not_found: there is no node a3000000000000000000000000000000000000000000000000000000000000000; "
        "`caravan nodes` lists them\n"
        "answer 4: task 0\n"
        "access n1 node -> revoked (revoke)\n"
        "forbid a1000000\n"
        "answer 5: task 0\n"
        "access n2 node -> revoked (revoke)\n"
        "forbid a2000000\n");
}

/* Whoever comes again says hello when he likes. */
static void test_a_new_key_under_an_old_name_is_not_taken_for_the_old_one(void **state)
{
    (void)state;
    begin_with_two_nodes();
    revoke(5, "n2");
    commit();
    approve(6, 3, "n2");
    commit();
    quiet();
    revoke(7, "n2");
    EXPECT("commit 5: key a3000000 revoked\n");
    commit();
    quiet();
    revoke(8, "n2");
    EXPECT("answer 8: task 0\n");
    approve(9, 4, "n2");
    approve(10, 5, "n2");
    commit();
    quiet();
    revoke(11, "n2");
    EXPECT("answer 11: refused not_found: two keys are meant by n2: name one by more of its digits\n");
}

static void test_who_is_revoked_must_be_plain(void **state)
{
    (void)state;
    approve(1, 1, "twin");
    approve(2, 2, "twin");
    commit();
    quiet();
    revoke(3, "nobody");
    EXPECT("answer 3: refused not_found: there is no node nobody; `caravan nodes` lists them\n");
    revoke(4, "twin");
    EXPECT("answer 4: refused not_found: two keys are meant by twin: name one by more of its digits\n");
    revoke(5, "a2");
    EXPECT("answer 5: refused not_found: there is no node a2; `caravan nodes` lists them\n");
    approve(6, 3, "n1"); /* whose node has not come, while two are there that bear its name */
    commit();
    hello_by_key(1);
    say_by_key(2, CLUSTER_EV_HELLO, hello_of(2));
    strcpy(CLUSTER_NODE(w.c, 1)->hello.name, "n1");
    quiet();
    revoke(7, "n1");
    assert_non_null(strstr(w.log, "two nodes are called n1"));
}

static void test_a_key_that_cannot_be_revoked_stays_in(void **state)
{
    (void)state;
    begin_with_two_nodes();
    revoke(5, "n2");
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "answer 5: refused store_failed"));
    assert_null(strstr(w.log, "forbid"));
    assert_true(access_is_allowed(w.c, "a200000000000000000000000000000000000000000000000000000000000000"));
    quiet();
    hello_by_key(2);
    assert_non_null(strstr(w.log, "n2 < welcome\n"));
}

static void settle(size_t which, bool ok)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = w.token[which], .ok = ok});
}

static void test_a_key_that_is_revoked_twice_and_written_once(void **state)
{
    for (int first = 0; first < 2; first++) {
        approve(1, 1 + first, "n1");
        commit();
        revoke(2, first ? "a2000000" : "a1000000");
        revoke(3, first ? "a2000000" : "a1000000");
        quiet();
        settle(0, first);
        settle(1, !first);
        assert_non_null(strstr(w.log, first ? "forbid a2000000\n" : "forbid a1000000\n"));
        assert_null(strstr(strstr(w.log, "forbid") + 1, "forbid"));
        w.n_tokens = 0;
    }
    (void)state;
    assert_false(access_is_allowed(w.c, "a100000000000000000000000000000000000000000000000000000000000000"));
}

/* Let in and revoked before either is written: what counts is what the store has. */
static void test_what_is_revoked_before_it_counts(void **state)
{
    static const struct {
        bool ok[2];
        const char *said, *never;
        enum key_scope scope;
    } cases[] = {
        {{true, true}, "access n1 node -> revoked (revoke)\nforbid a", "joined", KEY_REVOKED},
        {{false, true}, "access n1 unknown -> revoked (revoke)\nforbid a", "allow", KEY_REVOKED},
        {{true, false}, "allow a", "forbid", KEY_NODE},
        {{false, false}, "", "allow", (enum key_scope)0},
    };
    char key[PROTO_KEY_MAX];

    (void)state;
    for (int i = 0; i < 4; i++) {
        const struct access_key *k;

        node_key(i, key);
        approve(1, i, "n1");
        revoke(2, key);
        approve(3, i, "n1");
        assert_non_null(strstr(w.log, "answer 3: refused revoked"));
        quiet();
        settle(0, cases[i].ok[0]);
        settle(1, cases[i].ok[1]);
        if (!strstr(w.log, cases[i].said) || strstr(w.log, cases[i].never))
            fail_msg("case %d: %s", i, w.log);
        k = access_find(&w.c->keys, key);
        assert_int_equal(k ? k->view.scope : 0, cases[i].scope);
        w.n_tokens = 0;
    }
}

/* ---- carried hellos ------------------------------------------------------------------------------------------------ */

static void carry_hello(int carrier, int node)
{
    struct message *m = message_from(carrier, MESSAGE_RELAY);

    node_key(node, m->relay.key);
    m->relay.inner = hello_of(node);
    say_by_key(carrier, CLUSTER_EV_MESSAGE, m);
}

/* The link has not asked who the carried one is. */
static void test_a_neighbour_brings_nobody_in(void **state)
{
    (void)state;
    begin_with_two_nodes();
    carry_hello(1, 3);
    EXPECT(
        "node n3 unknown bad_hello: refuse: this key is not let in; see `caravan token create` and `caravan nodes "
        "approve`\n"
        "by n1: n3 < welcome refused: this key is not let in; see `caravan token create` and `caravan nodes approve`\n");
    approve(5, 3, "n3");
    commit();
    quiet();
    carry_hello(1, 3);
    EXPECT("node n3 unknown -> joining (hello)\n"
           "by n1: n3 < welcome\n");
    revoke(6, "n2");
    commit();
    quiet();
    carry_hello(1, 2);
    assert_non_null(strstr(w.log, "node n2 retired bad_hello: refuse: this key was revoked"));
    assert_null(strstr(w.log, "welcome"));
}

static void test_open_doors_stay_open(void **state)
{
    (void)state;
    hello_by_key(1);
    carry_hello(1, 2);
    EXPECT("node n1 unknown -> joining (hello)\n"
           "n1 < welcome\n"
           "node n2 unknown -> joining (hello)\n"
           "by n1: n2 < welcome\n");
    revoke(5, "a2000000"); /* of which nothing is kept */
    commit();
    assert_non_null(strstr(w.log, "commit 1: node n2 retired, key a2000000 revoked\n"));
    assert_non_null(strstr(w.log, "forbid a2000000\n"));
}

/* ---- a controller that begins ----------------------------------------------------------------------------------------- */

static void restore_key(char first, int n, enum key_scope scope, uint64_t expires_wall_ms)
{
    struct record rec = {.kind = RECORD_KEY,
                         .key = {.scope = scope, .expires_wall_ms = expires_wall_ms, .uses_left = 2}};

    hex_key(first, n, rec.key.key);
    snprintf(rec.key.name, sizeof(rec.key.name), "n%d", n);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
}

static void test_kept_keys_are_let_in_again(void **state)
{
    struct view *v;

    (void)state;
    restore_key('f', 2, KEY_JOIN, 1001000); /* expired meanwhile */
    restore_key('a', 3, KEY_NODE, 0);
    restore_key('a', 1, KEY_NODE, 0);
    restore_key('a', 2, KEY_REVOKED, 0);
    restore_key('f', 1, KEY_JOIN, 1001001);
    restore_key('f', 1, KEY_JOIN, 9001001); /* a second record of it says nothing */
    restore_key('a', 1, KEY_REVOKED, 0);
    restore_key('g', 1, KEY_NODE, 0); /* nor one that cannot be */
    restore_key('a', 7, (enum key_scope)9, 0);
    EXPECT("");
    begin();
    EXPECT("access f2000000 join -> gone (expire)\n"
           "forbid f2000000\n"
           "allow a1000000 node\n"
           "forbid a2000000\n"
           "allow a3000000 node\n"
           "allow f1000000 join\n"
           "commit 1: key f2000000 gone\n");
    v = view_now();
    assert_int_equal(v->n_keys, 4);
    assert_int_equal(v->key[0].scope, KEY_NODE);
    assert_string_equal(v->key[0].name, "n1");
    assert_string_equal(v->key[1].name, "n3");
    assert_int_equal(v->key[2].scope, KEY_JOIN);
    assert_int_equal(v->key[2].uses_left, 2);
    assert_int_equal(v->key[2].expires_wall_ms, 1001001);
    assert_int_equal(v->key[3].scope, KEY_REVOKED);
    view_unref(&v);
    pass(1);
    assert_non_null(strstr(w.log, "forbid f1000000"));
}

static void test_a_kept_token_lets_in(void **state)
{
    (void)state;
    restore_key('f', 1, KEY_JOIN, 9001000);
    begin();
    quiet();
    ask_to_join(1, 1);
    commit();
    EXPECT("commit 1: key f1000000 join 1, key a1000000 node\n"
           "access n1 unknown -> node (join): key a1000000, by token f1000000\n"
           "allow a1000000 node\n"
           "f1000000 < joined a1000000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(with_keys, test_a_key_is_approved),
        WITH(with_keys, test_keys_that_cannot_be_approved),
        WITH(with_keys, test_a_revoked_node_is_out_at_once),
        WITH(with_open_doors, test_what_runs_on_a_revoked_node_ends),
        WITH(with_keys, test_a_retired_node_gives_its_key_back),
        WITH(with_keys, test_a_key_is_revoked_whose_node_has_not_come),
        WITH(with_keys, test_a_new_key_under_an_old_name_is_not_taken_for_the_old_one),
        WITH(with_keys, test_who_is_revoked_must_be_plain),
        WITH(with_keys, test_a_key_that_cannot_be_revoked_stays_in),
        WITH(with_keys, test_a_key_that_is_revoked_twice_and_written_once),
        WITH(with_keys, test_what_is_revoked_before_it_counts),
        WITH(with_keys, test_a_neighbour_brings_nobody_in),
        WITH(with_open_doors, test_open_doors_stay_open),
        WITH(fresh, test_kept_keys_are_let_in_again),
        WITH(fresh, test_a_kept_token_lets_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
