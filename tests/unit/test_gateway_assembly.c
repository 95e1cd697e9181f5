/* A client that asks for no stream, between it and a coordinator that is asked for one: the client cannot tell. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "controller/gateway.h"
#include "controller/http_json.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

#define QUESTION "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define FIELDS   "\"created\":17,\"id\":\"chatcmpl-x\",\"model\":\"m\",\"system_fingerprint\":\"b1\""
#define CHUNK(reason, delta) \
    "data: {\"choices\":[{\"finish_reason\":" reason ",\"index\":0,\"delta\":{" delta "}}]," FIELDS "}\n\n"
#define BEGIN CHUNK("null", "\"role\":\"assistant\",\"content\":null") CHUNK("null", "\"content\":\"a\\n\"")
#define END                            \
    CHUNK("null", "\"content\":\"b\"") \
    CHUNK("\"stop\"", "") "data: {\"choices\":[]," FIELDS ",\"usage\":{\"n\":2},\"timings\":{}}\n\ndata: [DONE]\n\n"
#define WHOLE                                                                                                             \
    "{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\\nb\"}}]," \
    "\"created\":17,\"model\":\"m\",\"system_fingerprint\":\"b1\",\"object\":\"chat.completion\",\"usage\":{\"n\":2},"    \
    "\"id\":\"chatcmpl-x\",\"timings\":{}}"

struct lab {
    struct event_base *base;
    struct http_server *server;
    struct gateway *gateway;
    struct metrics *metrics;
    struct evhttp *coordinator;
    uint16_t port, upstream_port;
    uint64_t epoch;
    struct evhttp_request *held;
    char body[512];
    bool asked, left;
    size_t n_asked;
    struct lab_client client;
};

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static int drop_order(void *ctx, struct front_order *order)
{
    (void)ctx;
    front_order_destroy(&order);
    return 0;
}

static void on_left(struct evhttp_connection *conn, void *ctx)
{
    struct lab *lab = ctx;

    (void)conn;
    lab->left = true;
    lab->held = NULL;
}

static void on_question(struct evhttp_request *req, void *ctx)
{
    struct lab *lab = ctx;
    ev_ssize_t n = evbuffer_copyout(evhttp_request_get_input_buffer(req), lab->body, sizeof(lab->body) - 1);

    lab->body[n > 0 ? n : 0] = '\0';
    lab->held = req;
    lab->asked = true;
    lab->n_asked++;
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_left, lab);
}

static void show_next_epoch(struct lab *lab)
{
    struct view *v = lab_view(INSTANCE_READY, lab->upstream_port);

    lab->epoch = lab->epoch ? lab->epoch + 1 : v->instance[0].epoch;
    v->instance[0].epoch = lab->epoch;
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
}

static void lab_open(struct lab *lab)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {7};
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};
    struct gateway_deps deps = {.secret = secret, .wait_ms = 3600000, .submit = drop_order};

    *lab = (struct lab){.base = event_base_new()};
    deps.base = lab->base;
    lab->coordinator = evhttp_new(lab->base);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, lab_listen(&lab->upstream_port)), 0);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
    assert_int_equal(metrics_new(&lab->metrics), 0);
    deps.metrics = lab->metrics;
    assert_int_equal(gateway_new(&deps, &lab->gateway), 0);
    assert_int_equal(http_server_new(lab->base, &limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, gateway_routes(), lab->gateway), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
    show_next_epoch(lab);
}

static void lab_shut(struct lab *lab)
{
    lab_close(&lab->client);
    http_server_destroy(&lab->server);
    gateway_destroy(&lab->gateway);
    metrics_destroy(&lab->metrics);
    evhttp_free(lab->coordinator);
    event_base_free(lab->base);
}

/* The question is with the coordinator. */
static void ask(struct lab *lab, const char *path, const char *body)
{
    CLEANUP(cleanup_free) char *text = NULL;

    assert_true(asprintf(&text, "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                         path, strlen(body), body) > 0);
    lab_connect(&lab->client, lab->base, lab->port);
    lab_send(&lab->client, text);
    lab_until_true(lab->base, &lab->asked);
}

static void say(struct lab *lab, const char *text)
{
    struct evbuffer *out = evbuffer_new();

    evbuffer_add(out, text, strlen(text));
    evhttp_send_reply_chunk(lab->held, out);
    evbuffer_free(out);
}

static void say_type(struct lab *lab, const char *type)
{
    struct evkeyvalq *fields = evhttp_request_get_output_headers(lab->held);

    evhttp_add_header(fields, "Content-Type", type);
    evhttp_add_header(fields, "Server", "llama.cpp");
}

static void begin_stream(struct lab *lab)
{
    say_type(lab, "text/event-stream");
    evhttp_add_header(evhttp_request_get_output_headers(lab->held), "X-Accel-Buffering", "no");
    evhttp_send_reply_start(lab->held, 200, "OK");
}

static void end_stream(struct lab *lab)
{
    evhttp_connection_set_closecb(evhttp_request_get_connection(lab->held), NULL, NULL);
    evhttp_send_reply_end(lab->held);
}

static void check_answer(struct lab *lab, int status, const char *body)
{
    CLEANUP(cleanup_free) char *text = NULL;
    char length[64];

    lab_until_closed(&lab->client);
    if (atoi(lab->client.got + 9) != status)
        fail_msg("not %d: %s", status, lab->client.got);
    text = lab_body(&lab->client);
    if (body)
        assert_string_equal(text, body);
    snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", strlen(text));
    assert_non_null(strstr(lab->client.got, length));
    assert_non_null(strstr(lab->client.got, "\r\nContent-Type: application/json"));
    assert_null(strstr(lab->client.got, "X-Accel-Buffering"));
    assert_null(strstr(lab->client.got, "chunked"));
}

static void test_a_whole_answer(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, "/v1/chat/completions", "{" QUESTION "}");
    assert_string_equal(lab.body, "{" QUESTION ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    begin_stream(&lab);
    say(&lab, ":\n\n");
    say(&lab, BEGIN);
    say(&lab, END);
    end_stream(&lab);
    check_answer(&lab, 200, WHOLE);
    assert_non_null(strstr(lab.client.got, "\r\nContent-Type: application/json; charset=utf-8\r\n"));
    assert_non_null(strstr(lab.client.got, "\r\nServer: llama.cpp\r\n"));
    lab_shut(&lab);
}

static void test_what_goes_on_as_it_is(void **state)
{
    static const struct {
        const char *path, *body;
    } cases[] = {{"/v1/completions", "{" QUESTION "}"},
                 {"/v1/messages", "{" QUESTION "}"},
                 {"/v1/chat/completions", "{" QUESTION ",\"stop\":\"x\"}"},
                 {"/v1/chat/completions", "{" QUESTION ",\"stream\":0}"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;

        lab_open(&lab);
        ask(&lab, cases[i].path, cases[i].body);
        assert_string_equal(lab.body, cases[i].body);
        lab_shut(&lab);
    }
}

/* Nothing was computed: it is refused as if no stream had been asked for. */
static void test_an_error_before_it(void **state)
{
    struct evbuffer *out = evbuffer_new();
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, "/v1/chat/completions", "{" QUESTION "}");
    say_type(&lab, "application/json; charset=utf-8");
    evbuffer_add(out, "{\"error\":1}", 11);
    evhttp_connection_set_closecb(evhttp_request_get_connection(lab.held), NULL, NULL);
    evhttp_send_reply(lab.held, 400, "x", out);
    evbuffer_free(out);
    check_answer(&lab, 400, "{\"error\":1}");
    lab_shut(&lab);
}

static void test_an_error_in_it(void **state)
{
    static const char error[] = "{\"error\":{\"code\":503,\"message\":\"m\",\"type\":\"t\"}}";
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, "/v1/chat/completions", "{" QUESTION "}");
    begin_stream(&lab);
    say(&lab, BEGIN "data: ");
    say(&lab, error);
    say(&lab, "\n\n");
    end_stream(&lab);
    check_answer(&lab, 503, error);
    lab_shut(&lab);
}

static void test_an_answer_that_is_none(void **state)
{
    static const struct {
        const char *stream, *why;
    } cases[] = {{BEGIN, "ended too early"}, {BEGIN "data: 7\n\n" END, "could not be read"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;

        lab_open(&lab);
        ask(&lab, "/v1/chat/completions", "{" QUESTION "}");
        begin_stream(&lab);
        say(&lab, cases[i].stream);
        end_stream(&lab);
        check_answer(&lab, 502, NULL);
        assert_non_null(strstr(lab.client.got, cases[i].why));
        lab_shut(&lab);
    }
}

/* Until it is whole nothing of it has been handed on: the next epoch is asked for all of it. */
static void test_its_coordinator_dies(void **state)
{
    struct evhttp_connection *conn;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, "/v1/chat/completions", "{" QUESTION "}");
    begin_stream(&lab);
    say(&lab, BEGIN);
    event_base_loop(lab.base, EVLOOP_NONBLOCK);
    lab.asked = false;
    conn = evhttp_request_get_connection(lab.held);
    evhttp_connection_set_closecb(conn, NULL, NULL);
    evhttp_connection_free(conn);
    show_next_epoch(&lab);
    lab_until_true(lab.base, &lab.asked);
    assert_int_equal(lab.n_asked, 2);
    begin_stream(&lab);
    say(&lab, BEGIN END);
    end_stream(&lab);
    check_answer(&lab, 200, WHOLE);
    lab_shut(&lab);
}

static void test_its_client_leaves(void **state)
{
    struct evhttp_request *req;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, "/v1/chat/completions", "{" QUESTION "}");
    begin_stream(&lab);
    say(&lab, BEGIN);
    req = lab.held;
    lab_close(&lab.client);
    lab_until_true(lab.base, &lab.left);
    evhttp_send_reply_end(req); /* still ours: evhttp frees it here */
    lab_shut(&lab);
}

static int go(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    return crypto_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_answer),         cmocka_unit_test(test_what_goes_on_as_it_is),
        cmocka_unit_test(test_an_error_before_it),     cmocka_unit_test(test_an_error_in_it),
        cmocka_unit_test(test_an_answer_that_is_none), cmocka_unit_test(test_its_coordinator_dies),
        cmocka_unit_test(test_its_client_leaves),
    };

    return cmocka_run_group_tests(tests, go, NULL);
}
