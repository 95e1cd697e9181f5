/* API keys: the last one that may administer stays. */
#include "controller/core/access.h"
#include "tests/unit/access_harness.h"

/* ---- API keys ------------------------------------------------------------------------------------------------------ */

static const struct view_api_key *shown(struct view *v, const char *name)
{
    for (size_t i = 0; i < v->n_api_keys; i++) {
        if (!strcmp(v->api_key[i].name, name))
            return &v->api_key[i];
    }
    return NULL;
}

static void test_an_api_key_counts_when_it_is_durable(void **state)
{
    struct view *v;

    (void)state;
    api_key(0, "admin", 'a', API_ADMIN); /* the controller's own: nobody waits */
    EXPECT("commit 1: api_key admin admin\n");
    v = view_now();
    assert_int_equal(v->n_api_keys, 0);
    view_unref(&v);
    commit();
    EXPECT("access admin unknown -> admin (api_key)\n");
    api_key(1, "chat", 'c', API_INFER);
    commit();
    EXPECT("commit 2: api_key chat infer\n"
           "answer 1: task 0\n"
           "access chat unknown -> infer (api_key)\n");
    v = view_now();
    assert_int_equal(v->n_api_keys, 2);
    assert_string_equal(v->api_key[0].name, "admin"); /* sorted */
    assert_int_equal(v->api_key[1].scope, API_INFER);
    assert_int_equal(v->api_key[1].hash[0], 'c');
    assert_int_equal(v->api_key[1].made_wall_ms, 1001000);
    view_unref(&v);
    api_key(0, "admin", 'a', API_ADMIN); /* at the next start */
    EXPECT("");
    api_key(2, "chat", 'c', API_INFER);
    EXPECT("answer 2: task 0 attached\n");
}

static void test_an_api_key_is_replaced(void **state)
{
    struct view *v;

    (void)state;
    api_key(0, "admin", 'a', API_ADMIN);
    commit();
    api_key(0, "admin", 'b', API_ADMIN);
    api_key(1, "admin", 'c', API_ADMIN);
    assert_non_null(strstr(w.log, "answer 1: refused busy"));
    v = view_now();
    assert_int_equal(shown(v, "admin")->hash[0], 'a'); /* until the other one is kept */
    view_unref(&v);
    commit_all(false);
    v = view_now();
    assert_int_equal(shown(v, "admin")->hash[0], 'a');
    view_unref(&v);
    api_key(0, "admin", 'b', API_ADMIN);
    quiet();
    commit();
    EXPECT("access admin admin -> admin (api_key)\n");
    v = view_now();
    assert_int_equal(shown(v, "admin")->hash[0], 'b');
    view_unref(&v);
}

static void test_an_api_key_is_removed(void **state)
{
    (void)state;
    api_key(0, "admin", 'a', API_ADMIN);
    commit();
    api_key(1, "chat", 'c', API_INFER);
    commit();
    quiet();
    api_unkey(2, "chat");
    commit_all(false);
    quiet();
    api_unkey(3, "chat");
    api_unkey(4, "chat");
    api_key(5, "chat", 'd', API_INFER);
    commit();
    EXPECT("commit 4: api_key chat gone\n"
           "answer 4: refused busy: that key is being written just now; try again\n"
           "answer 5: refused busy: that key is being written just now; try again\n"
           "answer 3: task 0\n"
           "access chat infer -> gone (api_unkey)\n");
    api_unkey(6, "chat");
    EXPECT("answer 6: refused not_found: there is no API key of that name; `caravan keys` lists them\n");
}

/* Who has locked himself out can only stop the controller. */
static void test_one_key_may_always_administer(void **state)
{
    (void)state;
    api_key(1, "chat", 'c', API_INFER);
    EXPECT("answer 1: refused last_admin: no other key may administer; make one of scope admin first\n");
    api_key(2, "boss", 'b', API_ADMIN);
    commit();
    api_key(3, "chat", 'c', API_INFER);
    commit();
    quiet();
    api_unkey(4, "boss");
    EXPECT("answer 4: refused last_admin: no other key may administer; make one of scope admin first\n");
    api_key(5, "boss", 'b', API_READ);
    EXPECT("answer 5: refused last_admin: no other key may administer; make one of scope admin first\n");
    api_key(6, "other", 'd', API_ADMIN);
    api_unkey(7, "boss"); /* the other one may never be kept */
    assert_non_null(strstr(w.log, "answer 7: refused last_admin"));
    commit();
    api_unkey(8, "boss");
    quiet();
    api_unkey(9, "other"); /* nor may the first one stay */
    EXPECT("answer 9: refused last_admin: no other key may administer; make one of scope admin first\n");
}

static void test_api_keys_that_cannot_be(void **state)
{
    static const char *const names[] = {"", "a b", "a/b", "\xc3\xa4", "a%2e"};
    struct view_api_key key = {.scope = API_ADMIN, .name = "good", .hash = "12"};
    struct cluster_ev ev = {.kind = CLUSTER_EV_API_KEY, .request_id = 1, .api_key = &key};

    (void)state;
    step(&ev);
    assert_string_equal(w.answer.code, "bad_api_key");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        api_key(1, names[i], 'a', API_ADMIN);
        assert_string_equal(w.answer.code, "bad_api_key");
    }
    api_key(1, "x", 'a', (enum api_scope)4);
    assert_string_equal(w.answer.code, "bad_api_key");
    api_key(1, "x", 'a', (enum api_scope)0);
    assert_string_equal(w.answer.code, "bad_api_key");
    assert_int_equal(w.c->api_keys.n, 0);
}

static void test_api_keys_are_bounded(void **state)
{
    char name[16];

    (void)state;
    for (int i = 0; i <= ACCESS_API_KEYS_MAX; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        api_key(1, name, 'a', API_ADMIN);
        commit();
    }
    assert_int_equal(w.c->api_keys.n, ACCESS_API_KEYS_MAX);
    assert_string_equal(w.answer.code, "too_many");
    api_key(0, "admin", 'a', API_ADMIN);
    commit();
    assert_int_equal(w.c->api_keys.n, ACCESS_API_KEYS_MAX + 1);
}

static void test_kept_api_keys_come_back(void **state)
{
    struct record rec = {.kind = RECORD_API_KEY, .api_key = {.scope = API_READ, .name = "look"}};
    struct view *v;

    (void)state;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec}); /* without a digest */
    hex_key('e', 1, rec.api_key.hash);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    rec.api_key.scope = API_ADMIN;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    begin();
    EXPECT("");
    v = view_now();
    assert_int_equal(v->n_api_keys, 1);
    assert_int_equal(v->api_key[0].scope, API_READ);
    view_unref(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(with_keys, test_an_api_key_counts_when_it_is_durable),
        WITH(with_keys, test_an_api_key_is_replaced),
        WITH(with_keys, test_an_api_key_is_removed),
        WITH(with_keys, test_one_key_may_always_administer),
        WITH(with_keys, test_api_keys_that_cannot_be),
        WITH(with_keys, test_api_keys_are_bounded),
        WITH(fresh, test_kept_api_keys_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
