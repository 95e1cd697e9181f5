/* POST /v1/fanout between a raw client and a stand-in coordinator that answers each member when the test says so, dies, and
 * comes back in a new epoch. The test is the leader: it shows views. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/gateway.h"
#include "controller/gateway_state.h"
#include "controller/http_json.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

enum { HELD = 80, SYNTHESIS = 70 };

struct lab {
    struct event_base *base;
    struct identity own;
    struct http_server *server;
    struct gateway *gateway;
    struct metrics *metrics;
    struct evhttp *coordinator;
    uint16_t port, upstream_port;
    uint64_t epoch;
    struct evhttp_request
        *held[HELD]; /* by max_tokens, which the test makes the member's number; NULL: not asked, or gone */
    struct evhttp_connection *conn[HELD]; /* of each */
    bool begun[HELD], left[HELD];
    char *body;           /* of the last request */
    char request_id[256]; /* the same's */
    size_t n_asked;
    size_t wanted; /* so many asked */
    bool enough;
};

/* ---- the coordinator ---- */

static void on_left(struct evhttp_connection *conn, void *ctx)
{
    struct lab *lab = ctx;

    for (size_t i = 0; i < HELD; i++)
        if (lab->held[i] && lab->conn[i] == conn) /* evhttp has parted the two already */
            lab->left[i] = true;
}

static void on_question(struct evhttp_request *req, void *ctx)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    struct lab *lab = ctx;
    size_t n = evbuffer_get_length(in);
    const char *number;
    int member;

    free(lab->body);
    lab->body = calloc(1, n + 1);
    evbuffer_copyout(in, lab->body, n);
    number = strstr(lab->body, "\"max_tokens\":");
    assert_non_null(number);
    assert_string_equal(evhttp_request_get_uri(req), "/v1/chat/completions");
    snprintf(lab->request_id, sizeof(lab->request_id), "%s",
             evhttp_find_header(evhttp_request_get_input_headers(req), "X-Request-Id"));
    assert_non_null(strstr(lab->body, "\"stream\":true"));
    member = atoi(number + 13);
    lab->held[member] = req;
    lab->conn[member] = evhttp_request_get_connection(req);
    lab->begun[member] = lab->left[member] = false;
    lab->n_asked++;
    lab->enough = lab->n_asked >= lab->wanted;
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_left, lab);
}

static void send_piece(struct lab *lab, int member, const char *text)
{
    struct evbuffer *out = evbuffer_new();

    assert_non_null(lab->held[member]);
    if (!lab->begun[member]) {
        evhttp_add_header(evhttp_request_get_output_headers(lab->held[member]), "Content-Type", "text/event-stream");
        evhttp_send_reply_start(lab->held[member], 200, "OK");
        lab->begun[member] = true;
    }
    evbuffer_add(out, text, strlen(text));
    evhttp_send_reply_chunk(lab->held[member], out);
    evbuffer_free(out);
}

static void say(struct lab *lab, int member, const char *text)
{
    char chunk[512];

    snprintf(chunk, sizeof(chunk),
             "data: {\"choices\":[{\"delta\":{\"content\":\"%s\"},\"finish_reason\":null,\"index\":0}]}\n\n", text);
    send_piece(lab, member, chunk);
}

static void stop(struct lab *lab, int member)
{
    send_piece(lab, member,
               "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
               "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n");
    evhttp_send_reply_end(lab->held[member]);
    lab->held[member] = NULL;
}

static void answer(struct lab *lab, int member, const char *text)
{
    say(lab, member, text);
    stop(lab, member);
}

/* Waits until its connection is closed by the gateway: the slot is free. evhttp sees that only when it writes. */
static void until_left(struct lab *lab, int member)
{
    struct evhttp_request *req = lab->held[member];

    while (!lab->left[member]) {
        send_piece(lab, member, ":\n\n");
        event_base_loop(lab->base, EVLOOP_ONCE);
    }
    evhttp_send_reply_end(req); /* still ours: evhttp frees it here */
    lab->held[member] = NULL;
}

static void refuse_one(struct lab *lab, int member, int status, const char *body)
{
    struct evbuffer *out = evbuffer_new();

    evhttp_add_header(evhttp_request_get_output_headers(lab->held[member]), "Content-Type", "application/json");
    evbuffer_add(out, body, strlen(body));
    evhttp_send_reply(lab->held[member], status, "x", out);
    evbuffer_free(out);
    lab->held[member] = NULL;
}

/* ---- the leader ---- */

static void show(struct lab *lab, enum instance_state state)
{
    struct view *v = lab_view(state, lab->upstream_port);
    struct plan *plan = (struct plan *)(uintptr_t)v->instance[0].plan;

    plan->slots = 16;
    v->instance[0].epoch = lab->epoch;
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
}

static void start_coordinator(struct lab *lab)
{
    lab->coordinator = evhttp_new(lab->base);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, lab_listen(&lab->upstream_port)), 0);
}

static void kill_coordinator(struct lab *lab)
{
    for (size_t i = 0; i < HELD; i++) {
        if (lab->held[i])
            evhttp_connection_set_closecb(evhttp_request_get_connection(lab->held[i]), NULL, NULL);
        lab->held[i] = NULL;
    }
    evhttp_free(lab->coordinator);
    lab->coordinator = NULL;
}

static int drop_order(void *ctx, struct front_order *order)
{
    (void)ctx;
    front_order_destroy(&order);
    return 0;
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static void lab_open(struct lab *lab)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {7};
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};
    struct gateway_deps deps = {.secret = secret, .identity = &lab->own, .wait_ms = 30000, .submit = drop_order};

    *lab = (struct lab){.base = event_base_new(), .epoch = 3};
    deps.base = lab->base;
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0xc0}, &lab->own);
    start_coordinator(lab);
    assert_int_equal(metrics_new(&lab->metrics), 0);
    deps.metrics = lab->metrics;
    assert_int_equal(gateway_new(&deps, &lab->gateway), 0);
    assert_int_equal(http_server_new(lab->base, &limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, gateway_routes(), lab->gateway), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
    show(lab, INSTANCE_READY);
}

static void lab_shut(struct lab *lab)
{
    http_server_destroy(&lab->server);
    assert_int_equal(lab->gateway->n_requests, 0); /* nothing is left running */
    assert_int_equal(lab->gateway->fanouts.n, 0);
    assert_int_equal(lab->gateway->fanouts.n_bytes, 0);
    gateway_destroy(&lab->gateway);
    metrics_destroy(&lab->metrics);
    if (lab->coordinator)
        evhttp_free(lab->coordinator);
    event_base_free(lab->base);
    free(lab->body);
}

/* ---- the client ---- */

#define QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"why?\"}]"

/* more: what stands before the members: n of them, each with its number in max_tokens. */
static void ask(struct lab *lab, struct lab_client *c, const char *more, int n)
{
    char body[8192], head[256];
    size_t used = (size_t)snprintf(body, sizeof(body), "{%s%s,\"members\":[", more, QUESTION);

    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(body + used, sizeof(body) - used,
                                 "%s{\"name\":\"m%d\",\"model\":\"m\",\"max_tokens\":%d}", i ? "," : "", i + 1, i + 1);
    used += (size_t)snprintf(body + used, sizeof(body) - used, "]}");
    snprintf(
        head, sizeof(head),
        "POST /v1/fanout HTTP/1.1\r\nHost: x\r\nX-Request-Id: q7\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
        used);
    lab_connect(c, lab->base, lab->port);
    lab_send(c, head);
    lab_send(c, body);
}

static void until_asked(struct lab *lab, size_t n)
{
    lab->wanted = n;
    lab->enough = lab->n_asked >= n;
    lab_until_true(lab->base, &lab->enough);
}

static json_t *whole(struct lab_client *c)
{
    char *text;
    json_t *j;

    lab_until_closed(c);
    assert_int_equal(strncmp(c->got, "HTTP/1.1 200 ", 13), 0);
    text = lab_body(c);
    j = json_loads(text, 0, NULL);
    if (!j)
        fail_msg("no JSON: %s", text);
    free(text);
    lab_close(c);
    return j;
}

static const json_t *member(const json_t *j, size_t i)
{
    return json_array_get(json_object_get(j, "members"), i);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static int number_of(const json_t *o, const char *key)
{
    return (int)json_integer_value(json_object_get(o, key));
}

static const char *error_of(const json_t *o)
{
    return text_of(json_object_get(o, "error"), "message");
}

/* ---- tests ---- */

static void test_case_24_all_at_once_in_the_callers_order(void **state)
{
    struct lab_client c;
    struct lab lab;
    const json_t *m;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "", 3);
    until_asked(&lab, 3); /* all before any is answered */
    assert_string_equal(lab.request_id, "q7");
    answer(&lab, 3, "three");
    say(&lab, 1, "on");
    answer(&lab, 2, "two");
    answer(&lab, 1, "e\\n\\u20ac");
    j = whole(&c);
    assert_string_equal(text_of(j, "object"), "fanout");
    assert_int_equal(number_of(j, "success_count"), 3);
    assert_int_equal(number_of(j, "failure_count"), 0);
    assert_true(json_is_null(json_object_get(j, "synthesis")));
    assert_true(json_real_value(json_object_get(j, "parallel_efficiency")) <= 1.0);
    assert_int_equal(json_array_size(json_object_get(j, "members")), 3);
    m = member(j, 0);
    assert_string_equal(text_of(m, "name"), "m1");
    assert_string_equal(text_of(m, "model"), "m");
    assert_string_equal(text_of(m, "content"), "one\n€");
    assert_string_equal(text_of(m, "finish_reason"), "stop");
    assert_true(json_is_true(json_object_get(m, "success")));
    assert_true(json_is_null(json_object_get(m, "error")));
    assert_int_equal(number_of(json_object_get(m, "tokens"), "prompt"), 11);
    assert_int_equal(number_of(json_object_get(m, "tokens"), "completion"), 3);
    assert_true(json_is_integer(json_object_get(m, "queued_ms")));
    assert_true(number_of(m, "first_token_ms") <= number_of(m, "total_ms"));
    assert_int_equal(strlen(text_of(m, "instance")), 32);
    assert_string_equal(text_of(member(j, 1), "content"), "two");
    assert_string_equal(text_of(member(j, 2), "content"), "three");
    json_decref(j);
    lab_shut(&lab);
}

static void test_case_25_one_fails(void **state)
{
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "", 4);
    until_asked(&lab, 4);
    refuse_one(
        &lab, 1, 400,
        "{\"error\":{\"code\":400,\"message\":\"the prompt is too long\",\"type\":\"exceed_context_size_error\"}}");
    answer(&lab, 2, "two");
    say(&lab, 3, "thr");
    send_piece(&lab, 3, "data: {\"error\":{\"code\":500,\"message\":\"no more memory\"}}\n\n");
    evhttp_send_reply_end(lab.held[3]);
    lab.held[3] = NULL;
    say(&lab, 4, "four"); /* and then nothing: neither reason nor [DONE] */
    evhttp_send_reply_end(lab.held[4]);
    lab.held[4] = NULL;
    j = whole(&c);
    assert_int_equal(number_of(j, "success_count"), 1);
    assert_int_equal(number_of(j, "failure_count"), 3);
    assert_true(json_is_false(json_object_get(member(j, 0), "success")));
    assert_true(json_is_null(json_object_get(member(j, 0), "content")));
    assert_int_equal(number_of(json_object_get(member(j, 0), "error"), "code"), 400);
    assert_string_equal(error_of(member(j, 0)), "the prompt is too long");
    assert_string_equal(text_of(json_object_get(member(j, 0), "error"), "type"),
                        "exceed_context_size_error"); /* its own */
    assert_string_equal(text_of(json_object_get(member(j, 2), "error"), "type"), "server_error");
    assert_true(json_is_null(json_object_get(member(j, 0), "tokens")));
    assert_true(json_is_null(json_object_get(member(j, 0), "first_token_ms")));
    assert_true(json_is_integer(json_object_get(member(j, 0), "total_ms")));
    assert_string_equal(text_of(member(j, 1), "content"), "two");
    assert_string_equal(error_of(member(j, 2)), "no more memory");
    assert_string_equal(error_of(member(j, 3)), "the answer was cut off");
    json_decref(j);
    lab_shut(&lab);
}

/* A model that is not there, one whose name is not said, and one that is asked. */
static void test_case_25_a_model_that_is_not_there(void **state)
{
    static const char body[] =
        "{" QUESTION ",\"members\":[{\"model\":\"nobody\"},{\"max_tokens\":2},{\"model\":\"m\",\"max_tokens\":3}]}";
    char head[256];
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    snprintf(head, sizeof(head),
             "POST /v1/fanout HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, head);
    lab_send(&c, body);
    until_asked(&lab, 2);
    answer(&lab, 2, "two");
    answer(&lab, 3, "three");
    j = whole(&c);
    assert_int_equal(number_of(j, "success_count"), 2);
    assert_int_equal(number_of(json_object_get(member(j, 0), "error"), "code"), 404);
    assert_string_equal(text_of(json_object_get(member(j, 0), "error"), "type"), "not_found_error");
    assert_non_null(strstr(error_of(member(j, 0)), "model \"nobody\" not found"));
    assert_true(json_is_null(json_object_get(member(j, 0), "queued_ms")));
    assert_string_equal(text_of(member(j, 1), "model"), "m"); /* the only one that is ready */
    assert_string_equal(text_of(member(j, 1), "content"), "two");
    json_decref(j);
    lab_shut(&lab);
}

/* The unit is lost in the middle: what each has said is forgotten, and said again by the next epoch. */
static void test_case_26_asked_again(void **state)
{
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"stream\":true,", 1);
    until_asked(&lab, 1);
    say(&lab, 1, "wro");
    lab_until(&c, "event: member.delta\ndata: {\"content\":\"wro\",\"type\":\"member.delta\",\"index\":0}\n\n");
    kill_coordinator(&lab);
    show(&lab, INSTANCE_RECOVERING);
    lab_until(&c, "event: member.again\ndata: {\"type\":\"member.again\",\"index\":0}\n\n");
    start_coordinator(&lab);
    lab.epoch++;
    show(&lab, INSTANCE_READY);
    until_asked(&lab, 2);
    answer(&lab, 1, "right");
    lab_until(&c, "event: done\ndata: ");
    lab_until_closed(&c);
    assert_null(strstr(c.got, "wroright"));
    assert_non_null(strstr(c.got, "\"success\":true,\"content\":\"right\",\"error\":null,"));
    j = json_loads(strstr(c.got, "event: done\ndata: ") + 18, JSON_DISABLE_EOF_CHECK, NULL);
    assert_true(json_is_true(json_object_get(member(j, 0), "success")));
    assert_string_equal(text_of(j, "type"), "done");
    json_decref(j);
    lab_close(&c);
    lab_shut(&lab);
}

/* An error that its first sending said counts no more, either. */
static void test_case_26_an_error_is_taken_back(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"stream\":true,", 1);
    until_asked(&lab, 1);
    send_piece(&lab, 1,
               "data: {\"choices\":[{\"delta\":{\"content\":\"wro\"}}]}\n\n"
               "data: {\"error\":{\"code\":500,\"message\":\"rank 1 is gone\"}}\n\n");
    lab_until(&c, "event: member.delta");
    kill_coordinator(&lab);
    show(&lab, INSTANCE_RECOVERING);
    lab_until(&c, "event: member.again");
    start_coordinator(&lab);
    lab.epoch++;
    show(&lab, INSTANCE_READY);
    until_asked(&lab, 2);
    answer(&lab, 1, "right");
    lab_until(&c, "event: done\ndata: ");
    lab_until_closed(&c);
    assert_non_null(strstr(c.got, "\"success\":true,\"content\":\"right\""));
    lab_close(&c);
    lab_shut(&lab);
}

/* ---- a passage's times -------------------------------------------------------------------------------------------- */

struct heard {
    bool data, again, over;
};

static void heard_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    (void)ctx;
    (void)status;
    (void)header;
    (void)n;
}

static enum passage_use heard_data(void *ctx, const void *buf, size_t n)
{
    struct heard *h = ctx;

    (void)buf;
    (void)n;
    h->data = true;
    return PASSAGE_KEPT;
}

static void heard_again(void *ctx)
{
    struct heard *h = ctx;

    h->again = true;
}

static void heard_end(void *ctx)
{
    struct heard *h = ctx;

    h->over = true;
}

static void heard_fail(void *ctx, const struct gateway_refusal *r)
{
    (void)r;
    heard_end(ctx);
}

/* The first piece that counts is that of the last sending. */
static void test_times_of_a_second_sending(void **state)
{
    static const char body[] = "{\"max_tokens\":1,\"stream\":true}";
    const struct passage_spec spec = {.model = "m",
                                      .method = "POST",
                                      .target = "/v1/chat/completions",
                                      .body = body,
                                      .n_body_bytes = sizeof(body) - 1};
    struct heard h = {.data = false};
    const struct passage_calls calls = {heard_head, heard_data, heard_again, heard_end, heard_fail, &h};
    struct passage *p = NULL;
    struct passage_times t;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    assert_int_equal(passage_begin(lab.gateway, &spec, &calls, &p), 0);
    until_asked(&lab, 1);
    say(&lab, 1, "wrong");
    lab_until_true(lab.base, &h.data);
    passage_times(p, &t);
    assert_true(t.first_us >= t.sent_us && t.first_us > 0);
    kill_coordinator(&lab);
    show(&lab, INSTANCE_RECOVERING);
    assert_true(h.again);
    start_coordinator(&lab);
    lab.epoch++;
    show(&lab, INSTANCE_READY);
    until_asked(&lab, 2);
    passage_times(p, &t);
    assert_int_equal(t.first_us, 0);
    answer(&lab, 1, "right");
    lab_until_true(lab.base, &h.over);
    lab_shut(&lab);
}

/* The unit is lost and does not come back; another member is slow. Each ends by its deadline, the answer still comes. */
static void test_case_26_ends_by_the_deadline(void **state)
{
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"member_timeout\":0.4,", 2);
    until_asked(&lab, 2);
    answer(&lab, 1, "one");
    say(&lab, 2, "slo");
    until_left(&lab, 2);
    j = whole(&c);
    assert_int_equal(number_of(j, "success_count"), 1);
    assert_int_equal(number_of(json_object_get(member(j, 1), "error"), "code"), 504);
    assert_string_equal(error_of(member(j, 1)),
                        "no answer within the 0.4 s that it has: it was in the midst of its answer");
    json_decref(j);

    ask(&lab, &c, "\"timeout\":0.5,\"member_timeout\":9,\"synthesis\":{},", 2);
    until_asked(&lab, 4);
    kill_coordinator(&lab);
    show(&lab, INSTANCE_RECOVERING);
    j = whole(&c);
    assert_int_equal(number_of(j, "success_count"), 0);
    assert_string_equal(error_of(member(j, 0)),
                        "no answer within the 0.5 s that all have: its prompt was still being computed");
    assert_string_equal(error_of(json_object_get(j, "synthesis")),
                        "no answer within the 0.5 s that all have: it had not been asked yet");
    assert_true(json_is_null(json_object_get(json_object_get(j, "synthesis"), "total_ms")));
    json_decref(j);
    lab_shut(&lab);
}

static void test_case_26_the_client_leaves(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"stream\":true,", 5);
    until_asked(&lab, 5);
    say(&lab, 2, "two");
    lab_until(&c, "member.delta");
    lab_close(&c);
    for (int i = 1; i <= 5; i++)
        until_left(&lab, i);
    assert_int_equal(lab.gateway->n_requests, 0);
    assert_int_equal(lab.gateway->fanouts.n, 0);
    lab_shut(&lab);
}

static void test_case_27_synthesis(void **state)
{
    struct lab_client c;
    struct lab lab;
    const json_t *s;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"synthesis\":{\"model\":\"m\",\"max_tokens\":70,\"system\":\"Judge.\"},\"stream\":true,", 3);
    until_asked(&lab, 3);
    answer(&lab, 3, "three");
    lab_until(&c, "event: member.done\ndata: {\"index\":2,\"name\":\"m3\",");
    refuse_one(&lab, 2, 500, "");
    answer(&lab, 1, "one");
    until_asked(&lab, 4);
    assert_non_null(strstr(lab.body, "why?\\n\\n<answers>\\n<answer name=\\\"m1\\\">\\none\\n</answer>\\n<answer "
                                     "name=\\\"m3\\\">\\nthree\\n</answer>\\n</answers>"));
    say(&lab, SYNTHESIS, "bo");
    lab_until(&c, "event: synthesis.delta\ndata: {\"content\":\"bo\",\"type\":\"synthesis.delta\"}\n\n");
    answer(&lab, SYNTHESIS, "th");
    lab_until(&c, "event: synthesis.done\ndata: {");
    lab_until_closed(&c);
    j = json_loads(strstr(c.got, "event: done\ndata: ") + 18, JSON_DISABLE_EOF_CHECK, NULL);
    s = json_object_get(j, "synthesis");
    assert_true(json_is_true(json_object_get(s, "success")));
    assert_null(json_object_get(s, "content")); /* it was in synthesis.done */
    assert_null(json_object_get(member(j, 0), "content"));
    assert_int_equal(number_of(j, "success_count"), 2);
    json_decref(j);
    lab_close(&c);
    lab_shut(&lab);
}

static void test_case_27_a_synthesis_that_fails(void **state)
{
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"synthesis\":{\"model\":\"m\",\"max_tokens\":70},", 2);
    until_asked(&lab, 2);
    answer(&lab, 1, "one");
    answer(&lab, 2, "two");
    until_asked(&lab, 3);
    refuse_one(&lab, SYNTHESIS, 400, "{\"error\":{\"code\":400,\"message\":\"too long\"}}");
    j = whole(&c);
    assert_int_equal(number_of(j, "success_count"), 2);
    assert_string_equal(text_of(member(j, 1), "content"), "two");
    assert_true(json_is_false(json_object_get(json_object_get(j, "synthesis"), "success")));
    assert_string_equal(error_of(json_object_get(j, "synthesis")), "too long");
    json_decref(j);

    ask(&lab, &c, "\"synthesis\":{\"model\":\"m\",\"max_tokens\":70},", 1);
    until_asked(&lab, 4);
    refuse_one(&lab, 1, 503, "nonsense");
    j = whole(&c);
    assert_int_equal(lab.n_asked, 4); /* it was not asked */
    assert_string_equal(error_of(json_object_get(j, "synthesis")),
                        "no member has answered: there is nothing to put together");
    assert_string_equal(error_of(member(j, 0)), "the coordinator answered with an error");
    json_decref(j);
    lab_shut(&lab);
}

static void test_thoughts_and_comments(void **state)
{
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "", 1);
    until_asked(&lab, 1);
    send_piece(&lab, 1, ":\n\n");
    send_piece(&lab, 1, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n");
    send_piece(&lab, 1, "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\ndata: {\"cho");
    send_piece(&lab, 1, "ices\":[{\"delta\":{\"content\":\"a\\u0001b\"}}]}\n\n");
    stop(&lab, 1);
    j = whole(&c);
    assert_string_equal(text_of(member(j, 0), "reasoning_content"), "hm");
    assert_int_equal(json_string_length(json_object_get(member(j, 0), "content")), 3);
    json_decref(j);
    ask(&lab, &c, "", 1);
    until_asked(&lab, 2);
    send_piece(&lab, 1, "data: {not JSON\n\n");
    stop(&lab, 1);
    j = whole(&c);
    assert_string_equal(error_of(member(j, 0)), "the coordinator's answer could not be read");
    json_decref(j);
    lab_shut(&lab);
}

/* One that says too much is given up in the midst of it, and its slot is free. */
static void test_too_much_is_said(void **state)
{
    enum { LONG = 400 * 1024 };
    char *text = malloc(LONG + 1);
    struct lab_client c;
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "", 2);
    until_asked(&lab, 2);
    answer(&lab, 2, "two");
    memset(text, 'x', LONG);
    memcpy(text, "data: {\"choices\":[{\"delta\":{\"content\":\"", 39);
    memcpy(text + LONG - 8, "\"}}]}\n\n", 8);
    for (int i = 0; i < 17; i++)
        send_piece(&lab, 1, text);
    until_left(&lab, 1);
    j = whole(&c);
    assert_string_equal(error_of(member(j, 0)), "what was answered altogether is too long for one fan-out");
    assert_string_equal(text_of(member(j, 1), "content"), "two");
    json_decref(j);
    free(text);
    lab_shut(&lab);
}

/* So many bytes are left for all fan-outs together. Returns what is to be taken off the book again. */
static size_t leave_room(struct lab *lab, size_t n_bytes)
{
    size_t n_taken = FANOUTS_BYTES_MAX - n_bytes - lab->gateway->fanouts.n_bytes;

    lab->gateway->fanouts.n_bytes += n_taken;
    return n_taken;
}

/* The other fan-outs leave no room for the second answer, nor for the prompt of the synthesis. */
static void test_no_room_for_answers(void **state)
{
    struct lab_client c;
    struct lab lab;
    size_t n_taken;
    json_t *j;

    (void)state;
    lab_open(&lab);
    ask(&lab, &c, "\"synthesis\":{\"model\":\"m\",\"max_tokens\":70},", 2);
    until_asked(&lab, 2);
    n_taken = leave_room(&lab, 12);
    answer(&lab, 1, "one");
    say(&lab, 2, "twenty-two");
    until_left(&lab, 2);
    j = whole(&c);
    assert_string_equal(text_of(member(j, 0), "content"), "one");
    assert_int_equal(number_of(json_object_get(member(j, 1), "error"), "code"), 503);
    assert_string_equal(error_of(member(j, 1)), FANOUT_NO_ROOM);
    assert_string_equal(error_of(json_object_get(j, "synthesis")), FANOUT_NO_ROOM);
    assert_int_equal(lab.n_asked, 2);
    json_decref(j);
    lab.gateway->fanouts.n_bytes -= n_taken;
    lab_shut(&lab);
}

/* However many fan-outs there are, half of all requests' places are for others. */
static void test_no_place_for_members(void **state)
{
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab.gateway->fanouts.n_members = GATEWAY_REQUESTS_MAX / 2 - 2;
    ask(&lab, &c, "", 3);
    lab_until_closed(&c);
    assert_int_equal(strncmp(c.got, "HTTP/1.1 429 ", 13), 0);
    assert_non_null(strstr(c.got, "Retry-After: 1\r\n"));
    lab_close(&c);
    ask(&lab, &c, "", 2);
    until_asked(&lab, 2);
    lab_close(&c);
    until_left(&lab, 1);
    until_left(&lab, 2);
    assert_int_equal(lab.gateway->fanouts.n_members, GATEWAY_REQUESTS_MAX / 2 - 2);
    lab_shut(&lab);
}

static void test_refusals(void **state)
{
    static const char bad[] =
        "POST /v1/fanout HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{\"members\":7}";
    struct lab lab;
    char *text;

    (void)state;
    lab_open(&lab);
    text = lab_ask(lab.base, lab.port, bad);
    assert_int_equal(strncmp(text, "HTTP/1.1 400 ", 13), 0);
    assert_non_null(strstr(text,
                           "{\"error\":{\"code\":400,\"message\":\"messages must be a list of 1 to 1024\",\"type\":"
                           "\"invalid_request_error\"}}"));
    free(text);
    lab.gateway->fanouts.n = FANOUTS_MAX;
    text = lab_ask(lab.base, lab.port, bad);
    assert_int_equal(strncmp(text, "HTTP/1.1 429 ", 13), 0);
    assert_non_null(strstr(text, "Retry-After: 1"));
    free(text);
    lab.gateway->fanouts.n = 0;
    view_unref(&lab.gateway->view);
    text = lab_ask(lab.base, lab.port, bad);
    assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
    free(text);
    lab_shut(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_case_24_all_at_once_in_the_callers_order),
        cmocka_unit_test(test_case_25_one_fails),
        cmocka_unit_test(test_case_25_a_model_that_is_not_there),
        cmocka_unit_test(test_case_26_asked_again),
        cmocka_unit_test(test_case_26_an_error_is_taken_back),
        cmocka_unit_test(test_times_of_a_second_sending),
        cmocka_unit_test(test_case_26_ends_by_the_deadline),
        cmocka_unit_test(test_case_26_the_client_leaves),
        cmocka_unit_test(test_case_27_synthesis),
        cmocka_unit_test(test_case_27_a_synthesis_that_fails),
        cmocka_unit_test(test_thoughts_and_comments),
        cmocka_unit_test(test_too_much_is_said),
        cmocka_unit_test(test_no_room_for_answers),
        cmocka_unit_test(test_no_place_for_members),
        cmocka_unit_test(test_refusals),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
