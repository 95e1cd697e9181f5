/* What a machine that we dial may say before it is who it should be, byte by byte: it costs that link, and not the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/event.h>
#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/crypto.h"
#include "common/wire.h"

/* CurveZMQ, https://rfc.zeromq.org/spec/26/: a frame is a flag, a length and that many bytes. */
enum { GREETING = 64, HELLO = 200, HELLO_KEY = 80, WELCOME = 168, WELCOME_BOX = 24, WELCOME_TEXT = 128 };

/* One that knows its long-term secret, as each neighbour does, and is free in all else. */
struct server {
    int listener;
    struct identity id;
    uint8_t short_term_key[32];
    bool heard_initiate;
    pthread_t thread;
};

static bool receive(int fd, uint8_t *buf, size_t n)
{
    return recv(fd, buf, n, MSG_WAITALL) == (ssize_t)n;
}

static void say(int fd, const uint8_t *buf, size_t n)
{
    assert_int_equal(send(fd, buf, n, MSG_NOSIGNAL), n);
}

static void greet(int fd)
{
    uint8_t greeting[GREETING] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [32] = 1 /* as server */};

    memcpy(greeting + 12, "CURVE", 5);
    say(fd, greeting, sizeof(greeting));
}

static void welcome(const struct server *s, int fd, const uint8_t *client_key)
{
    uint8_t frame[2 + WELCOME] = {0x04, WELCOME}, *body = frame + 2, text[WELCOME_TEXT] = {0}, nonce[24] = "WELCOME-";

    memcpy(body, "\7WELCOME", 8);
    memcpy(text, s->short_term_key, sizeof(s->short_term_key));
    assert_int_equal(crypto_box_easy(body + WELCOME_BOX, text, sizeof(text), nonce, client_key, s->id.secret_key), 0);
    say(fd, frame, sizeof(frame));
}

static void *serve(void *ctx)
{
    uint8_t greeting[GREETING], hello[2 + HELLO], head[2];
    struct server *s = ctx;
    int fd = accept(s->listener, NULL, NULL);

    greet(fd);
    if (receive(fd, greeting, sizeof(greeting)) && receive(fd, hello, sizeof(hello))) {
        welcome(s, fd, hello + 2 + HELLO_KEY);
        s->heard_initiate = receive(fd, head, sizeof(head));
    }
    close(fd);
    close(s->listener); /* whoever dials again is told that nobody is there */
    return NULL;
}

static uint16_t server_open(struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);

    crypto_box_keypair(s->id.public_key, s->id.secret_key);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(s->listener, 1), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    return ntohs(at.sin_port);
}

/* ---- who dials it ---- */

static void on_connected(void *ctx)
{
    (void)ctx;
    fail_msg("nobody has proven anything");
}

static void on_disconnected(void *ctx)
{
    event_base_loopbreak(ctx);
}

static void on_message(void *ctx, const void *buf, size_t n_bytes)
{
    (void)ctx;
    (void)buf;
    (void)n_bytes;
    fail_msg("nobody has said anything");
}

static bool dial(struct server *s)
{
    struct event_base *base = event_base_new();
    const struct wire_client_callbacks cb = {
        .message = on_message, .connected = on_connected, .disconnected = on_disconnected, .ctx = base};
    uint16_t port = server_open(s);
    struct wire_client *client;
    struct identity id;

    crypto_box_keypair(id.public_key, id.secret_key);
    assert_int_equal(wire_client_new(base, &id, "127.0.0.1", port, s->id.public_key, &cb, &client), 0);
    event_base_dispatch(base);
    wire_client_destroy(&client);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    event_base_free(base);
    return s->heard_initiate;
}

static void test_a_handshake_up_to_where_ours_ends(void **state)
{
    struct server s = {0};
    uint8_t secret[32];

    (void)state;
    crypto_box_keypair(s.short_term_key, secret);
    assert_true(dial(&s));
}

/* With such a key there is no secret, and libzmq ends the process where libsodium refuses to make one. */
static void test_a_short_term_key_that_is_none(void **state)
{
    static const struct server points[] = {
        {.short_term_key = {0}},
        {.short_term_key = {1}},
        {.short_term_key = {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
                            0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
                            0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        struct server s = points[i];

        dial(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handshake_up_to_where_ours_ends),
        cmocka_unit_test(test_a_short_term_key_that_is_none),
    };

    if (crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
