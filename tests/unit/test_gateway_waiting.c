/* Clients that wait: for a model that the first of them starts, for a slot, for ever. The test is the leader: it hears what is
 * asked of it, answers, and shows views. All of it twice, with coordinators at ports of their own, and behind a carrier. */
#include <dirent.h>
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

#include "controller/gateway_state.h"
#include "controller/http_json.h"
#include "tests/lib/carrier_lab.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

enum { CLIENTS = 100, HELD = 128, NOTE_MS = 20, ORDERS = 16, SLOTS = 4 };

static bool through_carrier;

struct lab {
    struct event_base *base;
    struct identity own;
    struct carrier_lab carrier;
    struct http_server *server;
    struct gateway *gateway;
    struct metrics *metrics;
    uint16_t port;
    /* the coordinator */
    struct evhttp *coordinator;
    uint16_t upstream_port;
    bool holds, asked, left; /* answers are held back; somebody asked; somebody left */
    struct evhttp_request *held[HELD];
    size_t n_held, n_asked, most_held;
    /* what the control loop heard */
    size_t n_ensures, n_upstream;
    struct ensure {
        uint64_t id;
        char name[PROTO_MODEL_MAX];
    } ensure[ORDERS];
    bool ensured;
};

/* ---- the leader ---- */

static int on_order(void *ctx, struct front_order *o)
{
    struct lab *lab = ctx;

    if (o->kind == FRONT_ORDER_ENSURE) {
        assert_true(o->request_id & GATEWAY_REQUEST);
        assert_true(lab->n_ensures < ORDERS);
        lab->ensure[lab->n_ensures].id = o->request_id;
        memcpy(lab->ensure[lab->n_ensures++].name, o->target, PROTO_MODEL_MAX);
        lab->ensured = true;
    }
    lab->n_upstream += o->kind == FRONT_ORDER_UPSTREAM;
    front_order_destroy(&o);
    return 0;
}

static void answer_start(struct lab *lab, size_t k, bool accepted, const char *code, const char *text)
{
    struct cluster_answer answer = {.accepted = accepted};

    snprintf(answer.code, sizeof(answer.code), "%s", code);
    snprintf(answer.text, sizeof(answer.text), "%s", text);
    gateway_answer(lab->gateway, lab->ensure[k].id, &answer);
}

static void serve(struct view *v, const char *const *name, size_t n)
{
    v->served = calloc(n, sizeof(v->served[0]));
    v->n_served = n;
    for (size_t k = 0; k < n; k++) {
        snprintf(v->served[k].name, sizeof(v->served[k].name), "%s", name[k]);
        snprintf(v->served[k].model, sizeof(v->served[k].model), "tiny");
        v->served[k].start = SERVED_DEMAND;
        v->served[k].there = true;
    }
}

/* A picture of instance "m" in that state. "m" and "n" may be started by requests. */
static struct view *look(struct lab *lab, enum instance_state state)
{
    static const char *const names[] = {"m", "n"};
    struct view *v = lab_view(state, through_carrier ? lab->carrier.port : lab->upstream_port);
    struct view_instance *in = &v->instance[0];

    if (through_carrier)
        memcpy(in->coordinator_key, lab->carrier.key, sizeof(in->coordinator_key));
    ((struct plan *)in->plan)->slots = SLOTS;
    in->state_since_wall_ms = v->made_wall_ms;
    serve(v, names, 2);
    return v;
}

static void show(struct lab *lab, struct view *v)
{
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
}

static void show_state(struct lab *lab, enum instance_state state)
{
    show(lab, look(lab, state));
}

static void show_nothing(struct lab *lab)
{
    struct view *v = look(lab, INSTANCE_STOPPED);

    free((void *)v->instance[0].plan);
    v->n_instances = 0;
    show(lab, v);
}

static void show_failed(struct lab *lab, const char *reason)
{
    struct view *v = look(lab, INSTANCE_FAILED);

    snprintf(v->instance[0].reason, sizeof(v->instance[0].reason), "%s", reason);
    show(lab, v);
}

static void show_loading(struct lab *lab, uint32_t permille, uint64_t eta_ms)
{
    struct view *v = look(lab, INSTANCE_LOADING);

    v->instance[0].progress_permille = permille;
    v->instance[0].eta_ms = eta_ms;
    show(lab, v);
}

static void show_both(struct lab *lab, enum instance_state state)
{
    struct view *v = look(lab, state);

    v->instance = realloc(v->instance, 2 * sizeof(v->instance[0]));
    v->instance[1] = v->instance[0];
    v->instance[1].id = lab_id(0xbb);
    v->instance[1].plan = lab_plan();
    snprintf(v->instance[1].name, sizeof(v->instance[1].name), "n");
    v->n_instances = 2;
    show(lab, v);
}

/* ---- the coordinator ---- */

static void answer(struct evhttp_request *req)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *out = evbuffer_new();

    evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "application/json");
    evbuffer_add_buffer(out, in); /* what was asked, so that nobody gets another's */
    evhttp_send_reply(req, 200, "OK", out);
    evbuffer_free(out);
}

static void answer_held(struct lab *lab)
{
    for (size_t i = 0; i < lab->n_held; i++)
        answer(lab->held[i]);
    lab->n_held = 0;
}

static void on_left(struct evhttp_connection *conn, void *ctx)
{
    struct lab *lab = ctx;

    lab->left = true;
    for (size_t i = 0; i < lab->n_held; i++)
        if (evhttp_request_get_connection(lab->held[i]) == conn)
            lab->held[i--] = lab->held[--lab->n_held];
}

static void on_question(struct evhttp_request *req, void *ctx)
{
    struct lab *lab = ctx;

    lab->asked = true;
    lab->n_asked++;
    lab->held[lab->n_held++] = req;
    lab->most_held = lab->n_held > lab->most_held ? lab->n_held : lab->most_held;
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_left, lab);
    if (!lab->holds)
        answer_held(lab);
}

/* ---- the lab ---- */

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static void start_coordinator(struct lab *lab)
{
    lab->coordinator = evhttp_new(lab->base);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, lab_listen(&lab->upstream_port)), 0);
    lab->carrier = (struct carrier_lab){.instance = lab_id(0xaa), .coordinator_port = lab->upstream_port};
    memcpy(lab->carrier.gateway, lab->own.public_key, sizeof(lab->carrier.gateway));
    carrier_lab_open(&lab->carrier, lab->base);
}

static void lab_open_with(struct lab *lab, uint64_t wait_ms, size_t waiting_max)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {7};
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};
    struct gateway_deps deps = {.secret = secret,
                                .identity = &lab->own,
                                .wait_ms = wait_ms,
                                .waiting_max = waiting_max,
                                .note_ms = NOTE_MS,
                                .submit = on_order,
                                .ctx = lab};

    memset(lab, 0, sizeof(*lab));
    lab->base = deps.base = event_base_new();
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0xc0}, &lab->own);
    start_coordinator(lab);
    assert_int_equal(metrics_new(&lab->metrics), 0);
    deps.metrics = lab->metrics;
    assert_int_equal(gateway_new(&deps, &lab->gateway), 0);
    assert_int_equal(http_server_new(lab->base, &limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, gateway_routes(), lab->gateway), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
}

static void lab_open(struct lab *lab)
{
    lab_open_with(lab, 30000, 0);
}

static void turn(struct lab *lab, int n)
{
    for (int i = 0; i < n; i++)
        event_base_loop(lab->base, EVLOOP_NONBLOCK);
}

/* Whatever a test did: nobody is left on his way. */
static void lab_end(struct lab *lab)
{
    turn(lab, 20);
    assert_int_equal(lab->gateway->n_requests, 0);
    assert_int_equal(lab->gateway->asks.n, 0);
    http_server_destroy(&lab->server);
    gateway_destroy(&lab->gateway);
    metrics_destroy(&lab->metrics);
    carrier_lab_kill(&lab->carrier);
    evhttp_free(lab->coordinator);
    event_base_free(lab->base);
}

static void send_to(struct lab *lab, struct lab_client *c, const char *fields, const char *body)
{
    char text[1024];

    snprintf(text, sizeof(text), "POST /v1/completions HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", fields,
             strlen(body), body);
    (void)lab;
    lab_send(c, text);
}

static void ask(struct lab *lab, struct lab_client *c, const char *fields, const char *body)
{
    lab_connect(c, lab->base, lab->port);
    send_to(lab, c, fields, body);
}

static void ask_word(struct lab *lab, struct lab_client *c, const char *model, int word)
{
    char body[128];

    snprintf(body, sizeof(body), "{\"model\":\"%s\",\"prompt\":\"w%d\"}", model, word);
    ask(lab, c, "", body);
}

static void expect(struct lab_client *c, int status, const char *part)
{
    char line[32];

    lab_until(c, "}");
    snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
    if (strncmp(c->got, line, strlen(line)) != 0 || !strstr(c->got, part))
        fail_msg("not %d with \"%s\", but: %s", status, part, c->got);
}

static void expect_word(struct lab_client *c, int word)
{
    char part[16];

    snprintf(part, sizeof(part), "\"w%d\"", word);
    expect(c, 200, part);
    lab_close(c);
}

/* So many are in and wait for their answers. */
static void until_requests(struct lab *lab, size_t n)
{
    while (lab->gateway->n_requests != n)
        event_base_loop(lab->base, EVLOOP_ONCE);
}

static void until_ensures(struct lab *lab, size_t n)
{
    while (lab->n_ensures < n) {
        lab->ensured = false;
        lab_until_true(lab->base, &lab->ensured);
    }
}

static size_t count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* A sanitizer keeps what was freed for a while; what it knows is exact, and else it is about what the kernel has given. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t count_bytes(void)
{
    size_t size, resident;
    FILE *f;

    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &size, &resident), 2);
    fclose(f);
    return resident * (size_t)getpagesize();
}

/* ---- the first request starts it ---- */

static void test_case_01_hundred_first_requests(void **state)
{
    struct lab_client c[CLIENTS];
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_nothing(&lab);
    for (int i = 0; i < CLIENTS; i++)
        ask_word(&lab, &c[i], "m", i);
    until_requests(&lab, CLIENTS);
    assert_int_equal(lab.n_ensures, 1);
    assert_string_equal(lab.ensure[0].name, "m");
    answer_start(&lab, 0, true, "", "");
    show_state(&lab, INSTANCE_REQUESTED);
    show_loading(&lab, 10, UINT64_MAX);
    turn(&lab, 20);
    assert_int_equal(lab.n_asked, 0);
    show_state(&lab, INSTANCE_READY);
    for (int i = 0; i < CLIENTS; i++)
        expect_word(&c[i], i);
    assert_int_equal(lab.n_asked, CLIENTS);
    assert_int_equal(lab.n_ensures, 1);
    assert_true(lab.most_held <= SLOTS + 1);
    lab_end(&lab);
}

/* All get the same words, and nothing is left of them: no request, no descriptor. */
static void expect_same_errors(struct lab *lab, struct lab_client *c, const char *part)
{
    char *first = NULL;

    for (int i = 0; i < CLIENTS; i++) {
        char *body;

        expect(&c[i], 503, part);
        assert_non_null(strstr(c[i].got, "\r\nRetry-After: "));
        body = lab_body(&c[i]);
        if (!first)
            first = strdup(body);
        assert_string_equal(body, first);
        free(body);
        lab_close(&c[i]);
    }
    free(first);
    turn(lab, 20);
    assert_int_equal(lab->gateway->n_requests, 0);
    assert_int_equal(lab->n_asked, 0);
}

static void test_case_02_start_refused(void **state)
{
    struct lab_client c[CLIENTS];
    struct lab lab;
    size_t n_fds;

    (void)state;
    lab_open(&lab);
    show_nothing(&lab);
    n_fds = count_fds();
    for (int i = 0; i < CLIENTS; i++)
        ask_word(&lab, &c[i], "m", i);
    until_requests(&lab, CLIENTS);
    answer_start(&lab, 0, false, "no_fit", "no node has 40 GiB free");
    expect_same_errors(&lab, c, "model \\\"m\\\" cannot be started: no node has 40 GiB free");
    assert_int_equal(count_fds(), n_fds);
    assert_int_equal(lab.n_ensures, 1);
    lab_end(&lab);
}

static void test_case_05_start_fails(void **state)
{
    struct lab_client c[CLIENTS], late;
    struct lab lab;
    size_t n_fds;

    (void)state;
    lab_open(&lab);
    show_nothing(&lab);
    n_fds = count_fds();
    for (int i = 0; i < CLIENTS; i++)
        ask_word(&lab, &c[i], "m", i);
    until_requests(&lab, CLIENTS);
    answer_start(&lab, 0, true, "", "");
    show_loading(&lab, 10, UINT64_MAX);
    show_failed(&lab, "rank 1 on n2: out of memory");
    expect_same_errors(&lab, c, "has failed: rank 1 on n2: out of memory");
    assert_int_equal(count_fds(), n_fds);
    ask_word(&lab, &late, "m", 1); /* a moment later: at once, and nothing is started anew */
    expect(&late, 503, "has failed: rank 1 on n2: out of memory");
    lab_close(&late);
    assert_int_equal(lab.n_ensures, 1);
    lab_end(&lab);
}

static void test_manual_is_not_started(void **state)
{
    struct view *v;
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    v = look(&lab, INSTANCE_STOPPED);
    v->served[0].start = SERVED_MANUAL;
    show(&lab, v);
    ask_word(&lab, &c, "m", 1);
    expect(&c, 503, "model \\\"m\\\" is not running: caravan deploy m");
    lab_close(&c);
    assert_int_equal(lab.n_ensures, 0);
    lab_end(&lab);
}

/* ---- many callers ---- */

static void test_case_10_two_models_at_once(void **state)
{
    struct lab_client m, n;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_nothing(&lab);
    ask_word(&lab, &m, "m", 1);
    ask_word(&lab, &n, "n", 2);
    until_ensures(&lab, 2);
    assert_int_not_equal(lab.ensure[0].id, lab.ensure[1].id);
    answer_start(&lab, 1, true, "", "");
    answer_start(&lab, 0, true, "", "");
    show_both(&lab, INSTANCE_LOADING);
    if (through_carrier)
        lab.carrier.instance = lab_id(0xbb);
    show_both(&lab, INSTANCE_READY);
    if (!through_carrier) /* behind one carrier there is one of them */
        expect_word(&m, 1);
    else
        lab_close(&m);
    expect_word(&n, 2);
    assert_int_equal(lab.n_ensures, 2);
    lab_end(&lab);
}

/* Five one after another on a stopped model, and ten from three workers: one start. */
static void test_case_10_three_workers(void **state)
{
    struct lab_client worker[3];
    char body[64];
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_nothing(&lab);
    for (int i = 0; i < 10; i++) {
        struct lab_client *c = &worker[i % 3];

        snprintf(body, sizeof(body), "{\"model\":\"m\",\"prompt\":\"w%d\"}", i);
        if (i < 3)
            ask(&lab, c, "", body);
        else
            send_to(&lab, c, "", body);
        if (i == 2) {
            until_requests(&lab, 3);
            answer_start(&lab, 0, true, "", "");
            show_state(&lab, INSTANCE_READY);
        }
        if (i >= 2)
            until_requests(&lab, 0);
    }
    for (int i = 7; i < 10; i++) {
        snprintf(body, sizeof(body), "\"w%d\"", i);
        lab_until(&worker[i % 3], body);
        lab_close(&worker[i % 3]);
    }
    assert_int_equal(lab.n_asked, 10);
    assert_int_equal(lab.n_ensures, 1);
    lab_end(&lab);
}

/* A thousand who do not stay, waiting for a start, for a slot, or for their answers. */
static void test_thousand_abandoned(void **state)
{
    struct lab_client c[CLIENTS];
    size_t n_fds, n_bytes = 0;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_nothing(&lab);
    n_fds = count_fds();
    for (int round = 0; round < 10; round++) {
        lab.holds = true;
        for (int i = 0; i < CLIENTS; i++)
            ask_word(&lab, &c[i], "m", i);
        until_requests(&lab, CLIENTS);
        if (round % 2) { /* some have been sent */
            show_state(&lab, INSTANCE_READY);
            while (lab.n_held < SLOTS + 1)
                event_base_loop(lab.base, EVLOOP_ONCE);
        }
        for (int i = 0; i < CLIENTS; i++)
            lab_close(&c[i]);
        until_requests(&lab, 0);
        answer_held(&lab); /* evhttp sees a departure only when it writes */
        show_nothing(&lab);
        turn(&lab, 20);
        if (round == 3)
            n_bytes = count_bytes();
    }
    assert_int_equal(count_fds(), n_fds);
    assert_true(count_bytes() < n_bytes + 256 * 1024);
    assert_int_equal(lab.n_upstream, 0);
    lab.gateway->asks.n = 0; /* nobody has answered those */
    lab_end(&lab);
}

static void test_too_many_wait(void **state)
{
    struct lab_client c[3];
    struct lab lab;

    (void)state;
    lab_open_with(&lab, 30000, 2);
    show_state(&lab, INSTANCE_LOADING);
    for (int i = 0; i < 2; i++)
        ask_word(&lab, &c[i], "m", i);
    until_requests(&lab, 2);
    ask_word(&lab, &c[2], "m", 2);
    expect(&c[2], 429, "too many requests wait for model \\\"m\\\"");
    assert_non_null(strstr(c[2].got, "\r\nRetry-After: 5\r\n"));
    lab_close(&c[2]);
    lab_close(&c[0]); /* its place is free */
    until_requests(&lab, 1);
    ask_word(&lab, &c[2], "m", 2);
    until_requests(&lab, 2);
    show_state(&lab, INSTANCE_READY);
    expect_word(&c[1], 1);
    expect_word(&c[2], 2);
    lab_end(&lab);
}

/* ---- what they are told meanwhile ---- */

static const char stream_body[] = "{\"model\":\"m\",\"stream\":true}";

static void stream_answer(struct evhttp_request *req)
{
    struct evbuffer *out = evbuffer_new();

    evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "text/event-stream");
    evhttp_send_reply_start(req, 200, "OK");
    evbuffer_add_printf(out, "data: {\"a\":1}\n\ndata: [DONE]\n\n");
    evhttp_send_reply_chunk(req, out);
    evhttp_send_reply_end(req);
    evbuffer_free(out);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void test_stream_is_told_of_the_load(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *body;

    (void)state;
    lab_open(&lab);
    lab.holds = true;
    show_nothing(&lab);
    ask(&lab, &c, "", stream_body);
    lab_until(&c, ": waiting: it is being started\n\n");
    show_loading(&lab, 430, 11500);
    lab_until(&c, ": waiting: loading 43 %, about 12 s\n\n");
    show_loading(&lab, 500, UINT64_MAX);
    lab_until(&c, ": waiting: loading 50 %\n\n");
    show_state(&lab, INSTANCE_READY);
    lab_until_true(lab.base, &lab.asked);
    lab_until(&c, ": waiting: its prompt is being computed\n\n"); /* until it has a head of the coordinator's */
    stream_answer(lab.held[0]);
    lab_until(&c, "\r\n0\r\n\r\n");
    assert_int_equal(strncmp(c.got, "HTTP/1.1 200 OK\r\n", 17), 0);
    assert_int_equal(count(c.got, "HTTP/1.1"), 1);
    assert_int_equal(count(c.got, "Content-Type: text/event-stream\r\n"), 1);
    assert_int_equal(count(c.got, "X-Accel-Buffering: no\r\n"), 1);
    body = lab_body(&c);
    assert_string_equal(strstr(body, "data: "), "data: {\"a\":1}\n\ndata: [DONE]\n\n");
    free(body);
    lab_close(&c);
    until_ensures(&lab, 1);
    answer_start(&lab, 0, true, "", "");
    lab_end(&lab);
}

static void test_stream_is_told_its_place(void **state)
{
    struct lab_client c[SLOTS + 3];
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab.holds = true;
    show_state(&lab, INSTANCE_READY);
    for (int i = 0; i < SLOTS + 3; i++) {
        ask(&lab, &c[i], "", stream_body);
        until_requests(&lab, (size_t)i + 1);
    }
    lab_until(&c[SLOTS + 2], ": waiting: place 2 in its queue\n\n");
    lab_close(&c[SLOTS + 1]);
    lab_until(&c[SLOTS + 2], ": waiting: place 1 in its queue\n\n");
    for (int i = 0; i < SLOTS + 3; i++)
        if (i != SLOTS + 1)
            lab_close(&c[i]);
    until_requests(&lab, 0);
    answer_held(&lab);
    lab_end(&lab);
}

/* After the head, what goes wrong is an event of the stream. */
static void test_stream_ends_with_an_error(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *body;

    (void)state;
    lab_open(&lab);
    show_loading(&lab, 430, UINT64_MAX);
    ask(&lab, &c, "", stream_body);
    lab_until(&c, ": waiting: ");
    show_failed(&lab, "rank 1 on n2: out of memory");
    lab_until(&c, "\r\n0\r\n\r\n");
    body = lab_body(&c);
    assert_non_null(strstr(body,
                           "\n\ndata: {\"error\":{\"code\":503,\"message\":\"model \\\"m\\\" has failed: rank 1 on n2: "
                           "out of memory"));
    assert_string_equal(body + strlen(body) - 3, "}\n\n");
    free(body);
    lab_close(&c);
    lab_end(&lab);
}

/* As it does where the coordinator refuses what it was asked. */
static void test_stream_is_refused_late(void **state)
{
    struct lab_client c;
    struct lab lab;
    char *body;

    (void)state;
    lab_open(&lab);
    show_loading(&lab, 430, UINT64_MAX);
    ask(&lab, &c, "", stream_body);
    lab_until(&c, ": waiting: ");
    show_state(&lab, INSTANCE_READY);
    lab_until(&c, "\r\n0\r\n\r\n");
    body = lab_body(&c);
    assert_non_null(strstr(body, "\n\ndata: {\"model\":\"m\",\"stream\":true}\n\n"));
    free(body);
    lab_close(&c);
    lab_end(&lab);
}

/* Who has not asked for a stream hears nothing until it is over; then, when to come again. */
static void test_others_are_told_when_to_come_again(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open_with(&lab, 5 * NOTE_MS, 0);
    show_loading(&lab, 430, 11500);
    ask(&lab, &c, "", "{\"model\":\"m\",\"stream\":false}");
    expect(&c, 503, "model \\\"m\\\" is loading (43 %)");
    assert_non_null(strstr(c.got, "\r\nRetry-After: 12\r\n"));
    assert_null(strstr(c.got, "waiting"));
    lab_close(&c);
    lab_end(&lab);
}

/* ---- the time that a client gives ---- */

static void test_timeout_while_it_loads(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_loading(&lab, 430, 11500);
    ask(&lab, &c, "", "{\"model\":\"m\",\"timeout\":1}");
    expect(&c, 504, "has not answered in the 1 s that this request gave: loading 43 %, about 12 s");
    assert_non_null(strstr(c.got, "\r\nRetry-After: 12\r\n"));
    lab_close(&c);
    lab_end(&lab);
}

/* Where it is computed its slot is free then: the next one goes. */
static void test_timeout_while_it_is_computed(void **state)
{
    struct lab_client c[SLOTS + 1], computed, queued;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab.holds = true;
    show_state(&lab, INSTANCE_READY);
    ask(&lab, &computed, "", "{\"model\":\"m\",\"timeout\":1}");
    while (lab.n_held < 1)
        event_base_loop(lab.base, EVLOOP_ONCE);
    for (int i = 0; i < SLOTS + 1; i++)
        ask(&lab, &c[i], "", "{\"model\":\"m\"}");
    until_requests(&lab, SLOTS + 2);
    ask(&lab, &queued, "X-Stainless-Timeout: 1\r\n", "{\"model\":\"m\",\"timeout\":600}");
    expect(&queued, 504, "queued");
    expect(&computed, 504, "its prompt is being computed");
    while (lab.n_asked < SLOTS + 2)
        event_base_loop(lab.base, EVLOOP_ONCE);
    lab_close(&queued);
    lab_close(&computed);
    for (int i = 0; i < SLOTS + 1; i++)
        lab_close(&c[i]);
    until_requests(&lab, 0);
    answer_held(&lab);
    lab_end(&lab);
}

/* What a library counts to the head is no limit of a stream, which has its head early. */
static void test_timeout_of_a_library_is_no_streams(void **state)
{
    struct lab_client stream, other;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_loading(&lab, 430, UINT64_MAX);
    ask(&lab, &stream, "X-Stainless-Timeout: 1\r\n", stream_body);
    until_requests(&lab, 1);
    ask(&lab, &other, "X-Stainless-Timeout: 1\r\n", "{\"model\":\"m\"}");
    expect(&other, 504, "loading 43 %");
    lab_close(&other);
    assert_null(strstr(stream.got, "error"));
    lab_close(&stream);
    until_requests(&lab, 0);
    lab_end(&lab);
}

/* ---- a carrier without room ---- */

static void test_no_room_for_a_stream(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show_state(&lab, INSTANCE_READY);
    lab.carrier.verdict = TUNNEL_BUSY;
    ask_word(&lab, &c, "m", 1);
    while (lab.carrier.n_asked < 3) /* again and again */
        event_base_loop(lab.base, EVLOOP_ONCE);
    lab.carrier.verdict = TUNNEL_GRANTED;
    expect_word(&c, 1);
    assert_int_equal(lab.n_upstream, 0);
    assert_int_equal(lab.n_asked, 1);
    lab_end(&lab);
}

/* ---- passages that begin others ---- */

struct chain {
    struct lab *lab;
    struct passage *passage, *victim;
    int left; /* how many are to follow */
    size_t n_ends, n_fails;
    bool over;
};

static void begin_next(struct chain *chain);

static void on_chain_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    (void)ctx;
    (void)header;
    (void)n;
    assert_int_equal(status, 200);
}

static enum passage_use on_chain_data(void *ctx, const void *buf, size_t n)
{
    (void)ctx;
    (void)buf;
    (void)n;
    return PASSAGE_KEPT;
}

static void on_chain_again(void *ctx)
{
    (void)ctx;
}

static void go_on(struct chain *chain)
{
    chain->passage = NULL;
    passage_cancel(&chain->victim);
    if (chain->left-- > 0)
        begin_next(chain);
    else
        chain->over = true;
}

static void on_chain_end(void *ctx)
{
    struct chain *chain = ctx;

    chain->n_ends++;
    go_on(chain);
}

static void on_chain_fail(void *ctx, const struct gateway_refusal *r)
{
    struct chain *chain = ctx;

    (void)r;
    chain->n_fails++;
    go_on(chain);
}

static void begin_passage(struct chain *chain, const char *model, struct passage **ret)
{
    const struct passage_spec spec = {
        .model = model, .method = "POST", .target = "/v1/completions", .body = "{}", .n_body_bytes = 2};
    const struct passage_calls calls = {.head = on_chain_head,
                                        .data = on_chain_data,
                                        .again = on_chain_again,
                                        .end = on_chain_end,
                                        .fail = on_chain_fail,
                                        .ctx = chain};

    assert_int_equal(passage_begin(chain->lab->gateway, &spec, &calls, ret), 0);
}

/* One that waits for ever, for the next to cancel; and the next, which ends or is refused at once. */
static void begin_next(struct chain *chain)
{
    struct passage *next = NULL;

    begin_passage(chain, "n", &chain->victim);
    begin_passage(chain, chain->left % 2 ? "m" : "nobody", &next);
}

static void test_what_ends_begins_the_next(void **state)
{
    struct lab lab;
    struct chain chain = {.lab = &lab, .left = 100};

    (void)state;
    lab_open(&lab);
    show_state(&lab, INSTANCE_READY);
    begin_next(&chain);
    lab_until_true(lab.base, &chain.over);
    assert_int_equal(chain.n_ends, 50);
    assert_int_equal(chain.n_fails, 51);
    lab.gateway->asks.n = 0;
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
        cmocka_unit_test(test_case_01_hundred_first_requests),
        cmocka_unit_test(test_case_02_start_refused),
        cmocka_unit_test(test_case_05_start_fails),
        cmocka_unit_test(test_manual_is_not_started),
        cmocka_unit_test(test_case_10_two_models_at_once),
        cmocka_unit_test(test_case_10_three_workers),
        cmocka_unit_test(test_thousand_abandoned),
        cmocka_unit_test(test_too_many_wait),
        cmocka_unit_test(test_stream_is_told_of_the_load),
        cmocka_unit_test(test_stream_is_told_its_place),
        cmocka_unit_test(test_stream_ends_with_an_error),
        cmocka_unit_test(test_stream_is_refused_late),
        cmocka_unit_test(test_others_are_told_when_to_come_again),
        cmocka_unit_test(test_timeout_while_it_loads),
        cmocka_unit_test(test_timeout_while_it_is_computed),
        cmocka_unit_test(test_timeout_of_a_library_is_no_streams),
        cmocka_unit_test(test_what_ends_begins_the_next),
    };
    const struct CMUnitTest behind_it[] = {
        cmocka_unit_test(test_no_room_for_a_stream),
    };

    return cmocka_run_group_tests_name("direct", tests, go_direct, NULL) +
           cmocka_run_group_tests_name("through a carrier", tests, go_through_carrier, NULL) +
           cmocka_run_group_tests_name("what carriers do", behind_it, go_through_carrier, NULL);
}
