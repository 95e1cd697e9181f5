/* Requests that two parsers could read in two ways are refused; the rest is read right, however it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/http_strict.h"

#define LINE "POST /v1/completions?a=b HTTP/1.1\r\n"
#define HOST "Host: x\r\n"
#define END  "\r\n"

static int parse(const char *text, struct http_head **ret)
{
    size_t scanned = 0, len = 0;
    int r = http_head_find(text, strlen(text), &scanned, &len);

    return r ? r : http_head_parse(text, len, ret);
}

static void test_refuses(void **state)
{
    static const struct {
        const char *text;
        int outcome;
    } cases[] = {
        {LINE HOST "Content-Length: 1\r\nContent-Length: 1\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: 1\r\nContent-length: 2\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: 1, 1\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: +1\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: -1\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: 0x10\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length:\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: 99999999999999999999\r\n" END, HTTP_E_LENGTH},
        {LINE HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" END, HTTP_E_FRAMING},
        {LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n" END, HTTP_E_FRAMING},
        {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n" END, HTTP_E_FRAMING},
        {LINE HOST "Transfer-Encoding: gzip\r\n" END, HTTP_E_CODING},
        {LINE HOST "Transfer-Encoding: gzip, chunked\r\n" END, HTTP_E_CODING},
        {LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END, HTTP_E_CODING},
        {LINE HOST "Transfer-Encoding: xchunked\r\n" END, HTTP_E_CODING},
        {LINE HOST "Transfer-Encoding: \x0b"
                   "chunked\r\n" END,
         HTTP_E_MALFORMED},
        {LINE HOST HOST END, HTTP_E_HOST},
        {LINE END, HTTP_E_HOST},
        {LINE "Host: a b\r\n" END, HTTP_E_HOST},
        {LINE "Host: a/b\r\n" END, HTTP_E_HOST},
        {LINE "Host:\r\n" END, HTTP_E_HOST},
        {LINE HOST "Content-Length : 1\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST " folded: 1\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST "a: b\r\n\tfolded\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST "no colon\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST ": empty\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST "a: b\rc: d\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST "a: b\x01\r\n" END, HTTP_E_MALFORMED},
        {"POST / HTTP/1.1\nHost: x\r\n\r\n", HTTP_E_MALFORMED},
        {LINE HOST "a: b\nc: d\r\n" END, HTTP_E_MALFORMED},
        {LINE HOST "\n", HTTP_E_MALFORMED},
        {"GET  / HTTP/1.1\r\n" HOST END, HTTP_E_MALFORMED},
        {"GET / HTTP/1.1 \r\n" HOST END, HTTP_E_VERSION},
        {"GET /\r\n" HOST END, HTTP_E_MALFORMED},
        {"G(T / HTTP/1.1\r\n" HOST END, HTTP_E_MALFORMED},
        {"GET / HTTP/2.0\r\n" HOST END, HTTP_E_VERSION},
        {"GET / HTTP/1.11\r\n" HOST END, HTTP_E_VERSION},
        {"GET / FTP/1.1\r\n" HOST END, HTTP_E_MALFORMED},
        {"GET http://x/ HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET x HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /\x80 HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {LINE HOST "Expect: the worst\r\n" END, HTTP_E_EXPECT},
        {"GET //x/ HTTP/1.0\r\nHost: x\r\nHost: x\r\n" END, HTTP_E_HOST},
        {"CONNECT x:80 HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET https://x/v1/models HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /.. HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /. HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/../api HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/./api HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/%2e%2E/api HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/.%2e HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/%2e%2e%2fapi HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/a%2f..%2fapi HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/..\\api HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/..%5capi HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/a%00 HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/a%0d%0ab HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/a%7f HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/%zz HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/%2 HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
        {"GET /v1/% HTTP/1.1\r\n" HOST END, HTTP_E_TARGET},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_head *h = NULL;
        int r = parse(cases[i].text, &h);

        if (r != cases[i].outcome)
            fail_msg("case %zu: outcome %d, not %d: %s", i, r, cases[i].outcome, cases[i].text);
        assert_null(h);
        assert_true(http_outcome_status(r) >= 400);
    }
}

static void test_reads(void **state)
{
    struct http_head *h = NULL;

    (void)state;
    assert_int_equal(parse(LINE HOST "content-LENGTH: \t42 \r\nX-Empty:\r\nExpect: 100-Continue\r\n" END, &h), 0);
    assert_string_equal(h->method, "POST");
    assert_string_equal(h->path, "/v1/completions");
    assert_string_equal(h->query, "a=b");
    assert_string_equal(h->host, "x");
    assert_int_equal(h->length, 42);
    assert_true(h->keep_alive && h->expect_continue && !h->chunked && !h->http_1_0);
    assert_string_equal(http_head_field(h, "x-empty"), "");
    assert_null(http_head_field(h, "X"));
    free(h);
}

/* What looks like the above and is not. */
static void test_plain_paths(void **state)
{
    static const char *const paths[] = {"/",      "/a/",    "//",          "/...",    "/..a/b..",
                                        "/a%20b", "/a%2Fb", "/%252e%252e", "/%C3%A4", "/v1?a=../.."};
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct http_head *h = NULL;

        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST END, paths[i]);
        if (parse(text, &h))
            fail_msg("%s is refused", paths[i]);
        free(h);
    }
}

static void test_a_nul_is_refused(void **state)
{
    static const char text[] = "GET /\0 HTTP/1.1\r\n" HOST "A: \0b\r\n" END;
    struct http_head *h = NULL;

    (void)state;
    assert_int_equal(http_head_parse(text, sizeof(text) - 1, &h), HTTP_E_MALFORMED);
}

static void test_reads_connection(void **state)
{
    static const struct {
        const char *text;
        bool keep;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST END, true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: foo , Close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: foo\r\nConnection: close\r\n" END, false},
        {"GET / HTTP/1.0\r\n" END, false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n" END, true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n" END, false},
        {"GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n" END, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_head *h = NULL;

        assert_int_equal(parse(cases[i].text, &h), 0);
        assert_int_equal(h->keep_alive, cases[i].keep);
        free(h);
    }
}

static void test_head_in_pieces(void **state)
{
    static const char text[] = LINE HOST "a: b\r\n" END "body";
    size_t whole = strlen(text) - 4, scanned = 0, len = 0;

    (void)state;
    for (size_t n = 0; n < whole; n++)
        assert_int_equal(http_head_find(text, n, &scanned, &len), HTTP_E_MORE);
    assert_int_equal(http_head_find(text, whole + 4, &scanned, &len), 0);
    assert_int_equal(len, whole);
}

static void test_head_is_bounded(void **state)
{
    char *big = malloc(HTTP_REQUEST_HEAD_MAX + 100), *p = big;
    struct http_head *h = NULL;
    size_t scanned = 0, len = 0;

    (void)state;
    memset(big, 'a', HTTP_REQUEST_HEAD_MAX + 100);
    assert_int_equal(http_head_find(big, HTTP_REQUEST_HEAD_MAX - 1, &scanned, &len), HTTP_E_MORE);
    assert_int_equal(http_head_find(big, HTTP_REQUEST_HEAD_MAX, &scanned, &len), HTTP_E_TOO_LARGE);
    p += sprintf(p, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < HTTP_HEADERS_MAX; i++)
        p += sprintf(p, "a: b\r\n");
    sprintf(p, "\r\n");
    assert_int_equal(parse(big, &h), HTTP_E_TOO_LARGE);
    free(big);
}

/* Feeds text in pieces of `step` bytes; returns the outcome and collects the body. */
static int dechunk(const char *text, size_t step, char *body, size_t *ret_used)
{
    struct http_chunks c = {.state = 0};
    size_t n_text = strlen(text), n_body = 0;
    int r = HTTP_E_MORE;

    *ret_used = 0;
    while (*ret_used < n_text) {
        size_t n = n_text - *ret_used < step ? n_text - *ret_used : step, used, n_data;
        const char *data = NULL;

        r = http_chunks_read(&c, text + *ret_used, n, &used, &data, &n_data);
        memcpy(body + n_body, data ? data : "", n_data);
        n_body += n_data;
        *ret_used += used;
        if (r == HTTP_E_END || (r && r != HTTP_E_MORE))
            break;
    }
    body[n_body] = '\0';
    return r;
}

static void test_chunks(void **state)
{
    static const struct {
        const char *text, *body;
        int outcome;
    } cases[] = {
        {"3\r\nabc\r\n0\r\n\r\n", "abc", HTTP_E_END},
        {"003\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n", "abc0123456789", HTTP_E_END},
        {"0\r\n\r\nGET /smuggled", "", HTTP_E_END},
        {"3\r\nabc\r\n", "abc", HTTP_E_MORE},
        {"0x2\r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {" 2\r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {"+2\r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {"2 \r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {"-1\r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {"\r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {";x\r\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {"2\nab\r\n0\r\n\r\n", "", HTTP_E_CHUNK},
        {"2\r\nabc\r\n0\r\n\r\n", "ab", HTTP_E_CHUNK},
        {"2\r\nab\n0\r\n\r\n", "ab", HTTP_E_CHUNK},
        {"fffffffffffffffff\r\nab", "", HTTP_E_CHUNK},
        {"2;\nx\r\nab\r\n", "", HTTP_E_CHUNK},
        {"0\r\nTrailer: t\n\r\n", "", HTTP_E_CHUNK},
    };
    char body[256];
    size_t used;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t step = 1; step < 40; step += 3) {
            int r = dechunk(cases[i].text, step, body, &used);

            if (r == 0)
                r = HTTP_E_MORE;
            if (r != cases[i].outcome || strcmp(body, cases[i].body) != 0)
                fail_msg("case %zu, step %zu: outcome %d, body \"%s\"", i, step, r, body);
        }
    assert_int_equal(dechunk("0\r\n\r\nGET /smuggled", 40, body, &used), HTTP_E_END);
    assert_int_equal(used, 5); /* what follows the body is not touched */
}

static void test_percent(void **state)
{
    char buf[8];

    (void)state;
    assert_true(http_percent_decode("a%2Fb+c", 7, false, buf, sizeof(buf)));
    assert_string_equal(buf, "a/b+c");
    assert_true(http_percent_decode("a%2fb+c", 7, true, buf, sizeof(buf)));
    assert_string_equal(buf, "a/b c");
    assert_false(http_percent_decode("%", 1, true, buf, sizeof(buf)));
    assert_false(http_percent_decode("%2", 2, true, buf, sizeof(buf)));
    assert_false(http_percent_decode("%2x", 3, true, buf, sizeof(buf)));
    assert_false(http_percent_decode("a%00b", 5, true, buf, sizeof(buf)));
    assert_false(http_percent_decode("12345678", 8, true, buf, sizeof(buf)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),          cmocka_unit_test(test_reads),
        cmocka_unit_test(test_plain_paths),      cmocka_unit_test(test_a_nul_is_refused),
        cmocka_unit_test(test_reads_connection), cmocka_unit_test(test_head_in_pieces),
        cmocka_unit_test(test_head_is_bounded),  cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_percent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
