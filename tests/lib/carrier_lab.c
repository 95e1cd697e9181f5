#include "tests/lib/carrier_lab.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/host.h"
#include "common/relay.h"

struct carrier_lab_stream {
    LIST_ENTRY(carrier_lab_stream) link;
    struct carrier_lab *carrier;
    struct relay *relay;
};

static void drop(struct carrier_lab_stream *s)
{
    LIST_REMOVE(s, link);
    s->carrier->n_streams--;
    relay_destroy(&s->relay);
    free(s);
}

static void on_ended(void *ctx, enum relay_end end, int error)
{
    (void)end;
    (void)error;
    drop(ctx);
}

static enum tunnel_verdict on_asked(void *ctx, const struct tunnel_claim *claim, const uint8_t *peer)
{
    struct tunnel_door_counts counts;
    struct carrier_lab *c = ctx;

    c->n_asked++;
    tunnel_door_counts(c->door, &counts);
    if (counts.n_half_open > c->most_half_open)
        c->most_half_open = counts.n_half_open;
    if (claim->direction != TUNNEL_TO_COORDINATOR || claim->rank != 0)
        return TUNNEL_OTHER_DIRECTION;
    if (!id128_equal(&claim->instance, &c->instance))
        return TUNNEL_NO_GRANT;
    if (memcmp(peer, c->gateway, sizeof(c->gateway)) != 0)
        return TUNNEL_OTHER_PEER;
    if (c->epoch && claim->epoch != c->epoch)
        return TUNNEL_OTHER_EPOCH;
    return c->verdict;
}

/* Nothing waits: whoever accepts is on the same loop. */
static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_storage at;
    socklen_t n = host_sockaddr("127.0.0.1", port, &at);

    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&at, n) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

static void on_opened(void *ctx, const struct tunnel_claim *claim, const uint8_t *peer, struct tunnel_end *end)
{
    struct carrier_lab *c = ctx;
    struct relay_sockets with = {.far = end->fd, .seal = end->seal, .open = end->open, .data_max = end->data_max};
    struct relay_calls calls = {.ended = on_ended};
    struct carrier_lab_stream *s;

    (void)claim;
    (void)peer;
    c->n_opened++;
    if (c->opened) {
        c->opened(c, end);
        return;
    }
    with.near = connect_to(c->coordinator_port);
    if (with.near < 0) {
        tunnel_end_clear(end);
        return;
    }
    s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->carrier = c;
    calls.ctx = s;
    assert_int_equal(relay_new(c->base, &with, &calls, &s->relay), 0);
    LIST_INSERT_HEAD(&c->streams, s, link);
    c->n_streams++;
}

void carrier_lab_open(struct carrier_lab *c, struct event_base *base)
{
    const struct tunnel_door_calls calls = {.asked = on_asked, .opened = on_opened, .ctx = c};
    static const uint8_t none[CRYPTO_KEY_BYTES];

    c->base = base;
    LIST_INIT(&c->streams);
    if (memcmp(c->node.public_key, none, sizeof(none)) == 0)
        crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0x0d, 0xe0}, &c->node);
    crypto_key_format(c->node.public_key, c->key);
    assert_int_equal(tunnel_door_new(base, &c->node, "127.0.0.1", 0, &calls, &c->port, &c->door), 0);
}

void carrier_lab_kill(struct carrier_lab *c)
{
    struct carrier_lab_stream *s;

    tunnel_door_destroy(&c->door);
    while ((s = LIST_FIRST(&c->streams)))
        drop(s);
}
