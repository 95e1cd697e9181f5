/* The agent's links: to the controller and to its neighbours; and its knocks. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/host.h"
#include "tests/sim/net.h"

enum { GREET_AGAIN_FIRST_MS = 2000, GREET_AGAIN_MS = 30000, NEIGHBOUR_PORT = 7431 };

/* ---- to the controller ------------------------------------------------------------------------------------------- */

void host_hello(const struct host *h, struct message *m)
{
    struct hello *hello = &m->hello;

    m->kind = MESSAGE_HELLO;
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = h->cluster;
    hello->node = h->id;
    memcpy(hello->name, h->name, sizeof(h->name));
    snprintf(hello->boot_id, sizeof(hello->boot_id), "boot-%d-%u", h->n, h->boot);
    strcpy(hello->version, "sim");
    strcpy(hello->build, "b11669-0.7.0");
    hello->rpc = (struct rpc_version){8, 0, 0};
    strcpy(hello->transport, h->tunnel ? "tunnel" : "direct");
    hello->n_addrs = 1;
    memcpy(hello->addr[0], h->addr, sizeof(h->addr));
    hello->can_coordinate = true;
    hello->port = NEIGHBOUR_PORT;
}

static void stamp(const struct host *h, struct message *m)
{
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = h->cluster;
    m->term = h->term;
}

static void greet(struct world *w, struct host *h)
{
    struct message *m = calloc(1, sizeof(*m));

    assert(m);
    host_hello(h, m);
    net_send(w, &w->net->link[h->n], h->n, m);
}

void host_link_open(struct world *w, struct host *h)
{
    greet(w, h);
}

static void on_greet_again(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];

    if (happening->a != h->greet_ms || host_not_now(w, h, happening))
        return;
    h->refused_ms = h->refused_ms < GREET_AGAIN_MS / 2 ? h->refused_ms * 2 : GREET_AGAIN_MS;
    if (!h->welcomed)
        greet(w, h);
}

static void greet_later(struct world *w, struct host *h)
{
    if (!h->refused_ms)
        h->refused_ms = GREET_AGAIN_FIRST_MS;
    h->greet_ms = w->now_ms + h->refused_ms;
    world_at(w, h->greet_ms,
             (struct happening){.happen = on_greet_again, .host = h->n, .life = h->life, .a = h->greet_ms});
}

static void end_session(struct world *w, struct host *h)
{
    bool was = h->welcomed;

    h->welcomed = false;
    if (was)
        host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_LINK_DOWN});
}

static void welcome(struct world *w, struct host *h, const struct message *m)
{
    if (m->welcome.refused[0]) {
        world_say(w, "%s is refused: %s", h->name, m->welcome.refused);
        greet_later(w, h);
        end_session(w, h);
        return;
    }
    h->refused_ms = 0;
    h->welcomed = true;
    h->welcomed_ms = w->now_ms;
    h->cluster = m->cluster;
    h->term = m->term;
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_LINK_UP, .minor = m->version_minor});
}

void host_link_message(struct world *w, struct host *h, struct message *m)
{
    if (m->kind == MESSAGE_WELCOME)
        welcome(w, h, m);
    else if (h->welcomed && (m->kind == MESSAGE_COMMAND || m->kind == MESSAGE_NEIGHBOURS || m->kind == MESSAGE_RELAY))
        host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = m});
    message_destroy(&m);
}

void host_link_closed(struct world *w, struct host *h)
{
    end_session(w, h);
}

void host_send(struct world *w, struct host *h, struct message *m)
{
    if (!h->welcomed) {
        message_destroy(&m);
        return;
    }
    stamp(h, m);
    net_send(w, &w->net->link[h->n], h->n, m);
}

/* ---- to neighbours ----------------------------------------------------------------------------------------------- */

static bool is_peer(const struct host *h, const char *key)
{
    for (size_t i = 0; i < h->peers.n_peers; i++) {
        if (strcmp(h->peers.peer[i].key, key) == 0)
            return true;
    }
    return false;
}

bool host_lets_in(const struct host *h, int from)
{
    for (size_t i = 0; i < h->peers.n_guests; i++) {
        if (strtol(h->peers.guest[i], NULL, 16) == from)
            return true;
    }
    return false;
}

void host_set_peers(struct world *w, struct host *h, const struct neighbours *list)
{
    h->peers = *list;
    for (size_t i = 0; i < NET_DIALLED; i++) {
        struct conn *c = &w->net->dialled[h->n][i];

        if (c->wanted && !is_peer(h, w->host[c->listener].key))
            net_hang_up(w, c, true);
    }
    for (size_t i = 0; i < list->n_peers; i++) {
        struct host *other = host_by_key(w, list->peer[i].key);

        if (other && other != h)
            net_dial(w, h->n, other->n);
    }
}

void host_peer_up(struct world *w, struct host *h, int other)
{
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_PEER_UP, .key = w->host[other].key});
}

void host_peer_down(struct world *w, struct host *h, int other)
{
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_PEER_DOWN, .key = w->host[other].key});
}

void host_peer_message(struct world *w, struct host *h, int other, struct message *m)
{
    if (m->kind == MESSAGE_HEALTH || m->kind == MESSAGE_RELAY)
        host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_PEER_MESSAGE, .key = w->host[other].key, .message = m});
    message_destroy(&m);
}

void host_peer_send(struct world *w, struct host *h, const char *key, struct message *m)
{
    struct host *other = host_by_key(w, key);
    struct conn *dialled = other ? net_find(w, h->n, other->n) : NULL;
    struct conn *accepted = other ? net_find(w, other->n, h->n) : NULL;

    stamp(h, m);
    if (dialled && dialled->open[0])
        net_send(w, dialled, h->n, m);
    else
        net_send(w, accepted, h->n, m);
}

/* ---- knocks ------------------------------------------------------------------------------------------------------ */

static void on_knocked(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];

    if (!host_not_now(w, h, happening))
        host_feed(w, h,
                  &(struct agent_ev){
                      .kind = AGENT_EV_KNOCKED, .token = happening->a, .knock = (enum knock_outcome)happening->b});
}

void host_knock(struct world *w, struct host *h, uint64_t token, const struct peer_facts *peer)
{
    struct host *other = host_by_key(w, peer->key);
    enum knock_outcome found = KNOCK_UNANSWERED;
    uint64_t ms = 500;

    if (other)
        found = net_knock(w, h->n, other->n, &ms);
    world_at(w, w->now_ms + ms,
             (struct happening){.happen = on_knocked, .host = h->n, .life = h->life, .a = token, .b = (uint64_t)found});
}
