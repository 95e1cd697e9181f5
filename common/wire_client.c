/* An agent's DEALER. Dialling again is done here and not by libzmq, which gives up for good once the other end has spoken
 * something else than ZMTP (a port that was somebody else's for a moment), and which keeps messages for a peer that is not
 * there. Each dial is a new socket: nothing old is ever delivered. */
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/protocol.h"
#include "common/log.h"
#include "common/wire.h"
#include "common/wire_settings.h"
#include "common/zmq_watch.h"

enum {
    REDIAL_MIN_MS = 100,
    REDIAL_MAX_MS = 1000,
    /* libzmq bounds TCP connect and handshake by WIRE_HANDSHAKE_MS each and says when one failed, except where it could not
     * even make a socket: then this ends the dial. */
    DIAL_MAX_MS = 2 * WIRE_HANDSHAKE_MS + 1000
};

/* What the owner was told last. */
enum told { TOLD_NOTHING, TOLD_CONNECTED, TOLD_DISCONNECTED };

struct wire_client {
    struct event_base *base;
    struct identity id;
    uint8_t server_key[CRYPTO_KEY_BYTES];
    char endpoint[WIRE_ENDPOINT_MAX];
    bool ipv6;
    struct wire_client_callbacks cb;
    enum told told;
    uint32_t redial_ms;
    struct event *timer; /* while dialling: its deadline; while down: the next dial */
    /* One dial; all NULL between two. */
    void *socket, *monitor;
    struct zmq_watch *socket_watch, *monitor_watch;
};

static int dial(struct wire_client *c);

static void arm(struct wire_client *c, uint32_t delay_ms)
{
    struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = (suseconds_t)(delay_ms % 1000) * 1000};

    event_add(c->timer, &tv);
}

static void hang_up(struct wire_client *c)
{
    zmq_watch_destroy(&c->socket_watch);
    zmq_watch_destroy(&c->monitor_watch);
    if (c->socket) {
        zmq_socket_monitor(c->socket, NULL, 0);
        zmq_close(c->socket);
    }
    if (c->monitor)
        zmq_close(c->monitor);
    c->socket = NULL;
    c->monitor = NULL;
}

/* 100 ms, doubled up to 1 s, of which up to half is left out at random: a hundred agents shall not knock in step. */
static uint32_t next_delay_ms(struct wire_client *c)
{
    uint32_t random, delay_ms = c->redial_ms;

    c->redial_ms = c->redial_ms * 2 < REDIAL_MAX_MS ? c->redial_ms * 2 : REDIAL_MAX_MS;
    evutil_secure_rng_get_bytes(&random, sizeof(random));
    return delay_ms - random % (delay_ms / 2);
}

/* Last in its callers: c may be gone. */
static void failed(struct wire_client *c)
{
    hang_up(c);
    arm(c, next_delay_ms(c));
    if (c->told == TOLD_DISCONNECTED)
        return;
    c->told = TOLD_DISCONNECTED;
    c->cb.disconnected(c->cb.ctx);
}

/* The same. */
static void denied(struct wire_client *c)
{
    hang_up(c);
    arm(c, next_delay_ms(c));
    c->told = TOLD_DISCONNECTED;
    c->cb.denied(c->cb.ctx);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct wire_client *c = arg;

    (void)fd;
    (void)what;
    if (!c->socket) {
        int r = dial(c);

        if (r == 0)
            return;
        log_failure(LOG_LEVEL_WARN, "wire.dial_failed", r, "endpoint=%s", c->endpoint);
    }
    failed(c);
}

static void connected(struct wire_client *c)
{
    event_del(c->timer);
    c->redial_ms = REDIAL_MIN_MS;
    c->told = TOLD_CONNECTED;
    c->cb.connected(c->cb.ctx);
}

static void accepted(struct wire_client *c)
{
    if (c->cb.accepted)
        c->cb.accepted(c->cb.ctx);
}

/* An event is two frames, the first of 16 bits of number and 32 of value, in our own byte order. */
static bool read_event(void *ctx)
{
    struct wire_client *c = ctx;
    uint8_t head[6], endpoint[1];
    uint16_t number;

    if (zmq_recv(c->monitor, head, sizeof(head), ZMQ_DONTWAIT) != (int)sizeof(head))
        return false;
    zmq_recv(c->monitor, endpoint, sizeof(endpoint), ZMQ_DONTWAIT);
    memcpy(&number, head, sizeof(number));
    if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        connected(c);
    else if (number == ZMQ_EVENT_CONNECTED)
        accepted(c);
    else if (number == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && c->cb.denied)
        denied(c);
    else
        failed(c);
    return true;
}

static bool read_message(void *ctx)
{
    struct wire_client *c = ctx;
    zmq_msg_t msg;
    int n = wire_receive_single(c->socket, &msg);

    if (n != 1)
        return n != 0;
    c->cb.message(c->cb.ctx, zmq_msg_data(&msg), zmq_msg_size(&msg));
    zmq_msg_close(&msg);
    return true;
}

static int set_options(struct wire_client *c)
{
    const struct wire_int_option options[] = {
        {ZMQ_IPV6, c->ipv6},
        {ZMQ_RECONNECT_IVL, -1}, /* see above */
        {ZMQ_IMMEDIATE, 1},      /* no queue without a connection */
        {ZMQ_CONNECT_TIMEOUT, WIRE_HANDSHAKE_MS},
    };
    int r;

    r = wire_set_common(c->socket);
    if (r < 0)
        return err_pass(r);
    r = wire_set_ints(c->socket, options, sizeof(options) / sizeof(options[0]));
    if (r < 0)
        return err_pass(r);
    if (zmq_setsockopt(c->socket, ZMQ_CURVE_SERVERKEY, c->server_key, CRYPTO_KEY_BYTES) < 0 ||
        zmq_setsockopt(c->socket, ZMQ_CURVE_PUBLICKEY, c->id.public_key, CRYPTO_KEY_BYTES) < 0 ||
        zmq_setsockopt(c->socket, ZMQ_CURVE_SECRETKEY, c->id.secret_key, CRYPTO_KEY_BYTES) < 0)
        return err_raise(-errno);
    return 0;
}

/* The name is random: libzmq frees that of a closed socket some time later. */
static int monitor(struct wire_client *c, void *context)
{
    const int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED |
                       ZMQ_EVENT_CLOSED;
    char name[64];
    uint64_t random;

    evutil_secure_rng_get_bytes(&random, sizeof(random));
    snprintf(name, sizeof(name), "inproc://caravan.wire.%016" PRIx64, random);
    c->monitor = zmq_socket(context, ZMQ_PAIR);
    if (!c->monitor || zmq_socket_monitor(c->socket, name, events) < 0 || zmq_connect(c->monitor, name) < 0)
        return err_raise(-errno);
    return 0;
}

static int dial(struct wire_client *c)
{
    void *context = zmq_watch_context();
    int r;

    if (!context)
        return err_raise(-ENOMEM);
    c->socket = zmq_socket(context, ZMQ_DEALER);
    if (!c->socket)
        return err_raise(-errno);
    r = set_options(c);
    if (r < 0)
        return err_pass(r);
    r = monitor(c, context);
    if (r < 0)
        return err_pass(r);
    r = zmq_watch_new(c->base, c->monitor, read_event, c, &c->monitor_watch);
    if (r < 0)
        return err_pass(r);
    r = zmq_watch_new(c->base, c->socket, read_message, c, &c->socket_watch);
    if (r < 0)
        return err_pass(r);
    if (zmq_connect(c->socket, c->endpoint) < 0)
        return err_raise(-errno);
    arm(c, DIAL_MAX_MS);
    return 0;
}

int wire_client_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t port,
                    const uint8_t server_key[CRYPTO_KEY_BYTES], const struct wire_client_callbacks *cb,
                    struct wire_client **ret)
{
    CLEANUP(wire_client_destroy) struct wire_client *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_raise(-ENOMEM);
    if (!port || strcmp(addr, "*") == 0 || wire_endpoint(addr, port, c->endpoint) != 0)
        return WIRE_E_BAD_ADDR;
    c->base = base;
    c->id = *id;
    memcpy(c->server_key, server_key, CRYPTO_KEY_BYTES);
    c->ipv6 = wire_endpoint_needs_ipv6(addr);
    c->cb = *cb;
    c->redial_ms = REDIAL_MIN_MS;
    c->timer = event_new(base, -1, 0, on_timer, c);
    if (!c->timer)
        return err_raise(-ENOMEM);
    r = dial(c);
    if (r < 0)
        return err_pass(r);
    *ret = c;
    c = NULL;
    return 0;
}

void wire_client_destroy(struct wire_client **c)
{
    if (!*c)
        return;
    hang_up(*c);
    if ((*c)->timer)
        event_free((*c)->timer);
    crypto_identity_clear(&(*c)->id);
    free(*c);
    *c = NULL;
}

int wire_client_send(struct wire_client *c, const void *buf, size_t n_bytes)
{
    int r = 0;

    if (n_bytes > PROTO_MESSAGE_MAX)
        return err_raise(-EMSGSIZE); /* the server's libzmq would drop the link, again and again */
    if (c->told != TOLD_CONNECTED)
        return WIRE_E_FULL;
    if (zmq_send(c->socket, buf, n_bytes, ZMQ_DONTWAIT) < 0)
        r = errno;
    zmq_watch_sent(c->socket_watch);
    if (r == EAGAIN)
        return WIRE_E_FULL;
    return r ? err_raise(-r) : 0;
}
