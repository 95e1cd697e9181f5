/* A ROUTER that many dial. Routing ids are those that libzmq makes up for each connection; the table here says which one of
 * each key is sent to: the newest, or the one that was accepted, where one was. So a peer can neither take another's place
 * nor keep it out, and ZMQ_ROUTER_HANDOVER, which would let it, stays off. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/protocol.h"
#include "common/wire.h"
#include "common/wire_keys.h"
#include "common/wire_monitor.h"
#include "common/wire_settings.h"
#include "common/wire_zap.h"
#include "common/zmq_watch.h"

/* libzmq has it in every build, its header names it in draft builds only. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

enum {
    ROUTE_BYTES = 5, /* what libzmq makes up; a longer or shorter one was chosen by the peer */
    PEERS_MAX = 1024 /* under trust = open anybody can come with any number of keys */
};

struct route {
    bool set;
    uint8_t id[ROUTE_BYTES];
};

struct peer {
    uint8_t key[CRYPTO_KEY_BYTES];
    struct route route;    /* what is sent to it goes here: to its newest connection until one is accepted */
    struct route previous; /* may still have messages for us in the queue: no reason to answer there */
    bool accepted;         /* that was: it stays, though it be over, until another is */
    uint64_t heard;        /* n_messages at its last one */
    int fd;                /* of the route; -1: closed, or not known */
    char addr[PROTO_ADDR_MAX];
    bool closed; /* and that is still to be told */
};

struct wire_server {
    void *zmq_context; /* of its own: ZAP is one per context, and a test has two servers in a process */
    void *socket;
    struct wire_zap *zap;
    struct zmq_watch *watch;
    struct wire_server_callbacks cb;
    struct wire_server_stats stats;
    uint16_t port;
    struct wire_keys keys;
    struct talkers refused;
    struct peer *peer;
    size_t n_peers, n_peers_room;
    /* Of the newest message, for wire_server_answer and wire_server_accept. */
    struct route asking;
    int asking_fd;
    char asking_addr[PROTO_ADDR_MAX];
    struct peer asking_before; /* what was known of its peer until then */
    /* NULL until somebody wants to know */
    struct wire_monitor *monitor;
    struct event *tell_closed;
    void (*on_closed)(void *ctx, const uint8_t *key, const char *peer_addr);
};

/* ---- keys and peers --------------------------------------------------------------------------------------------- */

static bool may_in(void *ctx, const uint8_t *key)
{
    return wire_keys_may_in(&((struct wire_server *)ctx)->keys, key);
}

/* A dual-stack socket names an IPv4 peer ::ffff:10.0.0.1. */
static const char *plain_addr(const char *addr)
{
    static const char mapped[] = "::ffff:";

    if (!addr)
        return "";
    return strncmp(addr, mapped, sizeof(mapped) - 1) == 0 ? addr + sizeof(mapped) - 1 : addr;
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    struct wire_server *s = ctx;

    s->stats.n_refused++;
    if (talkers_count(&s->refused, plain_addr(addr), clock_now_ms()))
        s->cb.refused(s->cb.ctx, key, plain_addr(addr));
}

static struct peer *peer_find(struct wire_server *s, const uint8_t *key)
{
    for (size_t i = 0; i < s->n_peers; i++)
        if (memcmp(s->peer[i].key, key, CRYPTO_KEY_BYTES) == 0)
            return &s->peer[i];
    return NULL;
}

static struct peer *peer_longest_silent(struct wire_server *s)
{
    struct peer *oldest = &s->peer[0];

    for (size_t i = 1; i < s->n_peers; i++)
        if (s->peer[i].heard < oldest->heard)
            oldest = &s->peer[i];
    return oldest;
}

/* Room for one more; at the bound somebody else's. NULL without memory. */
static struct peer *peer_new_slot(struct wire_server *s)
{
    size_t room = s->n_peers_room ? s->n_peers_room * 2 : 8;
    struct peer *grown;

    if (s->n_peers == PEERS_MAX) {
        s->stats.n_forgotten++;
        return peer_longest_silent(s);
    }
    if (s->n_peers == s->n_peers_room) {
        grown = realloc(s->peer, room * sizeof(*grown));
        if (!grown)
            return NULL;
        s->peer = grown;
        s->n_peers_room = room;
    }
    return &s->peer[s->n_peers++];
}

/* Descriptors are given again; whoever is heard on one has it now. */
static void peer_set_connection(struct wire_server *s, struct peer *p, int fd, const char *addr)
{
    for (size_t i = 0; fd >= 0 && i < s->n_peers; i++)
        if (s->peer[i].fd == fd)
            s->peer[i].fd = -1;
    p->fd = fd;
    snprintf(p->addr, sizeof(p->addr), "%s", addr);
    p->closed = false;
}

static bool same_route(const struct route *a, const struct route *b)
{
    return a->set && b->set && memcmp(a->id, b->id, ROUTE_BYTES) == 0;
}

static void peer_use(struct wire_server *s, struct peer *p)
{
    p->previous = p->route;
    p->route = s->asking;
    peer_set_connection(s, p, s->asking_fd, s->asking_addr);
}

static void peer_heard(struct wire_server *s, const uint8_t *key)
{
    struct peer *p = peer_find(s, key);

    if (!p) {
        p = peer_new_slot(s);
        if (!p)
            return; /* it is heard, but cannot be answered until its next message finds memory */
        *p = (struct peer){.fd = -1};
        memcpy(p->key, key, CRYPTO_KEY_BYTES);
    }
    p->heard = s->stats.n_messages;
    if (p->accepted || same_route(&p->route, &s->asking))
        return;
    if (p->route.set && same_route(&p->previous, &s->asking))
        return;
    peer_use(s, p);
}

/* ---- connections that are over ---------------------------------------------------------------------------------- */

static void mark_closed(void *ctx, int fd)
{
    struct wire_server *s = ctx;

    for (size_t i = 0; i < s->n_peers; i++) {
        if (s->peer[i].fd != fd)
            continue;
        s->peer[i].fd = -1;
        s->peer[i].closed = true;
        event_active(s->tell_closed, EV_TIMEOUT, 0);
    }
}

/* One at a time: the callback may destroy s. */
static void on_tell_closed(evutil_socket_t unused, short what, void *ctx)
{
    struct wire_server *s = ctx;
    struct peer told, *p = NULL;

    (void)unused;
    (void)what;
    for (size_t i = 0; i < s->n_peers; i++) {
        if (!s->peer[i].closed)
            continue;
        if (p)
            event_active(s->tell_closed, EV_TIMEOUT, 0);
        else
            p = &s->peer[i];
    }
    if (!p)
        return; /* it has come back meanwhile */
    p->closed = false;
    told = *p;
    s->on_closed(s->cb.ctx, told.key, told.addr);
}

int wire_server_watch_closed(struct wire_server *s, struct event_base *base,
                             void (*closed)(void *ctx, const uint8_t *key, const char *peer_addr))
{
    int r;

    s->on_closed = closed;
    s->tell_closed = event_new(base, -1, 0, on_tell_closed, s);
    if (!s->tell_closed)
        return err_raise(-ENOMEM);
    r = wire_monitor_new(base, s->zmq_context, s->socket, mark_closed, s, &s->monitor);
    return r < 0 ? err_pass(r) : 0;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static void remember_asking(struct wire_server *s, const uint8_t *key, const uint8_t *route_id, int fd,
                            const char *addr)
{
    const struct peer *before = peer_find(s, key);

    s->asking_before = before ? *before : (struct peer){.fd = -1};
    memcpy(s->asking_before.key, key, CRYPTO_KEY_BYTES);
    s->asking.set = true;
    memcpy(s->asking.id, route_id, ROUTE_BYTES);
    s->asking_fd = fd;
    snprintf(s->asking_addr, sizeof(s->asking_addr), "%s", addr);
}

static void take_message(struct wire_server *s, const uint8_t *route_id, zmq_msg_t *msg)
{
    const char *user_id = zmq_msg_gets(msg, "User-Id"), *addr = plain_addr(zmq_msg_gets(msg, "Peer-Address"));
    uint8_t key[CRYPTO_KEY_BYTES];

    if (!user_id || crypto_key_parse(user_id, key) != 0) { /* set by wire_zap for whoever is let in */
        s->stats.n_malformed++;
        return;
    }
    if (!may_in(s, key)) { /* it was, when it connected */
        s->stats.n_refused++;
        return;
    }
    s->stats.n_messages++;
    wire_monitor_catch_up(s->monitor);
    remember_asking(s, key, route_id, zmq_msg_get(msg, ZMQ_SRCFD), addr);
    peer_heard(s, key);
    s->cb.message(s->cb.ctx, key, addr, zmq_msg_data(msg), zmq_msg_size(msg));
}

static bool read_message(void *ctx)
{
    struct wire_server *s = ctx;
    uint8_t route_id[ROUTE_BYTES];
    zmq_msg_t msg;
    int n_id, n;

    n_id = zmq_recv(s->socket, route_id, sizeof(route_id), ZMQ_DONTWAIT);
    if (n_id < 0)
        return false;
    n = wire_receive_single(s->socket, &msg);
    if (n == 1 && n_id == ROUTE_BYTES)
        take_message(s, route_id, &msg); /* s may be gone */
    else
        s->stats.n_malformed++;
    if (n == 1)
        zmq_msg_close(&msg);
    return true;
}

static int send_by(struct wire_server *s, const uint8_t *route_id, const void *buf, size_t n_bytes)
{
    int r = 0;

    if (n_bytes > PROTO_MESSAGE_MAX)
        return err_raise(-EMSGSIZE); /* the peer's libzmq would drop the link, again and again */
    /* The first frame finds the peer and room in its queue; where it is taken, the second is. */
    if (zmq_send(s->socket, route_id, ROUTE_BYTES, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(s->socket, buf, n_bytes, ZMQ_DONTWAIT) < 0)
        r = errno;
    zmq_watch_sent(s->watch);
    if (r == EAGAIN)
        return WIRE_E_FULL;
    if (r == EHOSTUNREACH)
        return WIRE_E_UNKNOWN_PEER;
    return r ? err_raise(-r) : 0;
}

int wire_server_send(struct wire_server *s, const uint8_t *key, const void *buf, size_t n_bytes)
{
    struct peer *p = peer_find(s, key);
    int r;

    if (!p || !p->route.set)
        return WIRE_E_UNKNOWN_PEER;
    r = send_by(s, p->route.id, buf, n_bytes);
    if (r == WIRE_E_UNKNOWN_PEER)
        p->route.set = false; /* any connection of its that speaks is the newest then, unless one was accepted */
    return r < 0 ? err_pass(r) : r;
}

int wire_server_answer(struct wire_server *s, const void *buf, size_t n_bytes)
{
    struct peer *p = peer_find(s, s->asking_before.key);
    int r;

    if (!may_in(s, s->asking_before.key))
        return WIRE_E_UNKNOWN_PEER; /* not any more */
    if (p && !p->accepted)
        *p = s->asking_before;
    r = send_by(s, s->asking.id, buf, n_bytes);
    return r < 0 ? err_pass(r) : r;
}

void wire_server_accept(struct wire_server *s)
{
    struct peer *p = peer_find(s, s->asking_before.key);

    if (!p || !may_in(s, p->key))
        return;
    if (!p->accepted)
        p->route.set = false; /* whoever was only the newest has no say */
    p->accepted = true;
    if (!same_route(&p->route, &s->asking))
        peer_use(s, p);
}

bool wire_server_may_speak(struct wire_server *s)
{
    const struct peer *p = peer_find(s, s->asking_before.key);

    return !p || !p->accepted || same_route(&p->route, &s->asking) || same_route(&p->previous, &s->asking);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static int set_options(void *socket, const struct identity *id, bool ipv6)
{
    const struct wire_int_option options[] = {
        {ZMQ_IPV6, ipv6},
        {ZMQ_CURVE_SERVER, 1},
        {ZMQ_ZAP_ENFORCE_DOMAIN, 1}, /* else a server that lost its handler would let everybody in */
        {ZMQ_ROUTER_MANDATORY, 1},   /* else a message to nobody vanishes without a word */
        {ZMQ_BACKLOG, WIRE_BACKLOG},
    };
    int r;

    r = wire_set_common(socket);
    if (r < 0)
        return err_pass(r);
    r = wire_set_ints(socket, options, sizeof(options) / sizeof(options[0]));
    if (r < 0)
        return err_pass(r);
    if (zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, id->secret_key, CRYPTO_KEY_BYTES) < 0 ||
        zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "caravan", strlen("caravan")) < 0)
        return err_raise(-errno);
    return 0;
}

static int bind_socket(struct wire_server *s, const char *addr, uint16_t port)
{
    char endpoint[WIRE_ENDPOINT_MAX], bound[WIRE_ENDPOINT_MAX] = "";
    size_t n_bound = sizeof(bound);
    const char *colon;

    if (wire_endpoint(addr, port, endpoint) != 0)
        return WIRE_E_BAD_ADDR;
    if (zmq_bind(s->socket, endpoint) < 0) {
        if (errno == EADDRINUSE)
            return WIRE_E_ADDR_IN_USE;
        if (errno == EADDRNOTAVAIL || errno == ENODEV || errno == EINVAL)
            return WIRE_E_BAD_ADDR;
        return err_raise(-errno);
    }
    if (zmq_getsockopt(s->socket, ZMQ_LAST_ENDPOINT, bound, &n_bound) < 0)
        return err_raise(-errno);
    colon = strrchr(bound, ':');
    s->port = colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : port;
    return 0;
}

int wire_server_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t port,
                    bool trust_open, const struct wire_server_callbacks *cb, struct wire_server **ret)
{
    CLEANUP(wire_server_destroy) struct wire_server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_raise(-ENOMEM);
    s->cb = *cb;
    s->keys.open = trust_open;
    s->zmq_context = zmq_ctx_new();
    if (!s->zmq_context)
        return err_raise(-errno);
    r = wire_zap_new(base, s->zmq_context, &(struct wire_zap_callbacks){may_in, on_refused, s}, &s->zap);
    if (r < 0)
        return err_pass(r);
    s->socket = zmq_socket(s->zmq_context, ZMQ_ROUTER);
    if (!s->socket)
        return err_raise(-errno);
    r = set_options(s->socket, id, wire_endpoint_needs_ipv6(addr));
    if (r < 0)
        return err_pass(r);
    r = bind_socket(s, addr, port);
    if (r)
        return r;
    r = zmq_watch_new(base, s->socket, read_message, s, &s->watch);
    if (r < 0)
        return err_pass(r);
    *ret = s;
    s = NULL;
    return 0;
}

void wire_server_destroy(struct wire_server **s)
{
    if (!*s)
        return;
    zmq_watch_destroy(&(*s)->watch);
    wire_monitor_destroy(&(*s)->monitor);
    if ((*s)->tell_closed)
        event_free((*s)->tell_closed);
    if ((*s)->socket)
        zmq_close((*s)->socket);
    wire_zap_destroy(&(*s)->zap);
    while ((*s)->zmq_context && zmq_ctx_term((*s)->zmq_context) < 0 && errno == EINTR)
        ;
    wire_keys_clear(&(*s)->keys);
    free((*s)->peer);
    free(*s);
    *s = NULL;
}

int wire_server_allow(struct wire_server *s, const uint8_t key[CRYPTO_KEY_BYTES])
{
    int r = wire_keys_allow(&s->keys, key);

    return r < 0 ? err_pass(r) : 0;
}

/* libzmq cannot close one connection of a ROUTER, but it closes one whose socket is shut down; the peer sees that, and learns
 * when it dials again that it may not in. Only where the monitor has said of all descriptors that were closed: others may
 * have theirs. Whatever stays open is unheard and unanswered. */
static void cut(struct wire_server *s, const uint8_t *key)
{
    struct peer *p = peer_find(s, key);

    if (!p || may_in(s, key))
        return;
    p->route.set = p->previous.set = p->accepted = false;
    wire_monitor_catch_up(s->monitor);
    if (s->monitor && p->fd >= 0)
        shutdown(p->fd, SHUT_RDWR);
}

void wire_server_disallow(struct wire_server *s, const uint8_t key[CRYPTO_KEY_BYTES])
{
    wire_keys_disallow(&s->keys, key);
    cut(s, key);
}

int wire_server_forbid(struct wire_server *s, const uint8_t key[CRYPTO_KEY_BYTES])
{
    int r = wire_keys_forbid(&s->keys, key);

    if (r < 0)
        return err_pass(r);
    cut(s, key);
    return 0;
}

uint16_t wire_server_port(const struct wire_server *s)
{
    return s->port;
}

struct wire_server_stats wire_server_stats(const struct wire_server *s)
{
    return s->stats;
}

const struct talkers *wire_server_refusals(const struct wire_server *s)
{
    return &s->refused;
}
