/* The way of what we say to the controller: our own link; while that is cut, a neighbour that has one. Whoever is heard
 * over a neighbour says the same things in the same order as on a link: hello, its welcome, a full report, the rest. */
#include <string.h>

#include "agent/core/state.h"
#include "common/core/text.h"

enum {
    ALONE_MS = 1000,   /* so long without a link of our own: a neighbour is asked */
    ANSWER_MS = 3000,  /* no welcome by then: the next one is */
    REFUSED_MS = 30000 /* the controller will not have us; it may be told otherwise */
};

bool route_is_own(const struct state *s)
{
    return s->route.state == ROUTE_OWN;
}

bool route_is_open(const struct state *s)
{
    return s->route.state == ROUTE_OWN || s->route.state == ROUTE_VIA;
}

void route_stamp(const struct state *s, struct message *m)
{
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->cluster = s->route.cluster;
    m->term = s->route.term;
}

void route_note_leader(struct step *st, const struct message *m)
{
    st->s->route.cluster = m->cluster;
    st->s->route.term = m->term;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

/* What a neighbour carries is stamped here: no link of ours will. */
static struct message *send_via(struct step *st, enum message_kind kind)
{
    struct route *r = &st->s->route;
    struct message *inner = effects_relay(&st->fx, r->via, st->config->key, kind);

    if (!inner)
        return NULL;
    route_stamp(st->s, inner);
    inner->seq = ++r->seq;
    return inner;
}

struct message *route_send(struct step *st, enum message_kind kind)
{
    return st->s->route.state == ROUTE_VIA ? send_via(st, kind) : effects_send(&st->fx, kind);
}

/* ---- our own link ----------------------------------------------------------------------------------------------- */

static void be_alone(struct step *st, uint64_t for_ms)
{
    st->s->route.state = ROUTE_NONE;
    st->s->route.due_ms = st->now_ms + for_ms;
}

void route_on_begin(struct step *st)
{
    if (!route_is_own(st->s))
        be_alone(st, ALONE_MS);
}

void route_on_link_up(struct step *st, uint32_t minor)
{
    st->s->route.state = ROUTE_OWN;
    st->s->route.minor = minor;
    peers_on_link(st, true);
    report_on_link_up(st);
}

void route_on_link_down(struct step *st)
{
    if (!route_is_own(st->s))
        return;
    be_alone(st, ALONE_MS);
    peers_on_link(st, false);
}

/* Who was heard of before the machine slept may be gone. */
void route_on_resumed(struct step *st)
{
    if (!route_is_own(st->s))
        be_alone(st, ALONE_MS);
}

/* ---- through a neighbour ---------------------------------------------------------------------------------------- */

static void say_hello(struct step *st, const struct peer *to)
{
    struct route *r = &st->s->route;
    struct message *m;

    r->state = ROUTE_ASKED;
    r->due_ms = st->now_ms + ANSWER_MS;
    r->seq = 0;
    memcpy(r->via, to->key, sizeof(r->via));
    m = send_via(st, MESSAGE_HELLO);
    if (!m)
        return;
    m->hello = st->config->hello;
    for (size_t i = 0; !m->hello.rpc.major && i < st->s->n_units; i++) /* which only a worker can say */
        m->hello.rpc = st->s->unit[i].facts.rpc;
}

static void on_welcome(struct step *st, const struct message *m)
{
    if (m->welcome.refused[0]) {
        be_alone(st, REFUSED_MS);
        return;
    }
    route_note_leader(st, m);
    st->s->route.state = ROUTE_VIA;
    st->s->route.minor = m->version_minor;
    report_on_link_up(st);
}

/* Only from whom we asked: anybody else could only be late, or lie. */
void route_on_relayed(struct step *st, const struct peer *from, const struct message *m)
{
    const struct route *r = &st->s->route;

    if (strcmp(r->via, from->key) != 0)
        return;
    if (m->kind == MESSAGE_WELCOME && (r->state == ROUTE_ASKED || (r->state == ROUTE_VIA && m->welcome.refused[0])))
        on_welcome(st, m);
    else if (r->state == ROUTE_VIA && m->kind == MESSAGE_COMMAND)
        command_on_message(st, m);
    else if (r->state == ROUTE_VIA && m->kind == MESSAGE_NEIGHBOURS)
        peers_on_list(st, m->neighbours);
}

static bool is_lost(struct state *s, uint64_t now_ms)
{
    const struct route *r = &s->route;
    const struct peer *p = peer_find(s, r->via);

    return !p || !p->linked || (r->state == ROUTE_ASKED && now_ms >= r->due_ms);
}

void route_settle(struct step *st)
{
    struct route *r = &st->s->route;
    const struct peer *next;

    if (!st->s->begun || r->state == ROUTE_OWN)
        return;
    if (r->state != ROUTE_NONE && is_lost(st->s, st->now_ms))
        be_alone(st, 0);
    if (r->state != ROUTE_NONE || st->now_ms < r->due_ms)
        return;
    next = peer_with_link(st->s, r->via);
    if (next)
        say_hello(st, next);
}

/* A neighbour that falls silent is noticed when our own health is due, each second. */
uint64_t route_due_ms(const struct state *s)
{
    const struct route *r = &s->route;
    bool any = false;

    for (size_t i = 0; i < s->n_peers; i++)
        any = any || s->peer[i].linked;
    switch (r->state) {
    case ROUTE_NONE:
        return s->begun && any ? r->due_ms : UINT64_MAX;
    case ROUTE_ASKED:
        return r->due_ms;
    case ROUTE_VIA:
    case ROUTE_OWN:
        break;
    }
    return UINT64_MAX;
}
