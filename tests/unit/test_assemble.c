/* Whole answers out of streams: which requests are taken for it, and that what comes is byte for byte llama-server's, however
 * the stream is cut into pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "controller/core/assemble.h"

#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define ASKED    ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

/* ---- requests ---- */

/* The bytes in memory that ends right behind them. */
static int ask(const char *body, char **ret)
{
    size_t n = strlen(body), n_sent = 0;
    char *copy = malloc(n ? n : 1);
    int r;

    assert_non_null(copy);
    memcpy(copy, body, n);
    r = assemble_request(copy, n, ret, &n_sent);
    if (!r)
        assert_int_equal(strlen(*ret), n_sent);
    free(copy);
    return r;
}

static void test_requests_that_are_taken(void **state)
{
    static const char *const cases[][2] = {
        {"{" MESSAGES "}", "{" MESSAGES ASKED},
        {" { " MESSAGES " } \n", " { " MESSAGES ASKED},
        {"{" MESSAGES ",\"stream\":false}", "{" MESSAGES ",\"stream\":false" ASKED},
        {"{" MESSAGES ",\"stream\": null ,\"stream_options\":null}",
         "{" MESSAGES ",\"stream\": null ,\"stream_options\":null" ASKED},
        {"{\"model\":\"m\",\"max_tokens\":30,\"n\":1,\"stop\":[],\"tools\":null,\"logprobs\":false," MESSAGES "}",
         "{\"model\":\"m\",\"max_tokens\":30,\"n\":1,\"stop\":[],\"tools\":null,\"logprobs\":false," MESSAGES ASKED},
        {"{\"response_format\":{\"type\":\"json_object\",\"x\":\"]}\\\"\"},\"messages\":[{\"role\":\"assistant\"},"
         "{\"content\":[{\"type\":\"text\"}],\"role\":\"system\"}]}",
         "{\"response_format\":{\"type\":\"json_object\",\"x\":\"]}\\\"\"},\"messages\":[{\"role\":\"assistant\"},"
         "{\"content\":[{\"type\":\"text\"}],\"role\":\"system\"}]" ASKED},
        {"{\"max_tokens\":8," MESSAGES "}", "{\"max_tokens\":8," MESSAGES ASKED},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}",
         "{\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]" ASKED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(cleanup_free) char *sent = NULL;

        if (ask(cases[i][0], &sent) != 0)
            fail_msg("%s", cases[i][0]);
        assert_string_equal(sent, cases[i][1]);
    }
}

static void test_requests_that_are_not(void **state)
{
    static const char *const cases[] = {
        "{}",
        "{\"model\":\"m\"}",
        "[]",
        "{" MESSAGES ",\"stream\":true}",
        "{" MESSAGES ",\"stream\":0}",
        "{" MESSAGES ",\"stream\":true,\"stream\":false}",
        "{" MESSAGES ",\"str\\u0065am\":false}",
        "{" MESSAGES ",\"stream_options\":{\"include_usage\":true}}",
        "{" MESSAGES ",\"stop\":[\"a\"]}",
        "{" MESSAGES ",\"stop\":\"a\"}",
        "{" MESSAGES ",\"n\":2}",
        "{" MESSAGES ",\"logprobs\":true}",
        "{" MESSAGES ",\"n_probs\":1}",
        "{" MESSAGES ",\"tools\":[{}]}",
        "{" MESSAGES ",\"tool_choice\":\"auto\"}",
        "{" MESSAGES ",\"functions\":[]}",
        "{" MESSAGES ",\"timings_per_token\":true}",
        "{" MESSAGES ",\"return_progress\":true}",
        "{" MESSAGES ",\"verbose\":true}",
        "{" MESSAGES ",\"reasoning_format\":\"none\"}",
        "{" MESSAGES ",\"echo\":false}",
        "{" MESSAGES ",\"prompt\":\"hi\"}",
        "{" MESSAGES ",\"max_tokens\":7}",
        "{" MESSAGES ",\"max_completion_tokens\":0}",
        "{" MESSAGES ",\"n_predict\":1}",
        "{" MESSAGES ",\"\":1}",
        "{\"messages\":[]}",
        "{\"messages\":{}}",
        "{\"messages\":null}",
        "{\"messages\":[\"hi\"]}",
        "{\"messages\":[{\"content\":\"hi\"}]}",
        "{\"messages\":[{\"role\":\"user\"},{\"role\":\"assistant\"}]}",
        "{\"messages\":[{\"role\":\"assistant\",\"role\":\"user\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"rol\\u0065\":\"assistant\"}]}",
        "{" MESSAGES ",\"messages\":[{\"role\":\"assistant\"}]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(cleanup_free) char *sent = NULL;

        if (ask(cases[i], &sent) != ASSEMBLE_E_OTHER)
            fail_msg("%s", cases[i]);
    }
}

static void test_a_long_request_is_not_copied(void **state)
{
    static const char head[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"", tail[] = "\"}]}";
    size_t n = ASSEMBLE_REQUEST_MAX + 1, n_sent;
    CLEANUP(cleanup_free) char *body = malloc(n);
    CLEANUP(cleanup_free) char *sent = NULL;

    (void)state;
    assert_non_null(body);
    memset(body, 'x', n);
    memcpy(body, head, sizeof(head) - 1);
    memcpy(body + n - sizeof(tail) + 1, tail, sizeof(tail) - 1);
    assert_int_equal(assemble_request(body, n, &sent, &n_sent), ASSEMBLE_E_OTHER);
    memcpy(body + n - sizeof(tail), tail, sizeof(tail) - 1);
    assert_int_equal(assemble_request(body, n - 1, &sent, &n_sent), 0);
}

/* ---- answers ---- */

#define REST \
    "\"created\":17,\"id\":\"chatcmpl-x\",\"model\":\"tiny\",\"system_fingerprint\":\"b1\",\"object\":\"chat.completion.chunk\""
#define CHUNK(reason, delta) \
    "data: {\"choices\":[{\"finish_reason\":" reason ",\"index\":0,\"delta\":{" delta "}}]," REST "}\n\n"
#define FIRST CHUNK("null", "\"role\":\"assistant\",\"content\":null")
#define USAGE "{\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":0}}"
#define TIMES "{\"prompt_ms\":0.5,\"x\":[1,2]}"
#define LAST  "data: {\"choices\":[]," REST ",\"usage\":" USAGE ",\"timings\":" TIMES "}\n\n"
#define DONE  "data: [DONE]\n\n"
#define WHOLE(reason, message)                                                                                            \
    "{\"choices\":[{\"finish_reason\":\"" reason "\",\"index\":0,\"message\":{\"role\":\"assistant\"," message            \
    "}}],\"created\":17,\"model\":\"tiny\",\"system_fingerprint\":\"b1\",\"object\":\"chat.completion\",\"usage\":" USAGE \
    ",\"id\":\"chatcmpl-x\",\"timings\":" TIMES "}"
#define ERROR "{\"error\":{\"code\":503,\"message\":\"a \\\"word\\\"\",\"type\":\"unavailable_error\"}}"

/* In pieces of that many bytes, each in memory of its own. What its end says; text: owned. */
static int put_together(struct assemble *a, const char *stream, size_t n_piece, int *status, char **text)
{
    size_t n = strlen(stream), n_text = 0;
    int r;

    for (size_t at = 0; at < n; at += n_piece) {
        size_t k = n - at < n_piece ? n - at : n_piece;
        char *piece = malloc(k);

        assert_non_null(piece);
        memcpy(piece, stream + at, k);
        (void)assemble_feed(a, piece, k);
        free(piece);
    }
    r = assemble_end(a, status, text, &n_text);
    if (!r) {
        *text = realloc(*text, n_text + 1);
        assert_non_null(*text);
        (*text)[n_text] = '\0';
    }
    return r;
}

struct sample {
    const char *stream;
    int r, status;
    const char *whole;
};

static void check(struct assemble *a, const struct sample *s, size_t n_piece)
{
    CLEANUP(cleanup_free) char *text = NULL;
    int status = 0, r = put_together(a, s->stream, n_piece, &status, &text);

    if (r != s->r || status != s->status || (!r && strcmp(text, s->whole) != 0))
        fail_msg("pieces of %zu: %s\ngave %d, %d, %s", n_piece, s->stream, r, status, text ? text : "nothing");
}

/* Whole, and split at every length, out of one assembler that forgets each time. */
static void check_all(const struct sample *samples, size_t n)
{
    struct assemble *a = NULL;

    assert_int_equal(assemble_new(&a), 0);
    for (size_t i = 0; i < n; i++)
        for (size_t n_piece = 1; n_piece <= strlen(samples[i].stream); n_piece++) {
            check(a, &samples[i], n_piece);
            assemble_reset(a);
        }
    assemble_destroy(&a);
}

static void test_whole_answers(void **state)
{
    static const struct sample samples[] = {
        {FIRST CHUNK("null", "\"content\":\" a\"") CHUNK("null", "\"content\":\"b\"") CHUNK("\"length\"", "") LAST DONE,
         0, 200, WHOLE("length", "\"content\":\" ab\"")},
        {FIRST CHUNK("\"stop\"", "") LAST DONE, 0, 200, WHOLE("stop", "\"content\":\"\"")},
        {":\n\n: waiting\n\n" FIRST
         ":\n\n" CHUNK("null", "\"content\":\"\\\"\\\\\\n\\u0001\\ud83d\\ude00/\xc3\xa9\xe2\x82\xac\"")
             CHUNK("\"stop\"", "") LAST DONE,
         0, 200, WHOLE("stop", "\"content\":\"\\\"\\\\\\n\\u0001\\ud83d\\ude00/\xc3\xa9\xe2\x82\xac\"")},
        {FIRST CHUNK("null", "\"reasoning_content\":\"r\\n\"") CHUNK("null", "\"reasoning_content\":\"s\"")
             CHUNK("null", "\"content\":\"c}],\"") CHUNK("\"stop\"", "") LAST DONE,
         0, 200, WHOLE("stop", "\"content\":\"c}],\",\"reasoning_content\":\"r\\ns\"")},
        {"data: { \"choices\" : [ { \"delta\" : { \"role\" : \"assistant\" , \"content\" : \"x\" , \"later\":[{}] } , "
         "\"index\" : 0 , \"finish_reason\" : \"stop\" } ] , \"later\" : {\"content\":\"no\"} }\n\n" LAST DONE,
         0, 200, WHOLE("stop", "\"content\":\"x\"")},
        {FIRST CHUNK("\"stop\"", "") LAST DONE CHUNK("null", "\"content\":\"late\""), 0, 200,
         WHOLE("stop", "\"content\":\"\"")},
    };

    (void)state;
    check_all(samples, sizeof(samples) / sizeof(samples[0]));
}

static void test_errors_in_midstream(void **state)
{
    static const struct sample samples[] = {
        {FIRST CHUNK("null", "\"content\":\"a\"") "data: " ERROR "\n\n", 0, 503, ERROR},
        {"data: " ERROR "\n\n" DONE, 0, 503, ERROR},
        {"data: {\"error\":{\"message\":\"x\"}}\n\n", 0, 500, "{\"error\":{\"message\":\"x\"}}"},
        {"data: {\"error\":{\"code\":200}}\n\n", 0, 500, "{\"error\":{\"code\":200}}"},
        {"data: {\"error\":{\"code\":123456789012}}\n\n", 0, 500, "{\"error\":{\"code\":123456789012}}"},
        {"data: {\"error\":\"x\"}\n\n" FIRST, 0, 500, "{\"error\":\"x\"}"},
    };

    (void)state;
    check_all(samples, sizeof(samples) / sizeof(samples[0]));
}

static void test_what_is_no_answer(void **state)
{
    static const struct sample samples[] = {
        {":", ASSEMBLE_E_CUT, 0, NULL},
        {FIRST CHUNK("null", "\"content\":\"a\""), ASSEMBLE_E_CUT, 0, NULL},
        {FIRST CHUNK("\"stop\"", "") LAST "data: [DONE]\n", ASSEMBLE_E_CUT, 0, NULL},
        {FIRST DONE, ASSEMBLE_E_CUT, 0, NULL},
        {FIRST CHUNK("null", "\"tool_calls\":[]") CHUNK("\"stop\"", "") LAST DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":[{\"index\":1,\"delta\":{}}]}\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST CHUNK("null", "\"content\":7") DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":{}}\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":[7]}\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":[{\"delta\":7}]}\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":[{\"delta\":{\"content\":\"a\\\"}}]}\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":[{\"delta\":{\"content\"}}]}\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: {\"choices\":[\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {FIRST "data: 7\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
        {"data:\n\n" DONE, ASSEMBLE_E_STRANGE, 0, NULL},
    };

    (void)state;
    check_all(samples, sizeof(samples) / sizeof(samples[0]));
}

static void test_too_long(void **state)
{
    const size_t n = 1024 * 1024;
    CLEANUP(cleanup_free) char *chunk = malloc(n + 256);
    struct assemble *a = NULL;
    char *text = NULL;
    int status, r = 0;
    size_t at, n_text;

    (void)state;
    assert_non_null(chunk);
    assert_int_equal(assemble_new(&a), 0);
    at = (size_t)snprintf(chunk, 256, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    memset(chunk + at, 'x', n);
    memcpy(chunk + at + n, "\"}}]}\n\n", 8);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(assemble_feed(a, chunk, at + n + 7), 0);
    r = assemble_feed(a, chunk, at + n + 7);
    assert_int_equal(r, ASSEMBLE_E_TOO_LARGE);
    assert_int_equal(assemble_end(a, &status, &text, &n_text), ASSEMBLE_E_TOO_LARGE);
    assemble_reset(a);
    assert_int_equal(assemble_feed(a, chunk, at + n + 7), 0);
    assemble_destroy(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_that_are_taken),
        cmocka_unit_test(test_requests_that_are_not),
        cmocka_unit_test(test_a_long_request_is_not_copied),
        cmocka_unit_test(test_whole_answers),
        cmocka_unit_test(test_errors_in_midstream),
        cmocka_unit_test(test_what_is_no_answer),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
