/* /api over real sockets, from views made by hand: what is shown, what is refused, what becomes an order, what is followed. */
#include <event2/event.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/api.h"
#include "controller/api_json.h"
#include "controller/api_key.h"
#include "controller/events.h"
#include "controller/http_json.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

struct lab {
    struct event_base *base;
    struct http_server *server;
    struct api *api;
    struct events *events;
    struct front_order *order; /* the last that was submitted */
    bool ordered;
    uint16_t port;
};

static int submit(void *ctx, struct front_order *order)
{
    struct lab *lab = ctx;

    front_order_destroy(&lab->order);
    lab->order = order;
    lab->ordered = true;
    return 0;
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static const struct http_route events_routes[] = {{"GET", "/api/events", events_handle, HTTP_FOR_ALL},
                                                  {.method = NULL}};

static void lab_open(struct lab *lab, struct view *v)
{
    const struct http_limits limits = {.connections = 0};
    const struct http_errors errors = {.refuse = refuse};

    memset(lab, 0, sizeof(*lab));
    lab->base = event_base_new();
    const struct api_deps deps = {.base = lab->base, .submit = submit, .ctx = lab};

    assert_int_equal(http_server_new(lab->base, &limits, &errors, &lab->server), 0);
    assert_int_equal(api_new(&deps, &lab->api), 0);
    assert_int_equal(events_new(lab->base, 1000, &lab->events), 0);
    assert_int_equal(http_server_route(lab->server, api_routes(), lab->api), 0);
    assert_int_equal(http_server_route(lab->server, events_routes, lab->events), 0);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
    if (v)
        api_set_view(lab->api, v);
    view_unref(&v);
}

static void lab_shut(struct lab *lab)
{
    http_server_destroy(&lab->server);
    api_destroy(&lab->api);
    events_destroy(&lab->events);
    front_order_destroy(&lab->order);
    event_base_free(lab->base);
}

/* Sends a request for PATH; the status, and the answer's JSON (owned) or NULL. */
static int ask(struct lab *lab, const char *method, const char *path, const char *body, json_t **ret)
{
    struct lab_client c;
    char *text, *answer;
    int status = 0;

    assert_true(asprintf(&text, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                         method, path, strlen(body), body) > 0);
    lab_connect(&c, lab->base, lab->port);
    lab_send(&c, text);
    lab_until_closed(&c);
    assert_int_equal(sscanf(c.got, "HTTP/1.1 %d", &status), 1);
    answer = lab_body(&c);
    if (ret)
        *ret = json_loads(answer, 0, NULL);
    free(answer);
    free(text);
    lab_close(&c);
    return status;
}

static json_t *get(struct lab *lab, const char *path)
{
    json_t *j = NULL;

    assert_int_equal(ask(lab, "GET", path, "", &j), 200);
    assert_non_null(j);
    return j;
}

/* Every key named, and no other. */
static void assert_keys(const json_t *o, const char *const *keys)
{
    size_t n = 0;

    assert_true(json_is_object(o));
    for (; keys[n]; n++)
        if (!json_object_get(o, keys[n]))
            fail_msg("no key \"%s\"", keys[n]);
    assert_int_equal(json_object_size(o), n);
}

static const char *text_at(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "(no string)";
}

static const json_t *first(const json_t *o, const char *list)
{
    return json_array_get(json_object_get(o, list), 0);
}

static void test_nodes(void **state)
{
    static const char *const top[] = {"made_wall_ms", "trust", "brake", "carrier", "nodes", NULL};
    static const char *const brake[] = {"on", "since_wall_ms", "text", NULL};
    static const char *const node[] = {
        "reason", "via",     "own_host", "id",     "name",          "state",   "addr",      "addrs",  "peer_addr",
        "key",    "version", "boot_id",  "build",  "build_problem", "rpc",     "transport", "age_ms", "load_permille",
        "memory", "devices", "units",    "models", "instances",     "refused", "unreached", NULL};
    static const char *const unit[] = {
        "id",         "role",      "state",     "standing",    "instance",       "epoch",
        "rank",       "addr",      "port",      "pid",         "rss_bytes",      "cpu_ms",
        "proc_state", "rpc",       "restarts",  "adopted",     "devices",        "exit",
        "stopped",    "dying",     "frozen_ms", "retransmits", "closed_streams", "http_silent_ms",
        "refused",    "unreached", NULL};
    static const char *const device[] = {
        "name", "kind", "description", "total_bytes", "free_bytes", "utilization_permille", "temperature_c", NULL};
    struct view *v = lab_view(INSTANCE_READY, 18080);
    struct lab lab;
    json_t *j;

    (void)state;
    v->brake = (struct view_brake){.on = true, .since_wall_ms = 5, .text = "2 of 3 nodes went silent at once"};
    snprintf(v->node[0].via, sizeof(v->node[0].via), "n2");
    snprintf(v->node[0].reason, sizeof(v->node[0].reason), "its own link is cut");
    v->node[0].own_host = true;
    v->node[0].n_refused = 12; /* also by carriers that have ended */
    v->node[0].n_unreached = 3;
    v->node[0].unit[0].proc_state = 'T';
    v->node[0].unit[0].frozen_ms = 7000;
    v->node[0].unit[0].state = UNIT_EXITED;
    v->node[0].unit[0].exit = (struct exit_facts){.known = true, .signal = 9};
    lab_open(&lab, v);
    j = get(&lab, "/api/nodes");
    assert_keys(j, top);
    assert_string_equal(text_at(j, "trust"), "open");
    assert_int_equal(json_array_size(json_object_get(j, "nodes")), 2);
    const json_t *n = first(j, "nodes"), *u = first(n, "units"), *d = first(n, "devices");

    assert_keys(json_object_get(j, "brake"), brake);
    assert_true(json_is_true(json_object_get(json_object_get(j, "brake"), "on")));
    assert_string_equal(text_at(json_object_get(j, "brake"), "text"), "2 of 3 nodes went silent at once");
    assert_true(json_is_false(json_object_get(j, "carrier")));
    assert_string_equal(text_at(n, "via"), "n2");
    assert_int_equal(json_integer_value(json_object_get(n, "refused")), 12);
    assert_int_equal(json_integer_value(json_object_get(n, "unreached")), 3);
    assert_string_equal(text_at(n, "reason"), "its own link is cut");
    assert_true(json_is_true(json_object_get(n, "own_host")));
    assert_true(json_is_true(json_object_get(u, "stopped")));
    assert_int_equal(json_integer_value(json_object_get(u, "frozen_ms")), 7000);
    assert_keys(n, node);
    assert_keys(u, unit);
    assert_keys(d, device);
    assert_string_equal(text_at(n, "rpc"), "8.0.0");
    assert_string_equal(text_at(n, "id"), "01010101010101010101010101010101");
    assert_string_equal(json_string_value(first(n, "instances")), "m");
    assert_true(json_is_null(json_object_get(d, "utilization_permille")));
    assert_true(json_is_null(json_object_get(u, "instance")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(u, "exit"), "signal")), 9);
    assert_true(json_integer_value(json_object_get(n, "age_ms")) >= 120);
    json_decref(j);
    lab_shut(&lab);
}

static void test_models_instances_tasks(void **state)
{
    static const char *const model[] = {"name",           "size_bytes",  "layers",  "arch",
                                        "ctx_train",      "header_hash", "problem", "nodes",
                                        "index_permille", "instance",    NULL};
    static const char *const instance[] = {"id",
                                           "name",
                                           "model",
                                           "state",
                                           "epoch",
                                           "plan",
                                           "coordinator",
                                           "ranks",
                                           "progress_permille",
                                           "eta_ms",
                                           "state_since_wall_ms",
                                           "ready_wall_ms",
                                           "reason",
                                           "in_flight",
                                           "attempts",
                                           "again_in_ms",
                                           "missing_bytes",
                                           "tried",
                                           "follows",
                                           "replica",
                                           "demand",
                                           "pinned",
                                           "ttl_ms",
                                           "idle_ms",
                                           "leaving",
                                           NULL};
    static const char *const rank[] = {"rank",          "node_name", "endpoint", "loaded_bytes",
                                       "planned_bytes", "proven",    "slow",     "stopped",
                                       "frozen_ms",     "flow",      NULL};
    static const char *const flow[] = {"end",         "streams",        "to_bytes",  "to_frames",   "from_bytes",
                                       "from_frames", "tensor_bytes",   "fed_bytes", "round_trips", "graphs",
                                       "graph_ms",    "share_permille", "oldest",    "oldest_ms",   "away_ms",
                                       "held_bytes",  "held_ms",        "blind",     NULL};
    static const char *const try[] = {"epoch", "wall_ms", "code", "node_name", "text", NULL};
    static const char *const task[] = {"id",   "kind", "state",           "instance",      "name", "code",
                                       "text", "step", "created_wall_ms", "ended_wall_ms", NULL};
    struct lab lab;
    json_t *j;

    (void)state;
    struct view *v = lab_view(INSTANCE_LOADING, 18080);

    v->instance[0].attempts = 3;
    v->instance[0].again_in_ms = 4000;
    v->instance[0].missing_bytes = 1 << 20;
    v->instance[0].follows = lab_id(0xbb);
    v->instance[0].replica = 2;
    v->instance[0].demand = v->instance[0].leaving = true;
    v->instance[0].ttl_ms = 600000;
    v->instance[0].idle_ms = 4000;
    v->instance[0].rank[0].slow = true;
    v->instance[0].rank[0].frozen_ms = 2000;
    v->instance[0].rank[1].has_flow = true;
    v->instance[0].rank[1].flow = (struct rank_flow){.at_worker = true,
                                                     .request_bytes = 70,
                                                     .n_requests = 7,
                                                     .fed_bytes = 5,
                                                     .oldest = "GET_TENSOR",
                                                     .oldest_ms = 40};
    v->instance[0].rank[1].share_permille = 750;
    v->instance[0].n_tried = 1;
    v->instance[0].tried[0] = (struct view_try){
        .epoch = 2, .wall_ms = 9, .code = "rank_lost", .node = "n2", .text = "rank 1 on n2 was killed"};
    v->node[1].unit[0] = (struct unit_facts){
        .role = UNIT_WORKER, .instance = lab_id(0xaa), .epoch = v->instance[0].epoch, .rank = 1, .proc_state = 'T'};
    v->node[1].unit[1] = v->node[1].unit[0]; /* left over from an epoch that is over */
    v->node[1].unit[1].rank = 0;
    v->node[1].unit[1].epoch--;
    v->node[1].n_units = 2;
    v->model[1].index_permille[1] = 437;
    lab_open(&lab, v);
    j = get(&lab, "/api/models");
    assert_keys(first(j, "models"), model);
    assert_string_equal(text_at(first(j, "models"), "problem"), "the file is cut off");
    const json_t *tiny = json_array_get(json_object_get(j, "models"), 1);

    assert_string_equal(text_at(tiny, "header_hash"), "fedcba9876543210");
    assert_string_equal(text_at(json_object_get(tiny, "instance"), "state"), "loading");
    assert_int_equal(json_array_size(json_object_get(tiny, "nodes")), 2);
    assert_int_equal(json_array_size(json_object_get(tiny, "index_permille")), 2);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(tiny, "index_permille"), 1)), 437);
    json_decref(j);

    j = get(&lab, "/api/instances");
    const json_t *in = first(j, "instances");

    assert_keys(in, instance);
    assert_keys(first(in, "ranks"), rank);
    assert_string_equal(text_at(in, "coordinator"), "127.0.0.1:18080");
    assert_string_equal(text_at(first(in, "ranks"), "node_name"), "n1");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(in, "plan"), "format")), 1);
    assert_true(json_is_null(json_object_get(in, "eta_ms")));
    assert_int_equal(json_integer_value(json_object_get(in, "attempts")), 3);
    assert_int_equal(json_integer_value(json_object_get(in, "again_in_ms")), 4000);
    assert_int_equal(json_integer_value(json_object_get(in, "missing_bytes")), 1 << 20);
    assert_string_equal(text_at(in, "follows"), "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    assert_int_equal(json_integer_value(json_object_get(in, "replica")), 2);
    assert_true(json_is_true(json_object_get(in, "demand")));
    assert_true(json_is_true(json_object_get(in, "leaving")));
    assert_true(json_is_false(json_object_get(in, "pinned")));
    assert_int_equal(json_integer_value(json_object_get(in, "ttl_ms")), 600000);
    assert_int_equal(json_integer_value(json_object_get(in, "idle_ms")), 4000);
    assert_keys(first(in, "tried"), try);
    assert_string_equal(text_at(first(in, "tried"), "code"), "rank_lost");
    assert_string_equal(text_at(first(in, "tried"), "node_name"), "n2");
    assert_true(json_is_true(json_object_get(first(in, "ranks"), "slow")));
    assert_true(json_is_false(json_object_get(first(in, "ranks"), "stopped")));
    assert_int_equal(json_integer_value(json_object_get(first(in, "ranks"), "frozen_ms")), 2000);
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(in, "ranks"), 1), "stopped")));
    assert_true(json_is_null(json_object_get(first(in, "ranks"), "flow")));
    const json_t *f = json_object_get(json_array_get(json_object_get(in, "ranks"), 1), "flow");

    assert_keys(f, flow);
    assert_string_equal(text_at(f, "end"), "worker");
    assert_int_equal(json_integer_value(json_object_get(f, "to_bytes")), 70);
    assert_int_equal(json_integer_value(json_object_get(f, "to_frames")), 7);
    assert_int_equal(json_integer_value(json_object_get(f, "fed_bytes")), 5);
    assert_int_equal(json_integer_value(json_object_get(f, "share_permille")), 750);
    assert_string_equal(text_at(f, "oldest"), "GET_TENSOR");
    assert_true(json_is_null(json_object_get(f, "blind")));
    assert_string_equal(text_at(json_object_get(in, "plan"), "transport"), "direct");
    json_decref(j);

    j = get(&lab, "/api/tasks");
    assert_keys(first(j, "tasks"), task);
    json_decref(j);
    j = get(&lab, "/api/tasks/7");
    assert_keys(j, task);
    assert_true(json_is_null(json_object_get(j, "code")));
    json_decref(j);
    assert_int_equal(ask(&lab, "GET", "/api/tasks/8", "", NULL), 404);
    assert_int_equal(ask(&lab, "GET", "/api/tasks/seven", "", NULL), 404);
    j = get(&lab, "/api/version");
    assert_string_equal(text_at(j, "trust"), "open");
    json_decref(j);
    j = get(&lab, "/api/health");
    json_decref(j);
    lab_shut(&lab);
}

static void test_backends(void **state)
{
    static const char *const backend[] = {
        "host",    "port",   "node_name",          "transport",         "state",   "rpc", "memory_bytes",
        "devices", "source", "first_seen_wall_ms", "last_seen_wall_ms", "sources", NULL};
    struct view *v = lab_view(INSTANCE_READY, 18080);
    struct discovery *d = NULL;
    struct backends *b = NULL;
    struct lab lab;
    json_t *j;

    (void)state;
    snprintf(v->node[1].hello.transport, sizeof(v->node[1].hello.transport), "tunnel");
    v->node[1].hello.port = 7431;
    assert_int_equal(discovery_new(&d), 0);
    discovery_view(d, v);
    assert_int_equal(discovery_snapshot(d, &b), 0);
    lab_open(&lab, v);
    api_set_backends(lab.api, b);
    backends_unref(&b);
    discovery_destroy(&d);
    j = get(&lab, "/api/rpc_backends");
    assert_keys(first(j, "backends"), backend);
    assert_string_equal(text_at(first(j, "backends"), "state"), "healthy");
    assert_string_equal(text_at(first(j, "backends"), "transport"), "direct");
    assert_string_equal(text_at(json_array_get(json_object_get(j, "backends"), 1), "transport"), "tunnel");
    assert_string_equal(text_at(first(first(j, "backends"), "sources"), "source"), "agent");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "dropped"), "port_zero")), 0);
    json_decref(j);
    lab_shut(&lab);
}

static void test_before_the_first_view(void **state)
{
    struct lab lab;
    json_t *j;

    (void)state;
    lab_open(&lab, NULL);
    assert_int_equal(ask(&lab, "GET", "/api/nodes", "", NULL), 503);
    assert_int_equal(ask(&lab, "GET", "/api/tasks/7", "", NULL), 503);
    j = get(&lab, "/api/rpc_backends");
    json_decref(j);
    lab_shut(&lab);
}

/* ---- orders ---- */

static const struct front_refusal none;

static void begin_order(struct lab *lab, struct lab_client *c, const char *method, const char *path, const char *body)
{
    char *text;

    assert_true(asprintf(&text, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                         method, path, strlen(body), body) > 0);
    lab->ordered = false;
    lab_connect(c, lab->base, lab->port);
    lab_send(c, text);
    lab_until_true(lab->base, &lab->ordered);
    free(text);
}

static void assert_answer(struct lab_client *c, const char *status, const char *part)
{
    lab_until_closed(c);
    if (strncmp(c->got + 9, status, 3) != 0 || !strstr(c->got, part))
        fail_msg("not %s with %s: %s", status, part, c->got);
    lab_close(c);
}

static void test_deploy(void **state)
{
    struct cluster_answer yes = {.accepted = true, .task_id = 9, .attached = true}, no = {.code = "unknown_model"},
                          late = {.code = "invalid_transition", .text = "is stopping"};
    struct lab_client c;
    struct lab lab;

    (void)state;
    yes.instance = lab_id(0xaa);
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    begin_order(&lab, &c, "POST", "/api/instances", "{\"model\":\"tiny\",\"nodes\":2,\"args\":[\"--temp\",\"0\"]}");
    assert_int_equal(lab.order->kind, FRONT_ORDER_DEPLOY);
    assert_string_equal(lab.order->request.model, "tiny");
    assert_int_equal(lab.order->request.nodes, 2);
    assert_null(lab.order->plan);
    api_answer(lab.api, lab.order->request_id + 100, &yes, &none); /* nobody's */
    api_answer(lab.api, lab.order->request_id, &yes, &none);
    assert_answer(&c, "202",
                  "{\"task\":9,\"instance\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"attached\":true,\"text\":null}");

    begin_order(&lab, &c, "POST", "/api/instances", "{\"model\":\"tyni\"}");
    api_answer(lab.api, lab.order->request_id, &no, &none);
    assert_answer(&c, "404", "there is: tiny, broken");
    begin_order(&lab, &c, "POST", "/api/instances", "{\"model\":\"tiny\"}");
    api_answer(lab.api, lab.order->request_id, &late, &none);
    assert_answer(&c, "409", "{\"error\":{\"code\":\"invalid_transition\",\"message\":\"is stopping\"}}");

    begin_order(&lab, &c, "POST", "/api/instances", "{\"model\":\"tiny\",\"alias\":\"t\\u00f6st a/b\"}");
    api_answer(lab.api, lab.order->request_id, &yes, &none);
    assert_answer(&c, "202", "\"task\":9");

    begin_order(&lab, &c, "DELETE", "/api/instances/my%20model", "");
    assert_int_equal(lab.order->kind, FRONT_ORDER_STOP);
    assert_string_equal(lab.order->target, "my model");
    no = (struct cluster_answer){.code = "not_found", .text = "no instance is named so"};
    api_answer(lab.api, lab.order->request_id, &no, &none);
    assert_answer(&c, "404", "no instance is named so");

    begin_order(&lab, &c, "DELETE", "/api/instances/m", ""); /* one who does not wait for the answer */
    lab_close(&c);
    while (http_server_connections(lab.server))
        event_base_loop(lab.base, EVLOOP_ONCE);
    api_answer(lab.api, lab.order->request_id, &yes, &none);
    lab_shut(&lab);
}

static void test_what_is_asked_of_nodes(void **state)
{
    static const struct {
        const char *path;
        enum front_order_kind kind;
        const char *target;
    } cases[] = {
        {"/api/nodes/n%201/drain", FRONT_ORDER_DRAIN, "n 1"}, {"/api/nodes/n1/undrain", FRONT_ORDER_UNDRAIN, "n1"},
        {"/api/nodes/n1/retire", FRONT_ORDER_RETIRE, "n1"},   {"/api/nodes/n1/revoke", FRONT_ORDER_REVOKE, "n1"},
        {"/api/brake/lift", FRONT_ORDER_LIFT_BRAKE, ""},
    };
    const struct front_refusal cell = {"node", "lost", "drain"};
    struct cluster_answer yes = {.accepted = true, .task_id = 9}, at_once = {.accepted = true},
                          no = {.code = "invalid_transition", .text = "the node is lost"}, busy = {.code = "busy"};
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin_order(&lab, &c, "POST", cases[i].path, "");
        assert_int_equal(lab.order->kind, cases[i].kind);
        assert_string_equal(lab.order->target, cases[i].target);
        api_answer(lab.api, lab.order->request_id, i ? &at_once : &yes, &none);
        assert_answer(&c, i ? "200" : "202",
                      i ? "{\"task\":null,\"instance\":null," : "{\"task\":9,\"instance\":null,");
    }
    begin_order(&lab, &c, "POST", "/api/nodes/n1/drain", "");
    api_answer(lab.api, lab.order->request_id, &no, &cell);
    assert_answer(&c, "409",
                  "{\"error\":{\"code\":\"invalid_transition\",\"message\":\"the node is lost\","
                  "\"machine\":\"node\",\"state\":\"lost\",\"event\":\"drain\"}}");
    begin_order(&lab, &c, "POST", "/api/nodes/n1/drain", "");
    api_answer(lab.api, lab.order->request_id, &busy, &none);
    assert_answer(&c, "503", "\"busy\"");
    assert_int_equal(ask(&lab, "POST", "/api/nodes//drain", "", NULL), 404);
    assert_int_equal(ask(&lab, "POST", "/api/nodes/a/b/drain", "", NULL), 404);
    assert_int_equal(ask(&lab, "POST", "/api/nodes/a/drained", "", NULL), 404);
    assert_int_equal(ask(&lab, "POST", "/api/nodes/a/drain/", "", NULL), 404);
    assert_int_equal(ask(&lab, "GET", "/api/nodes/a/drain", "", NULL), 405);
    lab_shut(&lab);
}

/* ---- who may join and who may ask ---- */

static const struct door at_home = {.key = {7}, .port = 7420, .n_addrs = 2, .addr = {"192.0.2.1", "192.0.2.2"}};

/* Sends it, answers the order with `accepted`, and returns what the client got; malloc'ed. */
static char *order_and_answer(struct lab *lab, const char *path, const char *body, bool accepted)
{
    struct cluster_answer answer = {.accepted = accepted, .code = "too_many", .text = "there are 64 already"};
    struct lab_client c;
    char *got;

    begin_order(lab, &c, "POST", path, body);
    if (accepted)
        *answer.code = *answer.text = '\0';
    api_answer(lab->api, lab->order->request_id, &answer, &none);
    lab_until_closed(&c);
    got = strdup(c.got);
    lab_close(&c);
    return got;
}

/* The seed goes to whoever asked and nowhere else: the order has the public half of the key that follows from it. */
static void test_a_token(void **state)
{
    struct lab lab;
    struct join_token t;
    struct identity id;
    char key[CRYPTO_KEY_HEX], why[PROTO_TEXT_MAX], *got, *text;
    const struct view_key *k;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    assert_int_equal(ask(&lab, "POST", "/api/tokens", "", NULL), 503); /* no address was told yet */
    api_set_door(lab.api, &at_home);
    got = order_and_answer(&lab, "/api/tokens", "{\"ttl_ms\":60000,\"uses\":3}", true);
    k = &lab.order->access;
    assert_int_equal(lab.order->kind, FRONT_ORDER_TOKEN);
    assert_int_equal(k->scope, KEY_JOIN);
    assert_int_equal(k->uses_left, 3);
    assert_int_equal(k->expires_wall_ms - k->made_wall_ms, 60000);
    assert_non_null(strstr(got, "HTTP/1.1 200"));
    assert_non_null(strstr(got, "Cache-Control: no-store"));
    text = strstr(got, "\"token\":\"");
    assert_non_null(text);
    text += strlen("\"token\":\"");
    assert_int_equal(join_token_parse(text, strcspn(text, "\""), &t, why, sizeof(why)), 0);
    assert_int_equal(t.n_controllers, 2);
    assert_int_equal(t.controller[1].port, 7420);
    assert_string_equal(t.controller[1].addr, "192.0.2.2");
    assert_memory_equal(t.controller[0].key, at_home.key, sizeof(at_home.key));
    crypto_identity_from_seed(t.seed, &id);
    assert_string_equal(k->key, crypto_key_format(id.public_key, key));
    assert_non_null(strstr(got, key)); /* by which it is removed */
    free(got);
    got = order_and_answer(&lab, "/api/tokens", "", false);
    assert_int_equal(lab.order->access.uses_left, 1);
    assert_null(strstr(got, "caravan1_"));
    assert_non_null(strstr(got, "HTTP/1.1 409"));
    free(got);
    lab_shut(&lab);
}

static void test_an_api_key(void **state)
{
    char hash[PROTO_KEY_MAX], *got, *text;
    struct lab lab;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    got = order_and_answer(&lab, "/api/keys", "{\"name\":\"web-1\",\"scope\":\"infer\"}", true);
    assert_int_equal(lab.order->kind, FRONT_ORDER_API_KEY);
    assert_int_equal(lab.order->api_key.scope, API_INFER);
    assert_string_equal(lab.order->api_key.name, "web-1");
    assert_non_null(strstr(got, "Cache-Control: no-store"));
    text = strstr(got, "caravan_");
    assert_non_null(text);
    text[strcspn(text, "\"")] = '\0';
    api_key_hash(text, hash);
    assert_string_equal(lab.order->api_key.hash, hash);
    free(got);
    lab_shut(&lab);
}

static void test_what_is_kept_of_them(void **state)
{
    static const char *const token[] = {"key", "uses_left", "made_wall_ms", "expires_wall_ms", NULL};
    static const char *const key[] = {"name", "scope", "made_wall_ms", NULL};
    struct view *v = lab_view(INSTANCE_READY, 18080);
    struct lab lab;
    json_t *j;

    (void)state;
    v->n_keys = 2;
    v->key = calloc(2, sizeof(*v->key));
    v->key[0] = (struct view_key){.scope = KEY_NODE, .key = "aa", .name = "n1"};
    v->key[1] = (struct view_key){.scope = KEY_JOIN, .key = "bb", .uses_left = 4};
    v->n_api_keys = 1;
    v->api_key = calloc(1, sizeof(*v->api_key));
    v->api_key[0] = (struct view_api_key){.scope = API_READ, .name = "graphs", .hash = "cc"};
    lab_open(&lab, v);
    j = get(&lab, "/api/tokens");
    assert_int_equal(json_array_size(json_object_get(j, "tokens")), 1);
    assert_keys(first(j, "tokens"), token);
    assert_string_equal(text_at(first(j, "tokens"), "key"), "bb");
    json_decref(j);
    j = get(&lab, "/api/keys");
    assert_keys(first(j, "keys"), key);
    assert_string_equal(text_at(first(j, "keys"), "scope"), "read");
    json_decref(j);
    assert_int_equal(ask(&lab, "DELETE", "/api/keys/graphs", "", NULL), 409); /* the last one */
    assert_int_equal(ask(&lab, "POST", "/api/keys", "{\"name\":\"graphs\",\"scope\":\"read\"}", NULL), 409);
    assert_false(lab.ordered);
    lab_shut(&lab);
}

#define SOME_KEY "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"

static void test_what_is_no_token_key_or_node(void **state)
{
    static const struct {
        const char *method, *path, *body;
        int status;
    } cases[] = {
        {"POST", "/api/tokens", "{\"ttl_ms\":59999}", 400},
        {"POST", "/api/tokens", "{\"ttl_ms\":2592000001}", 400},
        {"POST", "/api/tokens", "{\"uses\":0}", 400},
        {"POST", "/api/tokens", "{\"uses\":1025}", 400},
        {"POST", "/api/tokens", "{\"use\":1}", 400},
        {"POST", "/api/tokens", "[]", 400},
        {"POST", "/api/keys", "{\"name\":\"x\"}", 400},
        {"POST", "/api/keys", "{\"name\":\"\",\"scope\":\"read\"}", 400},
        {"POST", "/api/keys", "{\"name\":\"a\\\"b\",\"scope\":\"read\"}", 400},
        {"POST", "/api/keys", "{\"name\":\"a\",\"scope\":\"root\"}", 400},
        {"POST", "/api/keys", "{\"name\":\"a\",\"scope\":\"read\",\"hash\":\"00\"}", 400},
        {"POST", "/api/keys", "{\"name\":\"admin\",\"scope\":\"admin\"}", 409},
        {"DELETE", "/api/keys/admin", "", 409},
        {"POST", "/api/nodes/approve", "", 400},
        {"POST", "/api/nodes/approve", "{\"key\":\"0011\",\"name\":\"n\"}", 400},
        {"POST", "/api/nodes/approve", "{\"key\":\"" SOME_KEY "\",\"name\":\"\"}", 400},
        {"POST", "/api/nodes/approve", "{\"key\":\"" SOME_KEY "\",\"name\":\"a\\nb\"}", 400},
        {"POST", "/api/nodes/approve", "{\"key\":\"" SOME_KEY "\"}", 400},
        {"GET", "/api/nodes/approve", "", 405},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    api_set_door(lab.api, &at_home);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = ask(&lab, cases[i].method, cases[i].path, cases[i].body, NULL);

        if (status != cases[i].status || lab.ordered)
            fail_msg("case %zu: %d in place of %d", i, status, cases[i].status);
    }
    free(order_and_answer(&lab, "/api/nodes/approve", "{\"key\":\"" SOME_KEY "\",\"name\":\"n\"}", true));
    assert_int_equal(lab.order->kind, FRONT_ORDER_APPROVE);
    assert_string_equal(lab.order->access.key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    assert_string_equal(lab.order->access.name, "n");
    lab_shut(&lab);
}

/* More than the pipe could bring answers for at once are turned away, and none of them is left without one. */
static void test_so_many_wait_at_most(void **state)
{
    enum { WAITING_MAX = 256 };
    static struct lab_client waiting[WAITING_MAX];
    const struct cluster_answer yes = {.accepted = true};
    struct lab_client more;
    struct lab lab;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 1));
    for (int i = 0; i < WAITING_MAX; i++) {
        lab.ordered = false;
        lab_connect(&waiting[i], lab.base, lab.port);
        lab_send(&waiting[i], "POST /api/brake/lift HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        lab_until_true(lab.base, &lab.ordered);
    }
    for (int n = 0; n < 2; n++) {
        lab.ordered = false;
        lab_connect(&more, lab.base, lab.port);
        lab_send(&more, "POST /api/brake/lift HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        if (n)
            lab_until_true(lab.base, &lab.ordered);
        else
            lab_until(&more, "\"code\":\"busy\"");
        lab_close(&more);
        api_answer(lab.api, lab.order->request_id, &yes, &none);
        lab_until_closed(&waiting[WAITING_MAX - 1]);
    }
    for (int i = 0; i < WAITING_MAX; i++)
        lab_close(&waiting[i]);
    lab_shut(&lab);
}

static void test_deploy_with_a_plan(void **state)
{
    struct plan *p = lab_plan();
    struct cluster_answer yes = {.accepted = true, .task_id = 9};
    struct front_planned planned = {.r = 0, .plan = p};
    struct lab_client c;
    struct lab lab;
    json_t *j, *plan, *body;
    char *text;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    /* what /api/plan shows is what deploy takes back */
    begin_order(&lab, &c, "GET", "/api/plan?model=tiny&nodes=2&policy=spread&ctx=512&rank0=rpc", "");
    assert_int_equal(lab.order->kind, FRONT_ORDER_PLAN);
    assert_int_equal(lab.order->request.policy, POLICY_SPREAD);
    assert_int_equal(lab.order->request.rank0, RANK0_RPC);
    api_planned(lab.api, lab.order->request_id, &planned);
    lab_until_closed(&c);
    text = lab_body(&c);
    j = json_loads(text, 0, NULL);
    free(text);
    lab_close(&c);
    assert_true(json_is_true(json_object_get(j, "ok")));
    assert_true(json_is_null(json_object_get(j, "other")));
    plan = json_object_get(j, "plan");
    body = json_pack("{s:s,s:O}", "model", "tiny", "plan", plan);
    text = json_dumps(body, 0);
    begin_order(&lab, &c, "POST", "/api/instances", text);
    assert_non_null(lab.order->plan);
    assert_memory_equal(lab.order->plan, p, sizeof(*p));
    api_answer(lab.api, lab.order->request_id, &yes, &none);
    assert_answer(&c, "202", "task");
    free(text);
    json_decref(body);

    body = json_pack("{s:s,s:O}", "model", "other", "plan", plan);
    text = json_dumps(body, 0);
    assert_int_equal(ask(&lab, "POST", "/api/instances", text, NULL), 409);
    free(text);
    json_decref(body);
    json_decref(j);
    free(p);
    lab_shut(&lab);
}

static void test_what_is_refused_at_the_door(void **state)
{
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *code, *text;
    } cases[] = {
        {"POST", "/api/instances", "", 400, "bad_json", ""},
        {"POST", "/api/instances", "{\"model\":", 400, "bad_json", "line 1"},
        {"POST", "/api/instances", "[]", 400, "bad_request", "object"},
        {"POST", "/api/instances", "{}", 400, "bad_request", "\"model\" is missing"},
        {"POST", "/api/instances", "{\"model\":\"a\",\"model\":\"b\"}", 400, "bad_json", "duplicate"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"node\":1}", 400, "bad_request",
         "\"node\" is not a known key"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"nodes\":99}", 400, "bad_request", "0 to 16"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"replicas\":17}", 400, "bad_request", "0 to 16"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"ttl_ms\":-1}", 400, "bad_request", "ttl_ms"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"ttl\":60}", 400, "bad_request", "\"ttl\" is not a known key"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"pinned\":1}", 400, "bad_request", "pinned"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"args\":[\"--rpc\"]}", 409, "owned_flag", "--rpc"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"plan\":{\"format\":1}}", 400, "bad_request", "\"model\" is"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"alias\":\"a\\nb\"}", 400, "bad_request",
         "control characters"},
        {"POST", "/api/instances", "{\"model\":\"tiny\",\"alias\":\"a\\u007fb\"}", 400, "bad_request", "\"alias\""},
        {"GET", "/api/plan", "", 400, "bad_request", "model=NAME"},
        {"GET", "/api/plan?model=tiny&node=1", "", 400, "bad_request", "\"node\" is not a known key"},
        {"GET", "/api/plan?model=tiny&=1", "", 400, "bad_request", "\"\" is not a known key"},
        {"GET", "/api/plan?model=tiny&nodes=x", "", 400, "bad_request", "nodes"},
        {"GET", "/api/plan?model=tiny&policy=best", "", 400, "bad_request", "policy"},
        {"GET", "/api/plan?model=tiny&kv_type=f17", "", 400, "bad_request", "kv_type"},
        {"GET", "/api/plan?model=%zz", "", 400, "bad_request", "model"},
        {"GET", "/api/nothing", "", 404, "refused", ""},
        {"PUT", "/api/instances", "", 405, "refused", ""},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *j = NULL, *error;
        int status = ask(&lab, cases[i].method, cases[i].path, cases[i].body, &j);

        error = json_object_get(j, "error");
        if (status != cases[i].status || strcmp(text_at(error, "code"), cases[i].code) != 0 ||
            !strstr(text_at(error, "message"), cases[i].text))
            fail_msg("case %zu: %d %s %s", i, status, text_at(error, "code"), text_at(error, "message"));
        json_decref(j);
    }
    assert_false(lab.ordered);
    lab_shut(&lab);
}

/* ---- streams ---- */

static void test_follow(void **state)
{
    struct lab_client c;
    struct view *v;
    struct lab lab;
    char *body;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_LOADING, 18080));
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /api/tasks/7 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n");
    lab_until(&c, "event: task\ndata: {\"task\":{\"id\":7,");
    assert_non_null(strstr(c.got, "\"progress_permille\":420"));

    v = lab_view(INSTANCE_LOADING, 18080); /* mere progress: comes, but together with what follows it closely */
    v->instance[0].progress_permille = 500;
    api_set_view(lab.api, v);
    view_unref(&v);
    v = lab_view(INSTANCE_LOADING, 18080);
    v->instance[0].progress_permille = 600;
    api_set_view(lab.api, v);
    view_unref(&v);
    lab_until(&c, "\"progress_permille\":600");
    assert_null(strstr(c.got, "\"progress_permille\":500"));

    v = lab_view(INSTANCE_READY, 18080); /* a state change and the end */
    v->task[0].state = TASK_COMPLETE;
    api_set_view(lab.api, v);
    view_unref(&v);
    lab_until_closed(&c);
    body = lab_body(&c);
    assert_non_null(strstr(body, "\"state\":\"complete\""));
    assert_string_equal(body + strlen(body) - 2, "\n\n");
    free(body);
    lab_close(&c);

    /* of a task that has ended: once, and closed */
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "GET /api/tasks/7 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n");
    lab_until_closed(&c);
    assert_non_null(strstr(c.got, "\"state\":\"complete\""));
    lab_close(&c);
    lab_shut(&lab);
}

static void test_events(void **state)
{
    struct cluster_transition t = {.machine = "node",
                                   .id = "n1",
                                   .from = "ready",
                                   .to = "suspect",
                                   .event = "silent",
                                   .verdict = "go",
                                   .text = "1.0 s of silence"};
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, lab_view(INSTANCE_READY, 18080));
    for (int i = 0; i < EVENTS_RING + 10; i++)
        events_add(lab.events, &t, 1);
    lab_connect(&c, lab.base, lab.port); /* ids 1000..2033; the ring holds 1010.. */
    lab_send(&c, "GET /api/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 2031\r\n\r\n");
    lab_until(&c, "id: 2033\nevent: transition\ndata: {\"wall_ms\":1,\"machine\":\"node\",\"id\":\"n1\"");
    assert_non_null(strstr(c.got, "id: 2032\n"));
    assert_null(strstr(c.got, "id: 2031\n"));
    events_add(lab.events, &t, 2);
    lab_until(&c, "id: 2034\nevent: transition\ndata: {\"wall_ms\":2,");
    lab_close(&c);

    lab_connect(&c, lab.base, lab.port); /* long gone: all that is left */
    lab_send(&c, "GET /api/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 3\r\n\r\n");
    lab_until(&c, "id: 2034\n");
    assert_non_null(strstr(c.got, "id: 1011\n"));
    assert_null(strstr(c.got, "id: 1010\n"));
    lab_close(&c);

    lab_connect(&c, lab.base, lab.port); /* from now on */
    lab_send(&c, "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n");
    lab_until(&c, ":\n\n");
    events_add(lab.events, &t, 3);
    lab_until(&c, "id: 2035\n");
    assert_null(strstr(c.got, "id: 2034\n"));
    lab_close(&c);
    assert_int_equal(ask(&lab, "HEAD", "/api/events", "", NULL), 200);
    lab_shut(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_models_instances_tasks),
        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_before_the_first_view),
        cmocka_unit_test(test_deploy),
        cmocka_unit_test(test_what_is_asked_of_nodes),
        cmocka_unit_test(test_a_token),
        cmocka_unit_test(test_an_api_key),
        cmocka_unit_test(test_what_is_kept_of_them),
        cmocka_unit_test(test_what_is_no_token_key_or_node),
        cmocka_unit_test(test_so_many_wait_at_most),
        cmocka_unit_test(test_deploy_with_a_plan),
        cmocka_unit_test(test_what_is_refused_at_the_door),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
