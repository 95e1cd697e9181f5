/* The whole HTTP thread with API keys: each route that there is, asked with each kind of key; the route tables are the input,
 * so that a new route is asked too. What is expected follows from method and path alone, not from what the table says. */
#include <event2/event.h>
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

#include "controller/front.h"
#include "controller/http.h"
#include "controller/http_settings.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

enum { NO_KEY, WRONG_KEY, INFER_KEY, READ_KEY, ADMIN_KEY, N_KEYS };
static const char *const key_text[N_KEYS] = {NULL, "caravan_wrong", "caravan_infer", "caravan_read", "caravan_admin"};

struct lab {
    struct event_base *base;
    struct front *front;
    struct http_settings settings;
    bool ordered;
    uint16_t port;
};

static struct front_note *note(enum front_note_kind kind)
{
    struct front_note *n = calloc(1, sizeof(*n));

    n->kind = kind;
    return n;
}

/* The control loop refuses all that it is asked. */
static void on_order(void *ctx, struct front_order *order)
{
    struct front_note *n = note(order->kind == FRONT_ORDER_PLAN ? FRONT_NOTE_PLANNED : FRONT_NOTE_ANSWER);
    struct lab *lab = ctx;

    lab->ordered = true;
    n->request_id = order->request_id;
    n->planned.r = -12;
    snprintf(n->answer.code, sizeof(n->answer.code), "not_found");
    front_order_destroy(&order);
    assert_int_equal(front_send(lab->front, n), 0);
}

static void send_view(struct lab *lab, size_t n_keys)
{
    struct front_note *n = note(FRONT_NOTE_VIEW);
    uint8_t digest[CRYPTO_KEY_BYTES];

    n->view = lab_view(INSTANCE_LOADING, 18080);
    n->view->api_key = calloc(3, sizeof(n->view->api_key[0]));
    n->view->n_api_keys = n_keys;
    for (int i = 0; i < 3; i++) {
        const char *text = key_text[INFER_KEY + i];

        crypto_digest(text, strlen(text), digest);
        crypto_key_format(digest, n->view->api_key[i].hash);
        n->view->api_key[i].scope = (enum api_scope)(API_INFER + i);
    }
    assert_int_equal(front_send(lab->front, n), 0);
}

static void lab_open(struct lab *lab, int fd)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {1};
    static const char *const hosts[] = {"chat.example.org"};
    const struct front_callbacks cb = {.order = on_order, .ctx = lab};
    const struct front_config config = {.fds = &fd, .n_fds = 1, .secret = secret, .settings = &lab->settings};
    bool metrics_open = lab->settings.metrics_open;

    lab->settings = (struct http_settings){.names = {.allowed = hosts, .n_allowed = 1}, .metrics_open = metrics_open};
    lab->base = event_base_new();
    assert_int_equal(front_new(lab->base, &config, &cb, &lab->front), 0);
}

static void lab_shut(struct lab *lab)
{
    front_destroy(&lab->front);
    event_base_free(lab->base);
}

/* Asks, and ends at the head of the answer: some routes stream. Returns the status; *ret: all that came, malloc'ed. */
static int ask(struct lab *lab, const char *request, char **ret)
{
    struct lab_client c;
    int status;

    lab_connect(&c, lab->base, lab->port);
    lab_send(&c, request);
    lab_until(&c, "\r\n\r\n");
    status = atoi(c.got + 9);
    if (status >= 400)
        lab_until_closed(&c);
    *ret = strdup(c.got);
    lab_close(&c);
    return status;
}

static int ask_route(struct lab *lab, const char *method, const char *pattern, int key, char **ret)
{
    char request[512], path[128], *colon;

    snprintf(path, sizeof(path), "%s", pattern);
    colon = strchr(path, ':'); /* a segment of its own */
    if (colon) {
        *colon = 'x';
        memmove(colon + 1, colon + strcspn(colon, "/"), strlen(colon + strcspn(colon, "/")) + 1);
        path[strcspn(path, "*")] = '\0';
    }
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s%s%s\r\n", method,
             path, key_text[key] ? "Authorization: Bearer " : "", key_text[key] ? key_text[key] : "",
             key_text[key] ? "\r\n" : "");
    return ask(lab, request, ret);
}

static bool is_get(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

/* The least key, as the design has it. NO_KEY: none is needed. */
static int needed(const char *method, const char *path)
{
    if (strcmp(path, "/api/health") == 0)
        return NO_KEY;
    if (strncmp(path, "/v1/", 4) == 0)
        return INFER_KEY;
    if (strncmp(path, "/api/keys", 9) == 0 || strncmp(path, "/api/tokens", 11) == 0)
        return ADMIN_KEY;
    return is_get(method) ? READ_KEY : ADMIN_KEY;
}

/* 0: it gets through. */
static int expected(int need, int key)
{
    if (need == NO_KEY || key == ADMIN_KEY || key == need)
        return 0;
    return key == NO_KEY || key == WRONG_KEY ? 401 : 403;
}

static void check_route(struct lab *lab, const char *method, const char *pattern)
{
    for (int key = NO_KEY; key < N_KEYS; key++) {
        int want = expected(needed(method, pattern), key), got;
        char *text;

        lab->ordered = false;
        got = ask_route(lab, method, pattern, key, &text);
        if (want ? got != want : got == 401 || got == 403)
            fail_msg("%s %s with key %d: %d, not %d: %s", method, pattern, key, got, want, text);
        if (want && lab->ordered)
            fail_msg("%s %s with key %d went through to the control loop", method, pattern, key);
        if ((got == 401) != (strstr(text, "\r\nWWW-Authenticate: Bearer\r\n") != NULL))
            fail_msg("%s %s with key %d: %s", method, pattern, key, text);
        free(text);
    }
}

static void test_every_route_with_every_key(void **state)
{
    const struct http_route *table[FRONT_TABLES];
    struct lab lab = {.ordered = false};
    size_t n = 0;

    (void)state;
    lab_open(&lab, lab_listen(&lab.port));
    send_view(&lab, 3);
    front_routes(false, table);
    for (size_t t = 0; t < FRONT_TABLES; t++)
        for (const struct http_route *r = table[t]; r->method; r++, n++) {
            check_route(&lab, r->method, r->pattern);
            if (strcmp(r->method, "GET") == 0 && strcmp(r->pattern, "/api/events") != 0)
                check_route(&lab, "HEAD", r->pattern);
        }
    assert_true(n > 15);
    lab_shut(&lab);
}

#define INVALID_KEY \
    "\r\n\r\n{\"error\":{\"message\":\"Invalid API Key\",\"type\":\"authentication_error\",\"code\":401}}"

static void test_answers(void **state)
{
#define LOCAL "Host: localhost\r\n"
    static const struct {
        const char *request;
        int status;
        const char *part;
    } cases[] = {
        /* which paths there are is nobody's business */
        {"GET /nothing HTTP/1.1\r\n" LOCAL "\r\n", 401, "{\"error\":{\"code\":\"no_key\","},
        {"DELETE /metrics HTTP/1.1\r\n" LOCAL "\r\n", 401, "no_key"},
        {"GET /nothing HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_infer\r\nConnection: close\r\n\r\n", 404, "not_found"},
        /* in llama-server's words */
        {"POST /v1/chat/completions HTTP/1.1\r\n" LOCAL "Content-Length: 3\r\n\r\n{}\n", 401, INVALID_KEY},
        {"GET /v1/models HTTP/1.1\r\n" LOCAL "X-Api-Key: nonsense\r\n\r\n", 401, INVALID_KEY},
        {"POST /upstream/m/tokenize HTTP/1.1\r\n" LOCAL "\r\n", 401, INVALID_KEY},
        {"GET /v1/nothing HTTP/1.1\r\n" LOCAL "\r\n", 401, INVALID_KEY},
        {"GET /upstream/m/slots HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_infer\r\n\r\n", 403, "permission_error"},
        {"POST /upstream/m/tokenize HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_read\r\n\r\n", 403, "\\\"admin\\\""},
        {"GET /v1/models HTTP/1.1\r\n" LOCAL "X-Request-Id: r-1\r\n\r\n", 401, "\r\nX-Request-Id: r-1\r\n"},
        {"GET /v1/models HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_read\r\n\r\n", 403,
         "this API key has the scope \\\"read\\\"; this needs \\\"infer\\\""},
        {"GET /api/nodes HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_infer\r\n\r\n", 403, "\"code\":\"lesser_key\""},
        {"GET /api/nodes HTTP/1.1\r\n" LOCAL "Cookie: caravan_read\r\nAuthorization: Basic caravan_read\r\n\r\n", 401,
         ""},
        {"GET /api/nodes?key=caravan_read HTTP/1.1\r\n" LOCAL "\r\n", 401, ""},
        {"GET /api/nodes HTTP/1.1\r\n" LOCAL
         "Connection: close\r\nAuthorization: Bearer caravan_infer\r\nX-Api-Key: caravan_admin\r\n\r\n",
         401, "wrong_key"},
        {"GET /api/health HTTP/1.1\r\n" LOCAL "Connection: close\r\n\r\n", 200, ""},
        {"GET /api/health HTTP/1.0\r\n\r\n", 200, ""}, /* probes have no Host */
        /* another name for us: rebinding. With a key too: who has one knows our name */
        {"GET /api/health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "nobody is called \\\"evil.example\\\" here"},
        {"GET /v1/models HTTP/1.1\r\nHost: evil.example:8080\r\nX-Api-Key: caravan_admin\r\n\r\n", 421, "http_hosts"},
        {"OPTIONS /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, ""},
        {"GET /api/health HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\n\r\n", 200, ""},
        {"GET /api/nodes HTTP/1.1\r\n\r\n", 400, ""},
        {"GET /api/nodes HTTP/1.1\r\n" LOCAL LOCAL "\r\n", 400, ""},
        /* pages from elsewhere */
        {"GET /api/health HTTP/1.1\r\n" LOCAL "Origin: http://evil.example\r\n\r\n", 403, "cross_site"},
        {"GET /api/health HTTP/1.1\r\n" LOCAL "Sec-Fetch-Site: cross-site\r\n\r\n", 403, "cross_site"},
        {"GET /api/nodes HTTP/1.1\r\n" LOCAL "Origin: null\r\nX-Api-Key: nonsense\r\n\r\n", 403, "cross_site"},
        /* ... get as far as anybody who has no key, or with one */
        {"GET /v1/models HTTP/1.1\r\n" LOCAL "Origin: null\r\nX-Api-Key: nonsense\r\n\r\n", 401, INVALID_KEY},
        {"GET /v1/models HTTP/1.1\r\n" LOCAL "Sec-Fetch-Site: cross-site\r\n\r\n", 401, INVALID_KEY},
        {"GET /v1/models HTTP/1.1\r\n" LOCAL
         "Connection: close\r\nOrigin: http://evil.example\r\nX-Api-Key: caravan_infer\r\n\r\n",
         200, "\r\nAccess-Control-Allow-Origin: http://evil.example\r\nVary: Origin\r\n"},
        {"GET /upstream/m/props HTTP/1.1\r\n" LOCAL "Origin: http://evil.example\r\n\r\n", 403, "permission_error"},
        {"GET /v1/models HTTP/1.1\r\n" LOCAL
         "Connection: close\r\nOrigin: https://chat.example.org\r\nX-Api-Key: caravan_infer\r\n\r\n",
         200, "\r\nAccess-Control-Allow-Origin: https://chat.example.org\r\nVary: Origin\r\n"},
        {"OPTIONS /v1/chat/completions HTTP/1.1\r\n" LOCAL
         "Connection: close\r\nOrigin: https://chat.example.org\r\n\r\n",
         200, "\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, X-Api-Key, *\r\n"},
    };
    struct lab lab = {.ordered = false};

    (void)state;
    lab_open(&lab, lab_listen(&lab.port));
    send_view(&lab, 3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text;
        int status = ask(&lab, cases[i].request, &text);

        if (status != cases[i].status || !strstr(text, cases[i].part))
            fail_msg("case %zu: %s", i, text);
        if (status == 401 || status == 421 || status == 403)
            assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
        free(text);
    }
    assert_false(lab.ordered);
    lab_shut(&lab);
}

static void check_options(struct lab *lab, const char *path, const char *origin, const char *allowed, bool with_cookies)
{
    char request[256], *text;

    snprintf(request, sizeof(request), "OPTIONS %s HTTP/1.1\r\n" LOCAL "Connection: close\r\nOrigin: %s\r\n\r\n", path,
             origin);
    assert_int_equal(ask(lab, request, &text), 200);
    assert_int_equal(strstr(text, "Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n") != NULL,
                     allowed != NULL);
    assert_int_equal(strstr(text, "Access-Control-Allow-Credentials: true\r\n") != NULL, with_cookies);
    assert_int_equal(strstr(text, origin) != NULL, allowed != NULL);
    if (allowed)
        assert_null(strstr(strstr(text, "Allow-Origin") + 1, "Allow-Origin")); /* once */
    free(text);
}

/* A page of anybody's may ask /v1 where that takes a key; what its browser keeps of its user's own, only one that was named to us
 * may use. Without keys, and about what is not /v1, others are told nothing. */
static void test_options(void **state)
{
    static const char evil[] = "http://evil.example", named[] = "https://chat.example.org";
    struct lab lab = {.ordered = false};

    (void)state;
    lab_open(&lab, lab_listen(&lab.port));
    send_view(&lab, 3);
    check_options(&lab, "/v1/models", evil, evil, false);
    check_options(&lab, "/v1/models", named, named, true);
    check_options(&lab, "/api/instances", named, NULL, false);
    check_options(&lab, "/upstream/m/slots", named, NULL, false);
    check_options(&lab, "/nothing", evil, NULL, false);
    send_view(&lab, 0);
    check_options(&lab, "/v1/models", evil, NULL, false);
    check_options(&lab, "/v1/models", named, named, true);
    lab_shut(&lab);
}

static void test_without_keys(void **state)
{
    struct lab lab = {.ordered = false};
    char *text;

    (void)state;
    lab_open(&lab, lab_listen(&lab.port));
    assert_int_equal(ask_route(&lab, "GET", "/api/nodes", ADMIN_KEY, &text), 503); /* before the first view */
    assert_non_null(strstr(text, "\r\nRetry-After: 1\r\n"));
    free(text);
    assert_int_equal(ask_route(&lab, "GET", "/api/health", NO_KEY, &text), 200);
    free(text);
    send_view(&lab, 0);
    assert_int_equal(ask_route(&lab, "GET", "/api/nodes", NO_KEY, &text), 200);
    free(text);
    assert_int_equal(ask_route(&lab, "GET", "/api/nodes", WRONG_KEY, &text), 200);
    free(text);
    assert_int_equal(ask(&lab, "GET /api/nodes HTTP/1.1\r\n" LOCAL "Origin: http://evil.example\r\n\r\n", &text), 403);
    free(text);
    assert_int_equal(ask(&lab, "GET /v1/models HTTP/1.1\r\n" LOCAL "Origin: http://evil.example\r\n\r\n", &text), 403);
    assert_null(strstr(text, "evil"));
    free(text);
    send_view(&lab, 3); /* from the moment when there is one */
    assert_int_equal(ask_route(&lab, "GET", "/api/nodes", NO_KEY, &text), 401);
    free(text);
    lab_shut(&lab);
}

static void begin(struct lab *lab, struct lab_client *c, const char *head, const char *until)
{
    lab_connect(c, lab->base, lab->port);
    lab_send(c, head);
    lab_until(c, until);
}

/* Neither a stream nor a body that was let in outlives its key: who has stolen one could keep a body back until he needs it. What
 * the other keys have begun goes on. */
static void test_what_a_removed_key_has_begun(void **state)
{
    struct lab_client stolen, kept, body;
    struct lab lab = {.ordered = false};

    (void)state;
    lab_open(&lab, lab_listen(&lab.port));
    send_view(&lab, 3);
    begin(&lab, &stolen, "GET /api/events HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_admin\r\n\r\n", ":\n\n");
    begin(&lab, &kept, "GET /api/events HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_read\r\n\r\n", ":\n\n");
    begin(&lab, &body,
          "POST /api/keys HTTP/1.1\r\n" LOCAL "X-Api-Key: caravan_admin\r\nExpect: 100-continue\r\n"
          "Content-Length: 32\r\n\r\n",
          "100 Continue");
    send_view(&lab, 2);
    lab_until_closed(&stolen);
    lab_until_closed(&body);
    assert_false(kept.closed);
    lab_close(&stolen);
    lab_close(&kept);
    lab_close(&body);

    send_view(&lab, 0);
    begin(&lab, &kept, "GET /api/events HTTP/1.1\r\n" LOCAL "\r\n", ":\n\n");
    send_view(&lab, 1); /* the first key there is shuts out who has none */
    lab_until_closed(&kept);
    lab_close(&kept);
    assert_false(lab.ordered);
    lab_shut(&lab);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in addr;
    socklen_t n = sizeof(addr);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &n), 0);
    return ntohs(addr.sin_port);
}

/* The last key may be removed while others can reach us: that opens nothing. */
static void test_without_keys_for_all_to_reach(void **state)
{
    struct lab lab = {.settings = {.metrics_open = true}};
    char *text;
    int fd;

    (void)state;
    assert_int_equal(http_bind("0.0.0.0:0", &fd), 0);
    assert_false(http_is_local(fd));
    lab.port = port_of(fd);
    lab_open(&lab, fd);
    send_view(&lab, 0);
    assert_int_equal(ask_route(&lab, "GET", "/api/nodes", NO_KEY, &text), 401);
    assert_non_null(strstr(text, "caravan-controller init"));
    free(text);
    assert_int_equal(ask_route(&lab, "GET", "/metrics", NO_KEY, &text), 200); /* metrics_open */
    free(text);
    lab_shut(&lab);
}

static void test_what_is_local(void **state)
{
    static const struct {
        const char *addr;
        bool local;
    } cases[] = {
        {"127.0.0.1:0", true}, {"127.1.2.3:0", true}, {"[::1]:0", true}, {"[::]:0", false}, {"0.0.0.0:0", false}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd, r = http_bind(cases[i].addr, &fd);

        if (r) /* no IPv6 here */
            continue;
        assert_int_equal(http_is_local(fd), cases[i].local);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_route_with_every_key),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_without_keys),
        cmocka_unit_test(test_without_keys_for_all_to_reach),
        cmocka_unit_test(test_what_is_local),
        cmocka_unit_test(test_what_a_removed_key_has_begun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
