#include "controller/link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

enum { WARN_EVERY_MS = 60000 };

struct link_key {
    uint8_t key[CRYPTO_KEY_BYTES];
    enum key_scope scope;
};

struct link {
    struct wire_server *server;
    struct link_peer *asking; /* whose message is being heard; into peer */
    struct link_config config;
    struct link_callbacks cb;
    struct link_counts n;
    size_t n_keys, n_keys_room;
    struct link_key *key;
    size_t n_peers;
    struct link_peer peer[LINK_PEERS_MAX];
};

/* ---- keys --------------------------------------------------------------------------------------------------------- */

static struct link_key *find_key(const struct link *l, const uint8_t *key)
{
    for (size_t i = 0; i < l->n_keys; i++)
        if (memcmp(l->key[i].key, key, CRYPTO_KEY_BYTES) == 0)
            return &l->key[i];
    return NULL;
}

/* Revoked, too, where nobody ever allowed it. */
static enum key_scope scope_of(const struct link *l, const uint8_t *key)
{
    const struct link_key *k = find_key(l, key);

    return k ? k->scope : l->config.trust_open ? KEY_NODE : KEY_REVOKED;
}

/* 0 or -ENOMEM. */
static int set_scope(struct link *l, const uint8_t *key, enum key_scope scope)
{
    struct link_key *k = find_key(l, key), *grown;
    size_t room = l->n_keys_room ? 2 * l->n_keys_room : 16;

    if (!k && l->n_keys == l->n_keys_room) {
        grown = realloc(l->key, room * sizeof(*grown));
        if (!grown)
            return err_raise(-ENOMEM);
        l->key = grown;
        l->n_keys_room = room;
    }
    if (!k) {
        k = &l->key[l->n_keys++];
        memcpy(k->key, key, CRYPTO_KEY_BYTES);
    }
    k->scope = scope;
    return 0;
}

int link_allow(struct link *l, const char *key_hex, enum key_scope scope)
{
    uint8_t key[CRYPTO_KEY_BYTES];
    int r;

    if (crypto_key_parse(key_hex, key))
        return 0; /* nobody can prove it */
    r = set_scope(l, key, scope);
    if (!r)
        r = wire_server_allow(l->server, key);
    return r < 0 ? err_pass(r) : 0;
}

/* Its place in the table is kept only where the table says who may not come in, and not who may. */
int link_forbid(struct link *l, const char *key_hex)
{
    uint8_t key[CRYPTO_KEY_BYTES];
    struct link_key *k;
    int r;

    if (crypto_key_parse(key_hex, key))
        return 0;
    r = wire_server_forbid(l->server, key);
    k = find_key(l, key);
    if (!r && l->config.trust_open)
        r = set_scope(l, key, KEY_REVOKED);
    else if (!r && k)
        *k = l->key[--l->n_keys];
    return r < 0 ? err_pass(r) : 0;
}

/* ---- peers -------------------------------------------------------------------------------------------------------- */

static struct link_peer *find(struct link *l, const uint8_t *key)
{
    for (size_t i = 0; i < l->n_peers; i++)
        if (memcmp(l->peer[i].key, key, CRYPTO_KEY_BYTES) == 0)
            return &l->peer[i];
    return NULL;
}

/* The peer's entry; with open trust keys are free, so the one unused for longest makes room. */
static struct link_peer *take(struct link *l, const uint8_t *key)
{
    struct link_peer *p = find(l, key);

    if (!p && l->n_peers < LINK_PEERS_MAX)
        p = &l->peer[l->n_peers++];
    if (!p) {
        p = &l->peer[0];
        for (size_t i = 1; i < l->n_peers; i++)
            if (l->peer[i].used_ms < p->used_ms)
                p = &l->peer[i];
    }
    if (memcmp(p->key, key, CRYPTO_KEY_BYTES) != 0 || !*p->key_hex) {
        memset(p, 0, sizeof(*p));
        memcpy(p->key, key, CRYPTO_KEY_BYTES);
        crypto_key_format(key, p->key_hex);
        p->node = crypto_node_id(key);
    }
    p->used_ms = clock_now_ms();
    return p;
}

static void complain(struct link_peer *p, const char *peer_addr, const char *reason)
{
    uint64_t now_ms = clock_now_ms();

    if (p->warned_ms && now_ms - p->warned_ms < WARN_EVERY_MS)
        return;
    p->warned_ms = now_ms;
    log_warn("link.message_dropped",
             "node=%s addr=%s reason=%s malformed=%" PRIu64 " unknown=%" PRIu64 " refused=%" PRIu64,
             ID128_SHORT(&p->node), LOG_STR(peer_addr), reason, p->n_malformed, p->n_unknown, p->n_refused);
}

/* outcome: MESSAGE_E_*. */
static void drop_unread(struct link *l, struct link_peer *p, const char *peer_addr, int outcome)
{
    if (outcome == MESSAGE_E_UNKNOWN_KIND) {
        p->n_unknown++;
        l->n.unknown++;
    } else {
        p->n_malformed++;
        l->n.malformed++;
    }
    complain(p, peer_addr, message_outcome_name(outcome));
}

static void refuse(struct link *l, struct link_peer *p, const char *peer_addr, const char *reason)
{
    p->n_refused++;
    l->n.refused++;
    complain(p, peer_addr, reason);
}

/* ---- messages ----------------------------------------------------------------------------------------------------- */

/* A relayed message is one that its sender would have sent here itself. */
static bool is_from_agent(const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
    case MESSAGE_RESULT:
    case MESSAGE_EVENT:
        return true;
    case MESSAGE_RELAY:
        return m->relay.inner && m->relay.inner->kind != MESSAGE_RELAY && is_from_agent(m->relay.inner);
    case MESSAGE_WELCOME:
    case MESSAGE_COMMAND:
    case MESSAGE_NEIGHBOURS:
    case MESSAGE_SNAPSHOT:
    case MESSAGE_HEALTH:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN:
    case MESSAGE_JOINED:
        return false;
    }
    return false;
}

/* Why it is not even read; NULL: it is. */
static const char *unread_because(enum key_scope scope, size_t n_bytes)
{
    switch (scope) {
    case KEY_NODE:
        return NULL;
    case KEY_JOIN:
        return n_bytes > LINK_JOIN_MAX ? "scope" : NULL;
    case KEY_REVOKED:
        break;
    }
    return "key_not_allowed";
}

static void on_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct link *l = ctx;
    struct link_peer *p = take(l, key);
    enum key_scope scope = scope_of(l, key);
    const char *why = unread_because(scope, n_bytes);
    int r = why ? 0 : message_unpack(buf, n_bytes, &m);

    if (r < 0) {
        log_failure(LOG_LEVEL_ERROR, "link.unpack", r, "node=%s", ID128_SHORT(&p->node));
        return;
    }
    if (m && (m->kind == MESSAGE_JOIN) != (scope == KEY_JOIN))
        why = "scope";
    else if (m && m->kind != MESSAGE_HELLO && !wire_server_may_speak(l->server))
        why = "not_welcomed"; /* somebody else who has the key of a node that is linked */
    else if (m && scope == KEY_NODE && !is_from_agent(m))
        r = MESSAGE_E_MALFORMED;
    if (why) {
        refuse(l, p, peer_addr, why);
        return;
    }
    if (r) {
        drop_unread(l, p, peer_addr, r);
        return;
    }
    if (m->kind == MESSAGE_JOIN) /* a new connection: counting starts again */
        p->seq_out = 0;
    l->asking = p;
    l->cb.message(l->cb.ctx, p, peer_addr, &m);
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    struct id128 node = crypto_node_id(key);

    (void)ctx;
    log_warn("link.refused", "node=%s addr=%s reason=key_not_allowed", ID128_SHORT(&node), LOG_STR(addr));
}

static void on_closed(void *ctx, const uint8_t *key, const char *peer_addr)
{
    struct link *l = ctx;
    struct link_peer *p = find(l, key);

    if (p && l->cb.closed && scope_of(l, key) == KEY_NODE)
        l->cb.closed(l->cb.ctx, p, peer_addr);
}

/* ---- life --------------------------------------------------------------------------------------------------------- */

int link_new(struct event_base *base, const struct identity *id, const struct link_config *config,
             const struct link_callbacks *cb, struct link **ret)
{
    CLEANUP(link_destroy) struct link *l = calloc(1, sizeof(*l));
    const struct wire_server_callbacks wire_cb = {.message = on_message, .refused = on_refused, .ctx = l};
    int r;

    if (!l)
        return err_raise(-ENOMEM);
    l->config = *config;
    l->cb = *cb;
    r = wire_server_new(base, id, config->addr, config->port, config->trust_open, &wire_cb, &l->server);
    if (r == WIRE_E_ADDR_IN_USE)
        return LINK_E_ADDR_IN_USE;
    if (r == WIRE_E_BAD_ADDR)
        return LINK_E_BAD_ADDR;
    if (!r)
        r = wire_server_watch_closed(l->server, base, on_closed);
    if (r)
        return err_fold(r);
    *ret = l;
    l = NULL;
    return 0;
}

void link_destroy(struct link **l)
{
    if (!*l)
        return;
    wire_server_destroy(&(*l)->server);
    free((*l)->key);
    free(*l);
    *l = NULL;
}

/* ---- what goes out ------------------------------------------------------------------------------------------------ */

static void sign(const struct link *l, const struct link_peer *p, struct message *m)
{
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = l->config.cluster;
    m->term = l->config.term;
    m->seq = p->seq_out + 1;
    if (m->kind == MESSAGE_RELAY)
        sign(l, p, m->relay.inner);
}

/* 0 or negative errno. */
static int pack(const struct link *l, const struct link_peer *p, struct message *m, uint8_t **ret, size_t *n)
{
    int r;

    sign(l, p, m);
    r = message_pack(m, ret, n);
    return r > 0 ? err_raise(-EMSGSIZE) : err_fold(r);
}

/* r: of wire_server_send or wire_server_answer. */
static int sent(struct link_peer *p, int r)
{
    if (r == WIRE_E_FULL || r == WIRE_E_UNKNOWN_PEER)
        return LINK_E_NOT_SENT;
    if (r)
        return err_fold(r);
    p->seq_out++;
    return 0;
}

int link_send(struct link *l, const char *key_hex, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    uint8_t key[CRYPTO_KEY_BYTES];
    struct link_peer *p;
    size_t n = 0;
    int r;

    if (crypto_key_parse(key_hex, key))
        return LINK_E_NOT_SENT;
    p = find(l, key);
    if (!p)
        return LINK_E_NOT_SENT;
    r = pack(l, p, m, &buf, &n);
    if (r < 0)
        return err_pass(r);
    r = sent(p, wire_server_send(l->server, key, buf, n));
    return r < 0 ? err_pass(r) : r;
}

int link_answer(struct link *l, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    struct link_peer *p = l->asking;
    size_t n = 0;
    int r;

    if (m->kind == MESSAGE_WELCOME && !m->welcome.refused[0]) {
        wire_server_accept(l->server);
        p->seq_out = 0; /* a new connection: counting starts again */
    }
    r = pack(l, p, m, &buf, &n);
    if (r < 0)
        return err_pass(r);
    r = sent(p, wire_server_answer(l->server, buf, n));
    return r < 0 ? err_pass(r) : r;
}

struct link_counts link_counts(const struct link *l)
{
    struct wire_server_stats wire = wire_server_stats(l->server);
    struct link_counts n = l->n;

    n.malformed += wire.n_malformed;
    n.refused += wire.n_refused;
    return n;
}
