/* Carriers: what one is started with, the coordinator that waits until it answers, and what its ports stand for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier_routes.h"
#include "agent/endpoint.h"
#include "agent/model_path.h"
#include "agent/sandbox_rules.h"
#include "agent/shell_internal.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/crypto.h"
#include "common/log.h"

static const char CONF_FILE[] = "conf";

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

static struct carried *carried_new(const char *unit_id)
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

/* ---- what it is started with ------------------------------------------------------------------------------------- */

/* Each false: told. */

static bool take_key(struct shell *s, const struct unit_facts *unit, const char *text, uint8_t ret[CRYPTO_KEY_BYTES])
{
    if (!crypto_key_parse(text, ret))
        return true;
    shell_spawn_failed(s, unit->id, "bad_command", "a key that it is to know is none");
    return false;
}

/* What this node has of the model; nothing, where it has not the planned one: then the network brings it all. */
static void take_files(struct shell *s, const struct carrier_spec *spec, struct carrier_conf *conf)
{
    const struct model_place *model = spec->model[0] ? shell_model(s, spec->model) : NULL;
    int r;

    if (!model || !model->usable || model->header_hash != spec->header_hash)
        return;
    r = model_path_files(model->path, s->options->models, s->options->n_models, CARRIER_FILES_MAX, &conf->file,
                         &conf->n_files);
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "carrier.files", r, "model=%s", LOG_STR(spec->model));
    else if (r)
        log_warn("carrier.files", "model=%s text=\"its files cannot be used: the rank gets all over the network\"",
                 LOG_STR(spec->model));
    if (!r)
        text_copy(conf->index_dir, sizeof(conf->index_dir), s->tensor_dir);
}

static bool take_worker(struct shell *s, const struct unit_facts *unit, const struct carrier_spec *spec,
                        struct carrier_conf *conf)
{
    const struct child *worker = shell_child(s, spec->worker);

    if (!worker || worker->ended) {
        shell_spawn_failed(s, unit->id, "spawn_failed", "its worker could not be started");
        return false;
    }
    conf->rank = spec->rank;
    conf->worker_port = worker->port;
    if (!take_key(s, unit, spec->peer, conf->peer))
        return false;
    take_files(s, spec, conf);
    return true;
}

static bool take_route(struct shell *s, const struct unit_facts *unit, const struct carrier_route *route,
                       struct conf_route *ret)
{
    ret->rank = route->rank;
    ret->tunnel = route->peer[0];
    if (!endpoint_parse(route->endpoint, strlen(route->endpoint), ret->addr, &ret->port)) {
        shell_spawn_failed(s, unit->id, "bad_command", "%s is no place where rank %d could be reached", route->endpoint,
                           (int)route->rank);
        return false;
    }
    return !ret->tunnel || take_key(s, unit, route->peer, ret->peer);
}

/* Its port is promised to the coordinator, which is not there yet. */
static bool take_coordinator(struct shell *s, const struct unit_facts *unit, const struct carrier_spec *spec,
                             struct carrier_conf *conf)
{
    const struct unit_facts *coordinator = agent_unit(s->core, spec->coordinator);

    if (!coordinator || !shell_choose_port(s, coordinator, 0, unit->id, &conf->coordinator_port) ||
        !shell_child_new(s, coordinator->id, conf->coordinator_port))
        return false;
    for (; conf->n_routes < spec->n_routes; conf->n_routes++)
        if (!take_route(s, unit, &spec->route[conf->n_routes], &conf->route[conf->n_routes]))
            return false;
    for (; conf->n_gateways < spec->n_gateways; conf->n_gateways++)
        if (!take_key(s, unit, spec->gateway[conf->n_gateways], conf->gateway[conf->n_gateways]))
            return false;
    return true;
}

static bool make_conf(struct shell *s, const struct unit_facts *unit, const struct carrier_spec *spec,
                      struct carrier_conf *ret)
{
    *ret = (struct carrier_conf){.instance = unit->instance, .epoch = unit->epoch, .rank = -1, .port = unit->port};
    snprintf(ret->identity, sizeof(ret->identity), "%s/identity", state_dir_path(s->state));
    memcpy(ret->addr, unit->addr, sizeof(ret->addr));
    if (spec->rank >= 0 && !take_worker(s, unit, spec, ret))
        return false;
    return !spec->coordinator[0] || take_coordinator(s, unit, spec, ret);
}

/* 0 or negative errno. ret_dir: of the unit. */
static int write_conf(struct shell *s, const struct unit_facts *unit, const struct carrier_conf *conf,
                      char ret_dir[PROTO_PATH_MAX])
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t n;
    int r = carrier_conf_format(conf, &text, &n);

    if (r < 0)
        return err_pass(r);
    r = process_write_file(s->processes, unit->id, CONF_FILE, text, n, ret_dir, PROTO_PATH_MAX);
    if (r < 0)
        return err_pass(r);
    *strrchr(ret_dir, '/') = '\0';
    return 0;
}

static struct child *start(struct shell *s, const struct unit_facts *unit, const struct carrier_conf *conf)
{
    CLEANUP(sandbox_rules_clear) struct sandbox_rules rules = {0};
    char dir[PROTO_PATH_MAX];
    const char *argv[] = {s->carrier_path, dir, NULL};
    struct process_command what = {.argv = argv};
    int r = write_conf(s, unit, conf, dir);

    if (r == 0 && s->options->sandbox)
        r = sandbox_rules_of_carrier(s->carrier_path, dir, conf, &rules);
    what.rule = (const char *const *)(uintptr_t)rules.rule;
    return shell_start(s, unit, &what, r);
}

void shell_start_carrier(struct shell *s, const struct unit_facts *unit, const struct carrier_spec *spec)
{
    CLEANUP(carrier_conf_clear) struct carrier_conf conf = {0};
    CLEANUP(carried_destroy) struct carried *carried = carried_new(spec->rank < 0 ? spec->coordinator : spec->worker);
    struct child *c;

    if (!carried) {
        shell_spawn_failed(s, unit->id, "spawn_failed", "too little memory");
        return;
    }
    if (!make_conf(s, unit, spec, &conf))
        return;
    c = start(s, unit, &conf);
    if (!c)
        return;
    c->carried = carried;
    carried = NULL;
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
