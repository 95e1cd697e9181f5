/* Neighbours: up to three nodes that we dial and three that dial us. Each second they hear whether we have a link of our
 * own, and we hear it of them: that is how a node knows through whom it could speak when its own link is cut. */
#include <string.h>

#include "agent/core/state.h"

enum { HEALTH_MS = 1000, HEARD_MS = 3000 /* what was heard longer ago says nothing of now */ };

struct peer *peer_find(struct state *s, const char *key)
{
    for (size_t i = 0; i < s->n_peers; i++) {
        if (strcmp(s->peer[i].key, key) == 0)
            return &s->peer[i];
    }
    return NULL;
}

struct peer *peer_with_link(struct state *s, const char *after)
{
    const struct peer *last = peer_find(s, after);
    size_t from = last ? (size_t)(last - s->peer) + 1 : 0;

    for (size_t i = 0; i < s->n_peers; i++) {
        struct peer *p = &s->peer[(from + i) % s->n_peers];

        if (p->linked)
            return p;
    }
    return NULL;
}

struct message *peer_send(struct step *st, const struct peer *to, enum message_kind kind)
{
    struct message *m = effects_peer_send(&st->fx, to->key, kind);

    if (m)
        route_stamp(st->s, m);
    return m;
}

/* ---- who they are ----------------------------------------------------------------------------------------------- */

static bool is_listed(const struct neighbours *list, const char *key)
{
    for (size_t i = 0; i < list->n_peers; i++) {
        if (strcmp(list->peer[i].key, key) == 0)
            return true;
    }
    for (size_t i = 0; i < list->n_guests; i++) {
        if (strcmp(list->guest[i], key) == 0)
            return true;
    }
    return false;
}

static void take_list(struct step *st, const struct neighbours *list)
{
    struct state *s = st->s;
    struct agent_fx *fx = effects_add(&st->fx, AGENT_FX_PEERS);
    size_t kept = 0;

    s->neighbours = *list;
    for (size_t i = 0; i < s->n_peers; i++) {
        if (is_listed(list, s->peer[i].key))
            s->peer[kept++] = s->peer[i];
    }
    s->n_peers = kept;
    if (fx)
        fx->neighbours = effects_copy(&st->fx, list, sizeof(*list));
}

void peers_on_list(struct step *st, const struct neighbours *list)
{
    st->s->told_due_ms = UINT64_MAX;
    take_list(st, list);
}

void peers_on_up(struct step *st, const char *key)
{
    struct state *s = st->s;
    struct peer *p = peer_find(s, key);

    if (!is_listed(&s->neighbours, key)) /* let in before a newer list came */
        return;
    if (!p)
        p = &s->peer[s->n_peers++];
    *p = (struct peer){.credit_ms = PEER_CREDIT_MS, .credited_ms = st->now_ms};
    memcpy(p->key, key, strlen(key) + 1);
    s->health_due_ms = st->now_ms;
}

void peers_on_down(struct step *st, const char *key)
{
    struct peer *p = peer_find(st->s, key);

    if (p)
        *p = st->s->peer[--st->s->n_peers];
}

/* ---- what we tell each other ------------------------------------------------------------------------------------ */

void peers_on_health(struct step *st, struct peer *p, const struct health *health)
{
    p->linked = health->linked;
    p->heard_ms = st->now_ms;
}

/* The last list is what a node without a link needs, so it outlives the link. A controller that has not sent one of its
 * own by then has none for us. */
void peers_on_link(struct step *st, bool up)
{
    struct state *s = st->s;

    s->health_due_ms = st->now_ms;
    s->told_due_ms = up && (s->neighbours.n_peers || s->neighbours.n_guests) ? st->now_ms + AGENT_TOLD_MS : UINT64_MAX;
}

void peers_on_resumed(struct step *st)
{
    for (size_t i = 0; i < st->s->n_peers; i++)
        st->s->peer[i].linked = false;
}

static void tell_health(struct step *st)
{
    struct state *s = st->s;

    for (size_t i = 0; i < s->n_peers; i++) {
        struct message *m = peer_send(st, &s->peer[i], MESSAGE_HEALTH);

        if (m)
            m->health = (struct health){.linked = route_is_own(s), .uptime_ms = s->uptime_ms};
    }
    s->health_due_ms = st->now_ms + HEALTH_MS;
}

void peers_settle(struct step *st)
{
    static const struct neighbours nobody;
    struct state *s = st->s;

    if (st->now_ms >= s->told_due_ms) {
        s->told_due_ms = UINT64_MAX;
        take_list(st, &nobody);
    }
    for (size_t i = 0; i < s->n_peers; i++) {
        if (st->now_ms - s->peer[i].heard_ms >= HEARD_MS)
            s->peer[i].linked = false;
    }
    if (s->n_peers && st->now_ms >= s->health_due_ms)
        tell_health(st);
}

uint64_t peers_due_ms(const struct state *s)
{
    return s->n_peers && s->health_due_ms < s->told_due_ms ? s->health_due_ms : s->told_due_ms;
}
