/* What is on its way over a connection: in order, late, doubled or overtaken. */
#include "tests/sim/net_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "common/core/message_copy.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/stats.h"

void net_clear_pipe(struct pipe *p)
{
    while (p->first) {
        struct letter *l = p->first;

        p->first = l->next;
        message_destroy(&l->m);
        free(l);
    }
    p->last = &p->first;
    p->stuck = false;
    p->last_ms = 0;
}

/* ---- letters ----------------------------------------------------------------------------------------------------- */

static void deliver(struct world *w, struct conn *c, int side, struct message *m)
{
    int end = net_end_of(c, side);

    w->stats->messages++;
    if (end == LEADER)
        leader_message(w, c->dialler, m);
    else if (c->listener == LEADER)
        host_link_message(w, &w->host[end], m);
    else
        host_peer_message(w, &w->host[end], net_end_of(c, !side), m);
}

static void on_arrival(struct world *w, const struct happening *h)
{
    struct conn *c = h->p;
    int side = (int)h->a;
    struct pipe *p = &c->pipe[side];
    struct letter *l = p->first;

    if (h->life != c->life || !l)
        return;
    if (!net_arrives(w, c, side)) {
        p->stuck = true;
        return;
    }
    p->first = l->next;
    if (!p->first)
        p->last = &p->first;
    if (!l->m) {
        net_close_end(w, c, side, false);
    } else if (c->open[side]) {
        deliver(w, c, side, l->m);
    } else { /* nobody has that port open any more */
        message_destroy(&l->m);
        net_post(w, c, !side, NULL);
    }
    free(l);
}

static void arrange(struct world *w, struct conn *c, int side, uint64_t at_ms)
{
    world_at(w, at_ms, (struct happening){.happen = on_arrival, .life = c->life, .a = (uint64_t)side, .p = c});
}

/* To that end. m NULL: the other one closes. */
void net_post(struct world *w, struct conn *c, int side, struct message *m)
{
    struct pipe *p = &c->pipe[side];
    struct letter *l = calloc(1, sizeof(*l));
    uint64_t at_ms = w->now_ms + net_delay(w);

    assert(l);
    l->m = m;
    *p->last = l;
    p->last = &l->next;
    p->last_ms = at_ms > p->last_ms ? at_ms : p->last_ms;
    arrange(w, c, side, p->last_ms);
}

/* One that overtakes, or comes a second time. */
struct stray {
    struct conn *conn;
    struct message *m;
};

static void drop_stray(void *p)
{
    struct stray *s = p;

    message_destroy(&s->m);
    free(s);
}

static void on_stray(struct world *w, const struct happening *h)
{
    struct stray *s = h->p;
    int side = (int)h->a;

    if (h->life == s->conn->life && s->conn->open[side] && net_arrives(w, s->conn, side)) {
        deliver(w, s->conn, side, s->m);
        s->m = NULL;
    }
    drop_stray(s);
}

static void post_stray(struct world *w, struct conn *c, int side, struct message *m, uint64_t most_ms)
{
    struct stray *s = calloc(1, sizeof(*s));

    assert(s);
    *s = (struct stray){c, m};
    world_at(w, w->now_ms + world_chance(w, 0, most_ms),
             (struct happening){.happen = on_stray, .life = c->life, .a = (uint64_t)side, .p = s, .drop = drop_stray});
}

void net_send(struct world *w, struct conn *c, int from, struct message *m)
{
    int side = c && c->dialler == from ? 1 : 0;

    if (!c || !c->open[!side]) {
        message_destroy(&m);
        return;
    }
    if (m->kind != MESSAGE_HELLO && world_maybe(w, w->net->double_permille)) {
        struct message *twin;

        if (message_copy(m, &twin))
            abort();
        post_stray(w, c, side, twin, 3000);
    }
    if (m->kind != MESSAGE_HELLO && world_maybe(w, w->net->overtake_permille))
        post_stray(w, c, side, m, 300);
    else
        net_post(w, c, side, m);
}

/* TCP tries again. */
void net_go_on(struct world *w, struct conn *c, int side)
{
    struct pipe *p = &c->pipe[side];

    if (!p->stuck || !net_arrives(w, c, side))
        return;
    p->stuck = false;
    p->last_ms = w->now_ms + world_chance(w, 1, 600);
    for (struct letter *l = p->first; l; l = l->next)
        arrange(w, c, side, p->last_ms);
}
