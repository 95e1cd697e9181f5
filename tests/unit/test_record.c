/* What the core wants kept comes back from the store as it went; rows that cannot be read say why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/record.h"
#include "tests/lib/view_lab.h"

static void test_instance(void **state)
{
    struct record r = {.kind = RECORD_INSTANCE, .instance = lab_id(5), .wall_ms = 77};
    struct store_record row;
    struct record back;
    char why[512];

    (void)state;
    snprintf(r.i.name, sizeof(r.i.name), "m");
    snprintf(r.i.reason, sizeof(r.i.reason), "rank 1 on n2 ended \"9\"");
    r.i.state = INSTANCE_WAITING;
    r.i.epoch = 4;
    snprintf(r.i.request.model, sizeof(r.i.request.model), "tiny");
    r.i.request.n_args = 1;
    r.i.request.arg = calloc(1, PROTO_ARG_MAX);
    strcpy(r.i.request.arg[0], "--no-mmap");
    r.i.plan = lab_plan();
    r.i.pinned = lab_plan();
    r.i.attempts = 3;
    r.i.load_ms = 61234;
    r.i.served = true;
    r.i.follows = lab_id(4);
    r.i.replica = 2;
    r.i.demand = true;
    r.i.deploy_task = 31;
    r.i.request.replicas = 3;
    r.i.request.pinned = true;
    r.i.request.ttl_ms = 600000;
    r.i.n_debts = 2;
    r.i.debt[0] = (struct debt){.node = lab_id(7), .epoch = 3};
    r.i.debt[1] = (struct debt){.node = lab_id(8), .epoch = 1, .tunnel = true};
    r.i.n_tried = 2;
    r.i.tried = calloc(2, sizeof(*r.i.tried));
    r.i.tried[0] = (struct tried){
        .shown = {.epoch = 2, .wall_ms = 70, .code = "rank_lost", .node = "n2"}, .node = lab_id(8), .counted = true};
    snprintf(r.i.tried[0].shown.text, sizeof(r.i.tried[0].shown.text), "rank 1 on n2: killed by signal 9");
    r.i.tried[1].shown = (struct view_try){.epoch = 3, .code = "stale_epoch"};
    assert_int_equal(record_to_store(&r, 0, &row), 0);
    assert_string_equal(row.kind, "instance");
    assert_string_equal(row.key, "05050505050505050505050505050505");
    assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0);
    assert_int_equal(back.kind, RECORD_INSTANCE);
    assert_int_equal(back.wall_ms, 77);
    assert_true(id128_equal(&back.instance, &r.instance));
    assert_int_equal(back.i.state, INSTANCE_WAITING);
    assert_int_equal(back.i.epoch, 4);
    assert_string_equal(back.i.reason, r.i.reason);
    assert_string_equal(back.i.request.arg[0], "--no-mmap");
    assert_memory_equal(back.i.plan, r.i.plan, sizeof(*r.i.plan));
    assert_memory_equal(back.i.pinned, r.i.pinned, sizeof(*r.i.pinned));
    assert_int_equal(back.i.attempts, 3);
    assert_int_equal(back.i.load_ms, 61234);
    assert_true(back.i.served);
    assert_true(id128_equal(&back.i.follows, &r.i.follows));
    assert_int_equal(back.i.replica, 2);
    assert_true(back.i.demand);
    assert_int_equal(back.i.deploy_task, 31);
    assert_int_equal(back.i.request.replicas, 3);
    assert_true(back.i.request.pinned);
    assert_int_equal(back.i.request.ttl_ms, 600000);
    assert_int_equal(back.i.n_debts, 2);
    assert_memory_equal(back.i.debt, r.i.debt, sizeof(r.i.debt));
    assert_int_equal(back.i.n_tried, 2);
    assert_memory_equal(back.i.tried, r.i.tried, 2 * sizeof(*r.i.tried));
    free(row.value);
    record_clear(&back);
    record_clear(&r);
}

/* What an earlier version kept has none of what came later. */
static void test_an_instance_of_an_earlier_version(void **state)
{
    static char value[] = "{\"instance\":\"05050505050505050505050505050505\",\"state\":\"ready\",\"epoch\":2,"
                          "\"request\":{\"model\":\"m\"}}";
    const struct store_record row = {.kind = "instance", .key = "x", .value = value};
    struct record back;
    char why[512];

    (void)state;
    assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0);
    assert_int_equal(back.i.epoch, 2);
    assert_int_equal(back.i.attempts, 0);
    assert_false(back.i.served);
    assert_true(id128_is_zero(&back.i.follows));
    assert_int_equal(back.i.n_tried, 0);
    assert_int_equal(back.i.replica, 0);
    assert_false(back.i.demand);
    assert_int_equal(back.i.deploy_task, 0);
    assert_int_equal(back.i.request.replicas, 0);
    assert_int_equal(back.i.request.ttl_ms, 0);
    assert_false(back.i.request.pinned);
    assert_null(back.i.plan);
    assert_null(back.i.pinned);
    record_clear(&back);
}

static void test_node(void **state)
{
    static const bool flags[][2] = {{false, false}, {true, false}, {false, true}, {true, true}};
    struct store_record row;
    char why[512];

    (void)state;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        struct record r = {.kind = RECORD_NODE, .instance = lab_id(7), .wall_ms = 3}, back;

        snprintf(r.node.name, sizeof(r.node.name), "n1");
        memset(r.node.key, 'a', PROTO_KEY_MAX - 1);
        r.node.draining = flags[i][0];
        r.node.retired = flags[i][1];
        assert_int_equal(record_to_store(&r, 0, &row), 0);
        assert_string_equal(row.kind, "node");
        assert_string_equal(row.key, "07070707070707070707070707070707");
        assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0);
        assert_int_equal(back.kind, RECORD_NODE);
        assert_true(id128_equal(&back.instance, &r.instance));
        assert_memory_equal(&back.node, &r.node, sizeof(r.node));
        free(row.value);
    }
}

static void test_key(void **state)
{
    struct record r = {.kind = RECORD_KEY, .wall_ms = 3}, back;
    struct store_record row;
    char why[512];

    (void)state;
    for (int s = 1; strcmp(key_scope_name((enum key_scope)s), "unknown") != 0; s++) {
        r.key = (struct view_key){.scope = (enum key_scope)s, .name = "n1", .made_wall_ms = 4};
        memset(r.key.key, 'a', PROTO_KEY_MAX - 1);
        if (r.key.scope == KEY_JOIN) {
            r.key.expires_wall_ms = 5;
            r.key.uses_left = 6;
        }
        assert_int_equal(record_to_store(&r, 0, &row), 0);
        assert_string_equal(row.kind, "key");
        assert_string_equal(row.key, r.key.key); /* the whole of it: two may begin alike */
        assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0);
        assert_int_equal(back.kind, RECORD_KEY);
        assert_memory_equal(&back.key, &r.key, sizeof(r.key));
        free(row.value);
    }
}

static void test_api_key(void **state)
{
    struct record r = {.kind = RECORD_API_KEY, .wall_ms = 3}, back;
    struct store_record row;
    char why[512];

    (void)state;
    for (int s = 1; strcmp(api_scope_name((enum api_scope)s), "unknown") != 0; s++) {
        r.api_key = (struct view_api_key){.scope = (enum api_scope)s, .name = "chat", .made_wall_ms = 4};
        memset(r.api_key.hash, 'b', PROTO_KEY_MAX - 1);
        assert_int_equal(record_to_store(&r, 0, &row), 0);
        assert_string_equal(row.kind, "api_key");
        assert_string_equal(row.key, "chat");
        assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0);
        assert_int_equal(back.kind, RECORD_API_KEY);
        assert_memory_equal(&back.api_key, &r.api_key, sizeof(r.api_key));
        free(row.value);
    }
}

static void test_damaged_keys(void **state)
{
    static const char head[] = "{\"instance\":\"00000000000000000000000000000000\",";
    static const char *const rows[][2] = {
        {"key", "\"scope\":\"node\"}"},
        {"key", "\"key\":\"a1\"}"},
        {"key", "\"key\":\"a1\",\"scope\":\"infer\"}"},
        {"key", "\"key\":\"a1\",\"scope\":\"join\",\"uses_left\":-1}"},
        {"api_key", "\"hash\":\"a1\",\"scope\":\"infer\"}"},
        {"api_key", "\"name\":\"a1\",\"scope\":\"infer\"}"},
        {"api_key", "\"name\":\"a1\",\"hash\":\"a1\",\"scope\":\"node\"}"},
    };
    struct record back;
    char value[256], why[512];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct store_record row = {.key = "x", .value = value};

        snprintf(row.kind, sizeof(row.kind), "%s", rows[i][0]);
        snprintf(value, sizeof(value), "%s%s", head, rows[i][1]);
        why[0] = '\0';
        assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), RECORD_E_INVALID);
        assert_true(*why);
    }
}

static void test_task(void **state)
{
    struct record r = {.kind = RECORD_TASK, .instance = lab_id(5), .wall_ms = 1}, back;
    struct store_record row;
    char why[512];

    (void)state;
    r.task = (struct view_task){.id = 42, .kind = TASK_STOP, .state = TASK_REFUSED, .instance = lab_id(5)};
    snprintf(r.task.text, sizeof(r.task.text), "cut in a letter: \xc3"); /* must not spoil the row */
    assert_int_equal(record_to_store(&r, 0, &row), 0);
    assert_string_equal(row.key, "00000000000000000042");
    assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0);
    assert_int_equal(back.task.id, 42);
    assert_int_equal(back.task.state, TASK_REFUSED);
    assert_string_equal(back.task.text, "cut in a letter: ");
    free(row.value);
    r.gone = true;
    assert_int_equal(record_to_store(&r, 0, &row), 0);
    assert_true(row.gone);
    assert_null(row.value);
}

/* A kind or state that a record can have and the store not read would be found at the next start only. */
static void test_every_word_comes_back(void **state)
{
    struct record r = {.kind = RECORD_TASK}, back;
    struct store_record row;
    char why[512];

    (void)state;
    for (int kind = 1; strcmp(task_kind_name((enum task_kind)kind), "unknown") != 0; kind++)
        for (int s = 1; strcmp(task_state_name((enum task_state)s), "unknown") != 0; s++) {
            r.task = (struct view_task){.id = 1, .kind = (enum task_kind)kind, .state = (enum task_state)s};
            assert_int_equal(record_to_store(&r, 0, &row), 0);
            if (record_from_store(&row, &back, why, sizeof(why)))
                fail_msg("%s: %s", row.value, why);
            assert_int_equal(back.task.kind, kind);
            assert_int_equal(back.task.state, s);
            free(row.value);
        }
    r = (struct record){.kind = RECORD_INSTANCE};
    snprintf(r.i.request.model, sizeof(r.i.request.model), "m");
    for (int s = 1; strcmp(instance_state_name((enum instance_state)s), "unknown") != 0; s++) {
        r.i.state = (enum instance_state)s;
        assert_int_equal(record_to_store(&r, 0, &row), 0);
        if (record_from_store(&row, &back, why, sizeof(why)))
            fail_msg("%s: %s", row.value, why);
        assert_int_equal(back.i.state, s);
        record_clear(&back);
        free(row.value);
    }
}

static void test_audit(void **state)
{
    struct record r = {.kind = RECORD_AUDIT, .instance = lab_id(5), .wall_ms = 9}, back;
    struct store_record one, two;
    char why[512];

    (void)state;
    assert_int_equal(record_to_store(&r, 1, &one), 0);
    assert_int_equal(record_to_store(&r, 2, &two), 0);
    assert_string_not_equal(one.key, two.key);
    assert_int_equal(record_from_store(&one, &back, why, sizeof(why)), RECORD_E_IGNORED);
    free(one.value);
    free(two.value);
}

#define READY(more)                                                                                                         \
    "{\"instance\":\"05050505050505050505050505050505\",\"state\":\"ready\",\"epoch\":1,\"request\":{\"model\":\"m\"}" more \
    "}"

static void test_damaged_rows(void **state)
{
    static const char *const values[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"instance\":\"05\"}",
        "{\"instance\":\"05050505050505050505050505050505\"}",
        "{\"instance\":\"05050505050505050505050505050505\",\"state\":\"nowhere\",\"epoch\":1,\"request\":{}}",
        "{\"instance\":\"05050505050505050505050505050505\",\"state\":\"ready\",\"epoch\":1}",
        ("{\"instance\":\"05050505050505050505050505050505\",\"state\":\"ready\",\"epoch\":1,\"request\":{\"model\":\"m\"},"
         "\"plan\":{}}"),
        READY(",\"debts\":{}"),
        READY(",\"tried\":{}"),
        READY(",\"tried\":[7]"),
        READY(",\"tried\":[{\"epoch\":1},{},{},{},{},{},{}]"), /* one more than are ever kept */
        READY(",\"tried\":[{\"node_id\":\"07\"}]"),
    };
    struct store_record row = {.kind = "instance", .key = "x"};
    struct record back;
    char why[512];

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        row.value = (char *)(uintptr_t)values[i];
        why[0] = '\0';
        assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), RECORD_E_INVALID);
        assert_true(*why);
    }
    row.value =
        (char *)(uintptr_t) "{\"instance\":\"05050505050505050505050505050505\",\"state\":\"ready\",\"epoch\":1,"
                            "\"later\":true,\"request\":{\"model\":\"m\",\"later\":1}}";
    assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), 0); /* of a later version */
    record_clear(&back);
    snprintf(row.kind, sizeof(row.kind), "later");
    assert_int_equal(record_from_store(&row, &back, why, sizeof(why)), RECORD_E_IGNORED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instance), cmocka_unit_test(test_an_instance_of_an_earlier_version),
        cmocka_unit_test(test_node),     cmocka_unit_test(test_key),
        cmocka_unit_test(test_api_key),  cmocka_unit_test(test_damaged_keys),
        cmocka_unit_test(test_task),     cmocka_unit_test(test_every_word_comes_back),
        cmocka_unit_test(test_audit),    cmocka_unit_test(test_damaged_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
