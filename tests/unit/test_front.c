/* The HTTP thread as the control loop sees it: notes go in, orders come out, and what holds for every path holds. */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "controller/front.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

struct lab {
    struct event_base *base;
    struct front *front;
    struct front_order *order;
    bool ordered;
    uint16_t port;
};

static void on_order(void *ctx, struct front_order *order)
{
    struct lab *lab = ctx;

    front_order_destroy(&lab->order);
    lab->order = order;
    lab->ordered = true;
}

static struct front_note *note(enum front_note_kind kind)
{
    struct front_note *n = calloc(1, sizeof(*n));

    n->kind = kind;
    return n;
}

static void lab_open(struct lab *lab)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {1};
    const struct front_callbacks cb = {.order = on_order, .ctx = lab};
    struct front_note *n = note(FRONT_NOTE_VIEW);
    int fd;
    const struct front_config config = {.fds = &fd, .n_fds = 1, .secret = secret};

    memset(lab, 0, sizeof(*lab));
    lab->base = event_base_new();
    fd = lab_listen(&lab->port);
    assert_int_equal(front_new(lab->base, &config, &cb, &lab->front), 0);
    n->view = lab_view(INSTANCE_LOADING, 18080);
    n->control.messages_malformed = 5;
    assert_int_equal(front_send(lab->front, n), 0);
}

static void lab_shut(struct lab *lab)
{
    front_destroy(&lab->front);
    front_order_destroy(&lab->order);
    event_base_free(lab->base);
}

#define NO_ROUTE "\r\n\r\n{\"error\":{\"message\":\"File Not Found\",\"type\":\"not_found_error\",\"code\":404}}"

static void test_every_path(void **state)
{
    static const struct {
        const char *request, *status, *part;
    } cases[] = {
        {"GET /api/nodes HTTP/1.0\r\n\r\n", "200", "\"name\":\"n2\""},
        {"GET /metrics HTTP/1.0\r\n\r\n", "200", "caravan_link_messages_dropped_total{reason=\"malformed\"} 5\n"},
        {"GET /metrics HTTP/1.0\r\n\r\n", "200", "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"},
        {"POST /metrics HTTP/1.0\r\n\r\n", "405", "wrong_method"},
        {"GET / HTTP/1.0\r\n\r\n", "404", "\"code\":\"not_found\""},
        /* as llama-server */
        {"GET /v1/chat/completions HTTP/1.0\r\n\r\n", "404", NO_ROUTE},
        {"PUT /v1/chat/completions HTTP/1.0\r\n\r\n", "404", NO_ROUTE},
        {"POST /v1/chat/completions/ HTTP/1.0\r\n\r\n", "404", NO_ROUTE},
        {"POST //v1/chat/completions HTTP/1.0\r\n\r\n", "404", NO_ROUTE},
        {"POST /v1/nothing HTTP/1.0\r\n\r\n", "404", NO_ROUTE},
        {"TRACE /upstream/m/props HTTP/1.0\r\n\r\n", "404", NO_ROUTE},
        {"GET /v1/models/nothing HTTP/1.0\r\n\r\n", "404", "\"type\":\"not_found_error\""},
        {"GET /v1/models/m HTTP/1.0\r\n\r\n", "200", "{\"id\":\"m\",\"object\":\"model\""},
        {"GET /v1/models HTTP/1.0\r\n\r\n", "200", "\r\nAccess-Control-Allow-Origin: \r\n"},
        {"GET /v1/models HTTP/1.0\r\nHost: localhost:8080\r\nOrigin: http://localhost:8080\r\n\r\n", "200",
         "\r\nAccess-Control-Allow-Origin: http://localhost:8080\r\n"},
        {"OPTIONS /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", "200",
         "\r\nAccess-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n"},
        {"GET /v1/models HTTP/1.0\r\nOrigin: http://a\r\n\r\n", "403", "permission_error"},
        {"POST /v1/completions HTTP/1.0\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}", "503", "\r\nRetry-After: "},
        {"GET x HTTP/1.0\r\n\r\n", "400", "\"code\":\"bad_request\""},
        /* another site's page */
        {"DELETE /api/instances/m HTTP/1.0\r\nHost: localhost:8080\r\nOrigin: http://evil\r\n\r\n", "403",
         "cross_site"},
        {"POST /api/instances HTTP/1.0\r\nHost: localhost:8080\r\nOrigin: null\r\n\r\n", "403", "cross_site"},
        {"POST /api/instances HTTP/1.0\r\nHost: localhost:8080\r\nOrigin: http://localhost:8080\r\n\r\n", "400",
         "bad_json"},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = lab_ask(lab.base, lab.port, cases[i].request);

        if (strncmp(text + 9, cases[i].status, 3) != 0 || !strstr(text, cases[i].part))
            fail_msg("case %zu: %s", i, text);
        free(text);
    }
    assert_false(lab.ordered);
    lab_shut(&lab);
}

static void test_there_and_back(void **state)
{
    struct front_note *n = note(FRONT_NOTE_ANSWER), *planned = note(FRONT_NOTE_PLANNED);
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "DELETE /api/instances/m HTTP/1.1\r\nHost: localhost\r\n\r\n");
    lab_until_true(lab.base, &lab.ordered);
    assert_string_equal(lab.order->target, "m");
    n->request_id = lab.order->request_id;
    n->answer = (struct cluster_answer){.accepted = true, .task_id = 12, .instance = lab_id(0xaa)};
    assert_int_equal(front_send(lab.front, n), 0);
    lab_until(&c, "{\"task\":12,");

    lab.ordered = false;
    lab_send(&c, "GET /api/plan?model=tiny HTTP/1.1\r\nHost: localhost\r\n\r\n");
    lab_until_true(lab.base, &lab.ordered);
    planned->request_id = lab.order->request_id;
    planned->planned.r = PLACE_E_NO_FIT;
    planned->planned.plan = lab_plan();
    planned->planned.other = lab_plan();
    snprintf(planned->planned.why, sizeof(planned->planned.why), "3.0 GiB are missing");
    assert_int_equal(front_send(lab.front, planned), 0);
    lab_until(&c, "{\"ok\":false,\"code\":\"no_fit\",\"message\":\"3.0 GiB are missing\",\"plan\":{\"format\":1,");
    lab_close(&c);
    lab_shut(&lab);
}

/* What the gateway sees of a coordinator goes to the control loop, and nobody need ask. */
static void test_gateway_tells(void **state)
{
    struct front_note *n = note(FRONT_NOTE_VIEW);
    struct id128 aa = lab_id(0xaa);
    struct lab_client c;
    struct lab lab;
    uint16_t port;

    (void)state;
    lab_open(&lab);
    close(lab_listen(&port));
    n->view = lab_view(INSTANCE_READY, port);
    assert_int_equal(front_send(lab.front, n), 0);
    lab_connect(&c, lab.base, lab.port);
    lab_send(&c, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}");
    lab_until_true(lab.base, &lab.ordered);
    while (lab.order->kind == FRONT_ORDER_TRAFFIC) {
        assert_true(id128_equal(&lab.order->instance, &aa));
        lab.ordered = false;
        lab_until_true(lab.base, &lab.ordered);
    }
    assert_int_equal(lab.order->kind, FRONT_ORDER_UPSTREAM);
    assert_int_equal(lab.order->upstream, UPSTREAM_REFUSED);
    assert_int_equal(lab.order->epoch, 3);
    lab_until(&c, "503");
    lab_close(&c);
    lab_shut(&lab);
}

static void test_ends_with_clients_there(void **state)
{
    struct front_note *n = note(FRONT_NOTE_TRANSITION);
    struct lab_client waits, listens;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab_connect(&waits, lab.base, lab.port);
    lab_send(&waits, "DELETE /api/instances/m HTTP/1.1\r\nHost: localhost\r\n\r\n");
    lab_until_true(lab.base, &lab.ordered);
    lab_connect(&listens, lab.base, lab.port);
    lab_send(&listens, "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    lab_until(&listens, ":\n\n");
    n->transition = (struct cluster_transition){
        .machine = "node", .id = "n1", .from = "ready", .to = "lost", .event = "silent", .verdict = "go"};
    assert_int_equal(front_send(lab.front, n), 0);
    lab_until(&listens, "\"to\":\"lost\"");
    front_destroy(&lab.front);
    lab_until_closed(&waits);
    lab_until_closed(&listens);
    lab_close(&waits);
    lab_close(&listens);
    lab_shut(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_path),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_gateway_tells),
        cmocka_unit_test(test_ends_with_clients_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
