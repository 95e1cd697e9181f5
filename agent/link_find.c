/* Who may be a controller, and where: configured, of the cluster that was joined, announced by mDNS, found by name. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/link_internal.h"
#include "common/core/err.h"
#include "common/log.h"

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static struct peer *find_peer(struct link *l, const char *host, uint16_t port, const uint8_t *key)
{
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
        if (l->peer[i] && l->peer[i]->port == port && !strcmp(l->peer[i]->host, host) &&
            link_same_key(l->peer[i]->key, key))
            return l->peer[i];
    return NULL;
}

/* Nobody names it any more, and it does not prove by being there that they should. It is kept as long as there is room:
 * mDNS withdraws everything when avahi-daemon stops, and the controller is still where it was. */
static bool is_stale(const struct peer *p)
{
    return !p->configured && !p->announced && !p->name && !p->connected;
}

/* LINK_PEERS_MAX: none. */
static size_t find_room(struct link *l)
{
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
        if (!l->peer[i])
            return i;
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
        if (is_stale(l->peer[i])) {
            link_peer_destroy(&l->peer[i]);
            return i;
        }
    return LINK_PEERS_MAX;
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
    if (at == LINK_PEERS_MAX) {
        log_warn("link.too_many", "controller=%s text=\"passed over: %d addresses are known already\"", LOG_STR(host),
                 LINK_PEERS_MAX);
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
    link_settle_later(l);
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
    for (size_t i = 0; i < LINK_PEERS_MAX; i++)
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
    link_settle_later(l);
}

static void look_up(struct name *name)
{
    int r = name_lookup_start(name->link->base, name->controller->host, on_looked_up, name, &name->lookup);

    if (r < 0 && !name->told)
        log_failure(LOG_LEVEL_WARN, "link.name", r, "controller=%s", LOG_STR(name->controller->host));
    name->told = name->told || r < 0;
}

void link_look_up_again(struct link *l)
{
    for (size_t i = 0; i < l->n_names; i++)
        if (!l->name[i].lookup && !link_greeted_with_key(l, l->name[i].controller->key))
            look_up(&l->name[i]);
}

/* ---- controllers that announce themselves ------------------------------------------------------------------------- */

static bool is_configured(const struct link *l, const uint8_t *key)
{
    for (size_t i = 0; i < l->options->n_controllers; i++)
        if (l->options->controller[i].has_key && link_same_key(l->options->controller[i].key, key))
            return true;
    for (size_t i = 0; i < l->known->n_controllers; i++)
        if (link_same_key(l->known->controller[i].key, key))
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
        if (link_same_key(pin[i], key))
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

/* ---- at the start ------------------------------------------------------------------------------------------------ */

void link_tell_controllers(struct link *l)
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

int link_add_controllers(struct link *l)
{
    int r = 0;

    for (size_t i = 0; i < l->options->n_controllers && !r; i++)
        r = add_configured(l, &l->options->controller[i]);
    for (size_t i = 0; i < l->known->n_controllers && !r; i++)
        r = add_literal(l, l->known->controller[i].addr, l->known->controller[i].port, l->known->controller[i].key);
    return r < 0 ? err_pass(r) : 0;
}
