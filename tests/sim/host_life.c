/* An agent's start and end, and its machine's. */
#include "tests/sim/host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/check.h"
#include "tests/sim/models.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

/* ---- the agent's life -------------------------------------------------------------------------------------------- */

void host_agent_crash(struct world *w, struct host *h)
{
    if (!h->agent)
        return;
    agent_destroy(&h->agent);
    h->life++;
    h->n_outcomes = h->crash_in = 0;
    h->tick_ms = 0;
    h->welcomed = h->frozen = false;
    h->refused_ms = 0;
    host_forget_held(h);
    h->n_shadows = 0;
    h->peers = (struct neighbours){0};
    net_process_ended(w, h->n, host_awake(h));
}

static void on_models(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];
    struct agent_ev ev = {.kind = AGENT_EV_MODELS};

    if (host_not_now(w, h, happening))
        return;
    ev.model = models_make(&ev.n_models);
    host_feed(w, h, &ev);
}

static void make_config(const struct host *h, struct agent_config *c)
{
    struct message m = {.kind = MESSAGE_HELLO};

    host_hello(h, &m);
    *c = (struct agent_config){.standing = true,
                               .n_devices = 1,
                               .memory_limit_bytes = h->memory_limit_bytes,
                               .can_run = true,
                               .hello = m.hello};
    snprintf(c->addr, sizeof(c->addr), "%s", h->tunnel ? HOST_LOOPBACK : h->addr);
    snprintf(c->carrier_addr, sizeof(c->carrier_addr), "%s", h->tunnel ? h->addr : "");
    memcpy(c->key, h->key, sizeof(h->key));
    strcpy(c->device[0], h->has_gpu ? "CUDA0" : "CPU");
}

static void adopt(struct world *w, struct host *h, struct unit_record *r)
{
    struct process *p = r->boot == h->boot ? llama_find(h, r->pid) : NULL;
    struct unit_facts unit = r->spec;

    if (r->boot != h->boot) { /* gone for certain */
        *r = (struct unit_record){0};
        return;
    }
    r->told = r->ended;
    h->belied |= r->stale;
    unit.state = r->ended ? UNIT_EXITED : UNIT_RUNNING;
    unit.exit = r->exit;
    unit.pid = r->ended ? 0 : r->pid;
    unit.proc_state = '?';
    if (p) {
        p->told = 0;
        p->dying_told = false;
    }
    check_adopted(w, h, &unit);
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_ADOPT, .unit = &unit});
    if (p && p->role == UNIT_COORDINATOR)
        llama_read_log(w, h, p);
}

void host_agent_start(struct world *w, struct host *h)
{
    struct happening next = {.host = h->n};
    struct agent_config config;

    if (!h->n || h->agent || !host_awake(h))
        return;
    next.life = ++h->life;
    h->tunnel = w->tunnel != (h->n == w->scenario->differs);
    make_config(h, &config);
    if (agent_new(&config, h->disk.epoch, h->disk.n_epochs, &h->agent) < 0)
        abort();
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        if (h->disk.unit[i].used)
            adopt(w, h, &h->disk.unit[i]);
    }
    next.happen = on_models;
    world_at(w, w->now_ms + world_chance(w, 5, 300), next);
    host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_BEGIN});
    next.happen = host_on_sample;
    world_at(w, w->now_ms + world_chance(w, 1, HOST_SAMPLE_MS), next);
    if (h->agent)
        host_sample(w, h);
    if (h->agent)
        net_dial(w, h->n, LEADER);
}

void host_agent_freeze(struct world *w, struct host *h, bool frozen)
{
    if (!h->agent || h->frozen == frozen)
        return;
    h->frozen = frozen;
    net_changed(w);
    if (!frozen)
        host_read_disk(w, h);
}

/* ---- the machine's life ------------------------------------------------------------------------------------------ */

static void on_systemd(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];

    if (h->boot == happening->life)
        host_agent_start(w, h);
}

void host_power(struct world *w, struct host *h, bool on)
{
    if (h->powered == on)
        return;
    h->powered = on;
    h->suspended = false;
    if (on) {
        h->boot++;
        h->clock_ms = 20000 - (int64_t)w->now_ms;
        net_changed(w);
        llama_changed(w);
        world_at(w, w->now_ms + world_chance(w, 500, 3000),
                 (struct happening){.happen = on_systemd, .host = h->n, .life = h->boot});
        return;
    }
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        if (h->process[i].used)
            llama_vanish(&h->process[i]);
    }
    host_agent_crash(w, h);
    net_changed(w);
    llama_changed(w);
}

void host_suspend(struct world *w, struct host *h, bool suspended)
{
    if (!h->powered || h->suspended == suspended)
        return;
    h->suspended = suspended;
    if (suspended) {
        h->asleep_ms = w->now_ms;
    } else {
        h->clock_ms -= (int64_t)(w->now_ms - h->asleep_ms);
        h->tick_ms = 0;
    }
    llama_changed(w);
    net_changed(w);
    if (suspended || !h->agent)
        return;
    if (w->now_ms - h->asleep_ms > 2000 && !h->frozen)
        host_feed(w, h, &(struct agent_ev){.kind = AGENT_EV_RESUMED});
    if (h->agent)
        host_arrange_tick(w, h);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static void begin_one(struct world *w, struct host *h, int n)
{
    static const uint64_t gib = UINT64_C(1) << 30;

    h->n = n;
    snprintf(h->name, sizeof(h->name), n ? "n%d" : "ctl", n);
    snprintf(h->key, sizeof(h->key), "%064x", (unsigned)n);
    snprintf(h->addr, sizeof(h->addr), "10.0.%d.%d", n / 200, n % 200 + 1);
    h->id.b[0] = (uint8_t)(n >> 8);
    h->id.b[1] = (uint8_t)n;
    h->id.b[15] = 0x77;
    h->powered = true;
    h->boot = 1;
    h->life = 1;
    h->clock_ms = (int64_t)world_chance(w, 20000, 9000000);
    h->total_bytes = world_chance(w, 3, 16) * gib;
    h->other_bytes = world_chance(w, 1, 8) * (gib / 8);
    h->has_gpu = n && world_maybe(w, w->scenario->gpu_permille);
    h->gpu_bytes = world_chance(w, 3, 8) * gib;
    h->memory_limit_bytes = world_maybe(w, 150) ? 2 * gib : 0;
    if (n)
        world_at(w, world_chance(w, 0, 2000), (struct happening){.happen = on_systemd, .host = n, .life = h->boot});
}

void host_begin(struct world *w)
{
    w->n_hosts = w->scenario->n_hosts;
    w->host = calloc(w->n_hosts + 1, sizeof(*w->host));
    assert(w->host);
    for (size_t n = 0; n <= w->n_hosts; n++)
        begin_one(w, &w->host[n], (int)n);
}

void host_end(struct world *w)
{
    for (size_t n = 0; n <= w->n_hosts; n++) {
        struct host *h = &w->host[n];

        for (size_t i = 0; i < HOST_PROCESSES; i++)
            llama_vanish(&h->process[i]);
        host_forget_held(h);
        agent_destroy(&h->agent);
    }
    free(w->host);
}
