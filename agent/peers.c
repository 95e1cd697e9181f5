#include "agent/peers.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/host.h"
#include "common/log.h"
#include "common/message.h"
#include "common/seldom.h"
#include "common/wire.h"

enum { LINES_MAX = 8 /* addresses of one peer that are tried */, NEIGHBOURS_MAX = 2 * PROTO_PEERS_MAX, LOOK_S = 1 };

/* One address of one peer. */
struct line {
    struct neighbour *neighbour;
    char addr[PROTO_ADDR_MAX];
    struct wire_client *client; /* NULL: not dialled, another address is in use */
    bool told;                  /* that it cannot be dialled */
};

struct neighbour {
    struct peers *peers;
    char key[PROTO_KEY_MAX];
    uint8_t key_bytes[CRYPTO_KEY_BYTES];
    struct peer_facts facts; /* whom we dial; n_addrs 0: a guest */
    size_t n_lines;
    struct line line[LINES_MAX];
    struct line *used; /* whose handshake succeeded first */
    uint64_t heard_ms; /* when it last spoke by a connection of its own; 0: not, or it is gone */
    bool up;           /* as was told last */
    uint64_t seq;
};

struct peers {
    struct event_base *base;
    const struct identity *id;
    struct peers_callbacks cb;
    struct wire_server *server; /* NULL: no port was free */
    size_t n_controllers;
    uint8_t controller[PEERS_CONTROLLERS][CRYPTO_KEY_BYTES];
    struct neighbour *neighbour[NEIGHBOURS_MAX]; /* NULL: free */
    struct event *on_look, *on_settle;
    struct seldom dropped; /* messages that made no sense */
    bool full_told;
};

static void neighbour_destroy(struct neighbour **n)
{
    if (!*n)
        return;
    for (size_t i = 0; i < (*n)->n_lines; i++)
        wire_client_destroy(&(*n)->line[i].client);
    free(*n);
    *n = NULL;
}

static struct neighbour *find(struct peers *p, const char *key)
{
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (p->neighbour[i] && !strcmp(p->neighbour[i]->key, key))
            return p->neighbour[i];
    return NULL;
}

static void settle_later(struct peers *p)
{
    static const struct timeval now;

    evtimer_add(p->on_settle, &now);
}

/* Last in its callers: n may be gone. */
static void review(struct neighbour *n)
{
    struct peers *p = n->peers;
    bool up = n->used || (n->heard_ms && clock_now_ms() - n->heard_ms <= PEERS_SILENT_MS);
    char key[PROTO_KEY_MAX];

    if (up == n->up)
        return;
    n->up = up;
    memcpy(key, n->key, sizeof(key));
    log_info(up ? "neighbour.up" : "neighbour.down", "key=%.16s node=%s", key, LOG_STR(n->facts.name));
    (up ? p->cb.up : p->cb.down)(p->cb.ctx, key);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static int unpack(struct peers *p, const void *buf, size_t n_bytes, const char *who, struct message **ret)
{
    int r = message_unpack(buf, n_bytes, ret);
    uint64_t n = r ? seldom_count(&p->dropped, clock_now_ms()) : 0;

    if (n)
        log_warn("neighbour.message", "from=%s dropped=%" PRIu64 " text=\"%s message dropped\"", who, n,
                 r < 0 ? "too little memory: a" : message_outcome_name(r));
    return r;
}

static void pong(struct peers *p, struct message *ping)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    ping->kind = MESSAGE_PONG;
    if (message_pack(ping, &buf, &n) == 0)
        wire_server_answer(p->server, buf, n); /* who asks asks again */
}

static bool is_for_core(const struct message *m)
{
    return m->kind == MESSAGE_HEALTH || m->kind == MESSAGE_RELAY;
}

static void on_server_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct peers *p = ctx;
    char hex[CRYPTO_KEY_HEX];
    struct neighbour *n;

    if (unpack(p, buf, n_bytes, peer_addr, &m))
        return;
    if (m->kind == MESSAGE_PING) {
        pong(p, m);
        return;
    }
    n = find(p, crypto_key_format(key, hex));
    if (!n || !is_for_core(m))
        return;
    n->heard_ms = clock_now_ms();
    review(n);
    if (find(p, hex)) /* `up` may have taken it off the list */
        p->cb.message(p->cb.ctx, hex, m);
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    char hex[CRYPTO_KEY_HEX];

    (void)ctx;
    log_debug("neighbour.refused", "key=%.16s addr=%s", crypto_key_format(key, hex), addr);
}

static void on_line_message(void *ctx, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct line *line = ctx;
    struct neighbour *n = line->neighbour;
    char key[PROTO_KEY_MAX];

    if (line != n->used || unpack(n->peers, buf, n_bytes, line->addr, &m) || !is_for_core(m))
        return;
    memcpy(key, n->key, sizeof(key));
    n->peers->cb.message(n->peers->cb.ctx, key, m);
}

/* ---- dialling ---------------------------------------------------------------------------------------------------- */

static void on_connected(void *ctx)
{
    struct line *line = ctx;
    struct neighbour *n = line->neighbour;

    if (n->used)
        return; /* one is enough; it is hung up at once */
    n->used = line;
    settle_later(n->peers);
    review(n);
}

static void on_disconnected(void *ctx)
{
    struct line *line = ctx;
    struct neighbour *n = line->neighbour;

    if (n->used != line)
        return;
    n->used = NULL;
    settle_later(n->peers);
    review(n);
}

static void dial(struct line *line)
{
    const struct wire_client_callbacks cb = {
        .message = on_line_message, .connected = on_connected, .disconnected = on_disconnected, .ctx = line};
    const struct neighbour *n = line->neighbour;
    const struct peers *p = n->peers;
    int r = wire_client_new(p->base, p->id, line->addr, n->facts.port, n->key_bytes, &cb, &line->client);

    if (r && !line->told)
        log_warn("neighbour.dial", "node=%s addr=%s port=%u text=\"cannot be dialled: %s\"", LOG_STR(n->facts.name),
                 LOG_STR(line->addr), (unsigned)n->facts.port, r < 0 ? strerrordesc_np(-r) : "not an address");
    line->told = r != 0;
}

/* Outside of the clients' callbacks: addresses that are not needed are let go, those that are needed are dialled. */
static void settle_one(struct neighbour *n)
{
    for (size_t i = 0; i < n->n_lines; i++) {
        struct line *line = &n->line[i];

        if (n->used && n->used != line)
            wire_client_destroy(&line->client);
        else if (!line->client)
            dial(line);
    }
}

static void settle(evutil_socket_t fd, short what, void *ctx)
{
    struct peers *p = ctx;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (p->neighbour[i])
            settle_one(p->neighbour[i]);
}

/* Who dials us is not seen to hang up: it falls silent. */
static void look(evutil_socket_t fd, short what, void *ctx)
{
    struct peers *p = ctx;

    settle(fd, what, p); /* what could not be dialled for want of a descriptor or memory */
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (p->neighbour[i])
            review(p->neighbour[i]);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static int send_to(struct neighbour *n, const void *buf, size_t n_bytes)
{
    struct wire_server *server = n->peers->server;
    int r = WIRE_E_UNKNOWN_PEER;

    if (n->used)
        r = wire_client_send(n->used->client, buf, n_bytes);
    else if (server)
        r = wire_server_send(server, n->key_bytes, buf, n_bytes);
    if (r == WIRE_E_UNKNOWN_PEER)
        n->heard_ms = 0; /* gone; the next look says so: not from within a call */
    if (r == WIRE_E_FULL)
        return err_raise(-ENOBUFS);
    return r == WIRE_E_UNKNOWN_PEER ? 0 : err_fold(r);
}

void peers_send(struct peers *p, const char *key, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    struct neighbour *n = find(p, key);
    size_t n_bytes;
    int r;

    if (!n || !n->up)
        return;
    m->seq = ++n->seq;
    r = message_pack(m, &buf, &n_bytes);
    if (r > 0)
        r = err_raise(-EMSGSIZE);
    if (r == 0)
        r = send_to(n, buf, n_bytes);
    if (r < 0 && !p->full_told)
        log_failure(LOG_LEVEL_WARN, "neighbour.dropped", r, "node=%s", LOG_STR(n->facts.name));
    p->full_told = r < 0;
}

/* ---- who is a neighbour ------------------------------------------------------------------------------------------ */

static bool is_controller(const struct peers *p, const uint8_t *key)
{
    for (size_t i = 0; i < p->n_controllers; i++)
        if (!memcmp(p->controller[i], key, CRYPTO_KEY_BYTES))
            return true;
    return false;
}

static void allow(struct peers *p, const uint8_t *key)
{
    int r = p->server ? wire_server_allow(p->server, key) : 0;

    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "neighbour.allow", r, "text=\"it is not let in until the next list\"");
}

void peers_allow_controller(struct peers *p, const uint8_t key[CRYPTO_KEY_BYTES])
{
    if (is_controller(p, key))
        return;
    if (p->n_controllers < PEERS_CONTROLLERS)
        memcpy(p->controller[p->n_controllers++], key, CRYPTO_KEY_BYTES);
    allow(p, key);
}

static const struct peer_facts *peer_in(const struct neighbours *list, const char *key)
{
    for (size_t i = 0; i < list->n_peers; i++)
        if (!strcmp(list->peer[i].key, key))
            return &list->peer[i];
    return NULL;
}

static bool guest_in(const struct neighbours *list, const char *key)
{
    for (size_t i = 0; i < list->n_guests; i++)
        if (!strcmp(list->guest[i], key))
            return true;
    return false;
}

static void leave_out(struct peers *p, const struct neighbours *list)
{
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++) {
        struct neighbour *n = p->neighbour[i];

        if (!n || peer_in(list, n->key) || guest_in(list, n->key))
            continue;
        if (p->server && !is_controller(p, n->key_bytes))
            wire_server_disallow(p->server, n->key_bytes);
        neighbour_destroy(&p->neighbour[i]);
    }
}

/* NULL: told. */
static struct neighbour *take_in(struct peers *p, const char *key)
{
    CLEANUP(cleanup_free) struct neighbour *n = calloc(1, sizeof(*n));
    size_t at = 0;

    while (at < NEIGHBOURS_MAX && p->neighbour[at])
        at++;
    if (!n || at == NEIGHBOURS_MAX || crypto_key_parse(key, n->key_bytes)) {
        log_warn("neighbour.take", "key=%.16s text=\"left out: %s\"", LOG_STR(key),
                 !n ? "too little memory" : "no key, or one too many");
        return NULL;
    }
    n->peers = p;
    memcpy(n->key, key, sizeof(n->key));
    p->neighbour[at] = n;
    n = NULL;
    return p->neighbour[at];
}

/* Where it is dialled from now on. What the core was told of it is made good when it is looked at next. */
static void place(struct neighbour *n, const struct peer_facts *at)
{
    char addr[LINES_MAX][PROTO_ADDR_MAX];

    for (size_t i = 0; i < n->n_lines; i++)
        wire_client_destroy(&n->line[i].client);
    n->used = NULL;
    n->facts = *at;
    n->n_lines = host_worth_dialling(at, addr, LINES_MAX);
    for (size_t i = 0; i < n->n_lines; i++) {
        n->line[i] = (struct line){.neighbour = n};
        memcpy(n->line[i].addr, addr[i], PROTO_ADDR_MAX);
    }
}

static void set_one(struct peers *p, const char *key, const struct peer_facts *at)
{
    struct neighbour *n = find(p, key);

    if (!n)
        n = take_in(p, key);
    if (!n)
        return;
    allow(p, n->key_bytes); /* also again: memory may have been short */
    if (!peer_same_place(&n->facts, at))
        place(n, at);
}

void peers_set(struct peers *p, const struct neighbours *list)
{
    static const struct peer_facts nowhere;

    leave_out(p, list);
    for (size_t i = 0; i < list->n_peers; i++)
        set_one(p, list->peer[i].key, &list->peer[i]);
    for (size_t i = 0; i < list->n_guests; i++)
        if (!peer_in(list, list->guest[i]))
            set_one(p, list->guest[i], &nowhere);
    settle_later(p);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static int listen_somewhere(struct peers *p, const char *addr, uint16_t first_port)
{
    const struct wire_server_callbacks cb = {.message = on_server_message, .refused = on_refused, .ctx = p};
    uint32_t n = first_port + PEERS_PORTS > 65536 ? 65536u - first_port : PEERS_PORTS;
    int r = WIRE_E_ADDR_IN_USE;

    for (uint32_t i = 0; i < n && r == WIRE_E_ADDR_IN_USE; i++) {
        uint16_t port = (uint16_t)(first_port + i);

        if (i && p->cb.kept && p->cb.kept(p->cb.ctx, port)) /* the first one was asked for by name */
            continue;
        r = wire_server_new(p->base, p->id, addr, port, false, &cb, &p->server);
    }
    if (r > 0)
        log_error("neighbour.port",
                  "addr=%s port=%u text=\"%s: this node cannot be knocked at and has no neighbours that dial it\"",
                  LOG_STR(addr), (unsigned)first_port,
                  r == WIRE_E_BAD_ADDR ? "the address is not ours"
                                       : "it is taken, and so are the 31 after it or they are this node's children's");
    return r < 0 ? err_pass(r) : 0;
}

int peers_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t first_port,
              const struct peers_callbacks *cb, struct peers **ret)
{
    static const struct timeval every = {.tv_sec = LOOK_S};
    CLEANUP(peers_destroy) struct peers *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return err_raise(-ENOMEM);
    p->base = base;
    p->id = id;
    p->cb = *cb;
    p->on_settle = evtimer_new(base, settle, p);
    p->on_look = event_new(base, -1, EV_PERSIST, look, p);
    if (!p->on_settle || !p->on_look || event_add(p->on_look, &every) < 0)
        return err_raise(-ENOMEM);
    r = listen_somewhere(p, addr, first_port);
    if (r < 0)
        return err_pass(r);
    *ret = p;
    p = NULL;
    return 0;
}

void peers_destroy(struct peers **p)
{
    if (!*p)
        return;
    for (size_t i = 0; i < NEIGHBOURS_MAX; i++)
        neighbour_destroy(&(*p)->neighbour[i]);
    wire_server_destroy(&(*p)->server);
    if ((*p)->on_look)
        event_free((*p)->on_look);
    if ((*p)->on_settle)
        event_free((*p)->on_settle);
    free(*p);
    *p = NULL;
}

uint16_t peers_port(const struct peers *p)
{
    return p->server ? wire_server_port(p->server) : 0;
}
