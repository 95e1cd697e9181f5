/* Whom carriers let in, and when what they carry moves. */
#include "tests/sim/carrier.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/check.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/stats.h"

void carrier_begin(struct world *w, struct process *p, const struct carrier_spec *spec, uint16_t worker_port,
                   uint16_t coordinator_port)
{
    struct carrier *c = calloc(1, sizeof(*c));

    assert(c);
    c->spec = *spec;
    c->worker_port = worker_port;
    c->coordinator_port = coordinator_port;
    c->feeds = spec->model[0] && world_maybe(w, 500);
    p->carrier = c;
}

/* ---- from a coordinator to a rank -------------------------------------------------------------------------------- */

static struct process *carrier_at(struct host *h, uint16_t port)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        struct process *p = &h->process[i];

        if (p->used && p->up && p->role == UNIT_CARRIER && p->port == port)
            return p;
    }
    return NULL;
}

static bool reads(const struct process *p)
{
    return p->up && !p->frozen && !p->dying;
}

/* As agent/carrier asks its grants. */
static bool is_granted(const struct process *far, const struct process *coordinator, int32_t rank, const char *key)
{
    const struct carrier_spec *s = &far->carrier->spec;

    return far->epoch == coordinator->epoch && id128_equal(&far->instance, &coordinator->instance) && s->rank == rank &&
           strcmp(s->peer, key) == 0;
}

/* Not reached: its own carrier gives up after a while and hangs up. */
static enum dialled unreached(struct world *w, struct process *coordinator)
{
    if (!coordinator->dialled_ms)
        coordinator->dialled_ms = w->now_ms;
    return w->now_ms - coordinator->dialled_ms > CARRIER_DIAL_MS ? DIALLED_NOBODY : DIALLED_LATER;
}

static enum dialled refused(struct world *w, const struct process *coordinator, const struct carrier_route *route)
{
    world_say(w, "coordinator %s is not let in at %s for rank %d", coordinator->unit, route->endpoint, route->rank);
    w->stats->n_not_let_in++;
    return DIALLED_NOBODY;
}

static enum dialled dial_far(struct world *w, struct host *h, struct process *coordinator,
                             const struct carrier_route *route, struct rank_end *ret)
{
    uint16_t port = 0;
    struct process *far;

    ret->at = llama_endpoint_host(w, h, route->endpoint, &port);
    if (!ret->at || !net_passes_both(w, h->n, ret->at->n))
        return unreached(w, coordinator);
    far = carrier_at(ret->at, port);
    if (!far)
        return DIALLED_NOBODY;
    if (!reads(far))
        return unreached(w, coordinator);
    if (strcmp(ret->at->key, route->peer) != 0 || !is_granted(far, coordinator, route->rank, h->key))
        return refused(w, coordinator, route);
    ret->far = far->pid;
    ret->worker = llama_at(ret->at, true, far->carrier->worker_port);
    return ret->worker ? DIALLED : DIALLED_NOBODY;
}

enum dialled carrier_dial(struct world *w, struct host *h, struct process *coordinator, size_t k, struct rank_end *ret)
{
    struct process *near = llama_find(h, coordinator->near);
    const struct carrier_route *route;
    enum dialled r;
    uint16_t port = 0;

    if (!near)
        return DIALLED_NOBODY;
    if (!reads(near))
        return DIALLED_LATER;
    route = &near->carrier->spec.route[k];
    if (k >= near->carrier->spec.n_routes || strcmp(route->endpoint, coordinator->spec->endpoint[k]) != 0) {
        world_fail(w, "%s: the carrier of coordinator %s has no route to %s", h->name, coordinator->unit,
                   coordinator->spec->endpoint[k]);
        return DIALLED_NOBODY;
    }
    if (route->peer[0]) {
        r = dial_far(w, h, coordinator, route, ret);
        if (r == DIALLED)
            coordinator->dialled_ms = 0;
        return r;
    }
    ret->at = llama_endpoint_host(w, h, route->endpoint, &port);
    ret->far = near->pid;
    ret->worker = ret->at == h ? llama_at(h, true, port) : NULL;
    return ret->worker ? DIALLED : DIALLED_NOBODY;
}

/* ---- while it stands --------------------------------------------------------------------------------------------- */

static struct process *process_of_boot(struct host *h, uint32_t boot, int32_t pid)
{
    return h->boot == boot ? llama_find(h, pid) : NULL;
}

bool carrier_moves(struct world *w, const struct host *h, const struct process *p, struct stream *s)
{
    struct host *at = &w->host[s->host];
    const struct process *near = llama_find(&w->host[h->n], p->near);
    const struct process *far = process_of_boot(at, s->boot, s->far);
    const struct process *worker = process_of_boot(at, s->boot, s->pid);
    bool passes = net_passes_both(w, h->n, s->host);

    if (!near) {
        s->closed = true; /* by its own kernel */
        return false;
    }
    if (near->frozen)
        return false;
    if (far && (worker || far->frozen))
        return passes && worker && !worker->frozen && !far->frozen && !s->closed;
    /* The end of a process is told as soon as the network lets it; that of a machine only when it is asked. */
    if (passes && (at->boot == s->boot || llama_computes(p)))
        s->closed = true;
    return false;
}

/* What is sent would be written to the worker's socket. */
static bool delivers(struct world *w, const struct host *h, const struct process *p, const struct stream *s)
{
    const struct process *near = llama_find(&w->host[h->n], p->near);
    const struct process *far = process_of_boot(&w->host[s->host], s->boot, s->far);

    return near && far && !near->frozen && !far->frozen && net_passes_both(w, h->n, s->host);
}

void carrier_waits(struct world *w, const struct host *h, const struct process *p, struct stream *s, bool moves)
{
    const struct process *worker = process_of_boot(&w->host[s->host], s->boot, s->pid);

    if (moves || s->closed || !llama_computes(p)) {
        s->worker_ms = s->near_ms = 0;
        return;
    }
    if (!s->near_ms)
        s->near_ms = w->now_ms;
    if (!worker || !worker->frozen)
        s->worker_ms = 0;
    else if (!s->worker_ms && delivers(w, h, p, s))
        s->worker_ms = w->now_ms;
}

bool carrier_client_left(struct world *w, struct host *h, const struct process *worker)
{
    struct host *from = &w->host[worker->client_host];
    const struct process *far = llama_find(h, worker->client_far), *near, *client;

    if (!far)
        return true;
    if (far->frozen || from->boot != worker->client_boot || !net_passes(w, from->n, h->n))
        return false;
    near = llama_find(from, worker->client_near);
    client = llama_find(from, worker->client_pid);
    return !near || (!client && !near->frozen);
}

/* ---- from a gateway to a coordinator ----------------------------------------------------------------------------- */

struct process *carrier_leads_to(struct host *h, uint16_t port)
{
    const struct process *carrier = carrier_at(h, port);
    struct process *p = carrier ? llama_at(h, true, carrier->carrier->coordinator_port) : NULL;

    return p && p->role == UNIT_COORDINATOR ? p : NULL;
}

static bool lets_in_gateway(const struct process *carrier, const struct upstream *to)
{
    const struct carrier_spec *s = &carrier->carrier->spec;

    for (size_t i = 0; i < s->n_gateways; i++) {
        if (strcmp(s->gateway[i], LEADER_KEY) == 0)
            return carrier->epoch == to->epoch && id128_equal(&carrier->instance, &to->instance);
    }
    return false;
}

enum asked carrier_reach(struct world *w, struct host *h, const struct upstream *to, struct process **ret,
                         int32_t *ret_carrier)
{
    struct process *carrier = carrier_at(h, to->port);

    *ret = NULL;
    if (!carrier)
        return ASKED_REFUSED;
    if (!reads(carrier))
        return ASKED_UNREACHED;
    if (strcmp(h->key, to->key) != 0 || !lets_in_gateway(carrier, to)) {
        w->stats->n_not_let_in++;
        return ASKED_REFUSED;
    }
    *ret = carrier_leads_to(h, to->port);
    *ret_carrier = carrier->pid;
    return *ret ? ASKED_TAKEN : ASKED_REFUSED;
}
