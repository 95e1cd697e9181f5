/* Links over real sockets on loopback: who gets in, what is delivered, and what a peer that misbehaves costs (itself). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "common/core/protocol.h"
#include "common/crypto.h"
#include "common/wire.h"
#include "common/wire_zap.h"

static struct event_base *base;

static struct identity make_identity(void)
{
    struct identity id;
    char public_text[41], secret_text[41];

    assert_int_equal(zmq_curve_keypair(public_text, secret_text), 0);
    assert_non_null(zmq_z85_decode(id.public_key, public_text));
    assert_non_null(zmq_z85_decode(id.secret_key, secret_text));
    return id;
}

/* ---- a server and a client that write down what happens ---- */

struct server {
    struct wire_server *wire;
    struct identity id;
    int n_messages, n_refused, n_closed;
    uint8_t key[CRYPTO_KEY_BYTES], refused_key[CRYPTO_KEY_BYTES], closed_key[CRYPTO_KEY_BYTES];
    char addr[64], refused_addr[64], last[64];
    size_t n_last;
    _Bool destroy_at_once, answers, accepts, forbids, may_speak;
};

static void server_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    struct server *s = ctx;

    s->n_messages++;
    memcpy(s->key, key, sizeof(s->key));
    snprintf(s->addr, sizeof(s->addr), "%s", peer_addr);
    s->n_last = n_bytes;
    snprintf(s->last, sizeof(s->last), "%.*s", n_bytes < sizeof(s->last) ? (int)n_bytes : 0, (const char *)buf);
    if (s->forbids)
        assert_int_equal(wire_server_forbid(s->wire, key), 0);
    s->may_speak = wire_server_may_speak(s->wire);
    if (s->accepts)
        wire_server_accept(s->wire);
    if (s->answers)
        assert_int_equal(wire_server_answer(s->wire, "here", 4), 0);
    if (s->destroy_at_once)
        wire_server_destroy(&s->wire);
}

static void server_refused(void *ctx, const uint8_t *key, const char *addr)
{
    struct server *s = ctx;

    s->n_refused++;
    memcpy(s->refused_key, key, sizeof(s->refused_key));
    snprintf(s->refused_addr, sizeof(s->refused_addr), "%s", addr);
    if (s->destroy_at_once)
        wire_server_destroy(&s->wire);
}

static void server_closed(void *ctx, const uint8_t *key, const char *peer_addr)
{
    struct server *s = ctx;

    s->n_closed++;
    memcpy(s->closed_key, key, sizeof(s->closed_key));
    snprintf(s->addr, sizeof(s->addr), "%s", peer_addr);
    if (s->destroy_at_once)
        wire_server_destroy(&s->wire);
}

static void server_open(struct server *s, uint16_t port, _Bool trust_open)
{
    const struct wire_server_callbacks cb = {server_message, server_refused, s};

    assert_int_equal(wire_server_new(base, &s->id, "127.0.0.1", port, trust_open, &cb, &s->wire), 0);
}

static void server_start(struct server *s, _Bool trust_open)
{
    *s = (struct server){.id = make_identity()};
    server_open(s, 0, trust_open);
}

struct client {
    struct wire_client *wire;
    struct identity id;
    int n_messages, n_connected, n_disconnected, n_accepted, n_denied;
    char last[64];
    _Bool destroy_at_once, asks_if_denied;
};

static void client_message(void *ctx, const void *buf, size_t n_bytes)
{
    struct client *c = ctx;

    c->n_messages++;
    snprintf(c->last, sizeof(c->last), "%.*s", n_bytes < sizeof(c->last) ? (int)n_bytes : 0, (const char *)buf);
    if (c->destroy_at_once)
        wire_client_destroy(&c->wire);
}

static void client_connected(void *ctx)
{
    ((struct client *)ctx)->n_connected++;
}

static void client_accepted(void *ctx)
{
    ((struct client *)ctx)->n_accepted++;
}

static void client_denied(void *ctx)
{
    ((struct client *)ctx)->n_denied++;
}

static void client_disconnected(void *ctx)
{
    struct client *c = ctx;

    c->n_disconnected++;
    if (c->destroy_at_once)
        wire_client_destroy(&c->wire);
}

static void client_dial(struct client *c, uint16_t port, const uint8_t *server_key)
{
    const struct wire_client_callbacks cb = {.message = client_message,
                                             .connected = client_connected,
                                             .disconnected = client_disconnected,
                                             .accepted = client_accepted,
                                             .denied = c->asks_if_denied ? client_denied : NULL,
                                             .ctx = c};

    assert_int_equal(wire_client_new(base, &c->id, "127.0.0.1", port, server_key, &cb, &c->wire), 0);
}

/* Waits for what must happen; ctest's time limit is the only clock. */
#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

static void client_start(struct client *c, const struct server *s)
{
    *c = (struct client){.id = make_identity()};
    client_dial(c, wire_server_port(s->wire), s->id.public_key);
    AWAIT(c->n_connected == 1);
}

static void say(struct client *c, struct server *s, const char *text)
{
    int before = s->n_messages;

    assert_int_equal(wire_client_send(c->wire, text, strlen(text)), 0);
    AWAIT(s->n_messages > before);
    assert_string_equal(s->last, text);
}

static void answer(struct server *s, struct client *c, const char *text)
{
    int before = c->n_messages;

    assert_int_equal(wire_server_send(s->wire, c->id.public_key, text, strlen(text)), 0);
    AWAIT(c->n_messages > before);
    assert_string_equal(c->last, text);
}

/* A peer made of libzmq alone, for what wire_client would never do. */
struct raw {
    void *context, *socket;
};

static void raw_start(struct raw *raw, const struct server *s, int receive_hwm, const char *routing_id)
{
    struct identity id = make_identity();
    char endpoint[64];

    raw->context = zmq_ctx_new();
    raw->socket = zmq_socket(raw->context, ZMQ_DEALER);
    assert_non_null(raw->socket);
    zmq_setsockopt(raw->socket, ZMQ_LINGER, &(int){0}, sizeof(int));
    zmq_setsockopt(raw->socket, ZMQ_RCVHWM, &receive_hwm, sizeof(int));
    if (routing_id)
        zmq_setsockopt(raw->socket, ZMQ_ROUTING_ID, routing_id, strlen(routing_id));
    zmq_setsockopt(raw->socket, ZMQ_CURVE_SERVERKEY, s->id.public_key, CRYPTO_KEY_BYTES);
    zmq_setsockopt(raw->socket, ZMQ_CURVE_PUBLICKEY, id.public_key, CRYPTO_KEY_BYTES);
    zmq_setsockopt(raw->socket, ZMQ_CURVE_SECRETKEY, id.secret_key, CRYPTO_KEY_BYTES);
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", wire_server_port(s->wire));
    assert_int_equal(zmq_connect(raw->socket, endpoint), 0);
}

static void raw_end(struct raw *raw)
{
    zmq_close(raw->socket);
    zmq_ctx_term(raw->context);
}

static int tcp_connect(uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

/* ---- tests ---- */

static void test_messages_both_ways(void **state)
{
    struct server s;
    struct client c;

    (void)state;
    server_start(&s, 1);
    client_start(&c, &s);
    assert_int_equal(wire_server_send(s.wire, c.id.public_key, "x", 1), WIRE_E_UNKNOWN_PEER); /* it has not spoken */
    say(&c, &s, "hello");
    assert_memory_equal(s.key, c.id.public_key, CRYPTO_KEY_BYTES);
    assert_string_equal(s.addr, "127.0.0.1");
    answer(&s, &c, "welcome");
    say(&c, &s, "");
    assert_int_equal(wire_server_stats(s.wire).n_messages, 2);
    assert_int_equal(c.n_disconnected, 0);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

static void test_a_server_with_another_key(void **state)
{
    struct server s;
    struct client bad = {.id = make_identity()}, good;

    (void)state;
    server_start(&s, 1);
    client_dial(&bad, wire_server_port(s.wire), bad.id.public_key); /* any key but the server's */
    AWAIT(bad.n_disconnected == 1);
    assert_int_equal(wire_client_send(bad.wire, "x", 1), WIRE_E_FULL);
    client_start(&good, &s);
    say(&good, &s, "still here");
    assert_int_equal(bad.n_connected, 0);
    wire_client_destroy(&bad.wire);
    wire_client_destroy(&good.wire);
    wire_server_destroy(&s.wire);
}

static void test_a_key_that_may_not_in(void **state)
{
    struct server s;
    struct client c = {.id = make_identity()};

    (void)state;
    server_start(&s, 0);
    client_dial(&c, wire_server_port(s.wire), s.id.public_key);
    AWAIT(wire_server_stats(s.wire).n_refused >= 3); /* it goes on dialling */
    assert_int_equal(s.n_refused, 1);                /* and is told of once a minute */
    assert_int_equal(wire_server_refusals(s.wire)->n, 1);
    assert_string_equal(wire_server_refusals(s.wire)->talker[0].addr, "127.0.0.1");
    assert_int_equal(wire_server_refusals(s.wire)->talker[0].n, wire_server_stats(s.wire).n_refused);
    assert_int_equal(c.n_disconnected, 1); /* said once */
    assert_memory_equal(s.refused_key, c.id.public_key, CRYPTO_KEY_BYTES);
    assert_string_equal(s.refused_addr, "127.0.0.1");
    assert_int_equal(c.n_connected, 0);
    assert_int_equal(wire_server_allow(s.wire, c.id.public_key), 0);
    AWAIT(c.n_connected == 1);
    say(&c, &s, "let in");
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

/* What it says by a connection from before is not heard either, and it can come back. */
static void test_a_key_that_may_not_in_any_more(void **state)
{
    struct server s;
    struct client c = {.id = make_identity()}, other;

    (void)state;
    server_start(&s, 0);
    assert_int_equal(wire_server_allow(s.wire, c.id.public_key), 0);
    assert_int_equal(wire_server_allow(s.wire, c.id.public_key), 0); /* twice is once */
    client_dial(&c, wire_server_port(s.wire), s.id.public_key);
    AWAIT(c.n_connected == 1);
    say(&c, &s, "while it may");
    wire_server_disallow(s.wire, c.id.public_key);
    wire_server_disallow(s.wire, c.id.public_key);
    assert_int_equal(wire_client_send(c.wire, "unheard", 7), 0);
    AWAIT(wire_server_stats(s.wire).n_refused == 1);
    assert_int_equal(s.n_messages, 1);
    assert_int_equal(wire_server_send(s.wire, c.id.public_key, "x", 1), WIRE_E_UNKNOWN_PEER);
    other = (struct client){.id = c.id};
    client_dial(&other, wire_server_port(s.wire), s.id.public_key);
    AWAIT(wire_server_refusals(s.wire)->n == 1); /* and it does not get in anew */
    assert_int_equal(wire_server_allow(s.wire, c.id.public_key), 0);
    say(&c, &s, "again");
    answer(&s, &c, "heard");
    wire_client_destroy(&other.wire);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

/* Trust in all others does not help who is forbidden: not by the connection that it has, which is closed, not by what it has
 * said already, and not by a new one. */
static void test_a_key_that_is_forbidden(void **state)
{
    struct client c = {.id = make_identity(), .asks_if_denied = 1}, other;
    struct server s;

    (void)state;
    server_start(&s, 1);
    assert_int_equal(wire_server_watch_closed(s.wire, base, server_closed), 0);
    client_dial(&c, wire_server_port(s.wire), s.id.public_key);
    AWAIT(c.n_connected == 1);
    client_start(&other, &s);
    say(&other, &s, "also here");
    say(&c, &s, "while it may");
    for (int i = 0; i < 100; i++)
        assert_int_equal(wire_client_send(c.wire, "queued", 6), 0);
    wire_server_disallow(s.wire, c.id.public_key); /* says nothing where everybody may in */
    answer(&s, &c, "still heard");
    assert_int_equal(wire_server_forbid(s.wire, c.id.public_key), 0);
    assert_int_equal(wire_server_forbid(s.wire, c.id.public_key), 0);
    s.n_messages = 0;
    assert_int_equal(wire_server_send(s.wire, c.id.public_key, "x", 1), WIRE_E_UNKNOWN_PEER);
    AWAIT(c.n_disconnected == 1);
    AWAIT(s.n_closed == 1);
    assert_memory_equal(s.closed_key, c.id.public_key, CRYPTO_KEY_BYTES);
    AWAIT(c.n_denied == 3); /* told for each dial */
    say(&other, &s, "undisturbed");
    assert_int_equal(s.n_messages, 1);
    assert_int_equal(other.n_disconnected, 0);
    assert_int_equal(wire_server_allow(s.wire, c.id.public_key), 0);
    AWAIT(c.n_connected == 2);
    say(&c, &s, "back");
    answer(&s, &c, "heard");
    wire_client_destroy(&other.wire);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

/* In the middle of what it says: no answer either. */
static void test_forbidden_while_it_speaks(void **state)
{
    struct server s;
    struct client c;

    (void)state;
    server_start(&s, 1);
    client_start(&c, &s);
    s.forbids = 1;
    say(&c, &s, "let me");
    assert_int_equal(wire_server_answer(s.wire, "no", 2), WIRE_E_UNKNOWN_PEER);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

/* Whoever knocks is told apart: nobody there, somebody, and somebody who does not want us. */
static void test_steps_of_a_dial(void **state)
{
    struct client c = {.id = make_identity(), .asks_if_denied = 1};
    struct server s;
    uint16_t port;

    (void)state;
    server_start(&s, 0);
    port = wire_server_port(s.wire);
    client_dial(&c, port, s.id.public_key);
    AWAIT(c.n_denied == 1);
    assert_int_equal(c.n_disconnected, 0);
    assert_true(c.n_accepted >= 1);
    assert_int_equal(c.n_connected, 0);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
    c.n_accepted = 0;
    client_dial(&c, port, s.id.public_key);
    AWAIT(c.n_disconnected == 1);
    assert_int_equal(c.n_accepted, 0);
    wire_client_destroy(&c.wire);
}

/* A peer with a link asks by a second connection and leaves: its link is where it is answered all the same. */
static void test_answers_by_the_same_connection(void **state)
{
    struct server s;
    struct client linked, asking;

    (void)state;
    server_start(&s, 1);
    client_start(&linked, &s);
    say(&linked, &s, "a link");
    asking = (struct client){.id = linked.id};
    client_dial(&asking, wire_server_port(s.wire), s.id.public_key);
    AWAIT(asking.n_connected == 1);
    s.answers = 1;
    say(&asking, &s, "there?");
    AWAIT(asking.n_messages == 1);
    assert_string_equal(asking.last, "here");
    assert_int_equal(linked.n_messages, 0);
    s.answers = 0;
    answer(&s, &linked, "by the link");
    assert_int_equal(asking.n_messages, 1);
    wire_client_destroy(&asking.wire);
    wire_client_destroy(&linked.wire);
    wire_server_destroy(&s.wire);
}

static void test_garbage_on_the_port(void **state)
{
    enum { N = 60 };
    static const uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0, 'C', 'U', 'R', 'V', 'E'};
    struct server s;
    struct client c;
    uint32_t random = 42;
    int fd[N];

    (void)state;
    server_start(&s, 1);
    client_start(&c, &s);
    for (int i = 0; i < N; i++) {
        uint8_t bytes[300];

        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
        if (i % 2) /* every other one gets past the greeting */
            memcpy(bytes, greeting, sizeof(greeting));
        fd[i] = tcp_connect(wire_server_port(s.wire));
        assert_int_equal(send(fd[i], bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
        say(&c, &s, "still served");
        if (i % 3 == 0)
            close(fd[i]);
    }
    answer(&s, &c, "still answered");
    assert_int_equal(wire_server_stats(s.wire).n_messages, N);
    assert_int_equal(wire_server_stats(s.wire).n_malformed, 0);
    for (int i = 0; i < N; i++)
        if (i % 3)
            close(fd[i]);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

static void test_a_peer_that_comes_again(void **state)
{
    struct server s;
    struct client c;

    (void)state;
    server_start(&s, 1);
    client_start(&c, &s);
    say(&c, &s, "first life");
    wire_client_destroy(&c.wire);
    client_dial(&c, wire_server_port(s.wire), s.id.public_key);
    AWAIT(c.n_connected == 2);
    say(&c, &s, "second life");
    answer(&s, &c, "to the second");
    wire_client_destroy(&c.wire);
    while (wire_server_send(s.wire, c.id.public_key, "x", 1) != WIRE_E_UNKNOWN_PEER) /* until libzmq has seen it go */
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(wire_server_send(s.wire, c.id.public_key, "x", 1), WIRE_E_UNKNOWN_PEER);
    wire_server_destroy(&s.wire);
}

/* Only the end of its newest connection is told: whoever has dialled again is not gone. */
static void test_closed_connections_are_told(void **state)
{
    struct server s;
    struct client c, again, other;

    (void)state;
    server_start(&s, 1);
    assert_int_equal(wire_server_watch_closed(s.wire, base, server_closed), 0);
    client_start(&c, &s);
    client_start(&other, &s);
    say(&c, &s, "first");
    say(&other, &s, "other");
    again = (struct client){.id = c.id};
    client_dial(&again, wire_server_port(s.wire), s.id.public_key);
    AWAIT(again.n_connected == 1);
    say(&again, &s, "second");
    wire_client_destroy(&c.wire);
    wire_client_destroy(&other.wire);
    s.addr[0] = '\0';
    AWAIT(s.n_closed == 1);
    assert_memory_equal(s.closed_key, other.id.public_key, CRYPTO_KEY_BYTES);
    assert_string_equal(s.addr, "127.0.0.1");
    wire_client_destroy(&again.wire);
    AWAIT(s.n_closed == 2);
    assert_memory_equal(s.closed_key, again.id.public_key, CRYPTO_KEY_BYTES);
    client_start(&c, &s);
    say(&c, &s, "last");
    s.destroy_at_once = 1;
    wire_client_destroy(&c.wire);
    AWAIT(s.n_closed == 3);
    assert_null(s.wire);
}

static void test_a_server_that_comes_again(void **state)
{
    struct server s;
    struct client c;
    uint16_t port;

    (void)state;
    server_start(&s, 1);
    port = wire_server_port(s.wire);
    client_start(&c, &s);
    say(&c, &s, "before");
    wire_server_destroy(&s.wire);
    AWAIT(c.n_disconnected == 1);
    assert_int_equal(wire_client_send(c.wire, "nobody hears this", 17), WIRE_E_FULL);
    server_open(&s, port, 1);
    AWAIT(c.n_connected == 2);
    say(&c, &s, "after");
    assert_int_equal(wire_server_stats(s.wire).n_messages, 1); /* nothing old was kept and delivered */
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

/* Two connections of one key, both alive: the newest is answered, until it goes. */
static void test_the_newest_connection_is_answered(void **state)
{
    struct server s;
    struct client a, b;

    (void)state;
    server_start(&s, 1);
    client_start(&a, &s);
    b = (struct client){.id = a.id};
    client_dial(&b, wire_server_port(s.wire), s.id.public_key);
    AWAIT(b.n_connected == 1);
    say(&a, &s, "a");
    say(&b, &s, "b");
    say(&a, &s, "a, late");
    answer(&s, &b, "to b");
    wire_client_destroy(&b.wire);
    while (wire_server_send(s.wire, a.id.public_key, "x", 1) != WIRE_E_UNKNOWN_PEER)
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    say(&a, &s, "a again");
    answer(&s, &a, "to a");
    assert_int_equal(a.n_messages, 1);
    wire_client_destroy(&a.wire);
    wire_server_destroy(&s.wire);
}

/* A client with the key of another one. */
static void copy_start(struct client *copy, const struct client *c, const struct server *s)
{
    *copy = (struct client){.id = c->id};
    client_dial(copy, wire_server_port(s->wire), s->id.public_key);
    AWAIT(copy->n_connected == 1);
}

/* What a copy of its key says, and how often it dials, takes nothing from who was accepted. */
static void test_the_accepted_connection_is_sent_to(void **state)
{
    struct server s;
    struct client c, copy;

    (void)state;
    server_start(&s, 1);
    assert_int_equal(wire_server_watch_closed(s.wire, base, server_closed), 0);
    client_start(&c, &s);
    s.accepts = s.answers = 1;
    say(&c, &s, "hello");
    assert_true(s.may_speak); /* nobody was accepted yet */
    AWAIT(c.n_messages == 1);
    s.accepts = 0;
    for (int i = 0; i < 3; i++) {
        copy_start(&copy, &c, &s);
        say(&copy, &s, "hello");
        assert_false(s.may_speak);
        AWAIT(copy.n_messages == 1);
        s.answers = 0;
        for (int k = 0; k < 3; k++)
            say(&copy, &s, "report");
        answer(&s, &c, "for the true one");
        wire_client_destroy(&copy.wire);
        s.answers = 1;
    }
    s.answers = 0;
    copy_start(&copy, &c, &s);
    say(&copy, &s, "still here");
    say(&c, &s, "so am I");
    assert_true(s.may_speak);
    assert_int_equal(s.n_closed, 0); /* of all these copies */
    wire_client_destroy(&c.wire);
    AWAIT(s.n_closed == 1);
    say(&copy, &s, "and now?");
    assert_false(s.may_speak);
    while (wire_server_send(s.wire, c.id.public_key, "x", 1) != WIRE_E_UNKNOWN_PEER) /* libzmq says it closed first */
        event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    s.accepts = 1;
    say(&copy, &s, "hello");
    s.accepts = 0;
    answer(&s, &copy, "it is you then");
    assert_int_equal(copy.n_messages, 1);
    wire_client_destroy(&copy.wire);
    wire_server_destroy(&s.wire);
}

/* Accepted anew by another connection, as after a cut: the one before is told apart from a copy's. */
static void test_accepted_anew(void **state)
{
    struct server s;
    struct client first, second, copy;

    (void)state;
    server_start(&s, 1);
    client_start(&first, &s);
    copy_start(&copy, &first, &s);
    say(&copy, &s, "before anybody");
    s.accepts = 1;
    say(&first, &s, "hello");
    copy_start(&second, &first, &s);
    say(&second, &s, "hello");
    say(&second, &s, "hello again");
    s.accepts = 0;
    say(&first, &s, "late");
    assert_true(s.may_speak);
    say(&copy, &s, "report");
    assert_false(s.may_speak);
    answer(&s, &second, "to the newest accepted");
    assert_int_equal(first.n_messages + copy.n_messages, 0);
    assert_int_equal(wire_server_forbid(s.wire, first.id.public_key), 0);
    assert_int_equal(wire_server_allow(s.wire, first.id.public_key), 0);
    say(&first, &s, "let in again"); /* and nobody is accepted any more */
    assert_true(s.may_speak);
    answer(&s, &first, "to the newest");
    wire_client_destroy(&first.wire);
    wire_client_destroy(&second.wire);
    wire_client_destroy(&copy.wire);
    wire_server_destroy(&s.wire);
}

static void test_size_of_a_message(void **state)
{
    struct server s;
    struct client c;
    struct raw raw;
    char *big = calloc(1, PROTO_MESSAGE_MAX + 1);

    (void)state;
    assert_non_null(big);
    server_start(&s, 1);
    client_start(&c, &s);
    assert_int_equal(wire_client_send(c.wire, big, PROTO_MESSAGE_MAX + 1), -EMSGSIZE);
    assert_int_equal(wire_client_send(c.wire, big, PROTO_MESSAGE_MAX), 0);
    AWAIT(s.n_messages == 1);
    assert_int_equal(s.n_last, PROTO_MESSAGE_MAX);
    assert_int_equal(wire_server_send(s.wire, c.id.public_key, big, PROTO_MESSAGE_MAX + 1), -EMSGSIZE);

    raw_start(&raw, &s, 1000, NULL);
    assert_int_equal(zmq_send(raw.socket, big, PROTO_MESSAGE_MAX + 1, 0), PROTO_MESSAGE_MAX + 1);
    assert_int_equal(zmq_send(raw.socket, "after", 5, 0), 5); /* arrives on the next connection, the big one never */
    AWAIT(s.n_messages == 2);
    assert_string_equal(s.last, "after");
    say(&c, &s, "others are served");
    assert_int_equal(c.n_disconnected, 0);
    raw_end(&raw);
    free(big);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

static void test_what_is_not_one_frame_is_dropped(void **state)
{
    struct server s;
    struct raw raw;

    (void)state;
    server_start(&s, 1);
    raw_start(&raw, &s, 1000, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(zmq_send(raw.socket, "part", 4, i < 4 ? ZMQ_SNDMORE : 0), 4);
    zmq_send(raw.socket, "", 0, ZMQ_SNDMORE);
    zmq_send(raw.socket, "as a REQ would", 14, 0);
    zmq_send(raw.socket, "whole", 5, 0);
    AWAIT(s.n_messages == 1);
    assert_string_equal(s.last, "whole");
    assert_int_equal(wire_server_stats(s.wire).n_malformed, 2);
    raw_end(&raw);

    raw_start(&raw, &s, 1000, "a name of its own");
    zmq_send(raw.socket, "whole", 5, 0);
    AWAIT(wire_server_stats(s.wire).n_malformed == 3);
    raw_end(&raw);
    assert_int_equal(s.n_messages, 1);
    wire_server_destroy(&s.wire);
}

static void test_a_peer_that_does_not_read(void **state)
{
    static const char bytes[16384];
    struct server s;
    struct client c;
    struct raw raw;
    uint8_t key[CRYPTO_KEY_BYTES];
    int r;

    (void)state;
    server_start(&s, 1);
    client_start(&c, &s);
    raw_start(&raw, &s, 1, NULL);
    zmq_send(raw.socket, "hello", 5, 0);
    AWAIT(s.n_messages == 1);
    memcpy(key, s.key, sizeof(key));
    do
        r = wire_server_send(s.wire, key, bytes, sizeof(bytes));
    while (r == 0);
    assert_int_equal(r, WIRE_E_FULL);
    say(&c, &s, "others are served");
    answer(&s, &c, "and answered");
    raw_end(&raw);
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

/* The port belongs to somebody else at first, who speaks HTTP. libzmq alone would never dial again after that. */
static void test_a_port_that_was_somebody_elses(void **state)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n_sa = sizeof(sa);
    struct server s = {.id = make_identity()};
    struct client c = {.id = make_identity()};
    int fd, peer;

    (void)state;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n_sa), 0);
    client_dial(&c, ntohs(sa.sin_port), s.id.public_key);
    peer = accept(fd, NULL, NULL);
    assert_int_equal(send(peer, http, sizeof(http) - 1, MSG_NOSIGNAL), sizeof(http) - 1);
    AWAIT(c.n_disconnected == 1);
    close(peer);
    close(fd);
    server_open(&s, ntohs(sa.sin_port), 1);
    AWAIT(c.n_connected == 1);
    say(&c, &s, "at last");
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

static void test_addresses(void **state)
{
    const struct wire_server_callbacks cb = {server_message, server_refused, NULL};
    const struct wire_client_callbacks client_cb = {0};
    struct server s;
    struct wire_server *other = NULL;
    struct wire_client *client = NULL;
    static const char *const bad[] = {"", "localhost", "300.0.0.1", "1.2.3.4:5", "lo", "203.0.113.77"};

    (void)state;
    server_start(&s, 1);
    assert_int_equal(wire_server_new(base, &s.id, "127.0.0.1", wire_server_port(s.wire), 1, &cb, &other),
                     WIRE_E_ADDR_IN_USE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(wire_server_new(base, &s.id, bad[i], 0, 1, &cb, &other), WIRE_E_BAD_ADDR);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) - 1; i++)
        assert_int_equal(wire_client_new(base, &s.id, bad[i], 7420, s.id.public_key, &client_cb, &client),
                         WIRE_E_BAD_ADDR);
    assert_int_equal(wire_client_new(base, &s.id, "127.0.0.1", 0, s.id.public_key, &client_cb, &client),
                     WIRE_E_BAD_ADDR);
    assert_null(other);
    assert_null(client);
    wire_server_destroy(&s.wire);
}

static void test_all_addresses(void **state)
{
    struct server s = {.id = make_identity()};
    struct client c;
    const struct wire_server_callbacks cb = {server_message, server_refused, &s};

    (void)state;
    assert_int_equal(wire_server_new(base, &s.id, "*", 0, 1, &cb, &s.wire), 0);
    client_start(&c, &s);
    say(&c, &s, "hello");
    assert_string_equal(s.addr, "127.0.0.1"); /* not ::ffff:127.0.0.1 */
    wire_client_destroy(&c.wire);
    wire_server_destroy(&s.wire);
}

static void test_destroyed_by_their_own_callbacks(void **state)
{
    struct server s;
    struct client c;

    (void)state;
    server_start(&s, 1);
    client_start(&c, &s);
    say(&c, &s, "hello");
    s.destroy_at_once = 1;
    for (int i = 0; i < 3; i++)
        assert_int_equal(wire_client_send(c.wire, "last", 4), 0);
    AWAIT(!s.wire);
    assert_int_equal(s.n_messages, 2);
    c.destroy_at_once = 1;
    AWAIT(!c.wire);
    assert_int_equal(c.n_disconnected, 1);

    server_start(&s, 0);
    s.destroy_at_once = 1;
    c = (struct client){.id = make_identity(), .destroy_at_once = 1};
    client_dial(&c, wire_server_port(s.wire), s.id.public_key);
    AWAIT(!s.wire && !c.wire);

    server_start(&s, 1);
    client_start(&c, &s);
    say(&c, &s, "hello");
    c.destroy_at_once = 1;
    assert_int_equal(wire_server_send(s.wire, c.id.public_key, "bye", 3), 0);
    AWAIT(!c.wire);
    wire_server_destroy(&s.wire);
}

/* ---- ZAP ---- */

static _Bool zap_allow(void *ctx, const uint8_t *key)
{
    (void)ctx;
    return key[0] == 'y';
}

static void zap_refused(void *ctx, const uint8_t *key, const char *addr)
{
    (void)key;
    assert_string_equal(addr, "10.0.0.1");
    ++*(int *)ctx;
}

static void test_zap_requests(void **state)
{
#define KEY_32(c) c "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    static const struct {
        const char *frame[10];
        const char *status;
    } cases[] = {
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE", KEY_32("y")}, "200"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE", KEY_32("n")}, "400"},
        {{"1.0"}, "500"},
        {{""}, "500"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE"}, "500"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE", "short"}, "500"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE", KEY_32("y") "1"}, "500"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE", KEY_32("y"), "more", "and more"}, "500"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "PLAIN", KEY_32("y")}, "500"},
        {{"2.0", "1", "caravan", "10.0.0.1", "", "CURVE", KEY_32("y")}, "500"},
        {{"1.0", "1", "caravan", "10.0.0.1", "", "CURVE", KEY_32("y")}, "200"},
    };
    int n_refused = 0;
    const struct wire_zap_callbacks cb = {zap_allow, zap_refused, &n_refused};
    struct wire_zap *zap = NULL;
    void *context = zmq_ctx_new();
    void *request = zmq_socket(context, ZMQ_REQ);

    (void)state;
    assert_int_equal(wire_zap_new(base, context, &cb, &zap), 0);
    assert_int_equal(zmq_connect(request, "inproc://zeromq.zap.01"), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buf[128];
        int n = 0;

        for (int k = 0; cases[i].frame[k]; k++)
            zmq_send(request, cases[i].frame[k], strlen(cases[i].frame[k]), cases[i].frame[k + 1] ? ZMQ_SNDMORE : 0);
        AWAIT(zmq_poll(&(zmq_pollitem_t){.socket = request, .events = ZMQ_POLLIN}, 1, 0) == 1);
        for (int more = 1; more; n++) {
            size_t size = sizeof(more);
            int n_bytes = zmq_recv(request, buf, sizeof(buf), 0);

            assert_in_range(n_bytes, 0, sizeof(buf) - 1);
            buf[n_bytes] = '\0';
            if (n == 2)
                assert_string_equal(buf, cases[i].status);
            if (n == 4)
                assert_int_equal(n_bytes, strcmp(cases[i].status, "200") == 0 ? 64 : 0);
            zmq_getsockopt(request, ZMQ_RCVMORE, &more, &size);
        }
        assert_int_equal(n, 6); /* version, request id, status, text, user id, metadata */
    }
    assert_int_equal(n_refused, 1);
    zmq_close(request);
    wire_zap_destroy(&zap);
    zmq_ctx_term(context);
#undef KEY_32
}

static int make_base(void **state)
{
    (void)state;
    base = event_base_new();
    return base ? 0 : -1;
}

static int free_base(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_base, free_base)
    const struct CMUnitTest tests[] = {
        TEST(test_messages_both_ways),
        TEST(test_a_server_with_another_key),
        TEST(test_a_key_that_may_not_in),
        TEST(test_a_key_that_may_not_in_any_more),
        TEST(test_a_key_that_is_forbidden),
        TEST(test_forbidden_while_it_speaks),
        TEST(test_steps_of_a_dial),
        TEST(test_answers_by_the_same_connection),
        TEST(test_garbage_on_the_port),
        TEST(test_a_peer_that_comes_again),
        TEST(test_closed_connections_are_told),
        TEST(test_a_server_that_comes_again),
        TEST(test_the_newest_connection_is_answered),
        TEST(test_the_accepted_connection_is_sent_to),
        TEST(test_accepted_anew),
        TEST(test_size_of_a_message),
        TEST(test_what_is_not_one_frame_is_dropped),
        TEST(test_a_peer_that_does_not_read),
        TEST(test_a_port_that_was_somebody_elses),
        TEST(test_addresses),
        TEST(test_all_addresses),
        TEST(test_destroyed_by_their_own_callbacks),
        TEST(test_zap_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
