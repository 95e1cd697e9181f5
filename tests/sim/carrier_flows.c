/* The sensor: what a carrier has seen of its ranks. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/carrier.h"
#include "tests/sim/host.h"

enum { TOKEN_MS = 50, FED_PERCENT = 95, HELD_BYTES = 1 << 20, TOKEN_REQUESTS = 8 };
enum { TOKEN_REQUEST_BYTES = 5000, TOKEN_ANSWER_BYTES = 3000 };

static struct rank_flow *line(struct process *p, uint32_t rank, bool at_worker)
{
    struct carrier *c = p->carrier;
    struct rank_flow *f;

    for (size_t i = 0; i < c->n_flows; i++) {
        if (c->flow[i].rank == rank)
            return &c->flow[i];
    }
    f = &c->flow[c->n_flows++];
    *f = (struct rank_flow){.instance = p->instance, .epoch = p->epoch, .rank = rank, .at_worker = at_worker};
    return f;
}

static uint64_t since(const struct world *w, uint64_t ms)
{
    return ms ? w->now_ms - ms : 0;
}

/* What waits: at the worker's end only what has come so far; at the other one also what is on its way. In a load nothing
 * is answered, so bytes wait in place of a command. */
static void note_waiting(const struct world *w, const struct process *coordinator, const struct stream *s,
                         struct rank_flow *f)
{
    uint64_t ms = since(w, f->at_worker ? s->worker_ms : s->near_ms);

    f->oldest[0] = '\0';
    f->oldest_ms = f->held_bytes = f->held_ms = 0;
    if (!llama_computes(coordinator))
        return;
    if (coordinator->phase == PHASE_LOADING) {
        f->held_bytes = ms ? HELD_BYTES : 0;
        f->held_ms = ms;
        return;
    }
    snprintf(f->oldest, sizeof(f->oldest), "GET_TENSOR");
    f->oldest_ms = ms ? ms : w->now_ms % TOKEN_MS;
}

static void count(struct world *w, const struct process *coordinator, size_t k, bool fed, struct rank_flow *f)
{
    const struct stream *s = &coordinator->stream[k];
    uint64_t loaded = llama_loaded_bytes(w, coordinator, s);
    uint64_t tokens = coordinator->phase == PHASE_LISTENING ? coordinator->work_ms / TOKEN_MS : 0;

    f->n_streams = !s->closed;
    note_waiting(w, coordinator, s, f);
    if (!loaded) /* its worker is gone: what was counted stays */
        return;
    f->tensor_bytes = fed ? loaded - loaded / 100 * FED_PERCENT : loaded;
    f->fed_bytes = f->at_worker ? loaded - f->tensor_bytes : 0; /* which the other end cannot know */
    f->n_round_trips = f->n_graphs = tokens;
    f->n_requests = tokens * TOKEN_REQUESTS;
    f->n_answers = tokens;
    f->request_bytes = f->tensor_bytes + tokens * TOKEN_REQUEST_BYTES;
    f->answer_bytes = tokens * TOKEN_ANSWER_BYTES;
    f->graph_ms = tokens * TOKEN_MS / 2;
}

/* The streams of a coordinator on host `from` that pass p, at either end. */
static void look_through(struct world *w, struct host *from, const struct process *coordinator, struct process *p)
{
    const struct process *near = llama_find(from, coordinator->near);

    for (size_t k = 0; near && k < coordinator->n_connected; k++) {
        const struct stream *s = &coordinator->stream[k];
        const struct process *far = s->host ? llama_find(&w->host[s->host], s->far) : NULL;

        if (s->host && (near == p || far == p))
            count(w, coordinator, k, far && far->carrier->feeds,
                  line(p, (uint32_t)near->carrier->spec.route[k].rank, far == p));
    }
}

static void no_streams(struct process *p)
{
    for (size_t i = 0; i < p->carrier->n_flows; i++) {
        struct rank_flow *f = &p->carrier->flow[i];

        f->n_streams = 0;
        f->oldest[0] = '\0';
        f->oldest_ms = f->held_bytes = f->held_ms = 0;
    }
}

/* Of the epoch that p carries for; NULL: there is none. */
static struct process *coordinator_of(struct world *w, struct host *h, const struct process *p, struct host **ret_from)
{
    struct host *from = p->carrier->spec.coordinator[0] ? h : host_by_key(w, p->carrier->spec.peer);

    *ret_from = from;
    for (size_t i = 0; from && i < HOST_PROCESSES; i++) {
        struct process *c = &from->process[i];

        if (c->used && c->role == UNIT_COORDINATOR && c->near && c->epoch == p->epoch &&
            id128_equal(&c->instance, &p->instance))
            return c;
    }
    return NULL;
}

/* A frozen one writes nothing: what its agent reads is as old as that. */
static void look(struct world *w, struct host *h, struct process *p)
{
    struct host *from;
    struct process *c = coordinator_of(w, h, p, &from);

    if (p->frozen)
        return;
    no_streams(p);
    if (!c)
        return;
    llama_settle(w, from, c);
    look_through(w, from, c, p);
}

void carrier_sample(struct world *w, struct host *h, struct process *p, struct agent_sample *s)
{
    const struct carrier *c = p->carrier;

    look(w, h, p);
    for (size_t i = 0; i < c->n_flows && s->n_flows < PROTO_FLOWS_MAX; i++)
        s->flow[s->n_flows++] = c->flow[i];
}
