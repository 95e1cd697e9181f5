/* Whom a request is for, read out of its body as a parser would. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/body_peek.h"

/* The bytes in memory that ends right behind them. */
static int peek(const char *text, size_t n, struct body_peek *ret)
{
    char *copy = malloc(n ? n : 1);
    size_t at;
    int r;

    assert_non_null(copy);
    memcpy(copy, text, n);
    r = body_peek(copy, n, ret, &at);
    assert_in_range(at, 0, n);
    free(copy);
    return r;
}

static void test_what_is_found(void **state)
{
    static const struct {
        const char *body, *model; /* NULL: not said */
    } cases[] = {
        {"{\"model\":\"m\"}", "m"},
        {" \t\r\n{ \"model\" : \"m\" } \n", "m"},
        {"{}", NULL},
        {"{\"model\":null}", NULL},
        {"{\"n\":1,\"model\":\"m\",\"stream\":true}", "m"},
        {"{\"a\":{\"model\":\"inner\"},\"b\":[{\"model\":\"inner\"}]}", NULL},
        {"{\"a\":[[],{},[{}],\"]\",\"}\"],\"model\":\"m\"}", "m"},
        {"{\"model\":\"a\",\"model\":\"b\"}", "b"},
        {"{\"model\":\"a\",\"model\":null}", NULL},
        {"{\"model\":7,\"model\":\"b\"}", "b"},
        {"{\"mode\":\"a\",\"model \":\"b\",\"models\":\"c\",\"Model\":\"d\"}", NULL},
        {"{\"\\u006dod\\u0065l\":\"m\"}", "m"},
        {"{\"model\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t"},
        {"{\"model\":\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"}", "A\u00e9\u20ac\U0001f600"},
        {"{\"model\":\"\u00e9\u20ac\U0001f600\"}", "\u00e9\u20ac\U0001f600"},
        {"{\"x\":[0,-0,12,-1.5,1e9,1E+9,2.5e-3,1e999,123456789012345678901234567890,true,false,null]}", NULL},
        {"{\"x\":\"\\u0000\"}", NULL},
    };
    struct body_peek p;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = peek(cases[i].body, strlen(cases[i].body), &p);

        if (r || p.has_model != !!cases[i].model || p.cut || (p.has_model && strcmp(p.model, cases[i].model) != 0))
            fail_msg("%s: %d, \"%s\"", cases[i].body, r, p.model);
    }
}

static void test_how_it_is_to_be_answered(void **state)
{
    static const struct {
        const char *body;
        bool stream;
        uint64_t timeout_ms;
    } cases[] = {
        {"{}", false, 0},
        {"{\"stream\":true}", true, 0},
        {"{\"stream\":false}", false, 0},
        {"{\"stream\":1}", false, 0},
        {"{\"stream\":\"true\"}", false, 0},
        {"{\"stream\":null}", false, 0},
        {"{\"stream\":[true]}", false, 0},
        {"{\"stream\":{\"stream\":true}}", false, 0},
        {"{\"a\":{\"stream\":true,\"timeout\":3}}", false, 0},
        {"{\"stream\":true,\"stream\":false}", false, 0},
        {"{\"stream\":true,\"stream\":[]}", false, 0},
        {"{\"stream\":true,\"x\":false}", true, 0},
        {"{\"str\\u0065am\" : true ,\"timeout\":30}", true, 30000},
        {"{\"timeout\":30,\"model\":\"m\",\"stream\":true}", true, 30000},
        {"{\"timeout\":0.25}", false, 250},
        {"{\"timeout\":6e2}", false, 600000},
        {"{\"timeout\":0}", false, 0},
        {"{\"timeout\":-1}", false, 0},
        {"{\"timeout\":null}", false, 0},
        {"{\"timeout\":\"30\"}", false, 0},
        {"{\"timeout\":{\"read\":30}}", false, 0},
        {"{\"timeout\":30,\"timeout\":\"x\"}", false, 0},
        {"{\"timeout\":1e999}", false, UINT64_C(1000000000000)},
        {"{\"timeout\":1000000000000000000000000000000000000000000000000000000000000000000}", false, 0},
    };
    struct body_peek p;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = peek(cases[i].body, strlen(cases[i].body), &p);

        if (r || p.stream != cases[i].stream || p.timeout_ms != cases[i].timeout_ms)
            fail_msg("%s: %d, %d, %" PRIu64, cases[i].body, r, p.stream, p.timeout_ms);
    }
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *body;
        int r;
    } cases[] = {
        {"", BODY_PEEK_E_NOT_JSON},
        {" ", BODY_PEEK_E_NOT_JSON},
        {"x", BODY_PEEK_E_NOT_JSON},
        {"{\"model\":\"m\"} x", BODY_PEEK_E_NOT_JSON},
        {"{\"model\":\"m\"}{}", BODY_PEEK_E_NOT_JSON},
        {"{\"model\" \"m\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"model\":}", BODY_PEEK_E_NOT_JSON},
        {"{model:\"m\"}", BODY_PEEK_E_NOT_JSON},
        {"{'model':\"m\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":1,}", BODY_PEEK_E_NOT_JSON},
        {"{,}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":[1,]}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":[1}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":[}]", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":01}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":+1}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":.5}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":1.}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":1e}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":-}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":NaN}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":nul}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\n\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\\x\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\\u12g4\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\\ud800\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\\ud800\\u0041\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\\udc00\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\xc0\x80\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\xed\xa0\x80\"}", BODY_PEEK_E_NOT_JSON},
        {"{\"a\":\"\xff\"}", BODY_PEEK_E_NOT_JSON},
        {"[]", BODY_PEEK_E_NOT_OBJECT},
        {"\"model\"", BODY_PEEK_E_NOT_OBJECT},
        {"7", BODY_PEEK_E_NOT_OBJECT},
        {"[{\"model\":\"m\"}]", BODY_PEEK_E_NOT_OBJECT},
        {"{\"model\":7}", BODY_PEEK_E_NOT_TEXT},
        {"{\"model\":true}", BODY_PEEK_E_NOT_TEXT},
        {"{\"model\":[\"m\"]}", BODY_PEEK_E_NOT_TEXT},
        {"{\"model\":{\"model\":\"m\"}}", BODY_PEEK_E_NOT_TEXT},
        {"{\"model\":\"m\",\"model\":7}", BODY_PEEK_E_NOT_TEXT},
        {"{\"model\":\"m\\u0000n\"}", BODY_PEEK_E_NOT_TEXT},
    };
    struct body_peek p;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = peek(cases[i].body, strlen(cases[i].body), &p);

        if (r != cases[i].r)
            fail_msg("%s: %d, expected %d", cases[i].body, r, cases[i].r);
    }
}

static void test_cut_anywhere_it_is_no_json(void **state)
{
    static const char body[] =
        "{\"model\":\"m\\n\u00e9\\u00e9\\ud83d\\ude00\",\"x\":[1.5e+3,{\"y\":null}],\"z\":false}";
    struct body_peek p;

    (void)state;
    for (size_t n = 0; n < sizeof(body) - 1; n++)
        assert_int_equal(peek(body, n, &p), BODY_PEEK_E_NOT_JSON);
    assert_int_equal(peek(body, sizeof(body) - 1, &p), 0);
    assert_int_equal(peek(body, sizeof(body), &p), BODY_PEEK_E_NOT_JSON); /* nor with the NUL behind it */
    assert_int_equal(peek("{\"x\":1\0}", 8, &p), BODY_PEEK_E_NOT_JSON);
}

static void test_a_name_longer_than_any(void **state)
{
    char body[PROTO_MODEL_MAX + 64] = "{\"model\":\"";
    size_t n = strlen(body);
    struct body_peek p;

    (void)state;
    memset(body + n, 'x', PROTO_MODEL_MAX - 1);
    strcpy(body + n + PROTO_MODEL_MAX - 1, "\"}");
    assert_int_equal(peek(body, strlen(body), &p), 0);
    assert_true(p.has_model && !p.cut);
    assert_int_equal(strlen(p.model), PROTO_MODEL_MAX - 1);
    strcpy(body + n + PROTO_MODEL_MAX - 1, "x\"}");
    assert_int_equal(peek(body, strlen(body), &p), 0);
    assert_true(p.has_model && p.cut);
    strcpy(body + n + PROTO_MODEL_MAX - 1, "x\",\"model\":null}");
    assert_int_equal(peek(body, strlen(body), &p), 0);
    assert_true(!p.has_model && !p.cut);
}

static void test_depth_is_bounded(void **state)
{
    enum { N = 100000 };
    char *body = malloc(2 * N);
    struct body_peek p;

    (void)state;
    assert_non_null(body);
    memset(body, '[', N);
    assert_int_equal(peek(body, N, &p), BODY_PEEK_E_NOT_JSON);
    memset(body + BODY_PEEK_DEPTH_MAX, ']', BODY_PEEK_DEPTH_MAX);
    assert_int_equal(peek(body, 2 * BODY_PEEK_DEPTH_MAX, &p), BODY_PEEK_E_NOT_OBJECT);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_found),          cmocka_unit_test(test_how_it_is_to_be_answered),
        cmocka_unit_test(test_what_is_refused),        cmocka_unit_test(test_cut_anywhere_it_is_no_json),
        cmocka_unit_test(test_a_name_longer_than_any), cmocka_unit_test(test_depth_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
