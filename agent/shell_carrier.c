/* Carriers: the coordinator that waits until one answers, and what its ports stand for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier_routes.h"
#include "agent/endpoint.h"
#include "agent/shell_internal.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/log.h"

void carried_destroy(struct carried **c)
{
    if (!*c)
        return;
    carrier_probe_cancel(&(*c)->probe);
    carrier_told_clear(&(*c)->told);
    agent_spec_destroy(&(*c)->held);
    free(*c);
    *c = NULL;
}

struct carried *carried_new(const char *unit_id)
{
    struct carried *c = calloc(1, sizeof(*c));

    if (c)
        text_copy(c->unit_id, sizeof(c->unit_id), unit_id);
    return c;
}

struct child *shell_carrier_of(struct shell *s, const char *unit_id)
{
    for (size_t i = 0; i < PROTO_UNITS_MAX; i++) {
        struct child *c = &s->child[i];

        if (c->id[0] && c->carried && !c->ended && !strcmp(c->carried->unit_id, unit_id))
            return c;
    }
    return NULL;
}

/* ---- the coordinator that waits for it --------------------------------------------------------------------------- */

static void release_promise(struct shell *s, const char *unit_id)
{
    struct child *c = shell_child(s, unit_id);

    if (c)
        c->ended = true; /* its port may go to others */
}

void shell_hold_coordinator(struct shell *s, const struct unit_facts *unit, struct coordinator_spec **spec)
{
    struct child *carrier = shell_carrier_of(s, unit->id), *promised = shell_child(s, unit->id);

    if (!carrier || !promised) {
        release_promise(s, unit->id);
        shell_spawn_failed(s, unit->id, "carrier_failed", "its carrier could not be started");
        return;
    }
    carrier->carried->held_unit = *unit;
    carrier->carried->held_unit.port = promised->port;
    carrier->carried->held = *spec;
    *spec = NULL;
}

static void drop_held(struct shell *s, struct carried *c, const char *why)
{
    if (!c->held)
        return;
    agent_spec_destroy(&c->held);
    release_promise(s, c->held_unit.id);
    shell_spawn_failed(s, c->held_unit.id, "carrier_failed", "%s", why);
}

bool shell_drop_held(struct shell *s, const char *unit_id)
{
    struct child *carrier = shell_carrier_of(s, unit_id);

    if (!carrier || !carrier->carried->held)
        return false;
    drop_held(s, carrier->carried, "it was ended before its carrier answered");
    return true;
}

void shell_carrier_ended(struct shell *s, struct child *c)
{
    carrier_probe_cancel(&c->carried->probe);
    drop_held(s, c->carried, "its carrier ended before it could be started");
}

/* It is known from here on what stands in its log. */
static void follow(struct shell *s, struct child *coordinator, const char *addr, const struct control_answer *routes)
{
    coordinator->routes = malloc(sizeof(*routes));
    if (!coordinator->routes) { /* its ranks are not proven then, and the leader gives it up */
        log_failure(LOG_LEVEL_ERROR, "coordinator.routes", -ENOMEM, "unit=%s", coordinator->id);
        return;
    }
    *coordinator->routes = *routes;
    shell_watch_coordinator(s, coordinator, addr);
}

static void start_held(struct shell *s, struct carried *c)
{
    CLEANUP(agent_spec_destroy) struct coordinator_spec *spec = c->held;
    struct child *coordinator;

    c->held = NULL;
    if (!carrier_routes_apply(&c->answer, spec)) {
        release_promise(s, c->held_unit.id);
        shell_spawn_failed(s, c->held_unit.id, "carrier_failed", "its carrier does not stand for all of its ranks");
        return;
    }
    coordinator = shell_start_coordinator(s, &c->held_unit, spec);
    if (!coordinator)
        release_promise(s, c->held_unit.id);
    else
        follow(s, coordinator, c->held_unit.addr, &c->answer);
}

/* ---- asking it --------------------------------------------------------------------------------------------------- */

static void on_answer(struct shell *s, struct carried *c)
{
    struct child *of = shell_child(s, c->unit_id);
    const struct unit_facts *unit = of ? agent_unit(s->core, of->id) : NULL;

    if (c->held)
        start_held(s, c);
    else if (unit && unit->role == UNIT_COORDINATOR && !of->ended && !of->watch) /* adopted, both */
        follow(s, of, unit->addr, &c->answer);
}

static void on_asked(void *ctx, const struct carrier_probe_result *result)
{
    struct child *c = ctx;
    struct shell *s = c->shell;
    struct agent_ev ev = {.kind = AGENT_EV_PROBED, .unit_id = c->id, .ok = result->ok, .text = result->text};
    const struct unit_facts *unit = agent_unit(s->core, c->id);

    c->carried->probe = NULL;
    if (result->ok) {
        c->carried->answer = result->answer;
        on_answer(s, c->carried);
    } else {
        log_warn("carrier.silent", "unit=%s text=%s", c->id, LOG_STR(result->text));
        drop_held(s, c->carried, "its carrier does not answer");
    }
    if (!unit || unit->state == UNIT_STARTING)
        shell_feed(s, &ev);
    else if (!result->ok) /* an earlier agent's, which may be stopped: what stands in a log is not known without it */
        shell_ask_carrier(s, c, AGENT_WORKER_START_MS);
}

int shell_ask_carrier(struct shell *s, struct child *c, uint64_t deadline_ms)
{
    char dir[PROTO_PATH_MAX];

    carrier_probe_cancel(&c->carried->probe);
    if (!process_file_path(s->processes, c->id, NULL, dir, sizeof(dir)))
        return err_raise(-ENOENT);
    return carrier_probe_start(s->base, dir, deadline_ms, on_asked, c, &c->carried->probe);
}

/* ---- an earlier agent's ------------------------------------------------------------------------------------------ */

static const struct unit_facts *carried_by(struct shell *s, const struct unit_facts *carrier)
{
    const struct unit_facts *unit, *found = NULL;
    size_t n = agent_units(s->core, &unit);

    for (size_t i = 0; i < n; i++) {
        if (unit[i].epoch != carrier->epoch || !id128_equal(&unit[i].instance, &carrier->instance))
            continue;
        if (unit[i].role == UNIT_COORDINATOR || (unit[i].role == UNIT_WORKER && unit[i].rank > 0))
            found = &unit[i];
    }
    return found;
}

static void adopt_carrier(struct shell *s, struct child *c, const struct unit_facts *unit)
{
    const struct unit_facts *of = carried_by(s, unit);
    int r = -ENOMEM;

    c->carried = carried_new(of ? of->id : "");
    if (c->carried)
        r = shell_ask_carrier(s, c, AGENT_WORKER_START_MS);
    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "carrier.ask", r, "unit=%s", c->id);
}

/* All were told. Each carrier first, so that it is known which coordinators have one. */
void shell_adopt_carriers(struct shell *s)
{
    const struct unit_facts *unit;
    size_t n = agent_units(s->core, &unit);

    for (size_t i = 0; i < n; i++) {
        struct child *c = shell_child(s, unit[i].id);

        if (c && !c->ended && unit[i].role == UNIT_CARRIER)
            adopt_carrier(s, c, &unit[i]);
    }
    for (size_t i = 0; i < n; i++) {
        struct child *c = shell_child(s, unit[i].id);

        if (c && !c->ended && unit[i].role == UNIT_COORDINATOR && !shell_carrier_of(s, c->id))
            shell_watch_coordinator(s, c, unit[i].addr);
    }
}
