/* Which requests the gateway takes, and what of each reaches the coordinator and the client: routes, heads, framing, the list of
 * models. Between a raw client and a stand-in coordinator; how answers end is test_gateway's. */
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

struct lab {
    struct event_base *base;
    struct http_server *server;
    struct gateway *gateway;
    struct metrics *metrics;
    struct evhttp *coordinator;
    uint16_t port, upstream_port;
    const char *type; /* of its answers; NULL: none */
    size_t n_asked;
    char method[16], uri[256], body[256], request_id[256], foreign[256];
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

static void take(char *buf, size_t size, const char *text)
{
    snprintf(buf, size, "%s", text ? text : "");
}

static const char *method_name(struct evhttp_request *req)
{
    switch (evhttp_request_get_command(req)) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    case EVHTTP_REQ_POST:
        return "POST";
    default:
        return "another";
    }
}

/* It answers with what it was asked, and counts. */
static void on_question(struct evhttp_request *req, void *ctx)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *out = evbuffer_new();
    struct evkeyvalq *fields = evhttp_request_get_input_headers(req);
    struct lab *lab = ctx;
    ev_ssize_t n = evbuffer_copyout(in, lab->body, sizeof(lab->body) - 1);

    lab->body[n > 0 ? n : 0] = '\0';
    lab->n_asked++;
    take(lab->method, sizeof(lab->method), method_name(req));
    take(lab->uri, sizeof(lab->uri), evhttp_request_get_uri(req));
    take(lab->request_id, sizeof(lab->request_id), evhttp_find_header(fields, "X-Request-Id"));
    take(lab->foreign, sizeof(lab->foreign), evhttp_find_header(fields, "X-Conversation-Id"));
    if (lab->type)
        evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", lab->type);
    evbuffer_add_printf(out, "answer %zu", lab->n_asked);
    evhttp_send_reply(req, 200, "OK", out);
    evbuffer_free(out);
}

static void add_served(struct view *v, const char *name, const char *model, enum served_start start)
{
    struct view_served *grown = realloc(v->served, (v->n_served + 1) * sizeof(v->served[0]));

    assert_non_null(grown);
    v->served = grown;
    v->served[v->n_served] = (struct view_served){.start = start, .there = true};
    take(v->served[v->n_served].name, sizeof(v->served[0].name), name);
    take(v->served[v->n_served++].model, sizeof(v->served[0].model), model);
}

static void show(struct lab *lab, enum instance_state state)
{
    struct view *v = lab_view(state, lab->upstream_port);

    add_served(v, "m", "tiny", SERVED_BOOT);
    add_served(v, "org/other one", "tiny", SERVED_DEMAND);
    add_served(v, "tiny", "tiny", SERVED_MANUAL);
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
}

static void lab_open(struct lab *lab)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {7};
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};
    struct gateway_deps deps = {.secret = secret, .wait_ms = 3600000, .submit = drop_order};

    *lab = (struct lab){.base = event_base_new(), .type = "application/json; charset=utf-8"};
    deps.base = lab->base;
    lab->coordinator = evhttp_new(lab->base);
    evhttp_set_allowed_methods(lab->coordinator,
                               EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE);
    assert_int_equal(evhttp_accept_socket(lab->coordinator, lab_listen(&lab->upstream_port)), 0);
    evhttp_set_gencb(lab->coordinator, on_question, lab);
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
    gateway_destroy(&lab->gateway);
    metrics_destroy(&lab->metrics);
    evhttp_free(lab->coordinator);
    event_base_free(lab->base);
}

/* METHOD TARGET with a body and further fields; the whole answer, malloc'ed. */
static char *ask(struct lab *lab, const char *method, const char *target, const char *fields, const char *body)
{
    CLEANUP(cleanup_free) char *request = NULL;

    assert_true(asprintf(&request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s",
                         method, target, fields, strlen(body), body) > 0);
    return lab_ask(lab->base, lab->port, request);
}

static void check_status(const char *answer, int status)
{
    if (atoi(answer + 9) != status)
        fail_msg("not %d: %s", status, answer);
}

static void check_part(const char *answer, const char *part)
{
    if (!strstr(answer, part))
        fail_msg("%s is not in: %s", part, answer);
}

static void test_questions(void **state)
{
    static const char *const paths[] = {
        "/v1/chat/completions",       "/v1/completions", "/v1/embeddings",           "/v1/rerank", "/v1/responses",
        "/v1/responses/input_tokens", "/v1/messages",    "/v1/messages/count_tokens"};
    static const char body[] = "{ \"x\":1.50,\"model\" : \"m\",\n \"x\":\"\\u00e4\"}";
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        CLEANUP(cleanup_free) char *answer = NULL;
        char target[128];

        snprintf(target, sizeof(target), "%s?a=b&c=%%20", paths[i]);
        answer = ask(&lab, "POST", target, "", body);
        check_status(answer, 200);
        assert_int_equal(lab.n_asked, i + 1);
        assert_string_equal(lab.uri, target);
        assert_string_equal(lab.body, body);
    }
    lab_shut(&lab);
}

/* Whatever method, path, query and body: unchanged, but for what leads to the model. */
static void test_upstream(void **state)
{
    static const struct {
        const char *method, *target, *uri;
    } cases[] = {
        {"GET", "/upstream/m/slots?fail_on_no_slot=1&x=%2F", "/slots?fail_on_no_slot=1&x=%2F"},
        {"POST", "/upstream/m/slots/0?action=erase", "/slots/0?action=erase"},
        {"POST", "/upstream/m/v1/reranking", "/v1/reranking"},
        {"POST", "/upstream/m//tokenize/%41/", "//tokenize/%41/"},
        {"PUT", "/upstream/m/props", "/props"},
        {"DELETE", "/upstream/%6d/", "/"},
        {"GET", "/upstream/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/props", "/props"},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(cleanup_free) char *answer = ask(&lab, cases[i].method, cases[i].target, "", "not JSON");

        check_status(answer, 200);
        assert_string_equal(lab.method, cases[i].method);
        assert_string_equal(lab.uri, cases[i].uri);
        assert_string_equal(lab.body, "not JSON");
    }
    lab_shut(&lab);
}

static void test_upstream_head(void **state)
{
    CLEANUP(cleanup_free) char *answer = NULL;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    answer = lab_ask(lab.base, lab.port, "HEAD /upstream/m/props HTTP/1.0\r\n\r\n");
    check_status(answer, 200);
    assert_string_equal(lab.method, "HEAD");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    lab_shut(&lab);
}

/* Who only looks starts nothing and waits for nothing. */
static void test_upstream_of_what_does_not_run(void **state)
{
    static const struct {
        const char *target;
        int status;
        const char *part;
    } cases[] = {
        {"/upstream/m/props", 503, "is loading (42 %)"},
        {"/upstream/nothing/props", 404, "model \\\"nothing\\\" not found; there is: m, "},
        {"/upstream/org%2Fother%20one/props", 503, "is not running: caravan deploy"},
        {"/upstream/m", 404, "no such path"},
        {"/upstream//props", 404, "no such path"},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab);
    show(&lab, INSTANCE_LOADING);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(cleanup_free) char *answer = ask(&lab, "GET", cases[i].target, "", "");

        check_status(answer, cases[i].status);
        check_part(answer, cases[i].part);
    }
    assert_int_equal(lab.n_asked, 0);
    lab_shut(&lab);
}

/* A node that says it is a page, and one that leaves the browser to guess, is no page of ours. */
static void test_no_page_of_a_node(void **state)
{
    static const struct {
        const char *type, *passed;
    } cases[] = {
        {"application/json; charset=utf-8", "application/json; charset=utf-8"},
        {"text/plain", "text/plain"},
        {"text/html; charset=utf-8", "application/octet-stream"},
        {"image/svg+xml", "application/octet-stream"},
        {"text/plainer", "application/octet-stream"},
        {NULL, "application/octet-stream"},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(cleanup_free) char *answer = NULL, *field = NULL;

        lab.type = cases[i].type ? cases[i].type : ""; /* evhttp makes it text/html where none is said */
        answer = ask(&lab, i % 2 ? "GET" : "POST", "/upstream/m/x", "", "");
        assert_true(asprintf(&field, "\r\nContent-Type: %s\r\n", cases[i].passed) > 0);
        check_part(answer, field);
    }
    lab_shut(&lab);
}

static void check_request_id(struct lab *lab, const char *fields, const char *id)
{
    CLEANUP(cleanup_free) char *answer = ask(lab, "POST", "/v1/completions", fields, "{\"model\":\"m\"}");

    check_status(answer, 200);
    if (id)
        assert_string_equal(lab->request_id, id);
    assert_int_equal(strlen(lab->request_id), id ? strlen(id) : 32);
    assert_string_equal(lab->foreign, "");
}

static void test_request_id(void **state)
{
    struct lab lab;
    char last[sizeof(lab.request_id)], long_one[200] = "X-Request-Id: ";

    (void)state;
    lab_open(&lab);
    check_request_id(&lab, "x-request-id: Root=1-67891233:a/b+c@d_e.f\r\nX-Conversation-Id: c\r\n",
                     "Root=1-67891233:a/b+c@d_e.f");
    check_request_id(&lab, "", NULL);
    take(last, sizeof(last), lab.request_id);
    check_request_id(&lab, "X-Request-Id: \r\n", NULL);
    assert_string_not_equal(lab.request_id, last);
    check_request_id(&lab, "X-Request-Id: a b\r\n", NULL);
    check_request_id(&lab, "X-Request-Id: \"a\"\r\n", NULL);
    check_request_id(&lab, "X-Request-Id: \xc3\xa4\r\n", NULL);
    memset(long_one + strlen(long_one), 'x', 128);
    strcat(long_one, "\r\n");
    check_request_id(&lab, long_one, strndupa(long_one + 14, 128));
    memcpy(long_one + strlen(long_one) - 2, "x\r\n", 4);
    check_request_id(&lab, long_one, NULL);
    lab_shut(&lab);
}

/* Three requests in one write, two of them chunked, one of these with a hint and a trailer: each answered once, in order. */
static void test_pipelined_and_chunked(void **state)
{
    static const char question[] = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n";
    CLEANUP(cleanup_free) char *request = NULL;
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    assert_true(asprintf(&request,
                         "%sContent-Length: 13\r\n\r\n{\"model\":\"m\"}"
                         "%sTransfer-Encoding: chunked\r\n\r\n4;a=b\r\n{\"mo\r\n9\r\ndel\":\"m\"}\r\n0\r\nX: y\r\n\r\n"
                         "%sExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "00000d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n",
                         question, question, question) > 0);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, request);
    lab_until(&c, "answer 3");
    assert_string_equal(lab.body, "{\"model\":\"m\"}");
    assert_int_equal(lab.n_asked, 3);
    assert_true(strstr(c.got, "answer 1") < strstr(c.got, "answer 2"));
    check_part(strstr(c.got, "answer 2"), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n");
    lab_close(&c);
    lab_shut(&lab);
}

static void test_models(void **state)
{
    CLEANUP(cleanup_free) char *all = NULL, *head = NULL;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    all = ask(&lab, "GET", "/v1/models", "", "");
    check_status(all, 200);
    check_part(all, "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":");
    check_part(
        all,
        "\"owned_by\":\"caravan\",\"meta\":{\"n_ctx\":512,\"n_ctx_train\":2048,\"size\":2000000},"
        "\"state\":\"ready\",\"start\":\"boot\",\"context_length\":512,\"size_bytes\":2000000,\"instance\":\"aaaa");
    check_part(all, "{\"id\":\"org/other one\",");
    check_part(all, "\"state\":\"available\",\"start\":\"demand\",\"context_length\":2048,");
    check_part(all, "{\"id\":\"tiny\",");
    assert_null(strstr(all, "broken"));
    assert_null(strstr(strstr(all, "\"id\":\"m\"") + 1, "\"id\":\"m\""));
    assert_null(strstr(strstr(all, "\"id\":\"tiny\"") + 1, "\"id\":\"tiny\""));
    head = lab_ask(lab.base, lab.port, "HEAD /v1/models HTTP/1.0\r\n\r\n");
    check_status(head, 200);
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
    lab_shut(&lab);
}

static void test_one_model(void **state)
{
    static const struct {
        const char *name;
        int status;
        const char *part;
    } cases[] = {
        {"m", 200, "\r\n\r\n{\"id\":\"m\",\"object\":\"model\",\"created\":"},
        {"org%2Fother%20one", 200, "\r\n\r\n{\"id\":\"org/other one\","},
        {"tiny", 200, "\"state\":\"available\",\"start\":\"manual\","}, /* its instance has a name of its own */
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 200, "{\"id\":\"m\","},
        {"broken", 404, "model \\\"broken\\\" cannot be used: "},
        {"nothing", 404, "there is: m, org/other one\",\"type\":\"not_found_error\""},
        {"%2e%2E", 400, ""},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(cleanup_free) char *answer = NULL;
        char target[64];

        snprintf(target, sizeof(target), "/v1/models/%s", cases[i].name);
        answer = ask(&lab, "GET", target, "", "");
        check_status(answer, cases[i].status);
        check_part(answer, cases[i].part);
    }
    lab_shut(&lab);
}

/* Nobody is told that there is no such model by a controller that has only just begun to hear of them. */
static void test_nodes_are_still_joining(void **state)
{
    struct view *v = lab_view(INSTANCE_READY, 1);
    CLEANUP(cleanup_free) char *answer = NULL;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    v->settling = true;
    gateway_set_view(lab.gateway, v);
    view_unref(&v);
    answer = ask(&lab, "POST", "/v1/completions", "", "{\"model\":\"nothing\"}");
    check_status(answer, 503);
    check_part(answer, "\r\nRetry-After: ");
    check_part(answer, "model \\\"nothing\\\" is not known yet: nodes are still joining");
    lab_shut(&lab);
}

static void check_many_names(struct lab *lab, int width)
{
    CLEANUP(cleanup_free) char *answer = NULL;
    struct view *v = lab_view(INSTANCE_READY, 1);
    char name[64];

    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "%0*d", width, i);
        add_served(v, name, "tiny", SERVED_DEMAND);
    }
    gateway_set_view(lab->gateway, v);
    view_unref(&v);
    answer = ask(lab, "POST", "/v1/completions", "", "{\"model\":\"nothing\"}");
    check_status(answer, 404);
    snprintf(name, sizeof(name), "there is: m, %0*d, %0*d, ", width, 0, width, 1);
    check_part(answer, name);
    check_part(answer, ", ...\",\"type\":\"not_found_error\"");
}

/* More names than a sentence has room for, wherever that ends: it ends after one of them, and says that there are more. */
static void test_many_names(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (int width = 3; width < 20; width++)
        check_many_names(&lab, width);
    lab_shut(&lab);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    return crypto_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_upstream),
        cmocka_unit_test(test_upstream_head),
        cmocka_unit_test(test_upstream_of_what_does_not_run),
        cmocka_unit_test(test_no_page_of_a_node),
        cmocka_unit_test(test_request_id),
        cmocka_unit_test(test_pipelined_and_chunked),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_one_model),
        cmocka_unit_test(test_nodes_are_still_joining),
        cmocka_unit_test(test_many_names),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
