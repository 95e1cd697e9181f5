/* The server over real sockets: what is refused never lets a second request through, limits hold, streams end rightly. */
#include <event2/event.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/http.h"
#include "controller/http_json.h"
#include "tests/lib/http_lab.h"

struct lab {
    struct event_base *base;
    struct http_server *server;
    uint16_t port;
    int n_smuggled, n_large;
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

static void handle_large(void *ctx, struct http_exchange *x)
{
    static char block[64 * 1024];

    ((struct lab *)ctx)->n_large++;
    http_reply(x, 200, "text/plain", block, sizeof(block));
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static const struct http_route routes[] = {
    {"POST", "/echo", handle_echo, HTTP_FOR_ADMIN},
    {"GET", "/echo", handle_echo, HTTP_FOR_ADMIN},
    {"GET", "/smuggled", handle_smuggled, HTTP_FOR_ALL},
    {"GET", "/names/:name", handle_name, HTTP_FOR_ALL},
    {"GET", "/stream", handle_stream, HTTP_FOR_ALL},
    {"GET", "/held", handle_held, HTTP_FOR_ADMIN},
    {"GET", "/short", handle_short, HTTP_FOR_ALL},
    {"GET", "/large", handle_large, HTTP_FOR_ALL},
    {.method = NULL},
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

/* ---- strangers ---- */

static bool nobody(void *ctx, struct http_exchange *x, struct http_head *head, const struct http_route *route)
{
    (void)ctx;
    (void)head;
    if (route && route->access == HTTP_FOR_ALL)
        return false;
    http_close_after(x);
    http_reply_error(x, 401, "no_key", "no");
    return true;
}

static void lab_open_for_nobody(struct lab *lab, const struct http_limits *limits)
{
    const struct http_errors errors = {.refuse = refuse, .before = nobody};

    lab_open(lab, NULL);
    http_server_destroy(&lab->server);
    assert_int_equal(http_server_new(lab->base, limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, routes, lab), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
}

/* Who may not ask is told so before a byte of the body, is not asked for it, and nothing that follows is read. */
static void test_no_body_of_a_stranger_is_read(void **state)
{
    static const char *const requests[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\nExpect: 100-continue\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 38\r\n\r\n" SMUGGLED,
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" SMUGGLED,
        "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n",
    };
    static const struct http_limits limits = {.body_ms = 600000};
    struct lab lab;

    (void)state;
    lab_open_for_nobody(&lab, &limits);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        char *text = lab_ask(lab.base, lab.port, requests[i]);

        assert_int_equal(strncmp(text, "HTTP/1.1 401 ", 13), 0);
        assert_null(strstr(text + 9, "HTTP/1.1"));
        assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
        free(text);
    }
    assert_int_equal(lab.n_smuggled, 0);
    lab_shut(&lab);
}

static void test_what_nobody_takes_is_refused_before_its_body(void **state)
{
    static const char *const requests[] = {
        "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n",
        "DELETE /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", /* for all: it has no body */
    };
    static const int status[] = {404, 405, 413};
    struct lab lab;

    (void)state;
    lab_open(&lab, NULL);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        char *text = lab_ask(lab.base, lab.port, requests[i]);

        if (atoi(text + 9) != status[i])
            fail_msg("case %zu: %s", i, text);
        free(text);
    }
    assert_int_equal(lab.n_smuggled, 0);
    lab_shut(&lab);
}

/* All places are taken by those who say nothing: the oldest of them makes room, and whoever was let in stays. */
static void test_silence_makes_room(void **state)
{
    static const struct http_limits limits = {.connections = 3, .head_ms = 600000, .idle_ms = 600000};
    struct lab_client known, silent[2], slow, next;
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    lab_connect(&known, lab.base, lab.port);
    lab_send(&known, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&known, "\r\n\r\n");
    for (size_t i = 0; i < 2; i++) {
        lab_connect(&silent[i], lab.base, lab.port);
        while (http_server_connections(lab.server) < 2 + i)
            event_base_loop(lab.base, EVLOOP_ONCE);
    }
    lab_connect(&slow, lab.base, lab.port);
    lab_send(&slow, "GET /names/a HT");
    lab_until_closed(&silent[0]);
    lab_connect(&next, lab.base, lab.port);
    lab_send(&next, "GET /names/b HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&next, "<b|>");
    lab_until_closed(&silent[1]);
    lab_send(&slow, "TP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&slow, "<a|>");
    assert_int_equal(http_server_connections(lab.server), 3);
    lab_send(&known, "GET /names/c HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&known, "<c|>");
    lab_close(&known);
    lab_close(&silent[0]);
    lab_close(&silent[1]);
    lab_close(&slow);
    lab_close(&next);
    lab_shut(&lab);
}

static int connect_raw(uint16_t port, const char *text)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    return fd;
}

static bool has_answer(int fd)
{
    char text[16] = "";

    return recv(fd, text, 15, MSG_DONTWAIT | MSG_PEEK) > 0 && strncmp(text, "HTTP/1.1 200 ", 13) == 0;
}

/* Many are accepted in one turn, before any of them is read: who has spoken already is heard. */
static void test_who_has_spoken_is_heard(void **state)
{
    static const struct http_limits limits = {.connections = 2, .head_ms = 600000};
    struct lab lab;
    int fd[4];

    (void)state;
    lab_open(&lab, &limits);
    fd[0] = connect_raw(lab.port, "GET /names/a HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 1; i < 4; i++)
        fd[i] = connect_raw(lab.port, "");
    for (int i = 0; i < 1000 && !has_answer(fd[0]); i++)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    assert_true(has_answer(fd[0]));
    assert_int_equal(http_server_connections(lab.server), 2);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
    lab_shut(&lab);
}

/* One address cannot take what is left for the others, and its own silent ones make room for its others. */
static void test_an_address_has_its_share(void **state)
{
    static const struct http_limits limits = {.connections = 10, .per_address = 2, .head_ms = 600000};
    struct lab_client silent, streams[2];
    struct lab lab;
    char *text;

    (void)state;
    lab_open(&lab, &limits);
    lab_connect(&silent, lab.base, lab.port);
    while (http_server_connections(lab.server) < 1)
        event_base_loop(lab.base, EVLOOP_ONCE);
    for (size_t i = 0; i < 2; i++) {
        lab_connect(&streams[i], lab.base, lab.port);
        lab_send(&streams[i], "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        lab_until(&streams[i], "first");
    }
    lab_until_closed(&silent);
    text = lab_ask(lab.base, lab.port, "");
    assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
    free(text);
    assert_int_equal(http_server_connections(lab.server), 2);
    lab_close(&silent);
    lab_close(&streams[0]);
    lab_close(&streams[1]);
    lab_shut(&lab);
}

/* Who asks on and on and takes no answer: what is held for him does not grow, and his place is had by who comes next. */
static void test_answers_that_nobody_takes_do_not_pile_up(void **state)
{
    static const struct http_limits limits = {.connections = 1};
    enum { ASKED = 400 };
    struct lab_client greedy, next;
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    lab_connect(&greedy, lab.base, lab.port);
    lab_stop_reading(&greedy);
    for (int i = 0; i < ASKED; i++)
        lab_send(&greedy, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 2000; i++)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    assert_int_equal(http_server_connections(lab.server), 1);
    assert_in_range(lab.n_large, 1, ASKED / 2); /* the kernel's buffers take some */

    lab_connect(&next, lab.base, lab.port);
    lab_send(&next, "GET /names/b HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&next, "<b|>");
    lab_close(&greedy);
    lab_close(&next);
    lab_shut(&lab);
}

static void send_a_byte(evutil_socket_t fd, short what, void *ctx)
{
    struct lab_client *c = ctx;

    (void)fd;
    (void)what;
    if (!c->closed)
        lab_send(c, "a");
}

/* A byte now and then keeps no head alive, nor a body. */
static void test_a_trickle_does_not_live(void **state)
{
    static const char *const begins[] = {"GET /echo HTTP/1.1\r\nA: ",
                                         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n"};
    static const struct http_limits limits = {.head_ms = 200, .body_ms = 200};
    const struct timeval often = {.tv_usec = 5000};
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    for (size_t i = 0; i < 2; i++) {
        struct lab_client c;
        struct event *trickle = event_new(lab.base, -1, EV_PERSIST, send_a_byte, &c);

        lab_connect(&c, lab.base, lab.port);
        lab_send(&c, begins[i]);
        event_add(trickle, &often);
        lab_until(&c, "HTTP/1.1 408 ");
        event_free(trickle);
        lab_until_closed(&c);
        lab_close(&c);
    }
    while (http_server_connections(lab.server))
        event_base_loop(lab.base, EVLOOP_ONCE);
    lab_shut(&lab);
}

/* A client that takes nothing is let go; one that is idle as well. */
static void test_who_takes_nothing_is_let_go(void **state)
{
    static const struct http_limits limits = {.write_ms = 50, .idle_ms = 50};
    static char block[64 * 1024];
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&c, "first");
    lab_stop_reading(&c);
    while (http_write(lab.stream, block, sizeof(block)) != HTTP_FULL)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    lab_until_true(lab.base, &lab.gone);
    lab_close(&c);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /names/x HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until_closed(&c);
    assert_non_null(strstr(c.got, "<x|>"));
    lab_close(&c);
    lab_shut(&lab);
}

static size_t largest = SIZE_MAX;

static void *malloc_small(size_t n)
{
    return n > largest ? NULL : malloc(n);
}

/* Whether it came counted or in chunks: a body for which there is no room in one piece reaches no handler. */
static void test_no_memory_for_a_body(void **state)
{
    static const char *const framing[] = {"Content-Length: 200000\r\n\r\n",
                                          "Transfer-Encoding: chunked\r\n\r\n30d40\r\n"};
    static char body[200000];

    (void)state;
    memset(body, 'b', sizeof(body));
    for (size_t i = 0; i < 2; i++) {
        struct lab_client c;
        struct lab lab;

        lab_open(&lab, NULL);
        lab_connect(&c, lab.base, lab.port);
        lab_send(&c, "POST /echo HTTP/1.1\r\nHost: x\r\n");
        lab_send(&c, framing[i]);
        lab_send_bytes(&c, body, sizeof(body));
        lab_send(&c, "\r\n0\r\n\r\n");
        largest = 100000;
        lab_until_closed(&c);
        largest = SIZE_MAX;
        assert_int_equal(strncmp(c.got, "HTTP/1.1 503 ", 13), 0);
        lab_close(&c);
        lab_shut(&lab);
    }
}

/* Far more ahead than anybody needs: it is not held, and the connection ends with the answer. */
static void test_what_is_sent_ahead_is_bounded(void **state)
{
    static char ahead[1024 * 1024];
    struct lab_client c;
    struct lab lab;

    (void)state;
    memset(ahead, 'a', sizeof(ahead));
    lab_open(&lab, NULL);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!lab.stream)
        event_base_loop(lab.base, EVLOOP_ONCE);
    lab_send_bytes(&c, ahead, sizeof(ahead));
    for (int i = 0; i < 200; i++)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    http_reply(lab.stream, 200, "text/plain", "done", 4);
    lab_until_closed(&c);
    assert_non_null(strstr(c.got, "\r\nConnection: close\r\n"));
    assert_null(strstr(c.got, "HTTP/1.1 4"));
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
        cmocka_unit_test(test_no_body_of_a_stranger_is_read),
        cmocka_unit_test(test_what_nobody_takes_is_refused_before_its_body),
        cmocka_unit_test(test_silence_makes_room),
        cmocka_unit_test(test_who_has_spoken_is_heard),
        cmocka_unit_test(test_an_address_has_its_share),
        cmocka_unit_test(test_answers_that_nobody_takes_do_not_pile_up),
        cmocka_unit_test(test_a_trickle_does_not_live),
        cmocka_unit_test(test_who_takes_nothing_is_let_go),
        cmocka_unit_test(test_no_memory_for_a_body),
        cmocka_unit_test(test_what_is_sent_ahead_is_bounded),
    };

    event_set_mem_functions(malloc_small, realloc, free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
