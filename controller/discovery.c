#include "controller/discovery.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/core/err.h"

/* A backend that nobody speaks of any more is kept this long, so that one may still see what became of it. */
enum { FORGET_MS = 10 * 60 * 1000 };

struct discovery {
    size_t n;
    struct backend item[BACKENDS_MAX];
    bool told[BACKENDS_MAX];                          /* by an agent, in the view that is being read */
    uint64_t dropped[BACKEND_SOURCES][BACKEND_DROPS]; /* mDNS: events; agents: in the newest view */
    bool changed;
};

const char *backend_state_name(enum backend_state s)
{
    switch (s) {
    case BACKEND_HEALTHY:
        return "healthy";
    case BACKEND_BUSY:
        return "busy";
    case BACKEND_OFFLINE:
        return "offline";
    case BACKEND_INCOMPATIBLE:
        return "incompatible";
    case BACKEND_UNMANAGED:
        return "unmanaged";
    }
    return "unknown";
}

const char *backend_source_name(enum backend_source s)
{
    return s == BACKEND_BY_AGENT ? "agent" : "mdns";
}

const char *backend_drop_name(enum backend_drop d)
{
    static const char *const names[BACKEND_DROPS] = {"port_zero", "unresolvable", "placeholder"};

    return names[d];
}

int discovery_new(struct discovery **ret)
{
    struct discovery *d = calloc(1, sizeof(*d));

    if (!d)
        return err_raise(-ENOMEM);
    *ret = d;
    return 0;
}

void discovery_destroy(struct discovery **d)
{
    free(*d);
    *d = NULL;
}

void backends_unref(struct backends **b)
{
    if (*b && --(*b)->refs == 0) {
        free((*b)->item);
        free(*b);
    }
    *b = NULL;
}

/* ---- what is no backend at all ---- */

static bool is_placeholder(const char *host)
{
    static const char *const names[] = {"coordinator", "placeholder", "dummy", "none", "null", "unknown", "host"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(host, names[i]) == 0)
            return true;
    return false;
}

/* A literal that somebody can dial. */
static bool is_address(const char *addr)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, addr, &four) == 1)
        return four.s_addr != INADDR_ANY && four.s_addr != INADDR_BROADCAST && !IN_MULTICAST(ntohl(four.s_addr));
    if (inet_pton(AF_INET6, addr, &six) == 1)
        return !IN6_IS_ADDR_UNSPECIFIED(&six) && !IN6_IS_ADDR_MULTICAST(&six);
    return false;
}

static bool is_dropped(struct discovery *d, enum backend_source source, const char *host, const char *addr,
                       uint16_t port)
{
    enum backend_drop why;

    if (is_placeholder(host) || is_placeholder(addr))
        why = BACKEND_DROP_PLACEHOLDER;
    else if (port == 0)
        why = BACKEND_DROP_PORT_ZERO;
    else if (!is_address(addr))
        why = BACKEND_DROP_UNRESOLVABLE;
    else
        return false;
    d->dropped[source][why]++;
    return true;
}

/* ---- the table ---- */

static struct backend *find(struct discovery *d, const char *addr, uint16_t port)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->item[i].port == port && strcmp(d->item[i].host, addr) == 0)
            return &d->item[i];
    return NULL;
}

static void forget(struct discovery *d, size_t i)
{
    d->item[i] = d->item[--d->n];
    d->changed = true;
}

/* The entry, made where it is new; NULL: the table is full. */
static struct backend *take(struct discovery *d, const char *addr, uint16_t port, uint64_t wall_ms)
{
    struct backend *b = find(d, addr, port);

    if (b || d->n == BACKENDS_MAX)
        return b;
    b = &d->item[d->n++];
    memset(b, 0, sizeof(*b));
    snprintf(b->host, sizeof(b->host), "%s", addr);
    b->port = port;
    b->state = BACKEND_UNMANAGED;
    b->first_seen_wall_ms = wall_ms;
    d->changed = true;
    return b;
}

static void say(struct discovery *d, struct backend *b, enum backend_source source, bool now, uint64_t wall_ms,
                const char *text)
{
    struct backend_said *said = &b->said[source];

    d->changed = d->changed || said->now != now || strcmp(said->text, text) != 0;
    said->now = now;
    said->last_wall_ms = wall_ms;
    snprintf(said->text, sizeof(said->text), "%s", text);
}

static void set_state(struct discovery *d, struct backend *b, enum backend_state state)
{
    d->changed = d->changed || b->state != state;
    b->state = state;
}

/* A withdrawal names the service; its address only where the daemon still knew it. */
static void withdraw(struct discovery *d, const struct mdns_service *s, uint64_t wall_ms)
{
    for (size_t i = 0; i < d->n; i++) {
        struct backend *b = &d->item[i];

        if (strcmp(b->service, s->name) != 0 || (*s->addr && strcmp(b->host, s->addr) != 0))
            continue;
        say(d, b, BACKEND_BY_MDNS, false, wall_ms, "no longer advertised");
        b->service[0] = '\0';
    }
}

void discovery_service(struct discovery *d, const struct mdns_service *s, uint64_t wall_ms)
{
    const char *node = mdns_txt_get(s, "node"), *state = mdns_txt_get(s, "state");
    struct backend *b;
    char text[192];

    if (strcmp(s->type, DISCOVERY_TYPE) != 0)
        return;
    if (s->gone) {
        withdraw(d, s, wall_ms);
        return;
    }
    if (is_dropped(d, BACKEND_BY_MDNS, s->host, s->addr, s->port)) {
        d->changed = true;
        return;
    }
    b = take(d, s->addr, s->port, wall_ms);
    if (!b)
        return;
    snprintf(b->service, sizeof(b->service), "%s", s->name);
    snprintf(text, sizeof(text), "advertised as \"%.63s\"%s%.63s%s%.31s", s->name, node ? " by node " : "",
             node ? node : "", state ? ", state " : "", state ? state : "");
    say(d, b, BACKEND_BY_MDNS, true, wall_ms, text);
}

/* ---- agents ---- */

static enum backend_state unit_backend_state(const struct view_node *n, const struct unit_facts *u)
{
    if (!view_node_answers(n) || u->state != UNIT_RUNNING)
        return BACKEND_OFFLINE;
    if (*n->hello.build_problem || (u->rpc.major && n->hello.rpc.major && u->rpc.major != n->hello.rpc.major))
        return BACKEND_INCOMPATIBLE;
    return id128_is_zero(&u->instance) ? BACKEND_HEALTHY : BACKEND_BUSY;
}

/* Behind carriers a worker listens for its own machine alone: there is one place to knock at, the agent, as it advertises. */
static bool is_shown(const struct view_node *n, const struct unit_facts *u, bool tunnel)
{
    /* A unit that was not started yet has no port: that is no dummy entry, it is no entry. */
    return u->role == UNIT_WORKER && (u->port || u->pid) && (!tunnel || (u->standing && n->hello.n_addrs));
}

static void take_unit(struct discovery *d, const struct view *v, const struct view_node *n, const struct unit_facts *u)
{
    bool tunnel = strcmp(n->hello.transport, "tunnel") == 0;
    const char *addr = tunnel ? n->hello.addr[0] : u->addr;
    uint16_t port = tunnel ? n->hello.port : u->port;
    struct backend *b;
    char text[192];

    if (!is_shown(n, u, tunnel) || is_dropped(d, BACKEND_BY_AGENT, addr, addr, port))
        return;
    b = take(d, addr, port, v->made_wall_ms);
    if (!b)
        return;
    b->tunnel = tunnel;
    d->told[b - d->item] = true;
    snprintf(b->node_name, sizeof(b->node_name), "%s", n->hello.name);
    b->rpc = u->rpc;
    b->n_devices = u->n_devices;
    memcpy(b->device, u->device, sizeof(b->device));
    b->memory_bytes = 0;
    for (size_t i = 0; i < u->n_devices; i++)
        b->memory_bytes += u->device_total_bytes[i];
    set_state(d, b, unit_backend_state(n, u));
    snprintf(text, sizeof(text), "%s worker %.63s of node %.63s, %s", u->standing ? "standing" : "leased", u->id,
             n->hello.name, view_node_answers(n) ? unit_state_name(u->state) : "which does not answer");
    say(d, b, BACKEND_BY_AGENT, true, v->made_wall_ms - n->last_report_ms, text);
}

/* What no agent reported this time: not ours, or ours no longer. */
static void settle_rest(struct discovery *d, uint64_t wall_ms)
{
    for (size_t i = d->n; i-- > 0;) {
        struct backend *b = &d->item[i];
        uint64_t last = b->said[BACKEND_BY_AGENT].last_wall_ms;

        if (d->told[i])
            continue;
        if (b->said[BACKEND_BY_AGENT].now)
            say(d, b, BACKEND_BY_AGENT, false, last, "reported no longer");
        if (b->said[BACKEND_BY_MDNS].last_wall_ms > last)
            last = b->said[BACKEND_BY_MDNS].last_wall_ms;
        if (b->said[BACKEND_BY_MDNS].now && !*b->node_name)
            set_state(d, b, BACKEND_UNMANAGED);
        else
            set_state(d, b, BACKEND_OFFLINE);
        if (!b->said[BACKEND_BY_MDNS].now && last + FORGET_MS < wall_ms)
            forget(d, i);
    }
}

void discovery_view(struct discovery *d, const struct view *v)
{
    uint64_t dropped[BACKEND_DROPS];

    memcpy(dropped, d->dropped[BACKEND_BY_AGENT], sizeof(dropped));
    memset(d->dropped[BACKEND_BY_AGENT], 0, sizeof(dropped));
    memset(d->told, 0, sizeof(d->told));
    for (size_t i = 0; i < v->n_nodes; i++)
        for (size_t u = 0; u < v->node[i].n_units; u++)
            take_unit(d, v, &v->node[i], &v->node[i].unit[u]);
    settle_rest(d, v->made_wall_ms);
    if (memcmp(dropped, d->dropped[BACKEND_BY_AGENT], sizeof(dropped)) != 0)
        d->changed = true;
}

bool discovery_changed(const struct discovery *d)
{
    return d->changed;
}

static int compare(const void *a, const void *b)
{
    const struct backend *x = a, *y = b;
    int r = strcmp(x->host, y->host);

    return r ? r : (x->port > y->port) - (x->port < y->port);
}

int discovery_snapshot(struct discovery *d, struct backends **ret)
{
    struct backends *b = calloc(1, sizeof(*b));

    if (!b)
        return err_raise(-ENOMEM);
    b->refs = 1;
    b->item = calloc(d->n ? d->n : 1, sizeof(b->item[0]));
    if (!b->item) {
        free(b);
        return err_raise(-ENOMEM);
    }
    b->n = d->n;
    memcpy(b->item, d->item, d->n * sizeof(b->item[0]));
    for (size_t i = 0; i < BACKEND_DROPS; i++)
        b->dropped[i] = d->dropped[BACKEND_BY_AGENT][i] + d->dropped[BACKEND_BY_MDNS][i];
    qsort(b->item, b->n, sizeof(b->item[0]), compare);
    d->changed = false;
    *ret = b;
    return 0;
}
