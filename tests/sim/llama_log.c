/* What the agent sees of its processes: samples, and a coordinator's log. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/host.h"
#include "tests/sim/llama.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

enum { TOKEN_MS = 50 };

void llama_sample(struct world *w, struct host *h, struct process *p, struct agent_unit_sample *ret)
{
    llama_settle(w, h, p);
    memcpy(ret->id, p->unit, sizeof(ret->id));
    ret->rss_bytes = p->rss_bytes;
    ret->cpu_ms = p->cpu_ms;
    ret->proc_state = p->frozen ? 'T' : 'S';
    if (p->role == UNIT_CARRIER)
        return; /* what it has on the network counts for the unit that it carries for */
    ret->has_sockets = p->role == UNIT_COORDINATOR || !w->scenario->blind;
    ret->unread_bytes = ret->has_sockets ? p->unread_bytes : 0;
    if (p->role == UNIT_WORKER) {
        struct process *c = p->client_host ? llama_find(&w->host[p->client_host], p->client_pid) : NULL;

        ret->retransmits = ret->has_sockets && c && llama_computes(c) && !net_passes_both(w, h->n, p->client_host);
        return;
    }
    for (size_t k = 0; k < p->n_connected; k++) {
        if (!p->stream[k].host)
            continue;
        ret->closed_streams += p->stream[k].closed;
        ret->retransmits |= llama_computes(p) && !p->stream[k].closed && !net_passes_both(w, h->n, p->stream[k].host);
    }
    ret->n_decode = p->phase == PHASE_LISTENING ? 1 + p->work_ms / TOKEN_MS : 0;
    ret->http_silent_ms = p->phase == PHASE_LISTENING && p->frozen ? 2000 : 0;
}

static void tell(struct world *w, struct host *h, const struct process *p, struct agent_event_facts *facts)
{
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = p->unit, .facts = facts});
}

static void tell_buffers(struct world *w, struct host *h, const struct process *p)
{
    struct agent_event_facts facts = {.kind = AGENT_EVENT_RANK_BUFFERS};

    for (size_t d = 0; d < p->spec->n_devices; d++) {
        size_t rank = llama_rpc_index(p->spec->device[d]);
        struct rank_buffers *b;

        if (rank < p->spec->n_ranks && !p->stream[rank].host)
            continue;
        b = &facts.buffers[facts.n_buffers++];

        b->model_bytes = llama_device_bytes(p, d);
        if (rank < p->spec->n_ranks)
            memcpy(b->endpoint, p->spec->endpoint[rank], sizeof(b->endpoint));
    }
    tell(w, h, p, &facts);
}

/* An agent that knows of a coordinator from its record asks the carrier first what the ports in that log stand for. */
static bool is_held_up(struct host *h, const struct process *p)
{
    const struct process *carrier = p->near ? llama_find(h, p->near) : NULL;

    return carrier && carrier->frozen;
}

void llama_read_log(struct world *w, struct host *h, struct process *p)
{
    struct agent_event_facts facts = {.kind = AGENT_EVENT_LOADING};
    enum phase phase = p->phase;

    if (!host_agent_listens(h) || p->dying || (p->told == 0 && is_held_up(h, p)))
        return;
    if (phase >= PHASE_LOADING && p->told < 1) {
        p->told = 1;
        tell(w, h, p, &facts);
    }
    if (phase >= PHASE_LISTENING && p->told < 2) {
        p->told = 2;
        tell_buffers(w, h, p);
    }
    facts = (struct agent_event_facts){.kind = AGENT_EVENT_LISTENING};
    if (phase >= PHASE_LISTENING && p->told < 3 && p->used) {
        p->told = 3;
        tell(w, h, p, &facts);
    }
}
