#include "tests/sim/net_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stats.h"

/* ---- who can reach whom ------------------------------------------------------------------------------------------ */

int net_leader_machine(const struct world *w)
{
    return w->scenario->shared_machine ? 1 : 0;
}

bool net_carrier(const struct world *w, int machine)
{
    return !w->net->cable[machine];
}

bool net_passes(const struct world *w, int from, int to)
{
    const struct net *n = w->net;

    if (!host_awake(&w->host[from]) || !host_awake(&w->host[to]))
        return false;
    return from == to || (!n->cable[from] && !n->cable[to] && !n->cut[from][to]);
}

bool net_passes_both(const struct world *w, int a, int b)
{
    return net_passes(w, a, b) && net_passes(w, b, a);
}

uint64_t net_delay(struct world *w)
{
    uint64_t most = w->scenario->delay_ms + w->net->delay_ms;
    uint64_t ms = world_chance(w, 0, most);

    if (world_maybe(w, w->net->loss_permille)) /* a lost packet is sent again */
        ms += world_chance(w, 200, 800);
    return ms;
}

static void dial_later(struct world *w, struct conn *c, uint64_t in_ms);

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static int machine_of(const struct world *w, int end)
{
    return end == LEADER ? net_leader_machine(w) : end;
}

static bool runs(const struct world *w, int end)
{
    return end == LEADER ? leader_runs(w) : host_agent_runs(&w->host[end]);
}

/* Runs and is not stopped: it reads, and answers heartbeats. */
static bool listens(const struct world *w, int end)
{
    return end == LEADER ? leader_listens(w) : host_agent_listens(&w->host[end]);
}

int net_end_of(const struct conn *c, int side)
{
    return side ? c->listener : c->dialler;
}

static bool answered(const struct world *w, const struct conn *c)
{
    return net_passes_both(w, machine_of(w, c->dialler), machine_of(w, c->listener)) && listens(w, c->dialler) &&
           listens(w, c->listener);
}

bool net_arrives(const struct world *w, const struct conn *c, int side)
{
    int to = net_end_of(c, side);

    return net_passes(w, machine_of(w, net_end_of(c, !side)), machine_of(w, to)) && listens(w, to);
}

/* The process at that end is told, if there is one. */
static void tell_closed(struct world *w, struct conn *c, int side)
{
    int end = net_end_of(c, side);

    if (!runs(w, end))
        return;
    if (end == LEADER)
        leader_link_closed(w, c->dialler);
    else if (c->listener == LEADER)
        host_link_closed(w, &w->host[end]);
    else
        host_peer_down(w, &w->host[end], net_end_of(c, !side));
}

void net_close_end(struct world *w, struct conn *c, int side, bool say)
{
    if (!c->open[side])
        return;
    c->open[side] = false;
    net_clear_pipe(&c->pipe[side]);
    if (say && c->open[!side])
        net_post(w, c, !side, NULL);
    if (side == 0)
        dial_later(w, c, world_chance(w, 100, 1000));
    tell_closed(w, c, side);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void on_late_close(struct world *w, const struct happening *h)
{
    if (leader_runs(w))
        leader_link_closed(w, (int)h->a);
}

/* The end of the last connection was not noticed yet at the other side: a router learns of it at any time after. */
static void forget_last(struct world *w, struct conn *c)
{
    if (c->open[1] && c->listener == LEADER)
        world_at(w, w->now_ms + world_chance(w, 0, 1200),
                 (struct happening){.happen = on_late_close, .a = (uint64_t)c->dialler});
    else
        net_close_end(w, c, 1, false);
}

static void connected(struct world *w, struct conn *c)
{
    forget_last(w, c);
    net_clear_pipe(&c->pipe[0]);
    net_clear_pipe(&c->pipe[1]);
    c->life++;
    c->open[0] = c->open[1] = true;
    c->blocked_ms = UINT64_MAX;
    if (c->listener == LEADER) {
        host_link_open(w, &w->host[c->dialler]);
        return;
    }
    host_peer_up(w, &w->host[c->listener], c->dialler);
    host_peer_up(w, &w->host[c->dialler], c->listener);
}

static void on_dial(struct world *w, const struct happening *h)
{
    struct conn *c = h->p;

    if (h->life != c->dials || c->open[0] || !c->wanted || !runs(w, c->dialler))
        return;
    if (answered(w, c) && (c->listener == LEADER || host_lets_in(&w->host[c->listener], c->dialler)))
        connected(w, c);
    else
        dial_later(w, c, world_chance(w, 100, 1000));
}

static void dial_later(struct world *w, struct conn *c, uint64_t in_ms)
{
    c->dials++; /* one at a time */
    if (c->wanted)
        world_at(w, w->now_ms + in_ms, (struct happening){.happen = on_dial, .life = c->dials, .p = c});
}

static bool in_use(const struct conn *c)
{
    return c->wanted || c->open[0] || c->open[1];
}

struct conn *net_find(const struct world *w, int dialler, int listener)
{
    struct conn *c;

    if (listener == LEADER)
        return &w->net->link[dialler];
    for (size_t i = 0; i < NET_DIALLED; i++) {
        c = &w->net->dialled[dialler][i];
        if (in_use(c) && c->listener == listener)
            return c;
    }
    return NULL;
}

static struct conn *unused(struct world *w, int dialler)
{
    for (size_t i = 0; i < NET_DIALLED; i++) {
        if (!in_use(&w->net->dialled[dialler][i]))
            return &w->net->dialled[dialler][i];
    }
    return NULL;
}

void net_dial(struct world *w, int dialler, int listener)
{
    struct conn *c = net_find(w, dialler, listener);

    if (!c) {
        c = unused(w, dialler);
        assert(c);
        c->listener = listener;
        c->life++;
    }
    if (!c->wanted) {
        c->wanted = true;
        dial_later(w, c, world_chance(w, 5, 100));
    }
}

void net_each(struct world *w, void (*f)(struct world *w, struct conn *c, int arg), int arg)
{
    for (size_t n = 1; n <= w->n_hosts; n++) {
        f(w, &w->net->link[n], arg);
        for (size_t i = 0; i < NET_DIALLED; i++) {
            if (in_use(&w->net->dialled[n][i]))
                f(w, &w->net->dialled[n][i], arg);
        }
    }
}

void net_hang_up(struct world *w, struct conn *c, bool kernel_lives)
{
    c->wanted = false;
    if (!c->open[0])
        return;
    c->open[0] = false; /* whoever hangs up need not be told */
    net_clear_pipe(&c->pipe[0]);
    if (kernel_lives && c->open[1])
        net_post(w, c, 1, NULL);
}

static void end_of_process(struct world *w, struct conn *c, int ended)
{
    bool kernel_lives = ended >= 0;

    ended = kernel_lives ? ended : -1 - ended;
    if (c->dialler == ended)
        net_hang_up(w, c, kernel_lives);
    else if (c->listener == ended)
        net_close_end(w, c, 1, kernel_lives);
}

void net_process_ended(struct world *w, int host, bool kernel_lives)
{
    net_each(w, end_of_process, kernel_lives ? host : -1 - host);
    net_changed(w);
}

/* ---- what is noticed --------------------------------------------------------------------------------------------- */

static void on_notice(struct world *w, const struct happening *h)
{
    struct conn *c = h->p;
    int side = (int)h->a;

    if (h->life != c->life || !c->open[side] || c->blocked_ms != h->b)
        return;
    if (listens(w, net_end_of(c, side)))
        net_close_end(w, c, side, true);
    else
        world_at(w, w->now_ms + 300, *h);
}

static void notice_later(struct world *w, struct conn *c)
{
    for (int side = 0; side < 2; side++) {
        if (c->open[side])
            world_at(w, w->now_ms + world_chance(w, 900, 1200),
                     (struct happening){
                         .happen = on_notice, .life = c->life, .a = (uint64_t)side, .b = c->blocked_ms, .p = c});
    }
}

static void check_heartbeat(struct world *w, struct conn *c)
{
    bool fine = answered(w, c) && c->open[0] && c->open[1];

    if (!c->open[0] && !c->open[1])
        return;
    if (fine) {
        c->blocked_ms = UINT64_MAX;
    } else if (c->blocked_ms == UINT64_MAX) {
        c->blocked_ms = w->now_ms;
        notice_later(w, c);
    }
}

static void look_at(struct world *w, struct conn *c, int unused_arg)
{
    (void)unused_arg;
    check_heartbeat(w, c);
    net_go_on(w, c, 0);
    net_go_on(w, c, 1);
}

void net_changed(struct world *w)
{
    net_each(w, look_at, 0);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void begin_conn(struct conn *c, size_t dialler)
{
    *c = (struct conn){.dialler = (int)dialler, .listener = LEADER, .blocked_ms = UINT64_MAX};
    net_clear_pipe(&c->pipe[0]);
    net_clear_pipe(&c->pipe[1]);
}

void net_begin(struct world *w)
{
    w->net = calloc(1, sizeof(*w->net));
    assert(w->net);
    for (size_t n = 0; n <= HOSTS_MAX; n++) {
        begin_conn(&w->net->link[n], n);
        for (size_t i = 0; i < NET_DIALLED; i++)
            begin_conn(&w->net->dialled[n][i], n);
    }
}

void net_end(struct world *w)
{
    for (size_t n = 0; n <= HOSTS_MAX; n++) {
        for (int side = 0; side < 2; side++) {
            net_clear_pipe(&w->net->link[n].pipe[side]);
            for (size_t i = 0; i < NET_DIALLED; i++)
                net_clear_pipe(&w->net->dialled[n][i].pipe[side]);
        }
    }
    free(w->net);
}
