/* models.conf: read right, and every mistake named with file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/models_conf.h"

static int parse(const char *text, struct models_conf **ret, char *why, size_t why_size)
{
    return models_conf_parse("models.conf", text, strlen(text), ret, why, why_size);
}

static void test_reads(void **state)
{
    static const char text[] = "# what is served\n\n[qwen]\r\n"
                               "file = /models/qwen2-7b-q4_k_m-00001-of-00003.gguf\n"
                               "nodes=2\npolicy = spread\ncontext = 8192\nslots = 4\nkv_type = q8_0\n"
                               "ttl = 10m\nreplicas = 3\n"
                               "args = --temp 0.7  --chat-template \"a b\" \"\"\nstart = boot\npinned = yes\n"
                               "; another\n[ tiny ]\nalias = t";
    struct models_conf *c = NULL;
    char why[512];
    const struct place_request *req;

    (void)state;
    assert_int_equal(parse(text, &c, why, sizeof(why)), 0);
    assert_int_equal(c->n, 2);
    req = &c->entry[0].request;
    assert_string_equal(c->entry[0].section, "qwen");
    assert_string_equal(req->model, "qwen2-7b-q4_k_m");
    assert_string_equal(req->alias, "qwen");
    assert_int_equal(req->nodes, 2);
    assert_int_equal(req->policy, POLICY_SPREAD);
    assert_int_equal(req->ctx, 8192);
    assert_int_equal(req->slots, 4);
    assert_string_equal(req->kv_type, "q8_0");
    assert_int_equal(req->n_args, 5);
    assert_string_equal(req->arg[3], "a b");
    assert_string_equal(req->arg[4], "");
    assert_string_equal(c->entry[0].name, "qwen");
    assert_int_equal(c->entry[0].start, SERVED_BOOT);
    assert_true(req->pinned);
    assert_int_equal(req->ttl_ms, 600000);
    assert_int_equal(req->replicas, 3);
    assert_string_equal(c->entry[1].request.model, "tiny");
    assert_string_equal(c->entry[1].request.alias, "t");
    assert_string_equal(c->entry[1].section, "tiny");
    assert_string_equal(c->entry[1].name, "t");
    assert_int_equal(c->entry[1].start, SERVED_DEMAND); /* unless it says otherwise */
    assert_int_equal(c->entry[1].request.ttl_ms, 0);
    models_conf_destroy(&c);
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"nodes = 2\n", "models.conf:1: a key must stand under"},
        {"[m]\nnode = 2\n", "models.conf:2: unknown key \"node\""},
        {"[m]\nnodes = 0\n", "models.conf:2: nodes must be a whole number from 1 to 16"},
        {"[m]\nnodes = 17\n", "models.conf:2: nodes must be"},
        {"[m]\nnodes = two\n", "models.conf:2: nodes must be"},
        {"[m]\nnodes =\n", "models.conf:2: nodes must be"},
        {"[m]\n\n\npolicy = fast\n", "models.conf:4: policy must be fit or spread"},
        {"[m]\nkv_type = f17\n", "models.conf:2: kv_type \"f17\""},
        {"[m]\nstart = soon\n", "models.conf:2: start must be boot, demand or manual"},
        {"[m]\nttl = long\n", "models.conf:2: ttl must be off or a time"},
        {"[m]\nttl = 0\n", "models.conf:2: ttl must be off or a time"},
        {"[m]\nttl = 999ms\n", "models.conf:2: ttl must be off or a time"},
        {"[m]\nttl = 8761h\n", "models.conf:2: ttl must be off or a time"},
        {"[m]\nreplicas = 0\n", "models.conf:2: replicas must be a whole number from 1 to 16"},
        {"[m]\nreplicas = 17\n", "models.conf:2: replicas must be"},
        {"[m]\nalias = x\n[n]\nalias = x\n", "models.conf: [m] and [n] are both called x"},
        {"[m]\n[n]\nalias = m\n", "models.conf: [m] and [n] are both called m"},
        {"[m]\nargs = --temp 0 --rpc 1.2.3.4:5\n", "models.conf:2: --rpc is set by Caravan"},
        {"[m]\nargs = \"open\n", "models.conf:2: args has a quote"},
        {"[m]\n[m]\n", "models.conf:2: there is a section [m] already"},
        {"[m\n", "models.conf:1: a section must be [NAME]"},
        {"[]\n", "models.conf:1: a section's name"},
        {"[m] x\n", "models.conf:1: a section must be [NAME]"},
        {"[m]\nfile = .gguf\n", "models.conf:2: file must name"},
        {"[m]\nhello\n", "models.conf:2: expected"},
        {"[m]\npinned = maybe\n", "models.conf:2: pinned must be"},
    };
    char why[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct models_conf *c = NULL;

        if (parse(cases[i].text, &c, why, sizeof(why)) != MODELS_CONF_E_INVALID)
            fail_msg("case %zu passes", i);
        assert_null(c);
        if (strncmp(why, cases[i].why, strlen(cases[i].why)) != 0)
            fail_msg("case %zu says: %s", i, why);
    }
}

static void test_bounds(void **state)
{
    struct models_conf *c = NULL;
    char *text = malloc(64 * 1024), *p = text, why[512];

    (void)state;
    for (int i = 0; i <= SERVED_MAX; i++)
        p += sprintf(p, "[m%d]\n", i);
    assert_int_equal(parse(text, &c, why, sizeof(why)), MODELS_CONF_E_INVALID);
    assert_non_null(strstr(why, ":257: more than 256"));
    p = text + sprintf(text, "[m]\nargs =");
    for (int i = 0; i <= PROTO_ARGS_MAX; i++)
        p += sprintf(p, " x");
    assert_int_equal(parse(text, &c, why, sizeof(why)), MODELS_CONF_E_INVALID);
    assert_non_null(strstr(why, ":2: args takes at most 64"));
    assert_int_equal(models_conf_parse("f", "[m]\0[n]", 7, &c, why, sizeof(why)), MODELS_CONF_E_INVALID);
    free(text);
}

static void test_missing_file(void **state)
{
    struct models_conf *c = NULL;
    char why[512];

    (void)state;
    assert_int_equal(models_conf_read("/nonexistent/models.conf", false, &c, why, sizeof(why)), 0);
    assert_int_equal(c->n, 0);
    models_conf_destroy(&c);
    assert_int_equal(models_conf_read("/nonexistent/models.conf", true, &c, why, sizeof(why)), MODELS_CONF_E_INVALID);
    assert_non_null(strstr(why, "/nonexistent/models.conf: "));
}

static void test_how_it_starts_and_how_long_it_stays(void **state)
{
    static const struct {
        const char *text;
        enum served_start start;
        uint64_t ttl_ms;
    } cases[] = {
        {"[m]\n", SERVED_DEMAND, 0},
        {"[m]\nstart = manual\nttl = off\n", SERVED_MANUAL, 0},
        {"[m]\nstart = demand\nttl = 1s\n", SERVED_DEMAND, 1000},
        {"[m]\nstart = boot\nttl = 8760h\n", SERVED_BOOT, UINT64_C(31536000000)},
    };
    char why[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct models_conf *c = NULL;

        assert_int_equal(parse(cases[i].text, &c, why, sizeof(why)), 0);
        assert_int_equal(c->entry[0].start, cases[i].start);
        assert_int_equal(c->entry[0].request.ttl_ms, cases[i].ttl_ms);
        models_conf_destroy(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_how_it_starts_and_how_long_it_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
