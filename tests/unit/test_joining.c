/* Who joins by a token, and who is refused: he is told why, as long as he does not ask too often. */
#include "controller/core/access.h"
#include "tests/unit/access_harness.h"

/* ---- joining ------------------------------------------------------------------------------------------------------ */

static void test_a_node_joins_by_a_token(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    ask_to_join(1, 1);
    EXPECT("commit 2: key f1000000 join 1, key a1000000 node\n");
    assert_int_equal(keys_shown(), 1);
    ask_to_join(1, 1); /* by another connection: the same commit answers it */
    EXPECT("");
    commit();
    EXPECT("access n1 unknown -> node (join): key a1000000, by token f1000000\n"
           "allow a1000000 node\n"
           "f1000000 < joined a1000000\n");
    assert_int_equal(keys_shown(), 2);
    ask_to_join(1, 1); /* it has lost the answer */
    EXPECT("f1000000 < joined a1000000\n");
    assert_int_equal(TABLE_KEY(&w.c->tokens, 0)->view.uses_left, 1);
}

static void test_the_last_use_ends_a_token(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    ask_to_join(1, 1);
    ask_to_join(1, 2);
    ask_to_join(1, 3); /* nothing is durable yet, and it is used up all the same */
    EXPECT("commit 2: key f1000000 join 1, key a1000000 node\n"
           "commit 3: key f1000000 gone, key a2000000 node\n"
           "access n3 unknown join: refuse: the token is used up; make another one with `caravan token create`\n"
           "f1000000 < joined a3000000: the token is used up; make another one with `caravan token create`\n");
    commit();
    EXPECT("access n1 unknown -> node (join): key a1000000, by token f1000000\n"
           "allow a1000000 node\n"
           "f1000000 < joined a1000000\n"
           "access n2 unknown -> node (join): key a2000000, by token f1000000\n"
           "allow a2000000 node\n"
           "f1000000 < joined a2000000\n"
           "access f1000000 join -> gone (used_up)\n"
           "forbid f1000000\n");
    pass(5000);
    EXPECT("");
}

static void test_a_use_that_is_not_kept_is_given_back(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    ask_to_join(1, 1);
    ask_to_join(1, 2);
    quiet();
    step(&(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = w.token[0], .ok = false});
    EXPECT("f1000000 < joined a1000000: the controller could not keep the key: its store refused the record\n"
           "commit 4: key f1000000 join 1\n"); /* or the other commit's word that it is gone would stand */
    step(&(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = w.token[1], .ok = true});
    EXPECT("access n2 unknown -> node (join): key a2000000, by token f1000000\n"
           "allow a2000000 node\n"
           "f1000000 < joined a2000000\n");
    ask_to_join(1, 1);
    EXPECT("commit 5: key f1000000 gone, key a1000000 node\n");
}

static void test_a_use_that_is_given_back_brings_no_token_back(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    ask_to_join(1, 1);
    withdraw(2, "f1000000");
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "commit 4: key f1000000 gone\n")); /* what the operator said stands behind it */
    assert_non_null(strstr(w.log, "answer 2: refused store_failed"));
    quiet();
    ask_to_join(1, 1); /* and could not be kept: it lets in as before */
    EXPECT("commit 5: key f1000000 join 1, key a1000000 node\n");
}

static void test_a_token_that_ends_meanwhile_says_nothing_more(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    ask_to_join(1, 1);
    pass(5000);
    quiet();
    commit();
    EXPECT("access n1 unknown -> node (join): key a1000000, by token f1000000\n"
           "allow a1000000 node\n"); /* its own link shows it */
}

static void test_who_may_not_join_is_told_why(void **state)
{
    static const struct {
        const char *key, *why;
    } cases[] = {
        {"a1", "a key is 64 hexadecimal digits, as `caravan-agent --print-key` prints it"},
        {"", "a key is 64 hexadecimal digits, as `caravan-agent --print-key` prints it"},
        {"g100000000000000000000000000000000000000000000000000000000000000", "a key is 64 hexadecimal digits"},
        {"f100000000000000000000000000000000000000000000000000000000000000", "that is a join token's key"},
        {"a200000000000000000000000000000000000000000000000000000000000000", "this key was revoked and is not let in"},
    };
    char why[PROTO_TEXT_MAX];

    (void)state;
    give_up_keys();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ask_to_join_with(1, cases[i].key, 3);
        snprintf(why, sizeof(why), "f1000000 < joined %.8s: %s", cases[i].key, cases[i].why);
        if (!strstr(w.log, why) || strncmp(w.log, "access n3 unknown join: refuse: ", 32) != 0)
            fail_msg("case %zu: %s", i, w.log);
        quiet();
    }
    assert_int_equal(w.n_tokens, 0);
}

static void test_a_retired_node_does_not_join_again(void **state)
{
    struct record rec = {.kind = RECORD_NODE, .instance = id_of(4), .node = {.name = "n4", .retired = true}};

    (void)state;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec}); /* without a key, under open doors */
    begin();
    make_token(1, 1, 500000);
    ask_to_join(1, 4);
    EXPECT("access n4 unknown join: refuse: the node was retired; join it again with a new key\n"
           "f1000000 < joined a4000000: the node was retired; join it again with a new key\n");
    approve(5, 4, "n4");
    EXPECT("answer 5: refused retired: the node was retired; join it again with a new key\n");
}

static void fill_with_keys(size_t n)
{
    struct record rec = {.kind = RECORD_KEY, .key = {.scope = KEY_NODE}};

    node_key(9, rec.key.key);
    for (size_t i = 0; i < n; i++) {
        snprintf(rec.key.key + 10, sizeof(rec.key.key) - 10, "%054zu", i);
        step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    }
}

static void test_keys_are_bounded(void **state)
{
    (void)state;
    fill_with_keys(ACCESS_KEYS_MAX + 1);
    assert_int_equal(w.c->keys.n, ACCESS_KEYS_MAX);
    begin();
    make_token(1, 1, 5000);
    ask_to_join(1, 1);
    EXPECT("access n1 unknown join: refuse: 2048 keys are kept already, which is as many as a cluster may have\n"
           "f1000000 < joined a1000000: 2048 keys are kept already, which is as many as a cluster may have\n");
    approve(2, 1, "n1");
    EXPECT("answer 2: refused too_many: 2048 keys are kept already, which is as many as a cluster may have\n");
}

/* ---- who asks too often ----------------------------------------------------------------------------------------------- */

static uint64_t refusals_shown(void)
{
    struct view *v = view_now();
    uint64_t n = v->joins_refused;

    view_unref(&v);
    return n;
}

static void fail_to_join_from(const char *addr)
{
    struct message *m = message_from(1, MESSAGE_JOIN);
    struct cluster_ev ev = event_from(1, CLUSTER_EV_JOIN, m);

    token_key(1, ev.key);
    snprintf(ev.peer_addr, sizeof(ev.peer_addr), "%s", addr);
    quiet();
    step(&ev);
}

static void test_who_asks_too_often_is_not_answered(void **state)
{
    (void)state;
    make_token(1, 1, 500000);
    for (int i = 0; i < 10; i++) {
        fail_to_join_from("10.0.0.1");
        assert_true(w.log[0]);
        w.now += 1000;
    }
    fail_to_join_from("10.0.0.1");
    EXPECT("");
    fail_to_join_from("10.0.0.2");
    assert_true(w.log[0]); /* is somebody else */
    assert_int_equal(refusals_shown(), 12);
    w.now += 49999;
    fail_to_join_from("10.0.0.1");
    EXPECT("");
    w.now += 1;
    fail_to_join_from("10.0.0.1");
    assert_true(w.log[0]);
    ask_to_join(1, 1);
    assert_non_null(strstr(w.log, "key a1000000 node")); /* who may join is never kept waiting */
}

static void test_more_addresses_than_can_be_told_apart(void **state)
{
    char addr[PROTO_ADDR_MAX];

    (void)state;
    make_token(1, 1, 500000);
    for (int i = 0; i <= ACCESS_REFUSED_ADDRS; i++) {
        snprintf(addr, sizeof(addr), "10.0.1.%d", i);
        fail_to_join_from(addr);
        assert_int_equal(w.log[0] != '\0', i < ACCESS_REFUSED_ADDRS);
    }
    w.now += 60000;
    fail_to_join_from(addr);
    assert_true(w.log[0]);
    assert_int_equal(refusals_shown(), ACCESS_REFUSED_ADDRS + 2);
}

static void test_a_token_that_nobody_knows_is_not_answered(void **state)
{
    (void)state;
    ask_to_join(1, 1);
    EXPECT("");
    assert_int_equal(refusals_shown(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(with_keys, test_a_node_joins_by_a_token),
        WITH(with_keys, test_the_last_use_ends_a_token),
        WITH(with_keys, test_a_use_that_is_not_kept_is_given_back),
        WITH(with_keys, test_a_use_that_is_given_back_brings_no_token_back),
        WITH(with_keys, test_a_token_that_ends_meanwhile_says_nothing_more),
        WITH(with_keys, test_who_may_not_join_is_told_why),
        WITH(fresh, test_a_retired_node_does_not_join_again),
        WITH(fresh, test_keys_are_bounded),
        WITH(with_keys, test_who_asks_too_often_is_not_answered),
        WITH(with_keys, test_more_addresses_than_can_be_told_apart),
        WITH(with_keys, test_a_token_that_nobody_knows_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
