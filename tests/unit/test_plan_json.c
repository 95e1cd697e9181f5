/* A plan comes back from JSON as it went; whatever else claims to be one is refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/json_fields.h"
#include "controller/plan_json.h"
#include "tests/lib/view_lab.h"

static void test_round_trip(void **state)
{
    struct plan *p = lab_plan(), *back = NULL;
    json_t *j = NULL;
    char why[512];

    (void)state;
    p->missing_bytes = 12;
    p->host_bytes = 34;
    p->wanted_nodes = 2;
    p->rank[1].local = true;
    assert_int_equal(plan_json_write(p, &j), 0);
    assert_string_equal(json_string_value(json_object_get(j, "header_hash")), "fedcba9876543210");
    assert_string_equal(json_string_value(json_object_get(j, "policy")), "spread");
    assert_int_equal(plan_json_read(j, &back, why, sizeof(why)), 0);
    assert_memory_equal(p, back, sizeof(*p));
    json_decref(j);
    free(p);
    free(back);
}

static void test_no_fit_passes(void **state)
{
    struct plan *p = lab_plan(), *back = NULL;
    json_t *j = NULL;
    char why[512];

    (void)state;
    p->n_ranks = 0;
    memset(p->rank, 0, sizeof(p->rank));
    assert_int_equal(plan_json_write(p, &j), 0);
    assert_int_equal(plan_json_read(j, &back, why, sizeof(why)), 0);
    assert_memory_equal(p, back, sizeof(*p));
    json_decref(j);
    free(p);
    free(back);
}

/* Applies one change to a good plan's text, then reads it. */
static int read_changed(const char *from, const char *to, char *why, size_t why_size)
{
    struct plan *p = lab_plan(), *back = NULL;
    json_t *j = NULL, *changed = NULL;
    char *text, *at, *out = NULL;
    int r;

    assert_int_equal(plan_json_write(p, &j), 0);
    text = json_dumps(j, JSON_COMPACT);
    at = strstr(text, from);
    if (!at)
        fail_msg("no %s in %s", from, text);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    r = json_parse(out, strlen(out), &changed, why, why_size);
    if (!r)
        r = plan_json_read(changed, &back, why, why_size);
    assert_true(r != 0 || back);
    free(back);
    free(out);
    free(text);
    free(p);
    json_decref(j);
    json_decref(changed);
    return r;
}

static void test_hostile(void **state)
{
    static const struct {
        const char *from, *to, *why;
    } cases[] = {
        {"\"format\":1", "\"format\":2", "format"},
        {"\"format\":1", "\"format\":\"1\"", "format"},
        {"\"format\":1,", "", "format"},
        {"\"model\":\"tiny\"", "\"model\":7", "\"model\" must be a string"},
        {"\"model\":\"tiny\",", "", "\"model\" is missing"},
        {"\"model\":\"tiny\"", "\"model\":\"tiny\",\"model\":\"tiny\"", "duplicate"},
        {"\"n_layer\":4", "\"n_layer\":4,\"surprise\":1", "\"surprise\" is not a known key"},
        {"\"n_layer\":4", "\"n_layer\":4.5", "n_layer"},
        {"\"n_layer\":4", "\"n_layer\":-4", "n_layer"},
        {"\"n_layer\":4", "\"n_layer\":1000000", "n_layer"},
        {"\"n_layer\":4", "\"n_layer\":5", "sum"},
        {"\"n_layer\":4", "\"n_layer\":3", "sum"},
        {"\"n_layers\":3", "\"n_layers\":4", "sum"},
        {"\"first_layer\":2", "\"first_layer\":3", "follow"},
        {"\"first_layer\":2", "\"first_layer\":0", "follow"},
        {"\"has_output\":true", "\"has_output\":false", "sum"},
        {"\"has_output\":false", "\"has_output\":true", "follow"},
        {"\"has_output\":true", "\"has_output\":1", "true or false"},
        {"\"rank\":1", "\"rank\":0", "count from 0"},
        {"\"header_hash\":\"fedcba9876543210\"", "\"header_hash\":\"fedcba987654321\"", "16"},
        {"\"header_hash\":\"fedcba9876543210\"", "\"header_hash\":\"FEDCBA9876543210\"", "16"},
        {"\"policy\":\"spread\"", "\"policy\":\"\"", "must be one of fit, spread"},
        {"\"transport\":\"direct\"", "\"transport\":\"pigeon\"", "must be one of direct, tunnel"},
        {"\"node\":\"01010101010101010101010101010101\"", "\"node\":\"01\"", "32 hex"},
        {"\"ranks\":[", "\"ranks\":7,\"x\":[", "x"},
        {"\"notes\":[", "\"notes\":[1,", "notes"},
        {"\"model_bytes\":2000000", "\"model_bytes\":1e99999", "JSON"},
        {"\"model_bytes\":2000000", "\"model_bytes\":99999999999999999999", "JSON"},
        {"\"kv_type\":\"f16\"", "\"kv_type\":\"a string that is too long\"", "longer"},
        {"\"devices\":[{", "\"devices\":[],\"more\":[{", "more"},
    };
    char why[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        why[0] = '\0';
        assert_int_equal(read_changed(cases[i].from, cases[i].to, why, sizeof(why)), 1);
        if (!strstr(why, cases[i].why))
            fail_msg("case %zu says: %s", i, why);
    }
    assert_int_equal(read_changed("\"format\":1", "\"format\":1", why, sizeof(why)), 0);
    assert_int_equal(read_changed("\"transport\":\"direct\",", "", why, sizeof(why)), 0); /* an earlier version's */
    assert_int_equal(read_changed("\"transport\":\"direct\"", "\"transport\":\"tunnel\"", why, sizeof(why)), 0);
}

static void test_too_many(void **state)
{
    struct plan *back = NULL;
    json_t *j = NULL, *ranks;
    struct plan *p = lab_plan();
    char why[512];

    (void)state;
    assert_int_equal(plan_json_write(p, &j), 0);
    ranks = json_object_get(j, "ranks");
    while (json_array_size(ranks) <= PROTO_RANKS_MAX)
        json_array_append_new(ranks, json_deep_copy(json_array_get(ranks, 0)));
    assert_int_equal(plan_json_read(j, &back, why, sizeof(why)), PLAN_JSON_E_INVALID);
    assert_non_null(strstr(why, "0 to 16"));
    assert_int_equal(plan_json_read(ranks, &back, why, sizeof(why)), PLAN_JSON_E_INVALID);
    assert_null(back);
    json_decref(j);
    free(p);
}

static int read_request(const char *text, struct place_request *req, char *why, size_t why_size)
{
    static const char *const others[] = {"args", NULL};
    json_t *j = NULL;
    int r = json_parse(text, strlen(text), &j, why, why_size);

    if (!r)
        r = place_request_read(j, others, req, why, why_size);
    json_decref(j);
    return r;
}

static void test_requests(void **state)
{
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "{\"model\":\"\"}",
                                      "{\"model\":\"m\",\"nodes\":17}",
                                      "{\"model\":\"m\",\"rank0\":\"left\"}",
                                      "{\"model\":\"m\",\"args\":\"-x\"}",
                                      "{\"model\":\"m\",\"args\":[1]}",
                                      "{\"model\":\"m\",\"kv_type\":\"f17\"}",
                                      "{\"model\":\"m\",\"node\":1}",
                                      "{\"model\":\"m\\u0000x\"}"};
    struct place_request req, copy, back;
    json_t *j = json_object();
    char why[512];

    (void)state;
    assert_int_equal(read_request("{\"model\":\"m\",\"nodes\":2,\"policy\":\"spread\",\"rank0\":\"rpc\",\"ctx\":null,"
                                  "\"kv_type\":\"q8_0\",\"args\":[\"--temp\",\"0\"]}",
                                  &req, why, sizeof(why)),
                     0);
    assert_int_equal(req.nodes, 2);
    assert_int_equal(req.policy, POLICY_SPREAD);
    assert_int_equal(req.rank0, RANK0_RPC);
    assert_int_equal(req.n_args, 2);
    assert_string_equal(req.arg[1], "0");
    assert_int_equal(place_request_copy(&req, &copy), 0);
    place_request_clear(&req);
    assert_int_equal(place_request_write(j, &copy), 0);
    assert_int_equal(place_request_read(j, NULL, &back, why, sizeof(why)), 0);
    assert_string_equal(back.arg[0], "--temp");
    assert_int_equal(back.rank0, RANK0_RPC);
    place_request_clear(&copy);
    place_request_clear(&back);
    json_decref(j);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_request(bad[i], &req, why, sizeof(why)), 1);
        assert_int_equal(req.n_args, 0);
    }
}

static void test_one_bad_byte_costs_no_other(void **state)
{
    json_t *j = json_text("t\xc3\xb6st \xff \xe2\x82\xac");

    (void)state;
    assert_non_null(j);
    assert_string_equal(json_string_value(j), "t\xc3\xb6st ? \xe2\x82\xac");
    json_decref(j);
}

/* "[0,0,0,..." takes twenty times its length as a tree. */
static void test_a_text_that_is_too_long_is_not_parsed(void **state)
{
    char *text = malloc(JSON_TEXT_MAX + 1), why[128];
    json_t *j = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', JSON_TEXT_MAX + 1);
    memcpy(text, "[]", 2);
    assert_int_equal(json_parse(text, JSON_TEXT_MAX + 1, &j, why, sizeof(why)), JSON_E_INVALID);
    assert_string_equal(why, "longer than 1024 KiB");
    assert_int_equal(json_parse(text, JSON_TEXT_MAX, &j, why, sizeof(why)), 0);
    json_decref(j);
    free(text);
}

static void test_a_nul_is_no_white_space(void **state)
{
    json_t *j = NULL;
    char why[128];

    (void)state;
    assert_int_equal(json_parse("[1\0]", 4, &j, why, sizeof(why)), JSON_E_INVALID);
    assert_int_equal(json_parse("[true\0,2]", 9, &j, why, sizeof(why)), JSON_E_INVALID);
    assert_null(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_no_fit_passes),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_one_bad_byte_costs_no_other),
        cmocka_unit_test(test_a_text_that_is_too_long_is_not_parsed),
        cmocka_unit_test(test_a_nul_is_no_white_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
