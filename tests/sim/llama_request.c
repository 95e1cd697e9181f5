/* Requests to a coordinator: by the gateway, by the leader's warm-up. */
#include <string.h>

#include "tests/sim/carrier.h"
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

static bool is_held_up(struct world *w, const struct request *r)
{
    const struct process *carrier = r->carrier ? llama_find(&w->host[r->host], r->carrier) : NULL;

    return carrier && carrier->frozen;
}

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
    } else if (is_held_up(w, r)) {
        look_again(w, r, 300);
    } else {
        llama_forget(w, r);
        r->done(w, r, true);
    }
}

static void look_again(struct world *w, struct request *r, uint64_t in_ms)
{
    world_at(w, w->now_ms + in_ms, (struct happening){.happen = on_look, .a = r->serial, .p = r});
}

static enum asked reach(struct world *w, struct host *h, const struct upstream *to, struct process **ret,
                        int32_t *ret_carrier)
{
    if (to->key[0])
        return carrier_reach(w, h, to, ret, ret_carrier);
    *ret_carrier = 0;
    *ret = llama_at(h, false, to->port);
    return *ret && (*ret)->role == UNIT_COORDINATOR ? ASKED_TAKEN : ASKED_REFUSED;
}

enum asked llama_ask(struct world *w, int from_machine, const struct upstream *to, struct request *r)
{
    struct host *h = host_by_addr(w, to->addr);
    struct process *p;
    enum asked asked;

    r->host = 0;
    if (!h || !net_passes_both(w, from_machine, h->n))
        return ASKED_UNREACHED;
    asked = reach(w, h, to, &p, &r->carrier);
    if (asked != ASKED_TAKEN)
        return asked;
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

uint64_t llama_progress(struct world *w, const struct upstream *to)
{
    struct host *h = host_by_addr(w, to->addr);
    struct process *p = !h ? NULL : to->key[0] ? carrier_leads_to(h, to->port) : llama_at(h, false, to->port);
    struct agent_unit_sample s = {0};

    if (!p || p->role != UNIT_COORDINATOR)
        return 0;
    llama_sample(w, h, p, &s);
    return s.n_decode;
}
