/* The gateway between a raw client and a stand-in coordinator: bytes pass unchanged, every way to end is told rightly; all of it
 * twice, with the coordinator at a port of its own, and behind a carrier. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/gateway.h"
#include "controller/http_json.h"
#include "controller/tunnels.h"
#include "controller/upstream.h"
#include "tests/lib/carrier_lab.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

static bool through_carrier;

struct lab {
    struct event_base *base;
    struct identity own;
    struct carrier_lab carrier;
    struct tunnels *tunnels; /* of the first token */
    struct http_server *server;
    struct gateway *gateway;
    struct metrics *metrics;
    struct evhttp *coordinator;
    uint16_t port, upstream_port;
    uint8_t secret[CRYPTO_KEY_BYTES];
    /* what the coordinator was asked */
    char *body, *authorization, *type, *key;
    struct evhttp_request *held;
    bool asked, left;
    size_t n_asked;
};

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static char *take_header(struct evhttp_request *req, const char *name)
{
    const char *v = evhttp_find_header(evhttp_request_get_input_headers(req), name);

    return strdup(v ? v : "");
}

/* Whatever else the client has said stays here: its secrets, and all that could say where it goes. */
static void check_fields(struct evhttp_request *req)
{
    static const char *const passed[] = {"Host",           "Connection", "Content-Type", "Authorization",
                                         "Content-Length", "Accept",     "X-Request-Id"};
    const struct evkeyval *field;

    TAILQ_FOREACH(field, evhttp_request_get_input_headers(req), next)
    {
        bool known = false;

        for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
            known = known || strcasecmp(field->key, passed[i]) == 0;
        if (!known || strstr(field->value, "mine"))
            fail_msg("%s: %s went to the coordinator", field->key, field->value);
    }
    assert_int_equal(strncmp(evhttp_find_header(evhttp_request_get_input_headers(req), "Host"), "127.0.0.1:", 10), 0);
}

static void forget_question(struct lab *lab)
{
    free(lab->body);
    free(lab->authorization);
    free(lab->type);
    free(lab->key);
    lab->body = lab->authorization = lab->type = lab->key = NULL;
    lab->asked = false;
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
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    struct lab *lab = ctx;
    size_t n = evbuffer_get_length(in);

    forget_question(lab);
    lab->body = calloc(1, n + 1);
    evbuffer_copyout(in, lab->body, n);
    lab->authorization = take_header(req, "Authorization");
    lab->type = take_header(req, "Content-Type");
    lab->key = take_header(req, "X-Api-Key");
    lab->held = req;
    lab->asked = true;
    lab->n_asked++;
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_left, lab);
}

/* What the control loop is told, is told in test_gateway_failure. */
static int drop_order(void *ctx, struct front_order *order)
{
    (void)ctx;
    front_order_destroy(&order);
    return 0;
}

/* The view names the carrier, which has the coordinator's port; or that port itself. */
static void show(struct lab *lab, enum instance_state state, uint16_t coordinator_port)
{
    struct view *v = lab_view(state, coordinator_port);

    if (through_carrier) {
        lab->carrier.coordinator_port = coordinator_port;
        v->instance[0].coordinator_port = lab->carrier.port;
        memcpy(v->instance[0].coordinator_key, lab->carrier.key, sizeof(v->instance[0].coordinator_key));
    }
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
}

static void open_carrier(struct lab *lab)
{
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0xc0}, &lab->own);
    lab->carrier = (struct carrier_lab){.instance = lab_id(0xaa), .epoch = 3, .coordinator_port = lab->upstream_port};
    memcpy(lab->carrier.gateway, lab->own.public_key, sizeof(lab->carrier.gateway));
    carrier_lab_open(&lab->carrier, lab->base);
    assert_int_equal(tunnels_new(lab->base, &lab->own, &lab->tunnels), 0);
}

static void lab_open(struct lab *lab, enum instance_state state)
{
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};
    struct gateway_deps deps = {.secret = lab->secret, .identity = &lab->own, .submit = drop_order};
    int fd;

    memset(lab, 0, sizeof(*lab));
    lab->base = event_base_new();
    deps.base = lab->base;
    memset(lab->secret, 7, sizeof(lab->secret));
    lab->coordinator = evhttp_new(lab->base);
    fd = lab_listen(&lab->upstream_port);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, fd), 0);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
    open_carrier(lab);
    assert_int_equal(metrics_new(&lab->metrics), 0);
    deps.metrics = lab->metrics;
    assert_int_equal(gateway_new(&deps, &lab->gateway), 0);
    assert_int_equal(http_server_new(lab->base, &limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, gateway_routes(), lab->gateway), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
    show(lab, state, lab->upstream_port);
}

static void lab_shut(struct lab *lab)
{
    http_server_destroy(&lab->server);
    gateway_destroy(&lab->gateway);
    metrics_destroy(&lab->metrics);
    tunnels_destroy(&lab->tunnels);
    assert_int_equal(lab->carrier.n_opened > 0, through_carrier && lab->n_asked > 0);
    carrier_lab_kill(&lab->carrier);
    evhttp_free(lab->coordinator);
    event_base_loop(lab->base, EVLOOP_NONBLOCK); /* what was freed with a callback under way */
    event_base_free(lab->base);
    forget_question(lab);
}

static void ask(struct lab *lab, struct lab_client *c, const char *body)
{
    char *text;

    assert_true(
        asprintf(&text,
                 "POST /v1/chat/completions?x=%%20 HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
                 "Authorization: Bearer mine\r\nX-Api-Key: mine\r\nCookie: a=mine\r\nX-Forwarded-Host: mine\r\n"
                 "Forwarded: host=mine\r\nX-Forwarded-For: mine\r\nProxy-Authorization: mine\r\n"
                 "Upgrade: mine\r\nOrigin: http://mine\r\nReferer: http://mine/\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body) > 0);
    lab_connect(c, lab->base, lab->port);
    lab_send(c, text);
    free(text);
}

static void ask_through(struct lab *lab, struct lab_client *c, const char *body)
{
    ask(lab, c, body);
    lab_until_true(lab->base, &lab->asked);
    assert_non_null(lab->held);
}

static void add_header(struct lab *lab, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(lab->held), name, value);
}

static void answer_whole(struct lab *lab, int status, const char *text)
{
    struct evbuffer *out = evbuffer_new();

    evbuffer_add(out, text, strlen(text));
    evhttp_send_reply(lab->held, status, "x", out);
    evbuffer_free(out);
}

static void answer_chunk(struct lab *lab, const char *text)
{
    struct evbuffer *out = evbuffer_new();

    evbuffer_add(out, text, strlen(text));
    evhttp_send_reply_chunk(lab->held, out);
    evbuffer_free(out);
}

/* The coordinator dies: its connection is closed in the middle of the answer. */
static void die(struct lab *lab)
{
    struct evhttp_connection *conn = evhttp_request_get_connection(lab->held);

    evhttp_connection_set_closecb(conn, NULL, NULL);
    evhttp_connection_free(conn);
    lab->held = NULL;
}

static void test_whole_answer(void **state)
{
    static const char body[] = "{ \"model\":\"m\",  \"messages\" : [], \"n\":1e5, \"dup\":1, \"dup\":\"\\u0000\" }";
    struct lab_client c;
    char expected[PROTO_KEY_MAX], bearer[PROTO_KEY_MAX + 8], *text;
    struct id128 id = lab_id(0xaa);
    struct lab lab;

    (void)state;
    lab_open(&lab, INSTANCE_READY);
    ask_through(&lab, &c, body);
    assert_string_equal(lab.body, body); /* byte for byte */
    snprintf(bearer, sizeof(bearer), "Bearer %s", upstream_key(lab.secret, &id, 3, expected));
    assert_string_equal(lab.authorization, bearer); /* ours, never the client's */
    assert_string_equal(lab.key, "");
    check_fields(lab.held);
    assert_string_equal(lab.type, "text/plain");
    assert_string_equal(evhttp_request_get_uri(lab.held), "/v1/chat/completions?x=%20");
    add_header(&lab, "Content-Type", "application/json; charset=utf-8");
    add_header(&lab, "Cache-Control", "no-store");
    add_header(&lab, "Access-Control-Allow-Origin", "twice");
    add_header(&lab, "Keep-Alive", "timeout=5");
    answer_whole(&lab, 418, "{\"answer\":\"\xc3\xa4\"}");
    lab_until(&c, "}");
    assert_int_equal(strncmp(c.got, "HTTP/1.1 418 ", 13), 0);
    assert_non_null(strstr(c.got, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(c.got, "\r\nContent-Type: application/json; charset=utf-8\r\n"));
    assert_null(strstr(c.got, "twice"));
    assert_null(strstr(c.got, "timeout=5"));
    text = lab_body(&c);
    assert_string_equal(text, "{\"answer\":\"\xc3\xa4\"}");
    free(text);
    lab_close(&c);
    lab_shut(&lab);
}

/* A node that wants its clients' keys, or what those may do, sends them where it likes, with a cookie in their browser. */
static void test_a_coordinator_does_not_steer_clients(void **state)
{
    static const int status[] = {201, 204, 301, 304, 307, 308};

    (void)state;
    for (size_t i = 0; i < sizeof(status) / sizeof(status[0]); i++) {
        struct lab_client c;
        struct lab lab;

        lab_open(&lab, INSTANCE_READY);
        ask_through(&lab, &c, "{\"model\":\"m\"}");
        add_header(&lab, "Location", "/api/nodes/a/revoke");
        add_header(&lab, "Refresh", "0");
        add_header(&lab, "Set-Cookie", "a=b");
        add_header(&lab, "WWW-Authenticate", "Basic");
        answer_whole(&lab, status[i], "");
        lab_until(&c, "\r\n\r\n");
        assert_int_equal(strncmp(c.got, "HTTP/1.1 502 ", 13), 0);
        assert_null(strstr(c.got, "Location"));
        assert_null(strstr(c.got, "Refresh"));
        assert_null(strstr(c.got, "Cookie"));
        assert_null(strstr(c.got, "Authenticate"));
        lab_close(&c);
        lab_shut(&lab);
    }
}

static void begin_stream(struct lab *lab, struct lab_client *c)
{
    lab_open(lab, INSTANCE_READY);
    ask_through(lab, c, "{\"model\":\"m\",\"stream\":true}");
    add_header(lab, "Content-Type", "text/event-stream");
    add_header(lab, "X-Accel-Buffering", "no");
    evhttp_send_reply_start(lab->held, 200, "OK");
    answer_chunk(lab, "data: {\"a\":1}\n\n");
    lab_until(c, "data: {\"a\":1}\n\n");
}

static void test_stream(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *text;

    (void)state;
    begin_stream(&lab, &c);
    assert_non_null(strstr(c.got, "\r\nX-Accel-Buffering: no\r\n"));
    answer_chunk(&lab, "data: {\"a\":2}\n\n");
    answer_chunk(&lab, "data: [DONE]\n\n");
    evhttp_send_reply_end(lab.held);
    lab_until(&c, "\r\n0\r\n\r\n");
    text = lab_body(&c);
    assert_string_equal(text, "data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n");
    free(text);
    lab_close(&c);
    lab_shut(&lab);
}

static void test_stream_cut(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *text;

    (void)state;
    begin_stream(&lab, &c);
    answer_chunk(&lab, "data: {\"b\""); /* in the middle of an event */
    lab_until(&c, "data: {\"b\"");
    die(&lab);
    lab_until(&c, "\r\n0\r\n\r\n");
    text = lab_body(&c);
    assert_non_null(
        strstr(text, "data: {\"b\"\n\ndata: {\"error\":{\"code\":502,\"message\":\"instance \\\"m\\\" (epoch 3)"));
    assert_non_null(strstr(text, "\"type\":\"server_error\"}}\n\n"));
    assert_null(strstr(text, "[DONE]"));
    free(text);
    lab_close(&c);
    lab_shut(&lab);
}

static void begin_whole(struct lab *lab, struct lab_client *c)
{
    lab_open(lab, INSTANCE_READY);
    ask_through(lab, c, "{\"model\":\"m\"}");
    add_header(lab, "Content-Type", "application/json");
    evhttp_send_reply_start(lab->held, 200, "OK");
    answer_chunk(lab, "{\"half\":");
}

static void test_whole_answer_cut(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_whole(&lab, &c);
    die(&lab); /* nothing of it has gone out: it could be sent again, was anybody willing to wait */
    lab_until(&c, "\"}}");
    assert_int_equal(strncmp(c.got, "HTTP/1.1 503 ", 13), 0);
    assert_null(strstr(c.got, "half"));
    lab_close(&c);
    lab_shut(&lab);
}

static void test_long_answer_cut(void **state)
{
    char *much = calloc(1, 300001);
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_whole(&lab, &c);
    answer_chunk(&lab, memset(much, 'x', 300000));
    free(much);
    lab_until(&c, "half");
    die(&lab);
    lab_until_closed(&c); /* closed, and the last chunk is missing */
    assert_null(strstr(c.got, "\r\n0\r\n\r\n"));
    lab_close(&c);
    lab_shut(&lab);
}

static void test_dead_before_the_first_byte(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, INSTANCE_READY);
    ask_through(&lab, &c, "{\"model\":\"m\"}");
    die(&lab);
    lab_until(&c, "\"}}");
    assert_int_equal(strncmp(c.got, "HTTP/1.1 503 ", 13), 0);
    assert_non_null(strstr(c.got, "model \\\"m\\\" cannot be reached: its coordinator closed the connection"));
    assert_non_null(strstr(c.got, "\r\nRetry-After: 5\r\n"));
    lab_close(&c);
    lab_shut(&lab);
}

static void test_nobody_listens(void **state)
{
    struct lab_client c;
    struct lab lab;
    uint16_t port;

    (void)state;
    lab_open(&lab, INSTANCE_READY);
    close(lab_listen(&port));
    carrier_lab_kill(&lab.carrier); /* (what a carrier without a coordinator does is in test_tunnels) */
    show(&lab, INSTANCE_READY, port);
    ask(&lab, &c, "{\"model\":\"m\"}");
    lab_until(&c, "refused the connection");
    assert_int_equal(strncmp(c.got, "HTTP/1.1 503 ", 13), 0);
    lab_close(&c);
    lab_shut(&lab);
}

/* A carrier that is there says no: that is told as it is. */
static void test_not_let_in(void **state)
{
    static const struct {
        enum tunnel_verdict verdict;
        const char *answer, *text;
    } cases[] = {
        {TUNNEL_ENDED, "HTTP/1.1 503 ", "cannot be reached: its node lets us through to no such epoch"},
        {TUNNEL_BUSY, "HTTP/1.1 503 ", "cannot be reached: its node has too many streams open"},
        {TUNNEL_NO_CIPHER, "HTTP/1.1 502 ", "failed: its node and this controller have no cipher in common"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab_client c;
        struct lab lab;

        lab_open(&lab, INSTANCE_READY);
        lab.carrier.verdict = cases[i].verdict;
        ask(&lab, &c, "{\"model\":\"m\"}");
        lab_until(&c, "\"}}");
        assert_int_equal(strncmp(c.got, cases[i].answer, strlen(cases[i].answer)), 0);
        assert_non_null(strstr(c.got, cases[i].text));
        lab_close(&c);
        lab_shut(&lab);
    }
}

static void test_client_leaves(void **state)
{
    struct evhttp_request *req;
    struct lab_client c;
    struct lab lab;

    (void)state;
    begin_stream(&lab, &c);
    req = lab.held;
    lab_close(&c);
    /* evhttp sees a departure only when it writes */
    while (!lab.left) {
        answer_chunk(&lab, "data: {}\n\n");
        event_base_loop(lab.base, EVLOOP_ONCE);
    }
    evhttp_send_reply_end(req); /* still ours: evhttp frees it here */
    lab_shut(&lab);
}

static void test_whom_it_is_for(void **state)
{
    static const struct {
        enum instance_state state;
        const char *body, *status, *text;
    } cases[] = {
        {INSTANCE_READY, "{\"model\":\"none\"}", "404", "there is: m"},
        {INSTANCE_READY, "{\"model\":\"none\"}", "404", "\"type\":\"not_found_error\""},
        {INSTANCE_READY, "{\"model\":7}", "400", "\\\"model\\\" must be a string"},
        {INSTANCE_READY, "{\"model\":", "400", "not a JSON object"},
        {INSTANCE_READY, "[]", "400", "not a JSON object"},
        {INSTANCE_READY, "", "400", "invalid_request_error"},
        {INSTANCE_LOADING, "{}", "400", "not exactly one model"},
        {INSTANCE_LOADING, "{\"model\":\"m\"}", "503", "is loading (42 %)"},
        {INSTANCE_LOADING, "{\"model\":\"tiny\"}", "503", "\r\nRetry-After: 5\r\n"},
        {INSTANCE_FAILED, "{\"model\":\"m\"}", "503", "model \\\"m\\\" has failed: "},
        {INSTANCE_FAILED, "{\"model\":\"m\"}", "503", "; start it again: caravan deploy tiny --alias m\""},
        {INSTANCE_READY, "{\"model\":\"broken\"}", "404", "cannot be used: the file is cut off"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab_client c;
        struct lab lab;

        lab_open(&lab, cases[i].state);
        ask(&lab, &c, cases[i].body);
        lab_until(&c, "\"}}");
        if (strncmp(c.got + 9, cases[i].status, 3) != 0 || !strstr(c.got, cases[i].text))
            fail_msg("case %zu: %s", i, c.got);
        assert_false(lab.asked);
        lab_close(&c);
        lab_shut(&lab);
    }
}

/* A name that moves from one instance to the next is still one name. */
static void test_a_name_that_moves_is_listed_once(void **state)
{
    struct view *v = lab_view(INSTANCE_READY, 1);
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, INSTANCE_READY);
    v->instance = realloc(v->instance, 2 * sizeof(v->instance[0]));
    v->instance[1] = v->instance[0];
    v->instance[1].id = lab_id(9);
    v->instance[1].state = INSTANCE_DRAINING;
    v->instance[1].plan = lab_plan();
    v->n_instances = 2;
    gateway_set_view(lab.gateway, v);
    view_unref(&v);
    ask(&lab, &c, "{\"model\":\"none\"}");
    lab_until(&c, "\"}}");
    if (!strstr(c.got, "there is: m\""))
        fail_msg("%s", c.got);
    lab_close(&c);
    lab_shut(&lab);
}

static void test_names_that_reach_it(void **state)
{
    static const char *const bodies[] = {"{\"model\":\"m\"}", "{\"model\":\"tiny\"}", "{}", "{\"model\":null}",
                                         "{\"model\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"};

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct lab_client c;
        struct lab lab;

        lab_open(&lab, INSTANCE_READY);
        ask_through(&lab, &c, bodies[i]);
        assert_string_equal(lab.body, bodies[i]);
        answer_whole(&lab, 200, "{\"ok\":1}");
        lab_until(&c, "{\"ok\":1}");
        lab_close(&c);
        lab_shut(&lab);
    }
}

static void test_models(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, INSTANCE_READY);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&c, "]}");
    assert_non_null(strstr(c.got, "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\""));
    assert_non_null(strstr(c.got, "\"state\":\"ready\",\"start\":\"manual\",\"context_length\":512"));
    assert_non_null(strstr(c.got, "\"id\":\"tiny\""));
    assert_null(strstr(c.got, "broken"));
    lab_close(&c);
    lab_shut(&lab);
}

/* ---- the first token ---- */

struct warmed {
    bool done, ok;
    char text[PROTO_TEXT_MAX];
};

static void on_warmed(void *ctx, const struct upstream_target *target, bool ok, const char *text)
{
    struct warmed *w = ctx;

    assert_int_equal(target->epoch, 3);
    w->done = true;
    w->ok = ok;
    snprintf(w->text, sizeof(w->text), "%s", text);
}

static void begin_warm_up_of(struct lab *lab, bool embeds, struct warmed *w, uint64_t deadline_ms, struct warm_up **ret)
{
    const struct upstream up = {lab->base, lab->secret, lab->tunnels, NULL};
    struct upstream_target target = {.addr = "127.0.0.1", .instance = lab_id(0xaa), .epoch = 3, .embeds = embeds};

    *w = (struct warmed){.done = false};
    target.port = through_carrier ? lab->carrier.port : lab->upstream_port;
    if (through_carrier)
        memcpy(target.key, lab->carrier.key, sizeof(target.key));
    assert_int_equal(warm_up_start(&up, &target, deadline_ms, on_warmed, w, ret), 0);
}

static void begin_warm_up(struct lab *lab, struct warmed *w, uint64_t deadline_ms, struct warm_up **ret)
{
    begin_warm_up_of(lab, false, w, deadline_ms, ret);
}

static void test_warm_up(void **state)
{
    struct warm_up *up;
    struct warmed w;
    struct lab lab;

    (void)state;
    lab_open(&lab, INSTANCE_LOADING);
    begin_warm_up(&lab, &w, 60000, &up);
    lab_until_true(lab.base, &lab.asked);
    assert_non_null(strstr(lab.body, "\"max_tokens\":1"));
    assert_string_equal(evhttp_request_get_uri(lab.held), "/v1/completions");
    answer_whole(&lab, 200, "{}");
    lab_until_true(lab.base, &w.done);
    assert_true(w.ok);

    lab.asked = false;
    begin_warm_up(&lab, &w, 60000, &up);
    lab_until_true(lab.base, &lab.asked);
    answer_whole(&lab, 500, "{\"error\":\"Compute error.\"}");
    lab_until_true(lab.base, &w.done);
    assert_false(w.ok);
    assert_non_null(strstr(w.text, "500: {\"error\":\"Compute error.\"}"));

    lab.asked = false;
    begin_warm_up(&lab, &w, 60000, &up);
    lab_until_true(lab.base, &lab.asked);
    die(&lab);
    lab_until_true(lab.base, &w.done);
    assert_non_null(strstr(w.text, "closed the connection"));

    lab.asked = false;
    begin_warm_up_of(&lab, true, &w, 60000, &up);
    lab_until_true(lab.base, &lab.asked);
    assert_string_equal(evhttp_request_get_uri(lab.held), "/embeddings");
    assert_string_equal(lab.body, "{\"input\":\"hi\"}");
    answer_whole(&lab, 200, "[]");
    lab_until_true(lab.base, &w.done);
    assert_true(w.ok);

    begin_warm_up(&lab, &w, 20, &up); /* it hangs */
    lab_until_true(lab.base, &w.done);
    assert_non_null(strstr(w.text, "in time"));

    begin_warm_up(&lab, &w, 60000, &up);
    warm_up_cancel(&up);
    assert_null(up);
    assert_false(w.done);
    lab_shut(&lab);
}

static int go_direct(void **state)
{
    (void)state;
    through_carrier = false;
    signal(SIGPIPE, SIG_IGN);
    return crypto_init();
}

static int go_through_carrier(void **state)
{
    (void)state;
    through_carrier = true;
    signal(SIGPIPE, SIG_IGN);
    return crypto_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_answer),
        cmocka_unit_test(test_a_coordinator_does_not_steer_clients),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_cut),
        cmocka_unit_test(test_whole_answer_cut),
        cmocka_unit_test(test_long_answer_cut),
        cmocka_unit_test(test_dead_before_the_first_byte),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_whom_it_is_for),
        cmocka_unit_test(test_names_that_reach_it),
        cmocka_unit_test(test_a_name_that_moves_is_listed_once),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_warm_up),
    };
    const struct CMUnitTest behind_it[] = {
        cmocka_unit_test(test_not_let_in),
    };

    return cmocka_run_group_tests_name("direct", tests, go_direct, NULL) +
           cmocka_run_group_tests_name("through a carrier", tests, go_through_carrier, NULL) +
           cmocka_run_group_tests_name("what carriers do", behind_it, go_through_carrier, NULL);
}
