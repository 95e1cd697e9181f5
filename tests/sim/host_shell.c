/* The agent's shell: what each effect does on this machine, and what comes over its links. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/check.h"
#include "tests/sim/host.h"
#include "tests/sim/odd.h"
#include "tests/sim/scenario.h"

static const struct {
    uint16_t first, n;
} ports[] = {[UNIT_WORKER] = {20052, 64}, [UNIT_COORDINATOR] = {18080, 64}, [UNIT_CARRIER] = {7440, 60}};

/* ---- disk -------------------------------------------------------------------------------------------------------- */

struct unit_record *host_record(struct host *h, const char *unit_id)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        struct unit_record *r = &h->disk.unit[i];

        if (r->used && strcmp(r->spec.id, unit_id) == 0)
            return r;
    }
    return NULL;
}

struct process *host_unit_process(struct host *h, const char *unit_id)
{
    struct unit_record *r = host_record(h, unit_id);

    return r && r->boot == h->boot && !r->ended ? llama_find(h, r->pid) : NULL;
}

static bool write_epoch(struct disk *d, const struct agent_epoch *e)
{
    size_t i = 0;

    if (d->full)
        return false;
    while (i < d->n_epochs && !id128_equal(&d->epoch[i].instance, &e->instance))
        i++;
    if (i == AGENT_EPOCHS_MAX) { /* the oldest one that is over makes room */
        memmove(d->epoch, d->epoch + 1, (AGENT_EPOCHS_MAX - 1) * sizeof(d->epoch[0]));
        i = AGENT_EPOCHS_MAX - 1;
    } else if (i == d->n_epochs) {
        d->n_epochs++;
    }
    d->epoch[i] = *e;
    return true;
}

static void persisted(struct host *h, uint64_t token, bool ok)
{
    struct outcome *o = host_outcome(h, AGENT_EV_PERSISTED, NULL);

    o->ev.token = token;
    o->ev.ok = ok;
}

static void on_assign(struct world *w, struct host *h, const struct agent_fx *fx)
{
    struct unit_record *r = host_record(h, fx->unit_id);
    struct process *p = host_unit_process(h, fx->unit_id);
    bool ok = r && p && !h->disk.full;

    check_started(w, h, &fx->unit);
    if (r)
        r->stale = !ok;
    if (ok) {
        r->spec = fx->unit;
        p->instance = fx->unit.instance;
        p->epoch = fx->unit.epoch;
        p->rank = fx->unit.rank;
    }
    persisted(h, fx->token, ok);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static bool port_taken(const struct host *h, uint16_t port)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        if (h->process[i].used && h->process[i].port == port)
            return true;
    }
    return host_holds(h, port);
}

bool host_choose_port(struct host *h, enum unit_role role, const char *unit, uint16_t hint, uint16_t *ret)
{
    uint16_t first = ports[role].first, n = ports[role].n;
    uint16_t from = hint >= first && hint < first + n ? hint : first;

    for (uint16_t i = 0; i < n; i++) {
        uint16_t port = (uint16_t)(first + (from - first + i) % n);

        if (port_taken(h, port))
            continue;
        if (h->foreign_ports && i < h->foreign_ports) {
            host_outcome(h, AGENT_EV_PORT_CLASH, unit)->ev.text = "somebody else listens there";
            continue;
        }
        *ret = port;
        return true;
    }
    return false;
}

static void on_odd(struct world *w, const struct happening *happening)
{
    odd_raise_at(w, happening->host);
}

void host_spawn_failed(struct world *w, struct host *h, const char *unit, const char *reason)
{
    struct outcome *o = host_outcome(h, AGENT_EV_SPAWN_FAILED, unit);

    o->ev.reason = reason;
    o->ev.text = "it could not be started";
    if (w->scenario->odd) /* a failed unit does not stay for long */
        world_at(w, w->now_ms, (struct happening){.happen = on_odd, .host = h->n});
}

static struct unit_record *free_record(struct host *h)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        if (!h->disk.unit[i].used)
            return &h->disk.unit[i];
    }
    return NULL;
}

struct process *host_spawn(struct world *w, struct host *h, const struct unit_facts *unit,
                           const struct coordinator_spec *coordinator)
{
    struct unit_record *r = free_record(h);
    struct process *p;
    struct outcome *o;

    if (host_record(h, unit->id) || h->disk.full || h->spawn_fails || !r) {
        h->spawn_fails -= h->spawn_fails > 0;
        host_spawn_failed(w, h, unit->id, "spawn_failed");
        return NULL;
    }
    check_started(w, h, unit);
    p = llama_start(w, h, unit, coordinator);
    *r = (struct unit_record){.used = true, .spec = *unit, .boot = h->boot, .pid = p->pid};
    world_say(w, "%s starts %s %s on port %u", h->name, unit_role_name(unit->role), unit->id, (unsigned)unit->port);
    o = host_outcome(h, AGENT_EV_SPAWNED, unit->id);
    o->ev.pid = p->pid;
    o->ev.port = unit->port;
    memcpy(o->addr, unit->addr, sizeof(o->addr));
    return p;
}

static void on_spawn(struct world *w, struct host *h, const struct agent_fx *fx)
{
    struct unit_facts unit = fx->unit;

    check_binds(w, h, &unit);
    if (unit.role == UNIT_CARRIER)
        host_spawn_carrier(w, h, fx);
    else if (unit.role == UNIT_COORDINATOR && host_hold_coordinator(w, h, fx))
        return;
    else if (!host_choose_port(h, unit.role, unit.id, fx->port_hint, &unit.port))
        host_spawn_failed(w, h, unit.id, "port_clash");
    else
        host_spawn(w, h, &unit, fx->coordinator);
}

static void on_signal(struct world *w, struct host *h, const struct agent_fx *fx)
{
    struct process *p = host_unit_process(h, fx->unit_id);

    if (!p) {
        host_drop_held(w, h, fx->unit_id);
        return;
    }
    world_say(w, "%s sends signal %d to %s %s", h->name, fx->signal, unit_role_name(p->role), fx->unit_id);
    check_signal(w, h, p);
    llama_signal(w, h, p, fx->signal);
}

static void on_forget(struct host *h, const struct agent_fx *fx)
{
    struct unit_record *r = host_record(h, fx->unit_id);

    if (r && !host_unit_process(h, fx->unit_id))
        *r = (struct unit_record){0};
}

static void on_exit_seen(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];

    if (!host_not_now(w, h, happening))
        host_read_disk(w, h);
}

void host_process_gone(struct world *w, struct host *h, struct process *p, const struct exit_facts *exit)
{
    struct unit_record *r = host_record(h, p->unit);

    world_say(w, "%s: %s %s is gone (%s %d)", h->name, unit_role_name(p->role), p->unit,
              exit->signal ? "signal" : "code", exit->signal ? exit->signal : exit->code);
    if (!r)
        return;
    r->ended = true;
    r->exit = *exit;
    if (h->agent)
        world_at(w, w->now_ms + world_chance(w, 0, 20),
                 (struct happening){.happen = on_exit_seen, .host = h->n, .life = h->life});
}

void host_read_disk(struct world *w, struct host *h)
{
    for (size_t i = 0; i < HOST_PROCESSES && h->agent; i++) {
        struct unit_record *r = &h->disk.unit[i];
        struct unit_facts unit = r->spec; /* the record may be gone before we are done with it */

        if (!r->used || !r->ended || r->told)
            continue;
        r->told = true;
        host_carrier_ended(w, h, unit.id);
        host_feed(
            w, h,
            &(struct agent_ev){.kind = AGENT_EV_EXITED, .unit_id = unit.id, .exit = r->exit, .text = "its last words"});
    }
    for (size_t i = 0; i < HOST_PROCESSES && h->agent; i++) {
        if (h->process[i].used && h->process[i].role == UNIT_COORDINATOR)
            llama_read_log(w, h, &h->process[i]);
    }
}

/* ---- probes ------------------------------------------------------------------------------------------------------ */

static void on_probe_try(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];
    struct process *p = llama_find(h, (int32_t)happening->b);
    struct agent_ev ev = {.kind = AGENT_EV_PROBED, .rpc = {8, 0, 0}, .n_devices = 1};
    char unit[PROTO_NAME_MAX];

    if (host_not_now(w, h, happening) || !p || p->dying || p->probe != (uint32_t)(happening->a >> 32))
        return;
    ev.ok = llama_answers(p);
    ev.device_total_bytes[0] = h->has_gpu ? h->gpu_bytes : h->total_bytes;
    if (!ev.ok && host_clock(w, h) % UINT32_MAX < (uint32_t)happening->a) {
        world_at(w, w->now_ms + 60, *happening);
        return;
    }
    p->probe = 0;
    memcpy(unit, p->unit, sizeof(unit));
    ev.unit_id = unit;
    if (p->role == UNIT_CARRIER)
        host_carrier_asked(w, h, unit, ev.ok);
    host_feed(w, h, &ev);
}

static void on_probe(struct world *w, struct host *h, const struct agent_fx *fx)
{
    struct process *p = host_unit_process(h, fx->unit_id);
    uint32_t deadline = (uint32_t)((host_clock(w, h) + fx->deadline_ms) % UINT32_MAX);

    if (!p || p->dying) { /* its end is told in its place */
        if (!p)
            host_outcome(h, AGENT_EV_PROBED, fx->unit_id);
        return;
    }
    check_probe(w, h, p);
    p->probe = ++h->last_probe;
    world_at(w, w->now_ms + world_chance(w, 1, 5),
             (struct happening){.happen = on_probe_try,
                                .host = h->n,
                                .life = h->life,
                                .a = (uint64_t)p->probe << 32 | deadline,
                                .b = (uint64_t)p->pid});
}

/* ---- one effect -------------------------------------------------------------------------------------------------- */

void host_carry_out(struct world *w, struct host *h, struct agent_fx *fx)
{
    switch (fx->kind) {
    case AGENT_FX_SEND:
        host_send(w, h, fx->message);
        fx->message = NULL;
        return;
    case AGENT_FX_PERSIST_EPOCH:
        persisted(h, fx->token, write_epoch(&h->disk, &fx->epoch));
        return;
    case AGENT_FX_SPAWN:
        on_spawn(w, h, fx);
        return;
    case AGENT_FX_ASSIGN:
        on_assign(w, h, fx);
        return;
    case AGENT_FX_SIGNAL:
        on_signal(w, h, fx);
        return;
    case AGENT_FX_PROBE:
        on_probe(w, h, fx);
        return;
    case AGENT_FX_FORGET:
        on_forget(h, fx);
        return;
    case AGENT_FX_PEERS:
        host_set_peers(w, h, fx->neighbours);
        return;
    case AGENT_FX_PEER_SEND:
        host_peer_send(w, h, fx->key, fx->message);
        fx->message = NULL;
        return;
    case AGENT_FX_KNOCK:
        host_knock(w, h, fx->token, fx->peer);
        return;
    case AGENT_FX_ADVERTISE:
    case AGENT_FX_TRANSITION:
        return;
    }
}
