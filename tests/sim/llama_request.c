/* Requests to a coordinator: by the gateway, by the leader's warm-up. */
#include <string.h>

#include "tests/sim/host.h"
#include "tests/sim/llama.h"
#include "tests/sim/net.h"

enum { POISON_MS = 50 };

static struct process *process_of(struct world *w, const struct request *r)
{
    struct host *h = r->host ? &w->host[r->host] : NULL;

    return h && h->boot == r->boot ? llama_find(h, r->pid) : NULL;
}

void llama_forget(struct world *w, struct request *r)
{
    struct process *p = process_of(w, r);

    for (size_t i = 0; p && i < p->n_requests; i++) {
        if (p->request[i] != r)
            continue;
        llama_changed(w);
        p->request[i] = p->request[--p->n_requests];
        if (!p->n_requests && p->term_pending)
            llama_signal(w, &w->host[r->host], p, SIM_TERM);
        break;
    }
    r->host = 0;
}

static void look_again(struct world *w, struct request *r, uint64_t in_ms);

static void on_look(struct world *w, const struct happening *h)
{
    struct request *r = h->p;
    struct process *p = process_of(w, r);

    if (!p || p->dying || r->serial != h->a)
        return;
    llama_changed(w);
    p = process_of(w, r); /* the change may have been its end */
    if (!p || p->dying)
        return;
    if (r->poison) {
        llama_end(w, &w->host[r->host], p, 0, SIM_ABORT);
    } else if (p->work_ms < r->due_work_ms) {
        look_again(w, r, p->stalled || p->frozen ? 300 : r->due_work_ms - p->work_ms + 1);
    } else {
        llama_forget(w, r);
        r->done(w, r, true);
    }
}

static void look_again(struct world *w, struct request *r, uint64_t in_ms)
{
    world_at(w, w->now_ms + in_ms, (struct happening){.happen = on_look, .a = r->serial, .p = r});
}

enum asked llama_ask(struct world *w, int from_machine, const char *addr, uint16_t port, struct request *r)
{
    struct host *h = host_by_addr(w, addr);
    struct process *p;

    r->host = 0;
    if (!h || !net_passes_both(w, from_machine, h->n))
        return ASKED_UNREACHED;
    p = llama_at(h, port);
    if (!p || p->role != UNIT_COORDINATOR)
        return ASKED_REFUSED;
    if (p->broken || p->n_requests == LLAMA_REQUESTS)
        return ASKED_500;
    llama_changed(w);
    p->request[p->n_requests++] = r;
    r->host = h->n;
    r->boot = h->boot;
    r->pid = p->pid;
    r->serial = ++w->order;
    r->due_work_ms = p->work_ms + r->takes_ms;
    look_again(w, r, r->poison ? POISON_MS : r->takes_ms + 1);
    llama_changed(w); /* a rank that died while it was idle is found now */
    return ASKED_TAKEN;
}

uint64_t llama_progress(struct world *w, const char *addr, uint16_t port)
{
    struct host *h = host_by_addr(w, addr);
    struct process *p = h ? llama_at(h, port) : NULL;
    struct agent_unit_sample s = {0};

    if (!p || p->role != UNIT_COORDINATOR)
        return 0;
    llama_sample(w, h, p, &s);
    return s.n_decode;
}
