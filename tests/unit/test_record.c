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
    free(row.value);
    record_clear(&back);
    record_clear(&r);
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
        cmocka_unit_test(test_instance),
        cmocka_unit_test(test_task),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_damaged_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
