/* Single blows: power, cables, processes. For faults.c. */
#include "tests/sim/hits.h"

#include <stdlib.h>

#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"

/* ---- machines ---------------------------------------------------------------------------------------------------- */

static bool leads(const struct world *w, int machine)
{
    return machine == net_leader_machine(w);
}

void hit_power(struct world *w, int machine, bool on)
{
    struct host *h = &w->host[machine];

    if (h->powered == on)
        return;
    world_say(w, "%s: power %s", h->name, on ? "on" : "off");
    if (!on && leads(w, machine))
        leader_crash(w);
    host_power(w, h, on);
    if (on && leads(w, machine))
        leader_start(w);
}

void hit_suspend(struct world *w, int machine, bool on)
{
    struct host *h = &w->host[machine];
    uint64_t slept_ms = w->now_ms - h->asleep_ms;

    if (!h->powered || h->suspended == on)
        return;
    world_say(w, "%s: %s", h->name, on ? "suspended" : "resumed");
    host_suspend(w, h, on);
    if (!on && leads(w, machine))
        leader_woke(w, slept_ms);
}

/* ---- the network ------------------------------------------------------------------------------------------------- */

void hit_cut(struct world *w, int from, int to, bool on)
{
    uint16_t *n = &w->net->cut[from][to];

    *n = (uint16_t)(*n + (on ? 1 : *n ? -1 : 0));
}

void hit_cable(struct world *w, int machine, bool out)
{
    uint16_t *n = &w->net->cable[machine];

    *n = (uint16_t)(*n + (out ? 1 : *n ? -1 : 0));
}

/* By its bit in the number: on one side or the other. */
void hit_split(struct world *w, uint64_t sides, bool on)
{
    for (int a = 0; a <= (int)w->n_hosts; a++) {
        for (int b = 0; b <= (int)w->n_hosts; b++) {
            if ((sides >> a % 64 & 1) != (sides >> b % 64 & 1))
                hit_cut(w, a, b, on);
        }
    }
}

void hit_network_changed(struct world *w)
{
    net_changed(w);
    llama_changed(w);
    if (w->leader->carrier_told != net_carrier(w, net_leader_machine(w))) {
        w->leader->carrier_told = net_carrier(w, net_leader_machine(w));
        leader_host_changed(w);
    }
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static bool is_meant(const struct process *p, enum action_kind kind)
{
    if (!p->used || p->dying)
        return false;
    if (kind == ACTION_CARRIER_KILLED || kind == ACTION_CARRIER_FROZEN)
        return p->role == UNIT_CARRIER;
    return kind != ACTION_WORKER_FROZEN || (p->role == UNIT_WORKER && p->client_host);
}

static bool is_rare(enum action_kind kind)
{
    return kind == ACTION_CARRIER_KILLED || kind == ACTION_CARRIER_FROZEN || kind == ACTION_WORKER_FROZEN;
}

static struct process *some_process_at(struct host *h, const struct action *a)
{
    struct process *found[HOST_PROCESSES];
    size_t count = 0;

    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        if (is_meant(&h->process[i], a->kind))
            found[count++] = &h->process[i];
    }
    return count ? found[a->n % count] : NULL;
}

/* One that runs there, by chance; what is rare may be elsewhere. NULL: none does. */
static struct process *some_process(struct world *w, const struct action *a, struct host **ret)
{
    struct process *p = some_process_at(&w->host[a->host], a);

    *ret = &w->host[a->host];
    for (size_t n = 1; !p && n <= w->n_hosts && is_rare(a->kind); n++) {
        *ret = &w->host[n];
        p = host_awake(*ret) ? some_process_at(*ret, a) : NULL;
    }
    return p;
}

static void on_thaw(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];
    struct process *p = h->boot == happening->life ? llama_find(h, (int32_t)happening->a) : NULL;

    if (!p || !p->frozen)
        return;
    world_say(w, "%s: %s %s continues", h->name, unit_role_name(p->role), p->unit);
    llama_freeze(w, h, p, false);
}

void hit_process(struct world *w, const struct action *a)
{
    struct host *h;
    struct process *p = some_process(w, a, &h);

    if (!p)
        return;
    if (a->kind == ACTION_KILL || a->kind == ACTION_CARRIER_KILLED) {
        world_say(w, "%s: %s %s is killed", h->name, unit_role_name(p->role), p->unit);
        p->record_lost = (a->n >> 8) % 8 == 0; /* with its shim */
        llama_end(w, h, p, 0, SIM_KILL);
        return;
    }
    if (a->kind == ACTION_ANSWERS_500) {
        p->broken = p->role == UNIT_COORDINATOR && p->phase == PHASE_LISTENING;
        world_say(w, "%s: %s answers 500 from now on", h->name, p->unit);
        return;
    }
    world_say(w, "%s: %s %s is stopped (SIGSTOP)", h->name, unit_role_name(p->role), p->unit);
    llama_freeze(w, h, p, true);
    world_at(w, w->now_ms + a->lasts_ms,
             (struct happening){.happen = on_thaw, .host = h->n, .life = h->boot, .a = (uint64_t)p->pid});
}
