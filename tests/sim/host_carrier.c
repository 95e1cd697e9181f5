/* The shell's part of carriers: what one is started with, and the coordinator that waits until it answers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/carrier.h"
#include "tests/sim/host.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stats.h"

/* ---- what is held ------------------------------------------------------------------------------------------------ */

static struct held_start *find_held(struct host *h, const char *coordinator)
{
    for (size_t i = 0; i < HOST_HELD; i++) {
        if (h->held[i].used && strcmp(h->held[i].coordinator, coordinator) == 0)
            return &h->held[i];
    }
    return NULL;
}

bool host_holds(const struct host *h, uint16_t port)
{
    for (size_t i = 0; i < HOST_HELD; i++) {
        if (h->held[i].used && h->held[i].port == port)
            return true;
    }
    return false;
}

static void let_go(struct held_start *held)
{
    free(held->spec);
    *held = (struct held_start){0};
}

void host_forget_held(struct host *h)
{
    for (size_t i = 0; i < HOST_HELD; i++)
        let_go(&h->held[i]);
}

bool host_drop_held(struct world *w, struct host *h, const char *unit_id)
{
    struct held_start *held = find_held(h, unit_id);
    char unit[PROTO_NAME_MAX];

    if (!held || !held->asked)
        return false;
    memcpy(unit, held->coordinator, sizeof(unit));
    w->stats->n_held_lost++;
    let_go(held);
    host_spawn_failed(w, h, unit, "carrier_failed");
    return true;
}

/* ---- a carrier --------------------------------------------------------------------------------------------------- */

static struct held_start *hold_for(struct host *h, const struct agent_fx *fx)
{
    struct held_start *held = NULL;
    uint16_t port;

    for (size_t i = 0; i < HOST_HELD && !held; i++)
        held = h->held[i].used ? NULL : &h->held[i];
    if (!held || !host_choose_port(h, UNIT_COORDINATOR, fx->unit.id, 0, &port))
        return NULL;
    *held = (struct held_start){.used = true, .port = port};
    memcpy(held->carrier, fx->unit.id, sizeof(held->carrier));
    memcpy(held->coordinator, fx->carrier->coordinator, sizeof(held->coordinator));
    return held;
}

void host_spawn_carrier(struct world *w, struct host *h, const struct agent_fx *fx)
{
    const struct carrier_spec *spec = fx->carrier;
    const struct process *worker = spec->worker[0] ? host_unit_process(h, spec->worker) : NULL;
    struct unit_facts unit = fx->unit;
    struct held_start *held = NULL;
    struct process *p;

    if (spec->worker[0] && !worker) { /* there is no port to name */
        host_spawn_failed(w, h, unit.id, "spawn_failed");
        return;
    }
    if (!host_choose_port(h, UNIT_CARRIER, unit.id, fx->port_hint, &unit.port) ||
        (spec->coordinator[0] && !(held = hold_for(h, fx)))) {
        host_spawn_failed(w, h, unit.id, "port_clash");
        return;
    }
    p = host_spawn(w, h, &unit, NULL);
    if (p)
        carrier_begin(w, p, spec, worker ? worker->port : 0, held ? held->port : 0);
    else if (held)
        let_go(held);
}

/* ---- the coordinator --------------------------------------------------------------------------------------------- */

static void begin_held(struct world *w, struct host *h, struct held_start *held)
{
    const struct process *carrier = host_unit_process(h, held->carrier);
    struct process *p;

    held->unit.port = held->port;
    p = host_spawn(w, h, &held->unit, held->spec);
    if (p && carrier)
        p->near = carrier->pid;
    let_go(held);
}

static struct held_start *waiting_for(struct host *h, const char *carrier)
{
    for (size_t i = 0; i < HOST_HELD; i++) {
        if (h->held[i].asked && strcmp(h->held[i].carrier, carrier) == 0)
            return &h->held[i];
    }
    return NULL;
}

void host_carrier_asked(struct world *w, struct host *h, const char *carrier, bool ok)
{
    struct held_start *held = waiting_for(h, carrier);

    if (held && ok)
        begin_held(w, h, held);
    else if (held)
        host_drop_held(w, h, held->coordinator);
}

void host_carrier_ended(struct world *w, struct host *h, const char *carrier)
{
    host_carrier_asked(w, h, carrier, false);
}

bool host_hold_coordinator(struct world *w, struct host *h, const struct agent_fx *fx)
{
    struct held_start *held = find_held(h, fx->unit.id);

    if (!held && !fx->coordinator->n_gateways && !fx->coordinator->n_routes)
        return false;
    if (!held) { /* its carrier could not be started */
        host_spawn_failed(w, h, fx->unit.id, "carrier_failed");
        return true;
    }
    held->asked = true;
    w->stats->n_held++;
    held->unit = fx->unit;
    held->spec = malloc(sizeof(*held->spec));
    assert(held->spec);
    *held->spec = *fx->coordinator;
    held->spec->arg = NULL;
    return true;
}
