/* The whole controller with keys: it does not serve everybody by mistake, lets in who has a token, and sends away for good.
 * Agents are played over real CURVE links, operators over HTTP. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/core/join_token.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"
#include "controller/api_key.h"
#include "controller/shell.h"
#include "tests/lib/http_lab.h"

struct agent {
    struct event_base *base;
    struct wire_client *wire;
    struct identity id;
    bool up, denied, welcomed, answered;
    char refused[PROTO_TEXT_MAX]; /* of the last WELCOME or JOINED */
};

struct lab {
    struct event_base *base;
    struct shell *shell;
    struct models_conf *models;
    struct identity identity;
    struct agent node, token;
    char dir[96], admin[API_KEY_TEXT];
    uint16_t port, http_port;
    bool not_local, trust_open;
};

/* ---- agents ---- */

static void on_wire(void *ctx, const void *buf, size_t n)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct agent *a = ctx;

    assert_int_equal(message_unpack(buf, n, &m), 0);
    if (m->kind == MESSAGE_WELCOME) {
        a->welcomed = !*m->welcome.refused;
        snprintf(a->refused, sizeof(a->refused), "%s", m->welcome.refused);
        a->answered = true;
    } else if (m->kind == MESSAGE_JOINED) {
        snprintf(a->refused, sizeof(a->refused), "%s", m->joined.refused);
        a->answered = true;
    }
}

static void on_up(void *ctx)
{
    ((struct agent *)ctx)->up = true;
}

static void on_down(void *ctx)
{
    ((struct agent *)ctx)->up = false;
}

static void on_denied(void *ctx)
{
    ((struct agent *)ctx)->denied = true;
}

static void dial(struct lab *lab, struct agent *a)
{
    const struct wire_client_callbacks cb = {
        .message = on_wire, .connected = on_up, .disconnected = on_down, .denied = on_denied, .ctx = a};

    wire_client_destroy(&a->wire);
    a->up = a->denied = a->welcomed = a->answered = false;
    assert_int_equal(
        wire_client_new(lab->base, &a->id, "127.0.0.1", lab->port, lab->identity.public_key, &cb, &a->wire), 0);
}

static void say(struct agent *a, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    m->version_major = PROTOCOL_MAJOR;
    m->seq = 1;
    assert_int_equal(message_pack(m, &buf, &n), 0);
    assert_int_equal(wire_client_send(a->wire, buf, n), 0);
}

static void say_hello(struct agent *a)
{
    struct message m = {.kind = MESSAGE_HELLO,
                        .hello = {.node = crypto_node_id(a->id.public_key),
                                  .name = "n1",
                                  .boot_id = "boot",
                                  .build = "b11669-0.7.0",
                                  .transport = "direct",
                                  .n_addrs = 1,
                                  .addr = {"127.0.0.1"},
                                  .rpc = {8, 0, 0}}};

    a->answered = false;
    say(a, &m);
}

static void ask_to_join(struct agent *token, const struct agent *node)
{
    struct message m = {.kind = MESSAGE_JOIN, .join = {.name = "n1"}};

    token->answered = false;
    crypto_key_format(node->id.public_key, m.join.key);
    say(token, &m);
}

static void make_agent(struct agent *a, uint8_t seed)
{
    uint8_t bytes[CRYPTO_KEY_BYTES] = {seed};

    crypto_identity_from_seed(bytes, &a->id);
}

/* ---- the controller ---- */

static int try_start(struct lab *lab, char *why, size_t why_size)
{
    struct shell_config c = {.name = "ctl",
                             .identity = &lab->identity,
                             .state_dir = lab->dir,
                             .listen = "127.0.0.1",
                             .port = lab->port,
                             .http_text = "127.0.0.1:1",
                             .http_is_local = !lab->not_local,
                             .n_http_fds = 1,
                             .trust_open = lab->trust_open,
                             .settle_ms = 100,
                             .silent_ms = 60000,
                             .evict_after_ms = 120000,
                             .load_stall_ms = 60000,
                             .warm_up_ms = 60000};
    int fd = lab_listen(&lab->http_port), r;

    if (*lab->admin)
        api_key_hash(lab->admin, c.admin_hash);
    assert_int_equal(models_conf_parse("models.conf", "", 0, &lab->models, why, why_size), 0);
    c.models = lab->models;
    c.http_fds = &fd;
    r = shell_new(lab->base, &c, &lab->shell, why, why_size);
    if (r) {
        close(fd);
        models_conf_destroy(&lab->models);
    }
    return r;
}

static void start(struct lab *lab)
{
    char why[512] = "";

    if (try_start(lab, why, sizeof(why)))
        fail_msg("not started: %s", why);
}

static void stop(struct lab *lab)
{
    shell_destroy(&lab->shell);
    models_conf_destroy(&lab->models);
}

static int set_up(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    assert_non_null(lab);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(crypto_init(), 0);
    strcpy(lab->dir, "/tmp/caravan-test-XXXXXX");
    assert_non_null(mkdtemp(lab->dir));
    assert_int_equal(crypto_identity_load(lab->dir, &lab->identity), 0);
    lab->base = event_base_new();
    close(lab_listen(&lab->port));
    make_agent(&lab->node, 1);
    *state = lab;
    return 0;
}

static int tear_down(void **state)
{
    struct lab *lab = *state;
    char command[160];

    wire_client_destroy(&lab->node.wire);
    wire_client_destroy(&lab->token.wire);
    stop(lab);
    event_base_free(lab->base);
    snprintf(command, sizeof(command), "rm -r %s", lab->dir);
    if (system(command))
        return -1;
    free(lab);
    return 0;
}

/* The whole answer; malloc'ed. */
static char *ask(struct lab *lab, const char *method, const char *path, const char *body)
{
    char *request, *text;

    assert_true(
        asprintf(&request,
                 "%s %s HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s",
                 method, path, lab->admin, strlen(body), body) > 0);
    text = lab_ask(lab->base, lab->http_port, request);
    free(request);
    return text;
}

static void expect(struct lab *lab, const char *method, const char *path, const char *body, const char *words)
{
    char *text = ask(lab, method, path, body);

    if (!strstr(text, words))
        fail_msg("%s %s: not \"%s\", but: %s", method, path, words, text);
    free(text);
}

static void until_shown(struct lab *lab, const char *path, const char *words)
{
    for (int i = 0; i < 2000; i++) {
        char *text = ask(lab, "GET", path, "");
        bool there = strstr(text, words);

        if (i == 1999)
            fail_msg("%s never showed %s, but: %s", path, words, text);
        free(text);
        if (there)
            return;
    }
}

/* Makes one; lab->token can dial with it. ret_key: its public half. */
static void make_token(struct lab *lab, const char *body, char ret_key[CRYPTO_KEY_HEX])
{
    char *text = ask(lab, "POST", "/api/tokens", body), *at = strstr(text, "caravan1_"), why[PROTO_TEXT_MAX];
    struct join_token t;

    if (!at)
        fail_msg("no token: %s", text);
    assert_int_equal(join_token_parse(at, strcspn(at, "\""), &t, why, sizeof(why)), 0);
    assert_int_equal(t.n_controllers, 1);
    assert_string_equal(t.controller[0].addr, "127.0.0.1");
    assert_int_equal(t.controller[0].port, lab->port);
    assert_memory_equal(t.controller[0].key, lab->identity.public_key, CRYPTO_KEY_BYTES);
    crypto_identity_from_seed(t.seed, &lab->token.id);
    crypto_key_format(lab->token.id.public_key, ret_key);
    free(text);
}

static void join(struct lab *lab)
{
    dial(lab, &lab->token);
    lab_until_true(lab->base, &lab->token.up);
    ask_to_join(&lab->token, &lab->node);
}

static void come_in(struct lab *lab)
{
    dial(lab, &lab->node);
    lab_until_true(lab->base, &lab->node.up);
    say_hello(&lab->node);
    lab_until_true(lab->base, &lab->node.answered);
    assert_string_equal(lab->node.refused, "");
}

/* ---- tests ---- */

/* Who has no key gets nothing, not even before the first one is durable: the control loop, which would hear of that, stands
 * still meanwhile. */
static void expect_closed(struct lab *lab)
{
    static const char request[] = "GET /api/keys HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(lab->http_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CLEANUP(cleanup_close) int fd = socket(AF_INET, SOCK_STREAM, 0);
    char text[1024];
    ssize_t n;

    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
    n = read(fd, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    if (!strstr(text, "HTTP/1.1 401") && !strstr(text, "HTTP/1.1 503"))
        fail_msg("not closed: %s", text);
}

/* Where others can reach it there is a key, from the first moment on; and it is kept. */
static void test_http_is_never_open_to_others(void **state)
{
    struct lab *lab = *state;
    char why[512] = "";

    lab->not_local = true;
    assert_int_equal(try_start(lab, why, sizeof(why)), SHELL_E_START);
    assert_non_null(strstr(why, "caravan-controller init"));
    api_key_new(lab->admin);
    start(lab);
    expect_closed(lab);
    until_shown(lab, "/api/keys", "{\"keys\":[{\"name\":\"admin\",\"scope\":\"admin\"");
    expect(lab, "DELETE", "/api/keys/admin", "", "HTTP/1.1 409");
    stop(lab);
    api_key_new(lab->admin); /* another one in its file */
    start(lab);
    until_shown(lab, "/api/keys", "{\"keys\":[{\"name\":\"admin\",\"scope\":\"admin\"");
}

static void test_a_node_joins_by_a_token(void **state)
{
    char key[CRYPTO_KEY_HEX];
    struct lab *lab = *state;

    start(lab);
    until_shown(lab, "/api/version", "\"trust\":\"keys\"");
    make_token(lab, "", key);
    dial(lab, &lab->node);
    lab_until_true(lab->base, &lab->node.denied); /* not yet */
    expect(lab, "GET", "/api/tokens", "", key);
    join(lab);                                /* the answer may be lost with the link, which ends with the last use */
    lab_until_true(lab->base, &lab->node.up); /* it dials again by itself */
    say_hello(&lab->node);
    lab_until_true(lab->base, &lab->node.welcomed);
    until_shown(lab, "/api/tokens", "{\"tokens\":[]}"); /* it was for one */
    dial(lab, &lab->token);
    lab_until_true(lab->base, &lab->token.denied);
    /* and it is let in again by the next controller */
    stop(lab);
    start(lab);
    come_in(lab);
    until_shown(lab, "/metrics", "caravan_link_refused_total");
}

static void test_a_node_is_approved_and_revoked(void **state)
{
    char key[CRYPTO_KEY_HEX], body[160], token_key[CRYPTO_KEY_HEX];
    struct lab *lab = *state;

    start(lab);
    until_shown(lab, "/api/version", "\"trust\":\"keys\"");
    crypto_key_format(lab->node.id.public_key, key);
    snprintf(body, sizeof(body), "{\"key\":\"%s\",\"name\":\"n1\"}", key);
    expect(lab, "POST", "/api/nodes/approve", body, "HTTP/1.1 200");
    come_in(lab);
    until_shown(lab, "/api/nodes", "\"name\":\"n1\"");
    expect(lab, "POST", "/api/nodes/n1/revoke", "", "HTTP/1.1 200");
    expect(lab, "GET", "/api/nodes", "", "\"state\":\"retired\"");
    dial(lab, &lab->node);
    lab_until_true(lab->base, &lab->node.denied);
    expect(lab, "POST", "/api/nodes/approve", body, "\"revoked\"");
    make_token(lab, "{\"uses\":2}", token_key);
    join(lab);
    lab_until_true(lab->base, &lab->token.answered);
    assert_non_null(strstr(lab->token.refused, "revoked"));
    until_shown(lab, "/metrics", "caravan_join_refused_total 1");
    /* it stays so, with any trust */
    stop(lab);
    lab->trust_open = true;
    start(lab);
    dial(lab, &lab->node);
    lab_until_true(lab->base, &lab->node.denied);
}

/* A token's end is heard by whoever comes with it: he is not let in any more. */
static void test_a_token_is_withdrawn(void **state)
{
    char key[CRYPTO_KEY_HEX], path[64];
    struct lab *lab = *state;

    start(lab);
    until_shown(lab, "/api/version", "\"trust\":\"keys\"");
    make_token(lab, "{\"uses\":5}", key);
    join(lab);
    lab_until_true(lab->base, &lab->token.answered);
    assert_string_equal(lab->token.refused, "");
    snprintf(path, sizeof(path), "/api/tokens/%.8s", key);
    expect(lab, "DELETE", path, "", "HTTP/1.1 200");
    expect(lab, "DELETE", path, "", "HTTP/1.1 404");
    dial(lab, &lab->token);
    lab_until_true(lab->base, &lab->token.denied);
}

#define IN_LAB(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LAB(test_http_is_never_open_to_others),
        IN_LAB(test_a_node_joins_by_a_token),
        IN_LAB(test_a_node_is_approved_and_revoked),
        IN_LAB(test_a_token_is_withdrawn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
