/* What processes do while nothing happens to them: compute, hold memory, wait for each other. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/carrier.h"
#include "tests/sim/host.h"
#include "tests/sim/llama.h"
#include "tests/sim/models.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

enum { COORDINATOR_BYTES = 40 << 20, CARRIER_BYTES = 5 << 20, UNREAD_BYTES = 321 };

/* ---- work -------------------------------------------------------------------------------------------------------- */

uint64_t llama_device_bytes(const struct process *p, size_t device)
{
    uint32_t first = 0;

    for (size_t i = 0; i < device; i++)
        first += p->spec->layers[i];
    return model_weights(p->spec->model, first, p->spec->layers[device]);
}

static uint64_t done_part(const struct process *c, uint64_t bytes)
{
    if (c->phase == PHASE_CONNECTING || !c->load_ms)
        return 0;
    return c->phase == PHASE_LISTENING || c->work_ms >= c->load_ms ? bytes : bytes / c->load_ms * c->work_ms;
}

size_t llama_rpc_index(const char *device)
{
    return strncmp(device, "RPC", 3) == 0 ? (size_t)atoi(device + 3) : SIZE_MAX;
}

static uint64_t worker_bytes(const struct process *c, const struct host *h, const struct process *p)
{
    uint64_t sum = 0;

    for (size_t d = 0; d < c->spec->n_devices; d++) {
        size_t rank = llama_rpc_index(c->spec->device[d]);

        if (rank < c->n_connected && c->stream[rank].host == h->n && c->stream[rank].pid == p->pid)
            sum += llama_device_bytes(c, d);
    }
    return sum;
}

uint64_t llama_loaded_bytes(struct world *w, const struct process *coordinator, const struct stream *s)
{
    const struct host *at = &w->host[s->host];
    const struct process *worker = at->boot == s->boot ? llama_find(&w->host[s->host], s->pid) : NULL;

    return worker ? done_part(coordinator, worker_bytes(coordinator, at, worker)) : 0;
}

static void settle_worker(struct world *w, struct host *h, struct process *p, uint64_t ms)
{
    struct process *c = p->client_host ? llama_find(&w->host[p->client_host], p->client_pid) : NULL;

    if (p->client_host && !c)
        return; /* its client has vanished: it keeps what it has */
    p->rss_bytes = WORKER_BYTES + (c && !h->has_gpu ? done_part(c, worker_bytes(c, h, p)) : 0);
    if (c && llama_computes(c) && !c->stalled && !c->frozen)
        p->cpu_ms += ms / 3 + 1;
    p->unread_bytes = 0;
}

static void settle_coordinator(struct process *p, uint64_t ms)
{
    bool works = llama_computes(p) && !p->stalled;

    if (works)
        p->work_ms += ms / (p->slow ? p->slow : 1);
    p->cpu_ms += works ? ms / (p->phase == PHASE_LOADING ? 2 : 12) : ms / 1000;
    p->rss_bytes = COORDINATOR_BYTES + done_part(p, p->local_bytes);
}

void llama_settle(struct world *w, struct host *h, struct process *p)
{
    uint64_t ms = w->now_ms - p->settled_ms;

    p->settled_ms = w->now_ms;
    if (p->dying || !host_awake(h))
        return;
    if (p->frozen) {
        p->unread_bytes = p->client_host ? UNREAD_BYTES : 0;
        return;
    }
    switch (p->role) {
    case UNIT_WORKER:
        settle_worker(w, h, p, ms);
        return;
    case UNIT_COORDINATOR:
        settle_coordinator(p, ms);
        return;
    case UNIT_CARRIER:
        p->rss_bytes = CARRIER_BYTES;
        p->cpu_ms += ms / 200;
        return;
    }
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

/* One stream of a coordinator, after something has changed. Returns whether it moves. */
static bool stream_moves(struct world *w, const struct host *h, const struct process *p, struct stream *s)
{
    struct host *at = &w->host[s->host];
    const struct process *worker = at->boot == s->boot ? llama_find(at, s->pid) : NULL;
    bool passes = net_passes_both(w, h->n, s->host);

    if (p->near)
        return carrier_moves(w, h, p, s);
    if (worker)
        return passes && !worker->frozen && !s->closed;
    /* A process that ended says so as soon as the network lets it; a machine that lost its power only when asked. */
    if (passes && (at->boot == s->boot || llama_computes(p)))
        s->closed = true;
    return false;
}

static void answer_500(struct world *w, struct process *p)
{
    p->broken = p->broken || p->n_requests;
    while (p->broken && p->n_requests) {
        struct request *r = p->request[--p->n_requests];

        r->host = 0;
        r->done(w, r, false);
    }
}

static void follow_streams(struct world *w, struct host *h, struct process *p)
{
    bool closed = false;

    p->stalled = false;
    p->slow = h->slow;
    for (size_t k = 0; k < p->n_connected; k++) {
        uint32_t slow = w->host[p->stream[k].host].slow;
        bool moves;

        if (!p->stream[k].host)
            continue; /* passed over */
        moves = stream_moves(w, h, p, &p->stream[k]);
        if (p->near)
            carrier_waits(w, h, p, &p->stream[k], moves);
        p->stalled |= !moves;
        closed |= p->stream[k].closed;
        p->slow = slow > p->slow ? slow : p->slow;
    }
    if (!closed || p->frozen || !host_awake(h))
        return;
    if (p->phase == PHASE_LISTENING && w->scenario->lives_on)
        answer_500(w, p);
    else if (llama_computes(p) || p->phase == PHASE_CONNECTING)
        llama_end(w, h, p, 0, SIM_ABORT);
}

/* Requests through a carrier that has gone: the coordinator's kernel knows at once, the gateway where it can be told. */
static void follow_requests(struct world *w, struct host *h, struct process *p)
{
    size_t before = p->n_requests;

    for (size_t i = p->n_requests; i-- > 0;) {
        struct request *r = p->request[i];

        if (!r->carrier || llama_find(h, r->carrier))
            continue;
        p->request[i] = p->request[--p->n_requests];
        r->host = 0;
        if (net_passes_both(w, h->n, net_leader_machine(w)))
            r->done(w, r, false);
    }
    if (before && !p->n_requests && p->term_pending && !p->dying)
        llama_signal(w, h, p, SIM_TERM);
}

static bool client_left(struct world *w, struct host *h, const struct process *p)
{
    struct host *at = &w->host[p->client_host];

    if (p->client_far)
        return carrier_client_left(w, h, p);
    return at->boot == p->client_boot && !llama_find(at, p->client_pid) && net_passes(w, at->n, h->n);
}

/* A worker learns of its client's end by a FIN or not at all. */
static void follow_client(struct world *w, struct host *h, struct process *p)
{
    if (!p->client_host || p->frozen || !client_left(w, h, p))
        return;
    p->client_host = p->client_far = p->client_near = 0;
    p->rss_bytes = WORKER_BYTES;
}

static void follow(struct world *w, struct host *h, struct process *p)
{
    switch (p->role) {
    case UNIT_COORDINATOR:
        follow_streams(w, h, p);
        follow_requests(w, h, p);
        return;
    case UNIT_WORKER:
        follow_client(w, h, p);
        return;
    case UNIT_CARRIER:
        return;
    }
}

void llama_changed(struct world *w)
{
    for (size_t n = 1; n <= w->n_hosts; n++) {
        for (size_t i = 0; i < HOST_PROCESSES; i++) {
            if (w->host[n].process[i].used)
                llama_settle(w, &w->host[n], &w->host[n].process[i]);
        }
    }
    for (size_t n = 1; n <= w->n_hosts; n++) {
        struct host *h = &w->host[n];

        for (size_t i = 0; i < HOST_PROCESSES; i++) {
            struct process *p = &h->process[i];

            if (p->used && !p->dying)
                follow(w, h, p);
        }
    }
}
