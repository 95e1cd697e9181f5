/* Starting a child: its port, what its sandbox leaves open, its program. What came of it goes back as an event, after the
 * step's other effects. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/coordinator.h"
#include "agent/model_path.h"
#include "agent/ports.h"
#include "agent/sandbox_rules.h"
#include "agent/shell_internal.h"
#include "agent/worker.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/gguf.h"
#include "common/core/text.h"
#include "common/log.h"

void shell_spawn_failed(struct shell *s, const char *unit_id, const char *reason, const char *format, ...)
{
    struct outcome *o = shell_outcome(s, AGENT_EV_SPAWN_FAILED, unit_id);
    va_list ap;

    if (!o)
        return;
    text_copy(o->reason, sizeof(o->reason), reason);
    va_start(ap, format);
    vsnprintf(o->text, sizeof(o->text), format, ap);
    va_end(ap);
    text_clean(o->text);
}

/* ---- ports ------------------------------------------------------------------------------------------------------- */

struct port_search {
    struct shell *shell;
    const char *unit_id;
};

static bool is_promised(void *ctx, uint16_t port)
{
    struct port_search *p = ctx;

    if (port == p->shell->hello.port) /* our own, for neighbours */
        return true;
    for (size_t i = 0; i < PROTO_UNITS_MAX; i++) {
        const struct child *c = &p->shell->child[i];

        if (c->id[0] && !c->ended && c->port == port && strcmp(c->id, p->unit_id) != 0)
            return true;
    }
    return false;
}

static void port_clash(void *ctx, uint16_t port, const char *text)
{
    struct port_search *p = ctx;
    struct outcome *o = shell_outcome(p->shell, AGENT_EV_PORT_CLASH, p->unit_id);

    log_warn("port.clash", "unit=%s port=%u text=%s", p->unit_id, (unsigned)port, LOG_STR(text));
    if (o)
        text_copy(o->text, sizeof(o->text), text);
}

static const struct port_range *range_of(const struct shell *s, enum unit_role role)
{
    switch (role) {
    case UNIT_COORDINATOR:
        return &s->options->coordinator_ports;
    case UNIT_CARRIER:
        return &s->options->carrier_ports;
    case UNIT_WORKER:
        break;
    }
    return &s->options->worker_ports;
}

bool shell_choose_port(struct shell *s, const struct unit_facts *unit, uint16_t hint, const char *blamed, uint16_t *ret)
{
    const struct port_range *range = range_of(s, unit->role);
    struct port_search search = {s, unit->id};
    struct port_request req = {.addr = unit->addr,
                               .first = range->first,
                               .last = range->last,
                               .hint = hint,
                               .taken = is_promised,
                               .clash = port_clash,
                               .ctx = &search};
    int r = port_pick(&req, ret);

    switch (r) {
    case 0:
        return true;
    case PORTS_E_NONE:
        shell_spawn_failed(s, blamed, "port_clash", "every port from %u to %u is taken", (unsigned)range->first,
                           (unsigned)range->last);
        return false;
    case PORTS_E_BAD_ADDR:
        shell_spawn_failed(s, blamed, "bad_address", "%s is not an address of this node (any more)", unit->addr);
        return false;
    default:
        log_failure(LOG_LEVEL_ERROR, "port.pick", err_fold(r), "unit=%s", unit->id);
        shell_spawn_failed(s, blamed, "spawn_failed", "ports could not be looked up: %s", strerrordesc_np(-r));
        return false;
    }
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* r: of what was prepared for it. false: told. */
static bool start(struct shell *s, const struct unit_facts *unit, const struct process_command *what, int r,
                  int32_t *ret_pid)
{
    if (r == 0)
        r = process_spawn(s->processes, unit, what, ret_pid);
    switch (r) {
    case 0:
        return true;
    case PROCESS_E_EXISTS:
        shell_spawn_failed(s, unit->id, "spawn_failed", "unit %s is there already", unit->id);
        return false;
    case PROCESS_E_EXEC:
        shell_spawn_failed(s, unit->id, "exec_failed", "%s cannot be executed", what->argv[0]);
        return false;
    case PROCESS_E_SANDBOX:
        shell_spawn_failed(s, unit->id, "sandbox_failed",
                           "%s could not be shut in: see this agent's log, and `sandbox`", what->argv[0]);
        return false;
    default:
        log_failure(LOG_LEVEL_ERROR, "unit.spawn", err_fold(r), "unit=%s", unit->id);
        shell_spawn_failed(s, unit->id, "spawn_failed", "%s could not be started: %s", what->argv[0],
                           strerrordesc_np(-r));
        return false;
    }
}

struct child *shell_start(struct shell *s, const struct unit_facts *unit, const struct process_command *what, int r)
{
    struct outcome *o;
    int32_t pid;

    if (!start(s, unit, what, r, &pid))
        return NULL;
    log_info("unit.spawned", "unit=%s role=%s pid=%d addr=%s port=%u", unit->id, unit_role_name(unit->role), (int)pid,
             unit->addr, (unsigned)unit->port);
    o = shell_outcome(s, AGENT_EV_SPAWNED, unit->id);
    if (o) {
        o->ev.pid = pid;
        o->ev.port = unit->port;
        text_copy(o->addr, sizeof(o->addr), unit->addr);
    }
    return shell_child_new(s, unit->id, unit->port);
}

/* spec: of a coordinator, whose key stands in key_file; else NULL. */
static struct child *start_llama(struct shell *s, const struct unit_facts *unit, const char *const *argv,
                                 const struct coordinator_spec *spec, const char *key_file)
{
    const char *env[] = {"GGML_NO_BACKTRACE=1", /* gdb on a dying process would delay its end */
                         GPU_ENVIRONMENT, s->cache_env[0], s->cache_env[1], NULL};
    struct sandbox_request req = {.llama = &s->llama,
                                  .library_path = getenv("LD_LIBRARY_PATH"),
                                  .cache_dir = s->cache_dir,
                                  .unit = unit,
                                  .spec = spec,
                                  .key_file = key_file,
                                  .models = s->options->models,
                                  .n_models = s->options->n_models};
    CLEANUP(sandbox_rules_clear) struct sandbox_rules rules = {0};
    int r = s->options->sandbox ? sandbox_rules_make(&req, &rules) : 0;
    struct process_command what = {.argv = argv, .env = env, .rule = (const char *const *)(uintptr_t)rules.rule};

    return shell_start(s, unit, &what, r);
}

/* ---- llama.cpp's ------------------------------------------------------------------------------------------------- */

const struct model_place *shell_model(const struct shell *s, const char *name)
{
    for (size_t i = 0; i < s->n_models; i++)
        if (!strcmp(s->model[i].name, name))
            return &s->model[i];
    return NULL;
}

/* They were when the directories were last looked at; what counts is now. false: told. */
static bool files_are_there(struct shell *s, const struct unit_facts *unit, const char *path)
{
    char file[GGUF_FILE_MAX];
    int r = model_path_check(path, s->options->models, s->options->n_models, file);

    if (r < 0)
        shell_spawn_failed(s, unit->id, "no_file", "%s cannot be opened: %s", file, strerrordesc_np(-r));
    else if (r)
        shell_spawn_failed(s, unit->id, "no_file", "%s %s", file,
                           r == MODEL_PATH_E_OUTSIDE ? "is a link that leads out of this node's `models`"
                                                     : "is not there any more");
    return r == 0;
}

/* NULL: told. */
static const struct model_place *usable_model(struct shell *s, const struct unit_facts *unit,
                                              const struct coordinator_spec *spec)
{
    const struct model_place *model = shell_model(s, spec->model);

    if (!model || !model->usable)
        shell_spawn_failed(s, unit->id, "no_file", "%s is not among this node's usable models", spec->model);
    else if (model->header_hash != spec->header_hash)
        shell_spawn_failed(s, unit->id, "other_file", "%s is another file here than the one that was planned",
                           spec->model);
    else if (files_are_there(s, unit, model->path))
        return model;
    return NULL;
}

struct child *shell_start_coordinator(struct shell *s, const struct unit_facts *unit,
                                      const struct coordinator_spec *spec)
{
    const struct model_place *model = usable_model(s, unit, spec);
    CLEANUP(coordinator_command_clear) struct coordinator_command command = {0};
    char key[PROTO_KEY_MAX + 1], key_path[PROTO_PATH_MAX];
    int r;

    if (!model)
        return NULL;
    snprintf(key, sizeof(key), "%s\n", spec->api_key);
    r = process_write_file(s->processes, unit->id, SHELL_API_KEY_FILE, key, strlen(key), key_path, sizeof(key_path));
    explicit_bzero(key, sizeof(key));
    if (r == 0)
        r = coordinator_command_make(&s->llama, unit, spec, model->path, key_path, &command);
    if (r < 0) {
        log_failure(LOG_LEVEL_ERROR, "unit.spawn", r, "unit=%s", unit->id);
        shell_spawn_failed(s, unit->id, "spawn_failed", "the coordinator could not be prepared: %s",
                           strerrordesc_np(-r));
        return NULL;
    }
    return start_llama(s, unit, command.argv, spec, key_path);
}

void shell_spawn(struct shell *s, struct agent_fx *fx)
{
    struct unit_facts unit = fx->unit;
    struct worker_command command;
    struct child *c;

    if (!unit.addr[0])
        text_copy(unit.addr, sizeof(unit.addr), s->hello.addr[0]);
    if (fx->coordinator && fx->coordinator->n_gateways) { /* its port was chosen with its carrier's */
        shell_hold_coordinator(s, &unit, &fx->coordinator);
        return;
    }
    if (!shell_choose_port(s, &unit, fx->port_hint, unit.id, &unit.port))
        return;
    switch (unit.role) {
    case UNIT_WORKER:
        worker_command_make(s->llama.rpc_server, &unit, s->options->worker_threads, &command);
        start_llama(s, &unit, command.argv, NULL, NULL);
        return;
    case UNIT_COORDINATOR:
        c = shell_start_coordinator(s, &unit, fx->coordinator);
        if (c)
            shell_watch_coordinator(s, c, unit.addr);
        return;
    case UNIT_CARRIER:
        shell_start_carrier(s, &unit, fx->carrier);
        return;
    }
}
