/* Who dials whom, and how a node is reached whose own link is cut.
 *
 * The lists are made anew every second from what is known and told where they differ: nothing has to be remembered at the
 * many places where a node or an instance changes, so nothing can be forgotten there. */
#include "controller/core/neighbours.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/core/effects.h"
#include "controller/core/hearing.h"
#include "controller/core/hello.h"
#include "controller/core/instances.h"
#include "controller/core/nodes.h"

enum { TELL_MS = 1000, RING_REACH = 16 };

/* ---- the lists -------------------------------------------------------------------------------------------------- */

/* A lost one keeps its links: by way of a neighbour it may be back sooner than by its own. */
static bool has_neighbours(const struct node *n)
{
    if (!n->joined || !n->hello.port)
        return false;
    switch (n->state) {
    case NODE_JOINING:
    case NODE_READY:
    case NODE_SUSPECT:
    case NODE_STUCK:
    case NODE_LOST:
    case NODE_DRAINING:
        return true;
    case NODE_UNKNOWN:
    case NODE_EVICTED:
    case NODE_DRAINED: /* about to be taken away */
    case NODE_RETIRED:
        break;
    }
    return false;
}

static bool contains(const struct id128 *list, size_t n, const struct id128 *id)
{
    for (size_t i = 0; i < n; i++) {
        if (id128_equal(&list[i], id))
            return true;
    }
    return false;
}

static bool linked(const struct neighbour_list *l, const struct id128 *id)
{
    return contains(l->peer, l->n_peers, id) || contains(l->guest, l->n_guests, id);
}

/* A link has one dialler; false: one of them has links enough. */
static bool dial(const struct cluster *c, struct neighbour_list *list, size_t from, size_t to)
{
    struct neighbour_list *a = &list[from], *b = &list[to];
    const struct id128 *from_id = &CLUSTER_NODE(c, from)->id, *to_id = &CLUSTER_NODE(c, to)->id;

    if (from == to || linked(a, to_id))
        return true;
    if (a->n_peers == PROTO_PEERS_MAX || b->n_guests == PROTO_PEERS_MAX)
        return false;
    a->peer[a->n_peers++] = *to_id;
    b->guest[b->n_guests++] = *from_id;
    return true;
}

static void link_members(const struct cluster *c, const struct instance *i, struct neighbour_list *list)
{
    const struct run *run = &i->run;

    for (size_t a = 0; a < run->n_members; a++) {
        for (size_t b = a + 1; b < run->n_members; b++) {
            const struct node *x = node_find(c, &run->member[a].node), *y = node_find(c, &run->member[b].node);

            if (!x || !y || !has_neighbours(x) || !has_neighbours(y))
                continue;
            if (!dial(c, list, node_index(c, &x->id), node_index(c, &y->id)))
                dial(c, list, node_index(c, &y->id), node_index(c, &x->id));
        }
    }
}

/* Everybody the next one, then everybody the one after that, so that none comes too short. ring: indices. */
static void link_ring(const struct cluster *c, const size_t *ring, size_t n, struct neighbour_list *list)
{
    for (size_t reach = 1; reach < n && reach <= RING_REACH; reach++) {
        for (size_t k = 0; k < n; k++)
            dial(c, list, ring[k], ring[(k + reach) % n]);
    }
}

/* ret: owned, one per node of the table. */
static int lists_make(const struct cluster *c, struct neighbour_list **ret)
{
    CLEANUP(cleanup_free) struct neighbour_list *list = calloc(c->nodes.n + 1, sizeof(*list));
    CLEANUP(cleanup_free) size_t *ring = calloc(c->nodes.n + 1, sizeof(*ring));
    size_t n = 0;

    if (!list || !ring)
        return err_raise(-ENOMEM);
    for (size_t k = 0; k < c->nodes.n; k++) {
        if (has_neighbours(CLUSTER_NODE(c, k)))
            ring[n++] = k;
    }
    for (size_t k = 0; k < c->instances.n; k++) {
        if (instance_state_runs(CLUSTER_INSTANCE(c, k)->state))
            link_members(c, CLUSTER_INSTANCE(c, k), list);
    }
    link_ring(c, ring, n, list);
    *ret = list;
    list = NULL;
    return 0;
}

bool neighbours_are(const struct node *n, const struct node *other)
{
    return linked(&n->neighbours, &other->id);
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

static int tell(struct step *s, const struct node *n)
{
    CLEANUP(message_destroy) struct message *m = message_to(s, MESSAGE_NEIGHBOURS);
    const struct neighbour_list *l = &n->neighbours;

    if (!m)
        return err_raise(-ENOMEM);
    m->neighbours = calloc(1, sizeof(*m->neighbours));
    if (!m->neighbours)
        return err_raise(-ENOMEM);
    for (size_t k = 0; k < l->n_peers; k++)
        node_peer(node_find(s->c, &l->peer[k]), &m->neighbours->peer[m->neighbours->n_peers++]);
    for (size_t k = 0; k < l->n_guests; k++)
        memcpy(m->neighbours->guest[m->neighbours->n_guests++], node_find(s->c, &l->guest[k])->key, PROTO_KEY_MAX);
    return err_fold(fx_send(s, n->key, "", &m));
}

static bool same_list(const struct neighbour_list *a, const struct neighbour_list *b)
{
    return a->n_peers == b->n_peers && a->n_guests == b->n_guests &&
           !memcmp(a->peer, b->peer, a->n_peers * sizeof(a->peer[0])) &&
           !memcmp(a->guest, b->guest, a->n_guests * sizeof(a->guest[0]));
}

static int update(struct step *s, struct node *n, const struct neighbour_list *list)
{
    int r;

    if (!has_neighbours(n) || !nodes_listens_for(n) || (n->neighbours.told && same_list(&n->neighbours, list)))
        return 0;
    r = journal_change(&s->journal, &n->neighbours, sizeof(n->neighbours));
    if (r)
        return err_fold(r);
    n->neighbours = *list;
    n->neighbours.told = true;
    return err_fold(tell(s, n));
}

int neighbours_moved(struct step *s, const struct node *n)
{
    int r;

    for (size_t k = 0; k < s->c->nodes.n; k++) {
        struct neighbour_list *l = &CLUSTER_NODE(s->c, k)->neighbours;

        if (!contains(l->peer, l->n_peers, &n->id))
            continue;
        r = journal_change(&s->journal, &l->told, sizeof(l->told));
        if (r)
            return err_fold(r);
        l->told = false;
    }
    return 0;
}

int neighbours_tick(struct step *s)
{
    return s->now_ms < neighbours_due_ms(s->c) ? 0 : err_fold(neighbours_tell(s));
}

int neighbours_tell(struct step *s)
{
    CLEANUP(cleanup_free) struct neighbour_list *list = NULL;
    int r;

    s->c->numbers.neighbours_ms = s->now_ms + TELL_MS;
    r = lists_make(s->c, &list);
    for (size_t k = 0; !r && k < s->c->nodes.n; k++)
        r = update(s, CLUSTER_NODE(s->c, k), &list[k]);
    return err_fold(r);
}

uint64_t neighbours_due_ms(const struct cluster *c)
{
    for (size_t k = 0; k < c->nodes.n; k++) {
        if (nodes_listens_for(CLUSTER_NODE(c, k)))
            return c->numbers.neighbours_ms;
    }
    return UINT64_MAX;
}

/* ---- relays ----------------------------------------------------------------------------------------------------- */

const struct node *neighbours_carrier(const struct cluster *c, const char *key)
{
    const struct node *n = node_by_key(c, key);

    return n && !id128_is_zero(&n->via) ? node_find(c, &n->via) : NULL;
}

static bool speaks_itself(const struct step *s, const struct node *n)
{
    return n->direct_ms && s->now_ms - n->direct_ms < s->c->config.silent_ms;
}

/* It says hello before it goes another way: what comes by this one is older than what came by that. */
static bool has_another_carrier(const struct step *s, const struct node *n, const struct node *carrier)
{
    return !id128_is_zero(&n->via) && !id128_equal(&n->via, &carrier->id) &&
           s->now_ms - n->heard_ms < s->c->config.silent_ms;
}

/* Said before its own link came back, and it has said hello on that since. Not that of a copy: that one is to be told. */
static bool is_outrun(const struct step *s, const struct node *n, const struct hello *h)
{
    return speaks_itself(s, n) && nodes_listens_for(n) && !strcmp(n->hello.boot_id, h->boot_id);
}

/* Whoever carries has proven the key, not we. The id that a hello claims is taken where it disturbs nobody: it is that
 * key's, or nobody's yet. Should it be false, its owner takes it back by a hello of its own link (hello.c). */
static int relayed_hello(struct step *s, const struct node *carrier, const char *key, struct message *m)
{
    const struct node *n = node_by_key(s->c, key);
    struct cluster_ev ev = {.kind = CLUSTER_EV_HELLO, .node = n ? n->id : m->hello.node, .message = m};

    if (n && is_outrun(s, n, &m->hello))
        return step_late(s);
    memcpy(ev.key, key, sizeof(ev.key));
    return err_fold(hello_heard(s, &ev, carrier));
}

int neighbours_relayed(struct step *s, struct node *carrier, const struct message *m)
{
    struct message *inner = m->relay.inner;
    struct node *n = node_by_key(s->c, m->relay.key);
    int r;

    if (!inner || !carrier->joined || carrier->state == NODE_RETIRED || n == carrier)
        return step_late(s);
    if (inner->kind == MESSAGE_HELLO)
        return err_fold(relayed_hello(s, carrier, m->relay.key, inner));
    if (!n || speaks_itself(s, n) || has_another_carrier(s, n, carrier))
        return step_late(s);
    r = nodes_seen(s, n, inner, carrier);
    if (r)
        return err_fold(r);
    return err_fold(hear_message(s, n, inner));
}

int neighbours_carrier_gone(struct step *s, const struct node *carrier)
{
    int r;

    for (size_t k = 0; k < s->c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(s->c, k);

        if (!id128_equal(&n->via, &carrier->id))
            continue;
        r = step_node(s, n);
        if (r)
            return err_fold(r);
        n->via = (struct id128){{0}};
    }
    return 0;
}
