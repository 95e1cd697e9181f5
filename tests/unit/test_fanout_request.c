/* What a fan-out may be asked with, what each member is asked then, and every refusal with its place. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/fanout_request.h"
#include "controller/json_fields.h"

static struct fanout_request *must_read(const char *text)
{
    struct fanout_request *r = NULL;
    char why[512] = "";

    if (fanout_request_read(text, strlen(text), &r, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    return r;
}

/* Both as JSON, whatever the order of keys. */
static void expect_json(const char *got, const char *expected)
{
    json_t *a = json_loads(got, 0, NULL), *b = json_loads(expected, 0, NULL);

    assert_non_null(b);
    if (!a || !json_equal(a, b))
        fail_msg("got %s\nnot %s", got, expected);
    json_decref(a);
    json_decref(b);
}

#define STREAMED "\"stream\":true,\"stream_options\":{\"include_usage\":true}"

static void test_the_least(void **state)
{
    struct fanout_request *r = must_read("{\"messages\":[{\"role\":\"user\",\"content\":\"why?\"}],\"members\":[{}]}");

    (void)state;
    assert_int_equal(r->n_members, 1);
    assert_false(r->stream);
    assert_false(r->synthesis);
    assert_int_equal(r->timeout_ms, 600000);
    assert_int_equal(r->voice[0].timeout_ms, 600000);
    assert_string_equal(r->voice[0].name, "member 1");
    assert_string_equal(r->voice[0].model, "");
    expect_json(r->voice[0].body, "{\"messages\":[{\"role\":\"user\",\"content\":\"why?\"}]," STREAMED "}");
    assert_int_equal(r->voice[0].n_body_bytes, strlen(r->voice[0].body));
    fanout_request_destroy(&r);
}

static void test_members_of_their_own(void **state)
{
    struct fanout_request *r = must_read(
        "{\"model\":\"qwen\",\"timeout\":120,\"member_timeout\":30.5,\"stream\":true,"
        "\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"why?\"}],"
        "\"members\":[{\"name\":\"sceptic\",\"system\":\"Doubt it.\",\"temperature\":0.2,\"max_tokens\":64},"
        "{\"model\":\"llama\",\"timeout\":5,\"extra\":{\"seed\":7,\"stop\":[\"\\n\"]}}]}");

    (void)state;
    assert_true(r->stream);
    assert_int_equal(r->voice[0].timeout_ms, 30500);
    assert_int_equal(r->voice[1].timeout_ms, 5000);
    assert_string_equal(r->voice[0].model, "qwen");
    assert_string_equal(r->voice[1].model, "llama");
    assert_string_equal(r->voice[1].name, "member 2");
    expect_json(
        r->voice[0].body,
        "{\"model\":\"qwen\",\"temperature\":0.2,\"max_tokens\":64," STREAMED ",\"messages\":["
        "{\"role\":\"system\",\"content\":\"Be brief.\\n\\nDoubt it.\"},{\"role\":\"user\",\"content\":\"why?\"}]}");
    expect_json(r->voice[1].body,
                "{\"model\":\"llama\",\"seed\":7,\"stop\":[\"\\n\"]," STREAMED ",\"messages\":["
                "{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"why?\"}]}");
    fanout_request_destroy(&r);
}

#define PASSAGES                                                                                                                \
    "<context>\\nIt is autumn.\\n</context>\\n\\n<documents>\\n<document index=\\\"1\\\">\\n<title>Leaves</title>\\nThey fall." \
    "\\n</document>\\n<document index=\\\"2\\\">\\nThey rot.\\n</document>\\n</documents>\\n\\n"

/* They stand in the last message of the user, whatever follows it. */
static void test_context_and_documents(void **state)
{
    struct fanout_request *r = must_read(
        "{\"context\":\"It is autumn.\",\"documents\":[{\"title\":\"Leaves\",\"text\":\"They fall.\"},{\"text\":\"They "
        "rot.\"}],\"messages\":[{\"role\":\"user\",\"content\":\"first\"},{\"role\":\"assistant\",\"content\":\"yes\"},"
        "{\"role\":\"user\",\"content\":\"why?\",\"name\":\"ann\"},{\"role\":\"assistant\",\"content\":\"Because\"}],"
        "\"members\":[{\"system\":\"s\"}]}");

    (void)state;
    expect_json(r->voice[0].body,
                "{" STREAMED
                ",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"first\"},"
                "{\"role\":\"assistant\",\"content\":\"yes\"},{\"role\":\"user\",\"content\":\"" PASSAGES
                "why?\",\"name\":\"ann\"},{\"role\":\"assistant\",\"content\":\"Because\"}]}");
    fanout_request_destroy(&r);
}

static void test_content_of_parts(void **state)
{
    static const struct fanout_said said[] = {{"a", "x", 1}};
    struct fanout_request *r = must_read(
        "{\"context\":\"c\",\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"d\"}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}],\"members\":[{}],"
        "\"synthesis\":{\"system\":\"join\"}}");

    (void)state;
    expect_json(r->voice[0].body,
                "{" STREAMED ",\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"d\"}]},"
                "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"<context>\\nc\\n</context>\\n\\n\"},"
                "{\"type\":\"image_url\",\"image_url\":{}}]}]}");
    assert_int_equal(fanout_request_synthesize(r, said, 1), 0);
    expect_json(r->voice[1].body,
                "{" STREAMED ",\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"d\"},"
                "{\"type\":\"text\",\"text\":\"\\n\\njoin\"}]},"
                "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"<context>\\nc\\n</context>\\n\\n\"},"
                "{\"type\":\"image_url\",\"image_url\":{}},{\"type\":\"text\",\"text\":\"\\n\\n<answers>\\n<answer "
                "name=\\\"a\\\">\\nx\\n</answer>\\n</answers>\"}]}]}");
    fanout_request_destroy(&r);
}

static void test_case_27_synthesis(void **state)
{
    static const struct fanout_said said[] = {{"one", "yes", 3}, {"two", "no\0!", 4}};
    struct fanout_request *r = must_read(
        "{\"model\":\"m\",\"timeout\":100,\"messages\":[{\"role\":\"user\",\"content\":\"why?\"}],\"members\":[{},{}],"
        "\"synthesis\":{\"model\":\"big\",\"system\":\"Judge.\",\"max_tokens\":9,\"temperature\":0}}");

    (void)state;
    assert_true(r->synthesis);
    assert_int_equal(r->voice[0].timeout_ms, 75000); /* so that some time is left */
    assert_int_equal(r->voice[2].timeout_ms, 100000);
    assert_string_equal(r->voice[2].model, "big");
    assert_null(r->voice[2].body);
    assert_int_equal(fanout_request_synthesize(r, said, 2), 0);
    assert_non_null(strstr(r->voice[2].body, "no\\u0000!"));
    assert_non_null(strstr(r->voice[2].body, "\"content\":\"Judge.\""));
    assert_non_null(
        strstr(r->voice[2].body, "why?\\n\\n<answers>\\n<answer name=\\\"one\\\">\\nyes\\n</answer>\\n<answer"));
    assert_non_null(strstr(r->voice[2].body, "\"max_tokens\":9"));
    assert_int_equal(r->voice[2].n_body_bytes, strlen(r->voice[2].body));
    fanout_request_destroy(&r);
}

#define ASK     "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define WITH(m) "{" ASK ",\"members\":[{}," m "]}"

static void test_refusals(void **state)
{
    static const struct {
        const char *body, *why;
    } cases[] = {
        {"", "not valid JSON"},
        {"[]", "the body is not a JSON object"},
        {"{" ASK ",\"members\":[{}]", "not valid JSON"},
        {"{\"membres\":[]}", "membres is not a known field; there are: messages, members, model,"},
        {"{\"members\":[{}]}", "messages must be a list of 1 to 1024"},
        {"{\"messages\":[],\"members\":[{}]}", "messages must be a list of 1 to 1024"},
        {"{\"messages\":[1],\"members\":[{}]}", "messages[0] must be an object"},
        {"{\"messages\":[{\"content\":\"x\"}],\"members\":[{}]}", "messages[0].role must be a string"},
        {"{" ASK "}", "members must be a list of 1 to 64"},
        {"{" ASK ",\"members\":[]}", "members must be a list of 1 to 64"},
        {"{" ASK ",\"members\":[{}],\"stream\":1}", "stream must be true or false"},
        {"{" ASK ",\"members\":[{}],\"timeout\":0}", "timeout must be a number of seconds from 0.1 to 86400"},
        {"{" ASK ",\"members\":[{}],\"member_timeout\":\"1\"}", "member_timeout must be a number of seconds"},
        {"{" ASK ",\"members\":[{}],\"model\":7}", "model must be a string"},
        {"{" ASK ",\"members\":[{}],\"context\":[]}", "context must be a string"},
        {"{" ASK ",\"members\":[{}],\"documents\":{}}", "documents must be a list of 0 to 256"},
        {"{" ASK ",\"members\":[{}],\"documents\":[\"x\"]}", "documents[0] must be an object"},
        {"{" ASK ",\"members\":[{}],\"documents\":[{}]}", "documents[0].text is missing"},
        {"{" ASK ",\"members\":[{}],\"documents\":[{\"txt\":\"x\"}]}", "documents[0].txt is not a known field"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}],\"members\":[{}],\"context\":\"c\"}",
         "messages: none has the role user, where context and documents would stand"},
        {"{\"messages\":[{\"role\":\"user\"}],\"members\":[{}],\"context\":\"c\"}",
         "messages: the content of the message where context and documents would stand must be"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":1}],\"members\":[{\"system\":\"s\"}]}",
         "messages: the content of the message where a system text would stand must be"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}],\"members\":[{}],\"synthesis\":{}}",
         "messages: none has the role user, where the answers would stand"},
        {WITH("7"), "members[1] must be an object"},
        {WITH("{\"temprature\":1}"), "members[1].temprature is not a known field; there are: name, model, system,"},
        {WITH("{\"name\":1}"), "members[1].name must be a string"},
        {WITH("{\"name\":\"a\"},{\"name\":\"a\"}"), "members[2].name: members[1] has the same"},
        {WITH("{\"name\":\"member 1\"}"), "members[1].name: members[0] has the same"},
        {WITH("{\"system\":{}}"), "members[1].system must be a string"},
        {WITH("{\"temperature\":-1}"), "members[1].temperature must be a number from 0 on"},
        {WITH("{\"temperature\":\"0\"}"), "members[1].temperature must be a number from 0 on"},
        {WITH("{\"max_tokens\":0}"), "members[1].max_tokens must be a whole number from 1 on"},
        {WITH("{\"max_tokens\":1.5}"), "members[1].max_tokens must be a whole number from 1 on"},
        {WITH("{\"timeout\":86401}"), "members[1].timeout must be a number of seconds"},
        {WITH("{\"extra\":[]}"), "members[1].extra must be an object"},
        {WITH("{\"extra\":{\"stream\":false}}"), "members[1].extra.stream: stream is set by the fan-out"},
        {WITH("{\"extra\":{\"tools\":[]}}"), "members[1].extra.tools: tools are not called here"},
        {"{" ASK ",\"members\":[{}],\"synthesis\":true}", "synthesis must be an object"},
        {"{" ASK ",\"members\":[{}],\"synthesis\":{\"name\":\"x\"}}", "synthesis.name is not a known field"},
        {"{" ASK ",\"members\":[{}],\"synthesis\":{\"timeout\":-1}}", "synthesis.timeout must be a number"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fanout_request *r = NULL;
        char why[512] = "";
        int e = fanout_request_read(cases[i].body, strlen(cases[i].body), &r, why, sizeof(why));

        if (e != FANOUT_E_INVALID || strncmp(why, cases[i].why, strlen(cases[i].why)) != 0)
            fail_msg("%s: %d, \"%s\"", cases[i].body, e, why);
        assert_null(r);
    }
}

/* n members, each asked with a text of n_text bytes. */
static int try_size(size_t n, size_t n_text, char *why, size_t why_size)
{
    struct fanout_request *r = NULL;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    int e;

    fprintf(out, "{\"messages\":[{\"role\":\"user\",\"content\":\"%0*d\"}],\"members\":[{}", (int)n_text, 0);
    for (size_t i = 1; i < n; i++)
        fputs(",{}", out);
    fputs("]}", out);
    fclose(out);
    e = fanout_request_read(text, size, &r, why, why_size);
    if (!e)
        assert_true(r->n_bytes > n * n_text && r->n_bytes < n * (n_text + 200));
    fanout_request_destroy(&r);
    free(text);
    return e;
}

static void test_bounds(void **state)
{
    char why[512] = "";

    (void)state;
    assert_int_equal(try_size(64, 500, why, sizeof(why)), 0);
    assert_int_equal(try_size(65, 500, why, sizeof(why)), FANOUT_E_INVALID);
    assert_int_equal(try_size(32, 1000000, why, sizeof(why)), 0);
    assert_int_equal(try_size(40, 1000000, why, sizeof(why)), FANOUT_E_TOO_LARGE);
    assert_non_null(strstr(why, "what 40 members would be asked has 39"));
    assert_int_equal(try_size(1, 1100000, why, sizeof(why)), FANOUT_E_TOO_LARGE);
    assert_string_equal(why, "the body has 1074 KiB: at most 1024");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least),
        cmocka_unit_test(test_members_of_their_own),
        cmocka_unit_test(test_context_and_documents),
        cmocka_unit_test(test_content_of_parts),
        cmocka_unit_test(test_case_27_synthesis),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
