/* The server over real sockets: what is refused never lets a second request through, limits hold, streams end rightly. */
#include <event2/event.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/http.h"
#include "controller/http_json.h"
#include "tests/lib/http_lab.h"

struct lab {
    struct event_base *base;
    struct http_server *server;
    uint16_t port;
    int n_smuggled, n_full;
    struct http_exchange *stream;
    bool gone, drained;
};

static void handle_echo(void *ctx, struct http_exchange *x)
{
    size_t n;
    const char *body = http_body(x, &n);

    (void)ctx;
    http_reply(x, 200, "text/plain", body, n);
}

static void handle_smuggled(void *ctx, struct http_exchange *x)
{
    ((struct lab *)ctx)->n_smuggled++;
    http_reply(x, 200, "text/plain", "smuggled", 8);
}

static void handle_name(void *ctx, struct http_exchange *x)
{
    char q[16] = "";
    char text[64];

    (void)ctx;
    http_query(x, "q", q, sizeof(q));
    snprintf(text, sizeof(text), "<%s|%s>", http_arg(x), q);
    http_reply(x, 200, "text/plain", text, strlen(text));
}

static void on_gone(void *ctx)
{
    struct lab *lab = ctx;

    lab->gone = true;
    lab->stream = NULL;
}

static void on_drained(void *ctx)
{
    ((struct lab *)ctx)->drained = true;
}

static void handle_stream(void *ctx, struct http_exchange *x)
{
    struct lab *lab = ctx;

    http_begin(x, 200, "text/event-stream", -1);
    http_write(x, "first\n", 6);
    http_watch(x, on_gone, on_drained, lab);
    lab->stream = x;
}

static void handle_short(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    http_begin(x, 200, "text/plain", 10);
    http_write(x, "12345", 5);
    http_end(x); /* the source ended early */
}

static void handle_held(void *ctx, struct http_exchange *x)
{
    struct lab *lab = ctx;

    http_watch(x, on_gone, NULL, lab);
    lab->stream = x;
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static const struct http_route routes[] = {
    {"POST", "/echo", handle_echo, HTTP_FOR_ALL},        {"GET", "/echo", handle_echo, HTTP_FOR_ALL},
    {"GET", "/smuggled", handle_smuggled, HTTP_FOR_ALL}, {"GET", "/names/:name", handle_name, HTTP_FOR_ALL},
    {"GET", "/stream", handle_stream, HTTP_FOR_ALL},     {"GET", "/held", handle_held, HTTP_FOR_ALL},
    {"GET", "/short", handle_short, HTTP_FOR_ALL},       {.method = NULL},
};

static void lab_open(struct lab *lab, const struct http_limits *limits)
{
    const struct http_limits none = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};

    memset(lab, 0, sizeof(*lab));
    lab->base = event_base_new();
    assert_int_equal(http_server_new(lab->base, limits ? limits : &none, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, routes, lab), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
}

static void lab_shut(struct lab *lab)
{
    http_server_destroy(&lab->server);
    event_base_free(lab->base);
}

#define SMUGGLED "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_nothing_is_smuggled(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 38\r\n\r\n" SMUGGLED, 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED,
         400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" SMUGGLED,
         400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n" SMUGGLED, 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" SMUGGLED, 501},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" SMUGGLED, 400},
        {"POST /echo HTTP/1.1\r\nHost: x y\r\n\r\n" SMUGGLED, 400},
        {"POST /echo HTTP/1.1\r\n\r\n" SMUGGLED, 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 38\r\n\r\n" SMUGGLED, 400},
        {"POST /echo HTTP/1.1\nHost: x\n\n" SMUGGLED, 400},
        {"POST /echo HTTP/3.0\r\nHost: x\r\n\r\n" SMUGGLED, 505},
        {"\x16\x03\x01\x02\n" SMUGGLED, 400},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = lab_ask(lab.base, lab.port, cases[i].text), expected[32];

        snprintf(expected, sizeof(expected), "HTTP/1.1 %d ", cases[i].status);
        if (strncmp(text, expected, strlen(expected)) != 0 || !strstr(text, "\r\nConnection: close\r\n") ||
            !strstr(text, "\r\n\r\n{\"error\":{\"code\":"))
            fail_msg("case %zu: %s", i, text);
        assert_null(strstr(text, " 200 OK"));
        free(text);
    }
    assert_int_equal(lab.n_smuggled, 0);
    lab_shut(&lab);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, NULL);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
                 "\r\nGET /names/a%2Fb%20c?q=1%2B1+x HTTP/1.1\r\nHost: x\r\n\r\n" SMUGGLED
                 "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\ntwo\r\n0\r\n\r\n" SMUGGLED);
    lab_until_closed(&c);
    assert_non_null(strstr(c.got, "\r\n\r\noneHTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(c.got, "\r\n\r\n<a/b c|1+1 x>HTTP/1.1 200 OK\r\n"));
    assert_string_equal(c.got + strlen(c.got) - 7, "\r\n\r\ntwo");
    assert_int_equal(lab.n_smuggled, 1); /* the one that is a request of its own; nothing after a close */
    lab_close(&c);
    lab_shut(&lab);
}

static void test_a_request_in_single_bytes(void **state)
{
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, NULL);
    lab_connect(&c, lab.base, lab.port);
    for (const char *p = text; *p; p++) {
        lab_send_bytes(&c, p, 1);
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    }
    lab_until_closed(&c);
    assert_int_equal(strncmp(c.got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 42), 0);
    assert_string_equal(c.got + strlen(c.got) - 7, "\r\n\r\nabc");
    lab_close(&c);
    lab_shut(&lab);
}

static void test_routes(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"GET /nothing HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "},   {"DELETE /echo HTTP/1.0\r\n\r\n", "HTTP/1.1 405 "},
        {"GET //echo HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "},     {"GET /echo/ HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /names/ HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "},    {"GET /names/a/b HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /names/%zz HTTP/1.0\r\n\r\n", "HTTP/1.1 400 "}, {"OPTIONS * HTTP/1.0\r\n\r\n", "HTTP/1.1 404 "},
        {"HEAD /names/a HTTP/1.0\r\n\r\n", "HTTP/1.1 200 "},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = lab_ask(lab.base, lab.port, cases[i].text);

        if (strncmp(text, cases[i].expected, strlen(cases[i].expected)) != 0)
            fail_msg("case %zu: %s", i, text);
        if (strncmp(cases[i].text, "HEAD", 4) == 0) {
            assert_non_null(strstr(text, "\r\nContent-Length: 4\r\n"));
            assert_string_equal(text + strlen(text) - 4, "\r\n\r\n");
        }
        free(text);
    }
    lab_shut(&lab);
}

static void test_limits(void **state)
{
    static const struct http_limits limits = {.body_bytes = 10, .body_all_bytes = 15, .head_ms = 30, .body_ms = 30};
    struct lab_client held, c;
    struct lab lab;
    char *text, *huge;

    (void)state;
    lab_open(&lab, &limits);
    text = lab_ask(lab.base, lab.port, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 413 ", 13), 0);
    free(text);
    text =
        lab_ask(lab.base, lab.port,
                "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 413 ", 13), 0);
    free(text);
    text = lab_ask(lab.base, lab.port, "GET /echo HTTP/1.1\r\nHost:"); /* a head that never ends */
    assert_int_equal(strncmp(text, "HTTP/1.1 408 ", 13), 0);
    free(text);
    text = lab_ask(lab.base, lab.port, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
    assert_int_equal(strncmp(text, "HTTP/1.1 408 ", 13), 0);
    free(text);
    text = lab_ask(lab.base, lab.port, ""); /* nobody speaks: closed without a word */
    assert_string_equal(text, "");
    free(text);

    huge = calloc(1, 70000);
    strcpy(huge, "GET /echo HTTP/1.1\r\nHost: x\r\na: ");
    memset(huge + strlen(huge), 'a', 69000);
    text = lab_ask(lab.base, lab.port, huge);
    assert_int_equal(strncmp(text, "HTTP/1.1 431 ", 13), 0);
    free(text);
    free(huge);

    /* All bodies together: one holds 9 of 15 bytes, another 9 do not fit beside it. */
    lab_connect(&held, lab.base, lab.port);
    lab_send(&held, "GET /held HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789");
    while (!lab.stream)
        event_base_loop(lab.base, EVLOOP_ONCE);
    text = lab_ask(lab.base, lab.port, "POST /echo HTTP/1.0\r\nContent-Length: 9\r\n\r\n123456789");
    assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
    free(text);
    http_reply(lab.stream, 200, "text/plain", "done", 4);
    lab_until(&held, "done");
    lab_connect(&c, lab.base, lab.port); /* given back with the answer */
    lab_send(&c, "POST /echo HTTP/1.0\r\nContent-Length: 9\r\n\r\n123456789");
    lab_until_closed(&c);
    assert_int_equal(strncmp(c.got, "HTTP/1.1 200 ", 13), 0);
    lab_close(&c);
    lab_close(&held);
    lab_shut(&lab);
}

static void test_connections_are_bounded(void **state)
{
    static const struct http_limits limits = {.connections = 1};
    struct lab_client first;
    struct lab lab;
    char *text;

    (void)state;
    lab_open(&lab, &limits);
    lab_connect(&first, lab.base, lab.port);
    lab_send(&first, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&first, "first");
    text = lab_ask(lab.base, lab.port, "");
    assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
    free(text);
    lab_close(&first);
    lab_until_true(lab.base, &lab.gone);
    assert_int_equal(http_server_connections(lab.server), 0);
    lab_shut(&lab);
}

static void begin_stream(struct lab *lab, struct lab_client *c, const char *request)
{
    lab_open(lab, NULL);
    lab_connect(c, lab->base, lab->port);
    lab_send(c, request);
    lab_until(c, "first");
    assert_non_null(lab->stream);
}

static void test_stream_ends_whole(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *body;

    (void)state;
    begin_stream(&lab, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    http_write(lab.stream, "second\n", 7);
    http_end(lab.stream);
    lab_until(&c, "\r\n0\r\n\r\n");
    assert_false(c.closed); /* kept alive */
    assert_non_null(strstr(c.got, "\r\nTransfer-Encoding: chunked\r\n"));
    body = lab_body(&c);
    assert_string_equal(body, "first\nsecond\n");
    free(body);
    lab_send(&c, "GET /names/x HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&c, "<x|>");
    lab_close(&c);
    lab_shut(&lab);
}

static void test_http_1_0_gets_no_chunks(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_stream(&lab, &c, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    http_end(lab.stream);
    lab_until_closed(&c);
    assert_null(strstr(c.got, "chunked"));
    assert_string_equal(c.got + strlen(c.got) - 10, "\r\n\r\nfirst\n");
    lab_close(&c);
    lab_shut(&lab);
}

static void test_abort_lacks_the_end(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_stream(&lab, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    http_abort(lab.stream);
    lab_until_closed(&c);
    assert_null(strstr(c.got, "\r\n0\r\n\r\n"));
    assert_non_null(strstr(c.got, "first\n")); /* what was there still came */
    lab_close(&c);
    lab_shut(&lab);
}

static void test_short_of_its_length(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, NULL);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /short HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until_closed(&c); /* kept open, the client would take the next answer for the rest of this one */
    assert_non_null(strstr(c.got, "\r\nContent-Length: 10\r\n"));
    assert_string_equal(c.got + strlen(c.got) - 9, "\r\n\r\n12345");
    lab_close(&c);
    lab_shut(&lab);
}

static void test_client_leaves(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_stream(&lab, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" SMUGGLED); /* pipelined bytes wait meanwhile */
    lab_close(&c);
    lab_until_true(lab.base, &lab.gone);
    assert_int_equal(lab.n_smuggled, 0);
    lab_shut(&lab);

    /* before anything was answered, too */
    lab_open(&lab, NULL);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!lab.stream)
        event_base_loop(lab.base, EVLOOP_ONCE);
    lab_close(&c);
    lab_until_true(lab.base, &lab.gone);
    lab_shut(&lab);
}

static void test_server_goes_first(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_stream(&lab, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    http_server_destroy(&lab.server);
    assert_true(lab.gone);
    lab_close(&c);
    event_base_free(lab.base);
}

static void test_back_pressure(void **state)
{
    static char block[64 * 1024];
    struct lab_client c;
    struct lab lab;

    (void)state;
    memset(block, 'x', sizeof(block));
    begin_stream(&lab, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_stop_reading(&c);
    while (http_write(lab.stream, block, sizeof(block)) != HTTP_FULL)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    assert_false(lab.drained);
    lab_start_reading(&c);
    lab_until_true(lab.base, &lab.drained);
    assert_false(lab.gone);

    lab_stop_reading(&c);
    for (size_t n = 0; n < 3 * (size_t)HTTP_OUTPUT_MAX && lab.stream; n += sizeof(block))
        http_write(lab.stream, block, sizeof(block)); /* a source that does not listen */
    lab_until_true(lab.base, &lab.gone);
    lab_close(&c);
    lab_shut(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_smuggled),
        cmocka_unit_test(test_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_a_request_in_single_bytes),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_connections_are_bounded),
        cmocka_unit_test(test_stream_ends_whole),
        cmocka_unit_test(test_http_1_0_gets_no_chunks),
        cmocka_unit_test(test_abort_lacks_the_end),
        cmocka_unit_test(test_short_of_its_length),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_server_goes_first),
        cmocka_unit_test(test_back_pressure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
