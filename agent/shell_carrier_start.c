/* What a carrier is started with: its conf, from what the core wants and what this shell knows of ports, keys and files. */
#include <stdio.h>
#include <string.h>

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
