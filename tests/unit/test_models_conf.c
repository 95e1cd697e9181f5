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
#include "controller/plan_json.h"

static int parse(const char *text, struct models_conf **ret, char *why, size_t why_size)
{
    return models_conf_parse("models.conf", text, strlen(text), ret, why, why_size);
}

static void test_reads(void **state)
{
    static const char text[] = "# what is served\n\n[qwen]\r\n"
                               "file = /models/qwen2-7b-q4_k_m-00001-of-00003.gguf\n"
                               "nodes=2\npolicy = spread\ncontext = 8192\nslots = 4\nkv_type = q8_0\n"
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
    assert_int_equal(c->entry[0].start, MODELS_START_BOOT);
    assert_true(c->entry[0].pinned);
    assert_string_equal(c->entry[1].request.model, "tiny");
    assert_string_equal(c->entry[1].request.alias, "t");
    assert_int_equal(c->entry[1].start, MODELS_START_MANUAL);
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
        {"[m]\nstart = soon\n", "models.conf:2: start must be boot or manual"},
        {"[m]\nstart = demand\n", "models.conf:2: start = demand acts from the gateway on"},
        {"[m]\nttl = 5m\n", "models.conf:2: ttl acts from the gateway on"},
        {"[m]\nreplicas = 2\n", "models.conf:2: replicas acts from the gateway on"},
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
    for (int i = 0; i <= MODELS_CONF_MAX; i++)
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

static void test_applies_what_is_unsaid(void **state)
{
    struct place_request req = {.model = "qwen", .slots = 2}, other = {.model = "tiny", .nodes = 3};
    struct models_conf *c = NULL;
    char why[512];

    (void)state;
    assert_int_equal(parse("[qwen]\nfile = q.gguf\nnodes = 2\nslots = 4\nargs = -x\n", &c, why, sizeof(why)), 0);
    assert_int_equal(models_conf_apply(c, &req), 0);
    assert_int_equal(models_conf_apply(c, &other), 0);
    models_conf_destroy(&c);
    assert_string_equal(req.model, "q");
    assert_string_equal(req.alias, "qwen");
    assert_int_equal(req.nodes, 2);
    assert_int_equal(req.slots, 2);
    assert_int_equal(req.n_args, 1);
    assert_string_equal(req.arg[0], "-x");
    assert_string_equal(other.model, "tiny");
    assert_int_equal(other.n_args, 0);
    place_request_clear(&req);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_applies_what_is_unsaid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
