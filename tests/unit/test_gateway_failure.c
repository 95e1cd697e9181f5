/* The gateway when coordinators fail: stand-ins that abort, refuse, answer 500 for ever or never, and a leader that starts
 * the next epoch when it is told. The test is that leader: it shows views and hears orders. All of it twice, with coordinators
 * at ports of their own, and behind a carrier each. */
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
#include <unistd.h>

#include <cmocka.h>

#include "controller/core/admission.h"
#include "controller/gateway.h"
#include "controller/http_json.h"
#include "tests/lib/carrier_lab.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

enum { CLIENTS = 100, POISON = 17, HELD = 128 };

static bool through_carrier;

struct lab {
    struct event_base *base;
    struct identity own;
    struct carrier_lab carrier; /* of this epoch */
    struct http_server *server;
    struct gateway *gateway;
    struct metrics *metrics;
    uint16_t port;
    /* the coordinator of this epoch */
    struct evhttp *coordinator;
    struct event *death, *heir; /* not inside the callback of a question: an abort, and the next epoch */
    bool leader_is_slow;        /* it learns of an abort from the gateway only */
    uint16_t upstream_port;
    uint64_t epoch;
    struct evhttp_request *held[HELD];
    size_t n_held;
    size_t hold_until; /* so many are in before any is answered */
    size_t n_aborts, n_asked;
    bool aborts_at_poison;
    /* what the control loop heard */
    struct cluster_traffic traffic;
    size_t n_refused, n_broken, n_poison;
    uint64_t poison_epoch;
    bool told, asked;
};

/* ---- the leader ---- */

static void show(struct lab *lab, enum instance_state state, const char *reason)
{
    struct view *v = lab_view(state, lab->upstream_port);

    if (through_carrier) {
        v->instance[0].coordinator_port = lab->carrier.port;
        memcpy(v->instance[0].coordinator_key, lab->carrier.key, sizeof(v->instance[0].coordinator_key));
    }
    v->instance[0].epoch = lab->epoch;
    ((struct plan *)v->instance[0].plan)->slots = ADMISSION_IN_FLIGHT_MAX;
    snprintf(v->instance[0].reason, sizeof(v->instance[0].reason), "%s", reason);
    if (state == INSTANCE_RECOVERING) {
        v->instance[0].n_tried = 1;
        v->instance[0].tried[0].epoch = lab->epoch;
        strcpy(v->instance[0].tried[0].code, strncmp(reason, "rank", 4) == 0 ? "rank_lost" : "coordinator_lost");
        strcpy(v->instance[0].tried[0].text, v->instance[0].reason);
    }
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
}

static int on_order(void *ctx, struct front_order *o)
{
    struct lab *lab = ctx;

    if (o->kind == FRONT_ORDER_TRAFFIC)
        lab->traffic = o->traffic;
    else if (o->upstream == UPSTREAM_REFUSED)
        lab->n_refused++;
    else if (o->upstream == UPSTREAM_BROKEN)
        lab->n_broken++;
    else
        lab->n_poison++;
    if (o->kind == FRONT_ORDER_UPSTREAM && o->upstream == UPSTREAM_POISON)
        lab->poison_epoch = o->epoch;
    if (o->kind == FRONT_ORDER_UPSTREAM && lab->leader_is_slow && !lab->coordinator)
        event_active(lab->heir, EV_TIMEOUT, 0);
    lab->told = true;
    front_order_destroy(&o);
    return 0;
}

/* ---- the coordinator ---- */

static void answer(struct evhttp_request *req, int status)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *out = evbuffer_new();

    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "application/json");
    evbuffer_add_buffer(out, in); /* what was asked, so that nobody gets another's */
    evhttp_send_reply(req, status, "x", out);
    evbuffer_free(out);
}

static void answer_held(struct lab *lab)
{
    for (size_t i = 0; i < lab->n_held; i++)
        answer(lab->held[i], 200);
    lab->n_held = 0;
}

static bool is_poison(struct evhttp_request *req)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req);

    return evbuffer_search(in, "poison", 6, NULL).pos >= 0;
}

static void on_question(struct evhttp_request *req, void *ctx)
{
    struct lab *lab = ctx;
    bool poison = is_poison(req);

    lab->asked = true;
    lab->n_asked++;
    lab->held[lab->n_held++] = req;
    if (lab->n_asked < lab->hold_until)
        return;
    for (size_t i = 0; i < lab->n_held; i++)
        poison |= is_poison(lab->held[i]);
    if (poison && lab->aborts_at_poison)
        event_active(lab->death, EV_TIMEOUT, 0);
    else if (lab->hold_until != SIZE_MAX)
        answer_held(lab);
}

static void start_coordinator(struct lab *lab)
{
    lab->coordinator = evhttp_new(lab->base);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, lab_listen(&lab->upstream_port)), 0);
    carrier_lab_kill(&lab->carrier);
    lab->carrier = (struct carrier_lab){.instance = lab_id(0xaa), .coordinator_port = lab->upstream_port};
    memcpy(lab->carrier.gateway, lab->own.public_key, sizeof(lab->carrier.gateway));
    carrier_lab_open(&lab->carrier, lab->base);
}

static void kill_coordinator(struct lab *lab)
{
    evhttp_free(lab->coordinator); /* its port and all its connections */
    lab->coordinator = NULL;
    lab->n_held = 0;
}

/* The leader has heard of an abort, and starts the next epoch. */
static void on_heir(evutil_socket_t fd, short what, void *ctx)
{
    struct lab *lab = ctx;

    (void)fd;
    (void)what;
    show(lab, INSTANCE_RECOVERING, "coordinator on n1: killed by signal 6 (SIGABRT)");
    start_coordinator(lab);
    lab->epoch++;
    show(lab, INSTANCE_READY, "");
}

/* It aborts. */
static void on_abort(evutil_socket_t fd, short what, void *ctx)
{
    struct lab *lab = ctx;

    lab->n_aborts++;
    lab->hold_until = 0;
    kill_coordinator(lab);
    if (!lab->leader_is_slow)
        on_heir(fd, what, lab);
}

/* ---- the lab ---- */

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static void lab_open(struct lab *lab, uint64_t wait_ms)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {7};
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};
    struct gateway_deps deps = {
        .secret = secret, .identity = &lab->own, .wait_ms = wait_ms, .submit = on_order, .ctx = lab};

    memset(lab, 0, sizeof(*lab));
    lab->base = deps.base = event_base_new();
    lab->epoch = 3;
    lab->aborts_at_poison = true;
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0xc0}, &lab->own);
    lab->death = event_new(lab->base, -1, 0, on_abort, lab);
    lab->heir = event_new(lab->base, -1, 0, on_heir, lab);
    start_coordinator(lab);
    assert_int_equal(metrics_new(&lab->metrics), 0);
    deps.metrics = lab->metrics;
    assert_int_equal(gateway_new(&deps, &lab->gateway), 0);
    assert_int_equal(http_server_new(lab->base, &limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, gateway_routes(), lab->gateway), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
    show(lab, INSTANCE_READY, "");
}

static void lab_end(struct lab *lab)
{
    http_server_destroy(&lab->server);
    gateway_destroy(&lab->gateway);
    metrics_destroy(&lab->metrics);
    carrier_lab_kill(&lab->carrier);
    if (lab->coordinator)
        evhttp_free(lab->coordinator);
    event_free(lab->death);
    event_free(lab->heir);
    event_base_loop(lab->base, EVLOOP_NONBLOCK); /* what was freed with a callback under way */
    event_base_free(lab->base);
}

static void ask_at(struct lab *lab, struct lab_client *c, const char *path, const char *word)
{
    char body[128], text[512];

    snprintf(body, sizeof(body), "{\"model\":\"m\",\"prompt\":\"%s\"}", word);
    snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", path, strlen(body),
             body);
    lab_connect(c, lab->base, lab->port);
    lab_send(c, text);
}

static void ask(struct lab *lab, struct lab_client *c, const char *word)
{
    ask_at(lab, c, "/v1/completions", word);
}

static void expect(struct lab_client *c, int status, const char *part)
{
    char line[32];

    lab_until(c, "}");
    snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
    if (strncmp(c->got, line, strlen(line)) != 0 || !strstr(c->got, part))
        fail_msg("not %d with \"%s\", but: %s", status, part, c->got);
    lab_close(c);
}

/* ---- tests ---- */

static void hundred_with_one_poison(bool leader_is_slow)
{
    struct lab_client c[CLIENTS];
    struct lab lab;
    char word[16];

    lab_open(&lab, 30000);
    lab.leader_is_slow = leader_is_slow;
    lab.hold_until = ADMISSION_IN_FLIGHT_MAX; /* so many are in flight at the first abort */
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(word, sizeof(word), i == POISON ? "poison" : "w%d", i);
        ask(&lab, &c[i], word);
    }
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(word, sizeof(word), "\"w%d\"", i);
        if (i == POISON)
            expect(&c[i], 502, "coordinator_aborted");
        else
            expect(&c[i], 200, word);
    }
    assert_int_equal(lab.n_aborts, 2);
    assert_int_equal(lab.n_poison, 1);
    assert_int_equal(lab.poison_epoch, 4);
    for (int i = 0; i < 5; i++) { /* its client tries again and again, and others come in between */
        size_t n = lab.n_asked;

        ask(&lab, &c[0], "poison");
        expect(&c[0], 502, "coordinator_aborted");
        assert_int_equal(lab.n_asked, n); /* nobody was asked */
        ask(&lab, &c[0], "another");
        expect(&c[0], 200, "another");
    }
    assert_int_equal(lab.n_aborts, 2);
    lab_end(&lab);
}

/* Whoever comes first, the end of the connections or the leader's word: the same. */
static void test_hundred_with_one_poison(void **state)
{
    (void)state;
    hundred_with_one_poison(false);
    hundred_with_one_poison(true);
}

static void test_sent_again_once(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    lab.hold_until = SIZE_MAX;
    ask(&lab, &c, "x");
    lab_until_true(lab.base, &lab.asked);
    on_abort(-1, 0, &lab);
    expect(&c, 200, "\"x\"");
    lab_end(&lab);
}

/* Its first head and a sign of life are out already; the second sending goes on where that ended. */
static void check_sent_again(const char *sign, const char *chunk, const char *expected)
{
    struct evbuffer *out = evbuffer_new();
    struct lab_client c;
    struct lab lab;
    char *text;

    lab_open(&lab, 30000);
    for (int i = 0; i < 2; i++) {
        lab.hold_until = SIZE_MAX;
        if (!i)
            ask(&lab, &c, "x");
        lab.asked = false;
        lab_until_true(lab.base, &lab.asked);
        evhttp_add_header(evhttp_request_get_output_headers(lab.held[0]), "Content-Type", "text/event-stream");
        evhttp_send_reply_start(lab.held[0], 200, "OK");
        evbuffer_add_printf(out, "%s", i ? "data: {}\n\ndata: [DONE]\n\n" : sign);
        evhttp_send_reply_chunk(lab.held[0], out);
        if (!i) {
            lab_until(&c, chunk);
            on_abort(-1, 0, &lab);
        }
    }
    evhttp_send_reply_end(lab.held[0]);
    lab_until(&c, "\r\n0\r\n\r\n");
    text = lab_body(&c);
    assert_string_equal(text, expected);
    free(text);
    lab_close(&c);
    evbuffer_free(out);
    lab_end(&lab);
}

static void test_stream_sent_again(void **state)
{
    (void)state;
    check_sent_again(":\n\n", "3\r\n:\n\n\r\n", ":\n\ndata: {}\n\ndata: [DONE]\n\n");
    check_sent_again(":", "1\r\n:\r\n", ":\n\ndata: {}\n\ndata: [DONE]\n\n"); /* cut in the middle of it */
}

/* A stream has begun; its coordinator aborts, and the request is with the next one. */
static void begin_stream_twice(struct lab *lab, struct lab_client *c, const char *path)
{
    struct evbuffer *out = evbuffer_new();

    lab_open(lab, 30000);
    lab->hold_until = SIZE_MAX;
    ask_at(lab, c, path, "x");
    lab_until_true(lab->base, &lab->asked);
    evhttp_add_header(evhttp_request_get_output_headers(lab->held[0]), "Content-Type", "text/event-stream");
    evhttp_send_reply_start(lab->held[0], 200, "OK");
    evbuffer_add_printf(out, ":\n\n");
    evhttp_send_reply_chunk(lab->held[0], out);
    lab_until(c, ":\n\n");
    on_abort(-1, 0, lab);
    lab->hold_until = SIZE_MAX;
    lab->asked = false;
    lab_until_true(lab->base, &lab->asked);
    evbuffer_free(out);
}

/* The second sending is refused: the stream says so. */
static void test_stream_then_an_error(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *text;

    (void)state;
    begin_stream_twice(&lab, &c, "/v1/completions");
    answer(lab.held[0], 400);
    lab_until(&c, "\r\n0\r\n\r\n");
    text = lab_body(&c);
    assert_string_equal(text, ":\n\ndata: {\"model\":\"m\",\"prompt\":\"x\"}\n\n");
    free(text);
    lab_close(&c);
    lab_end(&lab);
}

/* ... on /v1/messages as llama-server says it in its streams there. */
static void test_stream_then_an_error_for_anthropic(void **state)
{
    static const char refusal[] = "{\"error\":{\"code\":400,\"message\":\"\u00e4\",\"type\":\"t\",\"n_ctx\":512}}";
    struct evbuffer *out = evbuffer_new();
    struct lab_client c;
    struct lab lab;
    char *text;

    (void)state;
    begin_stream_twice(&lab, &c, "/v1/messages");
    evbuffer_add(out, refusal, sizeof(refusal) - 1);
    evhttp_send_reply(lab.held[0], 400, "x", out);
    lab_until(&c, "\r\n0\r\n\r\n");
    text = lab_body(&c);
    assert_string_equal(
        text, ":\n\nevent: error\ndata: {\"code\":400,\"message\":\"\u00e4\",\"type\":\"t\",\"n_ctx\":512}\n\n");
    free(text);
    lab_close(&c);
    lab_end(&lab);

    begin_stream_twice(&lab, &c, "/v1/messages");
    kill_coordinator(&lab);
    show(&lab, INSTANCE_STOPPED, "");
    lab_until(&c, "\r\n0\r\n\r\n");
    text = lab_body(&c);
    assert_non_null(
        strstr(text, ":\n\nevent: error\ndata: {\"code\":502,\"message\":\"instance \\\"m\\\" (epoch 4) failed"));
    assert_non_null(strstr(text, ",\"type\":\"server_error\"}\n\n"));
    free(text);
    lab_close(&c);
    evbuffer_free(out);
    lab_end(&lab);
}

/* ... and at any length: what is kept of it has a bound. */
static void test_stream_then_an_endless_error(void **state)
{
    enum { PIECE = 65536, PIECES = 64 };
    struct evbuffer *out = evbuffer_new();
    static char piece[PIECE];
    struct lab_client c;
    struct lab lab;

    (void)state;
    memset(piece, 'x', sizeof(piece));
    begin_stream_twice(&lab, &c, "/v1/completions");
    for (int i = 0; i < PIECES; i++)
        evbuffer_add(out, piece, sizeof(piece));
    evhttp_send_reply(lab.held[0], 400, "x", out);
    lab_until(&c, "\r\n0\r\n\r\n");
    assert_true(c.n_got > PIECE && c.n_got < (size_t)PIECE * PIECES / 2);
    lab_close(&c);
    evbuffer_free(out);
    lab_end(&lab);
}

/* Its answer had begun: the leader's reason, which comes a moment later, is in the last event. */
static void test_cut_names_the_reason(void **state)
{
    struct evbuffer *out = evbuffer_new();
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    lab.hold_until = SIZE_MAX;
    ask(&lab, &c, "x");
    lab_until_true(lab.base, &lab.asked);
    evhttp_add_header(evhttp_request_get_output_headers(lab.held[0]), "Content-Type", "text/event-stream");
    evhttp_send_reply_start(lab.held[0], 200, "OK");
    evbuffer_add_printf(out, "data: {\"a\":1}\n\n");
    evhttp_send_reply_chunk(lab.held[0], out);
    lab_until(&c, "\"a\":1");
    kill_coordinator(&lab);
    lab.told = false;
    while (!lab.told || lab.traffic.in_flight) /* it has seen the cut */
        event_base_loop(lab.base, EVLOOP_ONCE);
    assert_null(strstr(c.got, "error"));
    show(&lab, INSTANCE_RECOVERING, "rank 1 on n2: worker killed by signal 9 (SIGKILL)");
    lab_until(&c, "\r\n0\r\n\r\n");
    assert_non_null(strstr(c.got, "(rank 1 on n2: worker killed by signal 9 (SIGKILL))\""));
    lab_close(&c);
    evbuffer_free(out);
    lab_end(&lab);
}

static void test_waits_for_ready(void **state)
{
    struct lab_client c, late;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    lab.epoch++;
    show(&lab, INSTANCE_LOADING, "");
    ask(&lab, &c, "x");
    ask(&lab, &late, "y");
    for (int i = 0; i < 20; i++)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    assert_false(lab.asked);
    lab_close(&late); /* this one does not stay */
    for (int i = 0; i < 20; i++)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    show(&lab, INSTANCE_READY, "");
    expect(&c, 200, "\"x\"");
    assert_int_equal(lab.n_asked, 1);
    lab_end(&lab);
}

static void test_wait_ends(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 20);
    lab.epoch++;
    show(&lab, INSTANCE_LOADING, "");
    ask(&lab, &c, "x");
    expect(&c, 503, "\r\nRetry-After: 5\r\n");
    lab_end(&lab);
}

/* A port that refuses is told; the request goes to the next epoch as if nothing had been. */
static void test_port_refused(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    kill_coordinator(&lab);
    ask(&lab, &c, "x");
    while (!lab.n_refused)
        event_base_loop(lab.base, EVLOOP_ONCE);
    start_coordinator(&lab);
    lab.epoch++;
    show(&lab, INSTANCE_READY, "");
    expect(&c, 200, "\"x\"");
    lab_end(&lab);
}

/* What a carrier refuses is no word about the coordinator: nobody is accused, and the request goes when it may. */
static void test_not_let_in(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    lab.carrier.verdict = TUNNEL_NO_GRANT;
    ask(&lab, &c, "x");
    while (!lab.carrier.n_asked)
        event_base_loop(lab.base, EVLOOP_ONCE);
    lab.carrier.verdict = TUNNEL_GRANTED;
    expect(&c, 200, "\"x\"");
    assert_int_equal(lab.n_refused + lab.n_broken + lab.n_poison, 0);
    assert_int_equal(lab.n_asked, 1);
    lab_end(&lab);
}

/* The carrier goes with its epoch, and what was in flight goes to the next. */
static void test_carrier_dies(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    lab.hold_until = SIZE_MAX;
    ask(&lab, &c, "x");
    lab_until_true(lab.base, &lab.asked);
    carrier_lab_kill(&lab.carrier);
    while (!lab.n_refused)
        event_base_loop(lab.base, EVLOOP_ONCE);
    on_abort(-1, 0, &lab);
    expect(&c, 200, "\"x\"");
    lab_end(&lab);
}

static void test_500_for_ever(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    for (int i = 0; i < 3; i++) {
        lab.hold_until = SIZE_MAX;
        lab.asked = false;
        ask(&lab, &c, "x");
        lab_until_true(lab.base, &lab.asked);
        answer(lab.held[0], 500);
        lab.n_held = 0;
        expect(&c, 500, "\"x\""); /* handed on as it is */
    }
    assert_int_equal(lab.n_broken, 1); /* told once a second */
    lab_end(&lab);
}

/* Those that wait and those in flight when the server ends are let go. */
static void test_end_in_the_midst(void **state)
{
    struct lab_client c[3];
    struct lab lab;

    (void)state;
    lab_open(&lab, 30000);
    lab.hold_until = SIZE_MAX;
    ask(&lab, &c[0], "x");
    lab_until_true(lab.base, &lab.asked);
    kill_coordinator(&lab);
    ask(&lab, &c[1], "y");
    ask(&lab, &c[2], "z");
    for (int i = 0; i < 20; i++)
        event_base_loop(lab.base, EVLOOP_NONBLOCK);
    http_server_destroy(&lab.server);
    for (int i = 0; i < 3; i++)
        lab_close(&c[i]);
    lab_end(&lab);
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
        cmocka_unit_test(test_hundred_with_one_poison),
        cmocka_unit_test(test_sent_again_once),
        cmocka_unit_test(test_stream_sent_again),
        cmocka_unit_test(test_stream_then_an_error),
        cmocka_unit_test(test_stream_then_an_error_for_anthropic),
        cmocka_unit_test(test_stream_then_an_endless_error),
        cmocka_unit_test(test_cut_names_the_reason),
        cmocka_unit_test(test_waits_for_ready),
        cmocka_unit_test(test_wait_ends),
        cmocka_unit_test(test_port_refused),
        cmocka_unit_test(test_500_for_ever),
        cmocka_unit_test(test_end_in_the_midst),
    };
    const struct CMUnitTest behind_it[] = {
        cmocka_unit_test(test_not_let_in),
        cmocka_unit_test(test_carrier_dies),
    };

    return cmocka_run_group_tests_name("direct", tests, go_direct, NULL) +
           cmocka_run_group_tests_name("through a carrier", tests, go_through_carrier, NULL) +
           cmocka_run_group_tests_name("what carriers do", behind_it, go_through_carrier, NULL);
}
