#include "agent/link_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

/* Who is refused because somebody with its key was heard a moment ago need not wait long; whom a person must help can. */
enum { REFUSED_FIRST_MS = 2000, REFUSED_MS = 30000 };
enum { AGAIN_S = 5, DENIED_MS = 60000 };

void link_peer_destroy(struct peer **p)
{
    if (!*p)
        return;
    wire_client_destroy(&(*p)->client);
    free(*p);
    *p = NULL;
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

void link_stamp(const struct link *l, struct message *m)
{
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = l->cluster;
    m->term = l->term;
    if (m->kind == MESSAGE_RELAY && m->relay.inner && id128_is_zero(&m->relay.inner->cluster)) {
        m->relay.inner->cluster = l->cluster;
        m->relay.inner->term = l->term;
    }
}

static int send_to(struct peer *p, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;
    int r;

    link_stamp(p->link, m);
    m->seq = p->seq + 1;
    r = message_pack(m, &buf, &n);
    if (r)
        return r < 0 ? err_pass(r) : err_raise(-EMSGSIZE);
    r = wire_client_send(p->client, buf, n);
    if (r)
        return r < 0 ? err_pass(r) : err_raise(-ENOBUFS);
    p->seq++;
    return 0;
}

static void greet(struct peer *p)
{
    struct message m = {.kind = MESSAGE_HELLO, .hello = p->link->hello};
    int r = send_to(p, &m);

    p->greeted = r == 0;
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "link.hello", r, "controller=%s port=%u", p->host, (unsigned)p->port);
}

void link_send(struct link *l, struct message *m)
{
    int r;

    if (!l->session)
        return;
    r = send_to(l->session, m);
    if (r == 0) {
        l->full_told = false;
        return;
    }
    l->n_dropped++;
    if (!l->full_told)
        log_failure(LOG_LEVEL_WARN, "link.dropped", r, "dropped=%" PRIu64, l->n_dropped);
    l->full_told = true;
}

void link_set_rpc(struct link *l, const struct rpc_version *rpc)
{
    l->hello.rpc = *rpc;
}

/* ---- which address of which controller --------------------------------------------------------------------------- */

struct peer *link_greeted_with_key(struct link *l, const uint8_t *key)
{
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->greeted && link_same_key(l->peer[i]->key, key))
            return l->peer[i];
    return NULL;
}

static void on_message(void *ctx, const void *buf, size_t n_bytes);

/* A controller sends by the connection that it welcomed last, so each key is greeted on one address only. */
static void on_connected(void *ctx)
{
    struct peer *p = ctx;

    p->connected = true;
    p->seq = 0;
    if (!link_greeted_with_key(p->link, p->key))
        greet(p);
}

void link_settle_later(struct link *l)
{
    static const struct timeval now;

    evtimer_add(l->on_settle, &now);
}

/* If it is the one that we report to. */
static void end_session(struct peer *p)
{
    struct link *l = p->link;

    if (l->session != p)
        return;
    l->session = NULL;
    log_info("link.down", "controller=%s port=%u", p->host, (unsigned)p->port);
    l->cb.down(l->cb.ctx);
}

static void on_disconnected(void *ctx)
{
    struct peer *p = ctx;

    p->connected = p->greeted = false;
    end_session(p);
    link_settle_later(p->link);
}

/* It is dialled again as after any other end: whoever is asked to may let us in at any time. */
static void on_denied(void *ctx)
{
    struct peer *p = ctx;
    struct link *l = p->link;
    uint64_t now_ms = clock_now_ms();
    char key[CRYPTO_KEY_HEX];
    bool seen_to = l->cb.denied && l->cb.denied(l->cb.ctx);

    if (!seen_to && (!l->denied_ms || now_ms - l->denied_ms >= DENIED_MS)) {
        l->denied_ms = now_ms;
        log_warn("link.denied",
                 "controller=%s port=%u key=%s text=\"this node's key is not let in: on the controller, `caravan nodes "
                 "approve KEY --name %s`, or `caravan token create` and here --join TOKEN\"",
                 p->host, (unsigned)p->port, crypto_key_format(l->identity->public_key, key), l->hello.name);
    }
    on_disconnected(p);
}

static void dial(struct peer *p)
{
    struct wire_client_callbacks cb = {.message = on_message,
                                       .connected = on_connected,
                                       .disconnected = on_disconnected,
                                       .denied = on_denied,
                                       .ctx = p};
    int r = wire_client_new(p->link->base, p->link->identity, p->host, p->port, p->key, &cb, &p->client);

    if (r && !p->dial_told)
        log_warn("link.dial", "controller=%s port=%u text=\"cannot be dialled: %s\"", LOG_STR(p->host),
                 (unsigned)p->port, r < 0 ? strerrordesc_np(-r) : "not an address");
    p->dial_told = r != 0;
}

/* Outside of the clients' callbacks: addresses that are not needed are let go, those that are needed again are dialled. */
static void settle(evutil_socket_t fd, short what, void *ctx)
{
    struct link *l = ctx;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < LINK_PEERS_MAX; i++) {
        struct peer *p = l->peer[i], *other = p ? link_greeted_with_key(l, p->key) : NULL;

        if (!p || other == p)
            continue;
        if (other && p->client) {
            wire_client_destroy(&p->client);
            p->connected = false;
        } else if (!other && !p->client && !l->held) {
            dial(p);
        } else if (!other && p->connected) {
            greet(p);
        }
    }
}

static void retry_refused(evutil_socket_t fd, short what, void *ctx)
{
    struct link *l = ctx;

    (void)fd;
    (void)what;
    l->refused_ms = l->refused_ms < REFUSED_MS / 2 ? l->refused_ms * 2 : REFUSED_MS;
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->connected && l->peer[i]->greeted && l->peer[i] != l->session)
            greet(l->peer[i]);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static void on_refusal(struct peer *p, const struct message *m)
{
    struct link *l = p->link;
    struct timeval later = {.tv_sec = l->refused_ms / 1000, .tv_usec = l->refused_ms % 1000 * 1000};

    log_warn("link.refused", "controller=%s text=%s", LOG_STR(m->welcome.name), LOG_STR(m->welcome.refused));
    evtimer_add(l->on_retry, &later);
    end_session(p); /* a node that is retired while it is linked: its reports would be refused one by one */
}

static void on_welcome(struct peer *p, const struct message *m)
{
    struct link *l = p->link;

    if (m->welcome.refused[0]) {
        on_refusal(p, m);
        return;
    }
    l->refused_ms = REFUSED_FIRST_MS;
    if (l->session && l->session != p)
        return; /* one is enough; this one stays at hand */
    l->cluster = m->cluster;
    l->term = m->term;
    l->minor = m->version_minor;
    l->session = p;
    log_info("link.up", "controller=%s addr=%s port=%u cluster=%s trust=%s", LOG_STR(m->welcome.name), p->host,
             (unsigned)p->port, ID128_SHORT(&m->cluster), m->welcome.open ? "open" : "keys");
    link_settle_later(l);
    l->cb.up(l->cb.ctx);
}

static void on_message(void *ctx, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct peer *p = ctx;
    int r = message_unpack(buf, n_bytes, &m);
    uint64_t n = r ? seldom_count(&p->link->dropped, clock_now_ms()) : 0;

    if (n)
        log_warn("link.message", "controller=%s dropped=%" PRIu64 " text=\"%s message dropped\"", p->host, n,
                 r < 0 ? "too little memory: a" : message_outcome_name(r));
    if (r)
        return;
    switch (m->kind) {
    case MESSAGE_WELCOME:
        on_welcome(p, m);
        return;
    case MESSAGE_COMMAND:
    case MESSAGE_NEIGHBOURS:
    case MESSAGE_RELAY:
        if (p == p->link->session)
            p->link->cb.message(p->link->cb.ctx, m);
        return;
    case MESSAGE_SNAPSHOT:
        if (p == p->link->session)
            p->link->cb.snapshot(p->link->cb.ctx, &m->snapshot);
        return;
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
    case MESSAGE_RESULT:
    case MESSAGE_EVENT:
    case MESSAGE_HEALTH:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN:
    case MESSAGE_JOINED: /* is heard by the link that asked */
        return;          /* what agents say, or what is said on their neighbour port */
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* From time to time: names that nobody answers for may mean another machine now, and what could not be dialled for want
 * of a descriptor or memory is tried again. */
static void again(evutil_socket_t fd, short what, void *ctx)
{
    link_look_up_again(ctx);
    settle(fd, what, ctx);
}

int link_new(struct event_base *base, const struct agent_options *options, struct state_dir *state,
             const struct identity *identity, const struct state_cluster *cluster, const struct hello *hello,
             const struct link_callbacks *cb, struct link **ret)
{
    static const struct timeval every = {.tv_sec = AGAIN_S};
    CLEANUP(link_destroy) struct link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return err_raise(-ENOMEM);
    l->base = base;
    l->options = options;
    l->state = state;
    l->identity = identity;
    l->known = cluster;
    l->hello = *hello;
    l->cb = *cb;
    l->refused_ms = REFUSED_FIRST_MS;
    l->on_retry = evtimer_new(base, retry_refused, l);
    l->on_settle = evtimer_new(base, settle, l);
    l->on_again = event_new(base, -1, EV_PERSIST, again, l);
    if (!l->on_retry || !l->on_settle || !l->on_again || event_add(l->on_again, &every) < 0)
        return err_raise(-ENOMEM);
    link_tell_controllers(l);
    r = link_add_controllers(l);
    if (r < 0)
        return err_pass(r);
    *ret = l;
    l = NULL;
    return 0;
}

void link_destroy(struct link **l)
{
    if (!*l)
        return;
    for (size_t i = 0; i < (*l)->n_names; i++)
        name_lookup_cancel(&(*l)->name[i].lookup);
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
        link_peer_destroy(&(*l)->peer[i]);
    if ((*l)->on_again)
        event_free((*l)->on_again);
    if ((*l)->on_retry)
        event_free((*l)->on_retry);
    if ((*l)->on_settle)
        event_free((*l)->on_settle);
    free(*l);
    *l = NULL;
}

void link_hold(struct link *l)
{
    l->held = true;
}

void link_let_go(struct link *l)
{
    l->held = false;
    link_settle_later(l);
}

const struct id128 *link_cluster(const struct link *l)
{
    return &l->cluster;
}

uint32_t link_minor(const struct link *l)
{
    return l->minor;
}
