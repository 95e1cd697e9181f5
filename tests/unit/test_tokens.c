/* Join tokens: nothing counts before it is durable, nothing is said to a token after it was forbidden. */
#include "controller/core/access.h"
#include "tests/unit/access_harness.h"

/* ---- tokens ------------------------------------------------------------------------------------------------------ */

static void test_a_token_counts_when_it_is_durable(void **state)
{
    (void)state;
    new_token(1, 1, 2, 5000);
    EXPECT("commit 1: key f1000000 join 2\n");
    assert_int_equal(keys_shown(), 0);
    ask_to_join(1, 1); /* by a link that cannot be there yet */
    EXPECT("");
    commit();
    EXPECT("answer 1: task 0\n"
           "access f1000000 unknown -> join (token)\n"
           "allow f1000000 join\n");
    assert_int_equal(keys_shown(), 1);
    assert_true(w.changed);
}

static void test_a_token_that_cannot_be_kept_never_was(void **state)
{
    (void)state;
    new_token(1, 1, 2, 5000);
    quiet();
    commit_all(false);
    assert_non_null(strstr(w.log, "answer 1: refused store_failed"));
    assert_null(strstr(w.log, "allow"));
    assert_int_equal(w.c->tokens.n, 0);
    quiet();
    new_token(2, 1, 2, 5000);
    EXPECT("commit 2: key f1000000 join 2\n");
}

static void test_tokens_that_cannot_be_made(void **state)
{
    static const struct {
        struct view_key key;
        const char *said;
    } cases[] = {
        {{.key = "f1", .uses_left = 1, .expires_wall_ms = 1002000}, "bad_token: a key is 64 hexadecimal digits"},
        {{.uses_left = 0, .expires_wall_ms = 1002000}, "bad_token: a token is for 1 to 1024 nodes"},
        {{.uses_left = 1025, .expires_wall_ms = 1002000}, "bad_token: a token is for 1 to 1024 nodes"},
        {{.uses_left = 1, .expires_wall_ms = 1001000}, "bad_token: a token is good for 30 days at most"},
        {{.uses_left = 1, .expires_wall_ms = 0}, "bad_token: a token is good for 30 days at most"},
        {{.uses_left = 1, .expires_wall_ms = 1001001 + ACCESS_TTL_MAX_MS}, "bad_token: a token is good for 30 days"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct view_key key = cases[i].key;
        struct cluster_ev ev = {.kind = CLUSTER_EV_TOKEN, .request_id = 1, .access = &key};

        if (!key.key[0])
            token_key(1, key.key);
        step(&ev);
        if (!strstr(w.log, cases[i].said))
            fail_msg("case %zu: %s", i, w.log);
        quiet();
    }
    assert_int_equal(w.c->tokens.n, 0);
}

static void test_a_token_has_a_key_of_its_own(void **state)
{
    struct view_key key = {.uses_left = 1, .expires_wall_ms = 1005000};
    struct cluster_ev ev = {.kind = CLUSTER_EV_TOKEN, .request_id = 3, .access = &key};

    (void)state;
    new_token(1, 1, 2, 5000);
    new_token(2, 1, 2, 5000);
    approve(2, 1, "n1");
    quiet();
    node_key(1, key.key);
    step(&ev);
    EXPECT("answer 3: refused bad_token: that key is in use already\n");
    assert_int_equal(w.c->tokens.n, 1);
}

static void test_tokens_are_bounded(void **state)
{
    struct view_key key = {.uses_left = 1, .expires_wall_ms = 1005000};
    struct cluster_ev ev = {.kind = CLUSTER_EV_TOKEN, .request_id = 1, .access = &key};

    (void)state;
    for (int i = 0; i <= ACCESS_TOKENS_MAX; i++) {
        token_key(1, key.key);
        snprintf(key.key + 10, sizeof(key.key) - 10, "%054d", i);
        step(&ev);
        commit();
    }
    assert_int_equal(w.c->tokens.n, ACCESS_TOKENS_MAX);
    assert_non_null(strstr(w.log, "answer 1: refused too_many: there are 64 tokens already"));
}

/* ---- their end ------------------------------------------------------------------------------------------------------ */

static void test_a_token_ends_by_itself(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    make_token(2, 2, 7000);
    assert_int_equal(cluster_deadline_ms(w.c), 6000);
    pass(4999);
    EXPECT("");
    pass(1);
    EXPECT("access f1000000 join -> gone (expire)\n"
           "forbid f1000000\n"
           "commit 3: key f1000000 gone\n");
    assert_int_equal(cluster_deadline_ms(w.c), 8000);
}

static void test_the_time_of_day_may_jump_ahead(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    wall_is_ahead_ms = 5000;
    ask_to_join(1, 1); /* whatever comes first */
    EXPECT("access n1 unknown join: refuse: the token has expired; make another one with `caravan token create`\n"
           "f1000000 < joined a1000000: the token has expired; make another one with `caravan token create`\n"
           "access f1000000 join -> gone (expire)\n"
           "forbid f1000000\n"
           "commit 2: key f1000000 gone\n");
}

static void test_the_time_of_day_may_be_set_back(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    wall_is_ahead_ms = -3000;
    pass(5000);
    EXPECT("");
    assert_int_equal(cluster_deadline_ms(w.c), 9000);
    pass(3000);
    assert_non_null(strstr(w.log, "forbid f1000000"));
}

static void test_a_token_may_expire_before_it_is_durable(void **state)
{
    (void)state;
    new_token(1, 1, 1, 100);
    quiet();
    pass(1000);
    tick();
    EXPECT("");
    commit();
    EXPECT("answer 1: task 0\n"
           "access f1000000 unknown -> join (token)\n"
           "allow f1000000 join\n"
           "access f1000000 join -> gone (expire)\n"
           "forbid f1000000\n"
           "commit 2: key f1000000 gone\n");
}

static void test_a_token_is_withdrawn(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    withdraw(2, "F1000000");
    EXPECT("commit 2: key f1000000 gone\n");
    ask_to_join(1, 1);
    EXPECT("access n1 unknown join: refuse: the token was withdrawn; make another one with `caravan token create`\n"
           "f1000000 < joined a1000000: the token was withdrawn; make another one with `caravan token create`\n");
    commit();
    EXPECT("answer 2: task 0\n"
           "access f1000000 join -> gone (untoken)\n"
           "forbid f1000000\n");
    ask_to_join(1, 1); /* it was on its way */
    EXPECT("");
}

static void test_which_token_is_withdrawn_must_be_plain(void **state)
{
    char key[PROTO_KEY_MAX];

    (void)state;
    make_token(1, 2, 5000);
    make_token(2, 2, 5000);
    withdraw(2, "f1");
    EXPECT("answer 2: refused not_found: there is no token f1; `caravan token list` shows them\n");
    withdraw(3, "f3000000");
    EXPECT("answer 3: refused not_found: there is no token f3000000; `caravan token list` shows them\n");
    token_key(1, key);
    TABLE_KEY(&w.c->tokens, 1)->view.key[1] = '1'; /* the second one now begins as the first does */
    TABLE_KEY(&w.c->tokens, 1)->view.key[63] = '1';
    withdraw(4, "f1000000");
    EXPECT("answer 4: refused not_found: two tokens begin with f1000000: name one by more of its key\n");
    withdraw(5, key);
    EXPECT("commit 3: key f1000000 gone\n");
}

static void test_a_token_that_cannot_be_withdrawn_stays(void **state)
{
    (void)state;
    make_token(1, 2, 5000);
    withdraw(2, "f1000000");
    commit_all(false);
    quiet();
    ask_to_join(1, 1);
    EXPECT("commit 3: key f1000000 join 1, key a1000000 node\n");
    withdraw(3, "f1000000");
    withdraw(4, "f1000000"); /* asked twice, written once */
    quiet();
    commit();
    EXPECT("access n1 unknown -> node (join): key a1000000, by token f1000000\n"
           "allow a1000000 node\n"
           "f1000000 < joined a1000000\n"
           "answer 3: task 0\n"
           "access f1000000 join -> gone (untoken)\n"
           "forbid f1000000\n"
           "answer 4: task 0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(with_keys, test_a_token_counts_when_it_is_durable),
        WITH(with_keys, test_a_token_that_cannot_be_kept_never_was),
        WITH(with_keys, test_tokens_that_cannot_be_made),
        WITH(with_keys, test_a_token_has_a_key_of_its_own),
        WITH(with_keys, test_tokens_are_bounded),
        WITH(with_keys, test_a_token_ends_by_itself),
        WITH(with_keys, test_the_time_of_day_may_jump_ahead),
        WITH(with_keys, test_the_time_of_day_may_be_set_back),
        WITH(with_keys, test_a_token_may_expire_before_it_is_durable),
        WITH(with_keys, test_a_token_is_withdrawn),
        WITH(with_keys, test_which_token_is_withdrawn_must_be_plain),
        WITH(with_keys, test_a_token_that_cannot_be_withdrawn_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
