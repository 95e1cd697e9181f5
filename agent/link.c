#include "agent/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/name_lookup.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/message.h"
#include "common/seldom.h"
#include "common/wire.h"

enum { PEERS_MAX = 32, REFUSED_RETRY_S = 30, AGAIN_S = 5, DENIED_MS = 60000 };

/* One address of one controller. */
struct peer {
    struct link *link;
    char host[AGENT_HOST_MAX];
    uint16_t port;
    uint8_t key[CRYPTO_KEY_BYTES];
    bool configured, announced; /* by mDNS, and not withdrawn since */
    const struct name *name;    /* whose address it is; NULL: nobody's. Without any of the three it is stale */
    struct wire_client *client; /* NULL: not dialled, another address of the same key is in use */
    bool connected, greeted, dial_told;
    uint64_t seq;
};

/* A configured controller by name: looked up again as long as nobody with its key answers. */
struct name {
    struct link *link;
    const struct controller_address *controller;
    struct name_lookup *lookup;
    bool told;
};

struct link {
    struct event_base *base;
    const struct agent_options *options;
    struct state_dir *state;
    const struct identity *identity;
    const struct state_cluster *known;
    struct link_callbacks cb;
    struct hello hello;
    struct id128 cluster;
    uint64_t term;
    struct peer *peer[PEERS_MAX];
    struct peer *session; /* whom we report to; NULL: nobody */
    size_t n_names;
    struct name name[AGENT_CONTROLLERS_MAX];
    struct event *on_retry, *on_settle, *on_again;
    uint64_t n_dropped;
    struct seldom dropped; /* messages that made no sense */
    uint64_t denied_ms;    /* when that was said; 0: never */
    bool held, full_told, stranger_told;
};

static void peer_destroy(struct peer **p)
{
    if (!*p)
        return;
    wire_client_destroy(&(*p)->client);
    free(*p);
    *p = NULL;
}

static bool same_key(const uint8_t *a, const uint8_t *b)
{
    return !memcmp(a, b, CRYPTO_KEY_BYTES);
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

static struct peer *greeted_with_key(struct link *l, const uint8_t *key)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->greeted && same_key(l->peer[i]->key, key))
            return l->peer[i];
    return NULL;
}

static void on_message(void *ctx, const void *buf, size_t n_bytes);

/* A controller sends to a key's newest connection, so each key is greeted on one address only. */
static void on_connected(void *ctx)
{
    struct peer *p = ctx;

    p->connected = true;
    p->seq = 0;
    if (!greeted_with_key(p->link, p->key))
        greet(p);
}

static void settle_later(struct link *l)
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
    settle_later(p->link);
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
    for (size_t i = 0; i < PEERS_MAX; i++) {
        struct peer *p = l->peer[i], *other = p ? greeted_with_key(l, p->key) : NULL;

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
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->connected && l->peer[i]->greeted && l->peer[i] != l->session)
            greet(l->peer[i]);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static void on_welcome(struct peer *p, const struct message *m)
{
    static const struct timeval later = {.tv_sec = REFUSED_RETRY_S};
    struct link *l = p->link;

    if (m->welcome.refused[0]) {
        log_warn("link.refused", "controller=%s text=%s", LOG_STR(m->welcome.name), LOG_STR(m->welcome.refused));
        evtimer_add(l->on_retry, &later);
        end_session(p); /* a node that is retired while it is linked: its reports would be refused one by one */
        return;
    }
    if (l->session && l->session != p)
        return; /* one is enough; this one stays at hand */
    l->cluster = m->cluster;
    l->term = m->term;
    l->session = p;
    log_info("link.up", "controller=%s addr=%s port=%u cluster=%s trust=%s", LOG_STR(m->welcome.name), p->host,
             (unsigned)p->port, ID128_SHORT(&m->cluster), m->welcome.open ? "open" : "keys");
    settle_later(l);
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

/* ---- who may be a controller ------------------------------------------------------------------------------------- */

static struct peer *find_peer(struct link *l, const char *host, uint16_t port, const uint8_t *key)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->port == port && !strcmp(l->peer[i]->host, host) && same_key(l->peer[i]->key, key))
            return l->peer[i];
    return NULL;
}

/* Nobody names it any more, and it does not prove by being there that they should. It is kept as long as there is room:
 * mDNS withdraws everything when avahi-daemon stops, and the controller is still where it was. */
static bool is_stale(const struct peer *p)
{
    return !p->configured && !p->announced && !p->name && !p->connected;
}

/* PEERS_MAX: none. */
static size_t find_room(struct link *l)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (!l->peer[i])
            return i;
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (is_stale(l->peer[i])) {
            peer_destroy(&l->peer[i]);
            return i;
        }
    return PEERS_MAX;
}

/* *ret: the one that is there, or a new one, not dialled yet; NULL: no room, which is told. Who asks says what for. */
static int add_peer(struct link *l, const char *host, uint16_t port, const uint8_t *key, struct peer **ret)
{
    struct peer *p = find_peer(l, host, port, key);
    size_t at;

    *ret = p;
    if (p)
        return 0;
    at = find_room(l);
    if (at == PEERS_MAX) {
        log_warn("link.too_many", "controller=%s text=\"passed over: %d addresses are known already\"", LOG_STR(host),
                 PEERS_MAX);
        return 0;
    }
    p = calloc(1, sizeof(*p));
    if (!p)
        return err_raise(-ENOMEM);
    p->link = l;
    p->port = port;
    snprintf(p->host, sizeof(p->host), "%s", host);
    memcpy(p->key, key, CRYPTO_KEY_BYTES);
    l->peer[at] = p;
    settle_later(l);
    *ret = p;
    return 0;
}

/* ---- controllers by name ----------------------------------------------------------------------------------------- */

static bool is_literal(const char *host)
{
    struct in6_addr buf;

    return inet_pton(AF_INET, host, &buf) == 1 || inet_pton(AF_INET6, host, &buf) == 1;
}

/* What the name does not mean any more is let go, unless it answers. */
static void on_looked_up(void *ctx, const char (*addr)[PROTO_ADDR_MAX], size_t n, const char *problem)
{
    struct name *name = ctx;
    const struct controller_address *c = name->controller;
    struct link *l = name->link;

    name->lookup = NULL;
    if (!n && !name->told)
        log_warn("link.name", "controller=%s text=\"its address cannot be found: %s\"", LOG_STR(c->host), problem);
    name->told = !n;
    if (!n)
        return; /* a name server that is away for a moment says nothing about the addresses that we know */
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->name == name)
            l->peer[i]->name = NULL;
    for (size_t i = 0; i < n; i++) {
        struct peer *p;
        int r = add_peer(l, addr[i], c->port, c->key, &p);

        if (r < 0)
            log_failure(LOG_LEVEL_WARN, "link.add", r, "controller=%s", LOG_STR(c->host));
        else if (p)
            p->name = name;
    }
    settle_later(l);
}

static void look_up(struct name *name)
{
    int r = name_lookup_start(name->link->base, name->controller->host, on_looked_up, name, &name->lookup);

    if (r < 0 && !name->told)
        log_failure(LOG_LEVEL_WARN, "link.name", r, "controller=%s", LOG_STR(name->controller->host));
    name->told = name->told || r < 0;
}

/* From time to time: names that nobody answers for may mean another machine now, and what could not be dialled for want
 * of a descriptor or memory is tried again. */
static void again(evutil_socket_t fd, short what, void *ctx)
{
    struct link *l = ctx;

    for (size_t i = 0; i < l->n_names; i++)
        if (!l->name[i].lookup && !greeted_with_key(l, l->name[i].controller->key))
            look_up(&l->name[i]);
    settle(fd, what, l);
}

static bool is_configured(const struct link *l, const uint8_t *key)
{
    for (size_t i = 0; i < l->options->n_controllers; i++)
        if (l->options->controller[i].has_key && same_key(l->options->controller[i].key, key))
            return true;
    for (size_t i = 0; i < l->known->n_controllers; i++)
        if (same_key(l->known->controller[i].key, key))
            return true;
    return false;
}

/* Configured, or of the cluster that was joined, or pinned, or the first one ever met under trust = open. */
static bool may_be_controller(struct link *l, const uint8_t *key, const char *hex)
{
    const uint8_t(*pin)[CRYPTO_KEY_BYTES];
    size_t n = state_dir_pins(l->state, &pin);
    int r;

    if (is_configured(l, key))
        return true;
    if (!l->options->trust_open)
        return false;
    for (size_t i = 0; i < n; i++)
        if (same_key(pin[i], key))
            return true;
    if (n) {
        if (!l->stranger_told)
            log_warn("link.stranger",
                     "key=%s text=\"a controller with another key than the first one is passed over; "
                     "remove %s/controllers to accept it\"",
                     hex, state_dir_path(l->state));
        l->stranger_told = true;
        return false;
    }
    r = state_dir_pin(l->state, key);
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "link.pin", r, "key=%s", hex);
    else
        log_warn("link.pinned", "key=%s text=\"trust = open: the first controller met is trusted from now on\"", hex);
    l->cb.controller(l->cb.ctx, key);
    return true;
}

void link_on_service(struct link *l, const struct mdns_service *s)
{
    const char *hex = mdns_txt_get(s, "key");
    uint8_t key[CRYPTO_KEY_BYTES];
    struct peer *p;
    int r;

    if (!hex || crypto_key_parse(hex, key) || !s->port || !s->addr[0])
        return;
    if (s->gone) {
        p = find_peer(l, s->addr, s->port, key);
        if (p)
            p->announced = false;
        return;
    }
    if (!may_be_controller(l, key, hex))
        return;
    r = add_peer(l, s->addr, s->port, key, &p);
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "link.add", r, "controller=%s", s->addr);
    else if (p)
        p->announced = true;
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* Those who may lead us before anybody is met. */
static void tell_controllers(struct link *l)
{
    const uint8_t(*pin)[CRYPTO_KEY_BYTES];
    size_t n = l->options->trust_open ? state_dir_pins(l->state, &pin) : 0;

    for (size_t i = 0; i < l->options->n_controllers; i++)
        if (l->options->controller[i].has_key)
            l->cb.controller(l->cb.ctx, l->options->controller[i].key);
    for (size_t i = 0; i < l->known->n_controllers; i++)
        l->cb.controller(l->cb.ctx, l->known->controller[i].key);
    for (size_t i = 0; i < n; i++)
        l->cb.controller(l->cb.ctx, pin[i]);
}

static int add_literal(struct link *l, const char *addr, uint16_t port, const uint8_t *key)
{
    struct peer *p;
    int r = add_peer(l, addr, port, key, &p);

    if (r < 0)
        return err_pass(r);
    if (p)
        p->configured = true;
    return 0;
}

/* One of `controllers =`. */
static int add_configured(struct link *l, const struct controller_address *c)
{
    struct name *name = &l->name[l->n_names];
    int r;

    if (!c->has_key) {
        log_warn("link.no_key", "controller=%s text=\"its key is not given: waiting for mDNS to announce it\"",
                 LOG_STR(c->host));
        return 0;
    }
    if (!is_literal(c->host)) {
        *name = (struct name){.link = l, .controller = c};
        l->n_names++;
        look_up(name);
        return 0;
    }
    r = add_literal(l, c->host, c->port, c->key);
    return r < 0 ? err_pass(r) : 0;
}

static int add_controllers(struct link *l)
{
    int r = 0;

    for (size_t i = 0; i < l->options->n_controllers && !r; i++)
        r = add_configured(l, &l->options->controller[i]);
    for (size_t i = 0; i < l->known->n_controllers && !r; i++)
        r = add_literal(l, l->known->controller[i].addr, l->known->controller[i].port, l->known->controller[i].key);
    return r < 0 ? err_pass(r) : 0;
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
    l->on_retry = evtimer_new(base, retry_refused, l);
    l->on_settle = evtimer_new(base, settle, l);
    l->on_again = event_new(base, -1, EV_PERSIST, again, l);
    if (!l->on_retry || !l->on_settle || !l->on_again || event_add(l->on_again, &every) < 0)
        return err_raise(-ENOMEM);
    tell_controllers(l);
    r = add_controllers(l);
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
    for (size_t i = 0; i < PEERS_MAX; i++)
        peer_destroy(&(*l)->peer[i]);
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
    settle_later(l);
}

const struct id128 *link_cluster(const struct link *l)
{
    return &l->cluster;
}
