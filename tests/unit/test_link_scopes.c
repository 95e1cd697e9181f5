/* What a key may say on the controller's link, by its scope, and which connection of a node's key is the node's: real CURVE
 * clients over loopback. Both daemons have a module
 * named link, and a test program gets the agent's; so this one brings the controller's along. */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/link.c"

enum { MAX = 64 };

struct client {
    struct world *w;
    struct identity id;
    char key[CRYPTO_KEY_HEX];
    struct wire_client *wire;
    size_t n_up, n_denied, n_heard, n_refused;
    uint64_t seq; /* of the last that it heard */
};

struct world {
    struct event_base *base;
    struct identity controller;
    struct link *link;
    struct client node, copy, token, stranger;
    size_t n_messages;
    struct {
        enum message_kind kind;
        char key[CRYPTO_KEY_HEX];
        struct join join;
    } message[MAX];
    size_t n_closed;
    const char *welcome; /* answers hellos, with this for `refused`; NULL: nobody does */
};

static void welcome(struct world *w)
{
    struct message m = {.kind = MESSAGE_WELCOME};

    snprintf(m.welcome.refused, sizeof(m.welcome.refused), "%s", w->welcome);
    assert_int_equal(link_answer(w->link, &m), 0);
}

static void on_agent(void *ctx, const struct link_peer *peer, const char *peer_addr, struct message **m)
{
    struct world *w = ctx;

    assert_string_equal(peer_addr, "127.0.0.1");
    assert_true(w->n_messages < MAX);
    w->message[w->n_messages].kind = (*m)->kind;
    memcpy(w->message[w->n_messages].key, peer->key_hex, CRYPTO_KEY_HEX);
    if ((*m)->kind == MESSAGE_JOIN)
        w->message[w->n_messages].join = (*m)->join;
    w->n_messages++;
    if ((*m)->kind == MESSAGE_HELLO && w->welcome)
        welcome(w);
}

static void on_link_closed(void *ctx, const struct link_peer *peer, const char *peer_addr)
{
    (void)peer, (void)peer_addr;
    ((struct world *)ctx)->n_closed++;
}

static void on_heard(void *ctx, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct client *c = ctx;

    assert_int_equal(message_unpack(buf, n_bytes, &m), 0);
    c->n_heard++;
    c->n_refused += m->kind == MESSAGE_WELCOME && m->welcome.refused[0];
    c->seq = m->seq;
}

static void on_up(void *ctx)
{
    ((struct client *)ctx)->n_up++;
}

static void on_down(void *ctx)
{
    (void)ctx;
}

static void on_denied(void *ctx)
{
    ((struct client *)ctx)->n_denied++;
}

static void give_up(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
    fail_msg("waited 20 s in vain");
}

#define AWAIT(w, condition)                                           \
    do {                                                              \
        struct event *limit_ = evtimer_new((w)->base, give_up, NULL); \
        evtimer_add(limit_, &(struct timeval){.tv_sec = 20});         \
        while (!(condition))                                          \
            event_base_loop((w)->base, EVLOOP_ONCE);                  \
        event_free(limit_);                                           \
    } while (0)

static void dial(struct client *c)
{
    struct wire_client_callbacks cb = {
        .message = on_heard, .connected = on_up, .disconnected = on_down, .denied = on_denied, .ctx = c};

    assert_int_equal(wire_client_new(c->w->base, &c->id, "127.0.0.1", wire_server_port(c->w->link->server),
                                     c->w->controller.public_key, &cb, &c->wire),
                     0);
}

static void client_new(struct world *w, struct client *c, uint8_t seed)
{
    uint8_t bytes[CRYPTO_KEY_BYTES] = {seed};

    c->w = w;
    crypto_identity_from_seed(bytes, &c->id);
    crypto_key_format(c->id.public_key, c->key);
}

static void open_link(struct world *w, bool trust_open)
{
    const struct link_config config = {.addr = "127.0.0.1", .port = 0, .trust_open = trust_open};
    const struct link_callbacks cb = {.message = on_agent, .closed = on_link_closed, .ctx = w};

    assert_int_equal(link_new(w->base, &w->controller, &config, &cb, &w->link), 0);
}

static void say(struct client *c, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    m->version_major = PROTOCOL_MAJOR;
    assert_int_equal(message_pack(m, &buf, &n), 0);
    assert_int_equal(wire_client_send(c->wire, buf, n), 0);
}

static void say_hello(struct client *c)
{
    struct message m = {.kind = MESSAGE_HELLO, .hello = {.name = "n", .node = crypto_node_id(c->id.public_key)}};

    say(c, &m);
}

static void ask_to_join(struct client *c, const char *key)
{
    struct message m = {.kind = MESSAGE_JOIN, .join = {.name = "n"}};

    snprintf(m.join.key, sizeof(m.join.key), "%s", key);
    say(c, &m);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint8_t seed[CRYPTO_KEY_BYTES] = {77};

    assert_non_null(w);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(crypto_init(), 0);
    crypto_identity_from_seed(seed, &w->controller);
    w->base = event_base_new();
    client_new(w, &w->node, 1);
    client_new(w, &w->copy, 1);
    client_new(w, &w->token, 2);
    client_new(w, &w->stranger, 3);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    wire_client_destroy(&w->node.wire);
    wire_client_destroy(&w->copy.wire);
    wire_client_destroy(&w->token.wire);
    wire_client_destroy(&w->stranger.wire);
    link_destroy(&w->link);
    event_base_free(w->base);
    free(w);
    return 0;
}

static uint64_t refused(const struct world *w)
{
    return link_counts(w->link).refused;
}

static void test_who_is_let_in(void **state)
{
    struct world *w = *state;

    open_link(w, false);
    assert_int_equal(link_allow(w->link, w->node.key, KEY_NODE), 0);
    dial(&w->node);
    dial(&w->stranger);
    AWAIT(w, w->node.n_up && w->stranger.n_denied);
    assert_true(refused(w) >= 1);
    say_hello(&w->node);
    AWAIT(w, w->n_messages == 1);
    assert_string_equal(w->message[0].key, w->node.key);
    assert_int_equal(w->stranger.n_up, 0);
    /* it is let in from now on, and dials again by itself */
    assert_int_equal(link_allow(w->link, w->stranger.key, KEY_NODE), 0);
    AWAIT(w, w->stranger.n_up);
    say_hello(&w->stranger);
    AWAIT(w, w->n_messages == 2);
}

static void test_what_a_token_may_say(void **state)
{
    struct message relay = {.kind = MESSAGE_RELAY, .relay = {.inner = &(struct message){.kind = MESSAGE_REPORT}}};
    struct message ping = {.kind = MESSAGE_PING};
    struct world *w = *state;
    uint8_t large[LINK_JOIN_MAX + 1] = {0};

    open_link(w, false);
    assert_int_equal(link_allow(w->link, w->token.key, KEY_JOIN), 0);
    assert_int_equal(link_allow(w->link, w->node.key, KEY_NODE), 0);
    dial(&w->token);
    dial(&w->node);
    AWAIT(w, w->token.n_up && w->node.n_up);
    say_hello(&w->token);
    crypto_key_format(w->node.id.public_key, relay.relay.key);
    relay.relay.inner->report = &(struct report){.full = true};
    say(&w->token, &relay);
    say(&w->token, &ping);
    assert_int_equal(wire_client_send(w->token.wire, large, sizeof(large)), 0);
    AWAIT(w, refused(w) == 4);
    assert_int_equal(link_counts(w->link).malformed, 0); /* the large one was not even read */
    assert_int_equal(w->n_messages, 0);
    ask_to_join(&w->token, w->node.key);
    AWAIT(w, w->n_messages == 1);
    assert_int_equal(w->message[0].kind, MESSAGE_JOIN);
    assert_string_equal(w->message[0].key, w->token.key);
    assert_string_equal(w->message[0].join.key, w->node.key);
    /* and nobody else may say that */
    ask_to_join(&w->node, w->stranger.key);
    AWAIT(w, refused(w) == 5);
    assert_int_equal(w->n_messages, 1);
}

/* From this moment on nothing that it says passes, on its way or not, and nothing is said to it; when it dials again it is
 * not let in. */
static void forbid_while_linked(struct world *w, bool trust_open)
{
    struct message m = {.kind = MESSAGE_NEIGHBOURS, .neighbours = &(struct neighbours){.n_peers = 0}};
    uint64_t before;

    open_link(w, trust_open);
    assert_int_equal(link_allow(w->link, w->node.key, KEY_NODE), 0);
    dial(&w->node);
    AWAIT(w, w->node.n_up);
    say_hello(&w->node);
    AWAIT(w, w->n_messages == 1);
    assert_int_equal(link_send(w->link, w->node.key, &m), 0);
    AWAIT(w, w->node.n_heard == 1);
    before = refused(w);
    say_hello(&w->node); /* on its way */
    assert_int_equal(link_forbid(w->link, w->node.key), 0);
    AWAIT(w, refused(w) > before); /* that, or its next dial */
    assert_int_equal(w->n_messages, 1);
    assert_int_equal(link_send(w->link, w->node.key, &m), LINK_E_NOT_SENT);
    wire_client_destroy(&w->node.wire);
    w->node.n_denied = w->node.n_up = 0;
    dial(&w->node);
    AWAIT(w, w->node.n_denied);
    assert_int_equal(w->node.n_up, 0);
    assert_int_equal(w->n_closed, 0); /* nobody knocks at a node that was sent away */
}

static void test_a_forbidden_key(void **state)
{
    forbid_while_linked(*state, false);
}

static void test_a_forbidden_key_where_all_may_in(void **state)
{
    forbid_while_linked(*state, true);
}

static void test_where_all_may_in(void **state)
{
    struct world *w = *state;

    open_link(w, true);
    assert_int_equal(link_allow(w->link, w->token.key, KEY_JOIN), 0);
    dial(&w->stranger);
    dial(&w->token);
    AWAIT(w, w->stranger.n_up && w->token.n_up);
    say_hello(&w->stranger);
    AWAIT(w, w->n_messages == 1);
    say_hello(&w->token); /* a token stays one */
    AWAIT(w, refused(w) == 1);
    assert_int_equal(link_allow(w->link, w->token.key, KEY_NODE), 0);
    say_hello(&w->token);
    AWAIT(w, w->n_messages == 2);
}

static void dial_and_hello(struct world *w, struct client *c)
{
    size_t before = w->n_messages;

    c->n_up = c->n_heard = c->n_refused = 0;
    dial(c);
    AWAIT(w, c->n_up);
    say_hello(c);
    AWAIT(w, c->n_heard == 1);
    assert_int_equal(w->n_messages, before + 1);
}

static void report(struct client *c)
{
    struct message m = {.kind = MESSAGE_REPORT, .report = &(struct report){.full = true}};

    say(c, &m);
}

static void command(struct world *w, struct client *c)
{
    struct message m = {.kind = MESSAGE_COMMAND, .command = {.kind = COMMAND_LEASE}};
    size_t before = c->n_heard;

    assert_int_equal(link_send(w->link, c->key, &m), 0);
    AWAIT(w, c->n_heard == before + 1);
}

/* Who is welcomed stays the node: a copy of its key that is refused hears that and nothing else, is not heard, and its end
 * is not the node's. */
static void test_a_copy_of_a_node(void **state)
{
    struct world *w = *state;

    open_link(w, false);
    assert_int_equal(link_allow(w->link, w->node.key, KEY_NODE), 0);
    w->welcome = "";
    dial_and_hello(w, &w->node);
    assert_int_equal(w->node.seq, 1);
    command(w, &w->node);
    assert_int_equal(w->node.seq, 2);
    w->welcome = "duplicate_identity";
    for (uint64_t i = 1; i <= 3; i++) {
        wire_client_destroy(&w->copy.wire);
        dial_and_hello(w, &w->copy);
        assert_int_equal(w->copy.n_refused, 1);
        report(&w->copy);
        AWAIT(w, refused(w) == i);
        command(w, &w->node);
    }
    assert_true(w->node.seq > 4); /* its counting was not begun anew */
    say_hello(&w->copy);
    AWAIT(w, w->copy.n_refused == 2);
    command(w, &w->node);
    report(&w->node);
    AWAIT(w, w->n_messages == 6); /* five hellos, and this */
    assert_int_equal(w->message[5].kind, MESSAGE_REPORT);
    assert_int_equal(w->n_closed, 0);
    assert_int_equal(w->copy.n_heard, 2);
    wire_client_destroy(&w->node.wire);
    AWAIT(w, w->n_closed == 1);
    /* the node comes again, the copy is still there */
    w->welcome = "";
    dial_and_hello(w, &w->node);
    assert_int_equal(w->node.seq, 1);
    command(w, &w->node);
    assert_int_equal(w->copy.n_heard, 2);
}

#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_who_is_let_in),    IN_WORLD(test_what_a_token_may_say),
        IN_WORLD(test_a_forbidden_key),  IN_WORLD(test_a_forbidden_key_where_all_may_in),
        IN_WORLD(test_where_all_may_in), IN_WORLD(test_a_copy_of_a_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
