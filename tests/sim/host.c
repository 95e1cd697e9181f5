#include "tests/sim/host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/carrier.h"
#include "tests/sim/check.h"
#include "tests/sim/net.h"
#include "tests/sim/stats.h"

/* ---- who is who -------------------------------------------------------------------------------------------------- */

struct host *host_by_addr(struct world *w, const char *addr)
{
    for (size_t n = 1; n <= w->n_hosts; n++) {
        if (strcmp(w->host[n].addr, addr) == 0)
            return &w->host[n];
    }
    return NULL;
}

struct host *host_by_key(struct world *w, const char *key)
{
    long n = strtol(key, NULL, 16);

    return n >= 1 && (size_t)n <= w->n_hosts ? &w->host[n] : NULL;
}

struct host *host_by_id(struct world *w, const struct id128 *id)
{
    size_t n = (size_t)id->b[0] << 8 | id->b[1];

    return n >= 1 && n <= w->n_hosts && id128_equal(&w->host[n].id, id) ? &w->host[n] : NULL;
}

bool host_awake(const struct host *h)
{
    return h->powered && !h->suspended;
}

bool host_agent_runs(const struct host *h)
{
    return h->agent;
}

bool host_agent_listens(const struct host *h)
{
    return h->agent && !h->frozen && host_awake(h);
}

uint64_t host_clock(const struct world *w, const struct host *h)
{
    return (uint64_t)((int64_t)w->now_ms + h->clock_ms);
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

bool host_not_now(struct world *w, struct host *h, const struct happening *happening)
{
    if (!h->agent || h->life != happening->life)
        return true;
    if (host_agent_listens(h))
        return false;
    world_at(w, w->now_ms + 50, *happening);
    return true;
}

static void on_tick(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];

    if (happening->a != h->tick_ms || host_not_now(w, h, happening))
        return;
    h->tick_ms = 0;
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_TICK});
    if (h->agent)
        check_time(w, h->name, agent_deadline_ms(h->agent), host_clock(w, h));
}

void host_arrange_tick(struct world *w, struct host *h)
{
    uint64_t due_ms = agent_deadline_ms(h->agent), clock_ms = host_clock(w, h);
    uint64_t at_ms = w->now_ms + (due_ms > clock_ms ? due_ms - clock_ms : 0);

    if (due_ms == UINT64_MAX) {
        h->tick_ms = 0;
    } else if (h->tick_ms != at_ms) {
        h->tick_ms = at_ms;
        world_at(w, at_ms, (struct happening){.happen = on_tick, .host = h->n, .life = h->life, .a = at_ms});
    }
}

/* False: it crashed on the way. */
static bool step(struct world *w, struct host *h, const struct agent_ev *ev)
{
    struct agent_effects *fx = agent_step(h->agent, ev, host_clock(w, h));
    bool lives = true;

    assert(fx);
    w->stats->agent_steps++;
    for (size_t i = 0; i < fx->n && lives; i++) {
        if (fx->item[i].kind == AGENT_FX_TRANSITION)
            check_agent_transition(w, h, &fx->item[i].transition);
        lives = !h->crash_in || --h->crash_in;
        if (lives)
            host_carry_out(w, h, &fx->item[i]);
    }
    agent_effects_destroy(&fx);
    if (!lives) {
        host_agent_crash(w, h);
        return false;
    }
    check_agent(w, h);
    return true;
}

struct outcome *host_outcome(struct host *h, enum agent_ev_kind kind, const char *unit_id)
{
    struct outcome *o = &h->outcome[h->n_outcomes++];

    assert(h->n_outcomes < HOST_OUTCOMES);
    *o = (struct outcome){.ev = {.kind = kind}};
    if (unit_id)
        strncpy(o->unit_id, unit_id, sizeof(o->unit_id) - 1);
    return o;
}

void host_feed(struct world *w, struct host *h, const struct agent_ev *ev)
{
    size_t done = 0;

    if (!h->agent || !step(w, h, ev))
        return;
    while (done < h->n_outcomes) {
        struct outcome o = h->outcome[done++];

        o.ev.unit_id = o.unit_id[0] ? o.unit_id : NULL;
        o.ev.addr = o.addr;
        if (!step(w, h, &o.ev))
            return;
    }
    h->n_outcomes = 0;
    host_arrange_tick(w, h);
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

static uint64_t free_bytes(const struct host *h)
{
    uint64_t used = h->other_bytes + h->taken_bytes;

    for (size_t i = 0; i < HOST_PROCESSES; i++)
        used += h->process[i].used ? h->process[i].rss_bytes : 0;
    return used < h->total_bytes ? h->total_bytes - used : 0;
}

static void sample_device(const struct host *h, struct agent_sample *s)
{
    struct device_facts *d = &s->device[s->n_devices++];

    *d = (struct device_facts){.kind = DEVICE_CPU,
                               .total_bytes = h->total_bytes,
                               .free_bytes = s->host_free_bytes,
                               .utilization_permille = -1,
                               .temperature_c = INT32_MIN};
    strcpy(d->name, "CPU");
    if (!h->has_gpu)
        return;
    strcpy(d->name, "CUDA0");
    d->kind = DEVICE_GPU;
    d->total_bytes = d->free_bytes = h->gpu_bytes;
    d->utilization_permille = 0;
}

void host_sample(struct world *w, struct host *h)
{
    struct agent_sample s = {.host_total_bytes = h->total_bytes, .uptime_ms = host_clock(w, h)};

    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        struct process *p = &h->process[i];

        if (!p->used || !host_record(h, p->unit) || s.n_units == PROTO_UNITS_MAX)
            continue;
        llama_sample(w, h, p, &s.unit[s.n_units]);
        s.n_units++;
        if (p->carrier)
            carrier_sample(w, h, p, &s);
        if (p->dying && !p->dying_told) {
            p->dying_told = true;
            host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = p->unit});
        }
    }
    s.host_free_bytes = free_bytes(h);
    sample_device(h, &s);
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

void host_on_sample(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];

    if (host_not_now(w, h, happening))
        return;
    world_at(w, w->now_ms + HOST_SAMPLE_MS, *happening);
    host_sample(w, h);
}
