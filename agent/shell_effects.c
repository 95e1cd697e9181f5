/* One switch: what the core wants done. Each effect's outcome goes back as an event, after the step's other effects. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
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

static const char API_KEY_FILE[] = "api-key"; /* of a coordinator, beside its record */

/* ---- starting ---------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void spawn_failed(struct shell *s, const char *unit_id, const char *reason,
                                                               const char *format, ...)
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

struct port_search {
    struct shell *shell;
    const char *unit_id;
};

static bool is_promised(void *ctx, uint16_t port)
{
    struct port_search *p = ctx;

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

/* false: told. */
static bool choose_port(struct shell *s, const struct agent_fx *fx, const char *addr, uint16_t *ret)
{
    const struct port_range *range =
        fx->unit.role == UNIT_COORDINATOR ? &s->options->coordinator_ports : &s->options->worker_ports;
    struct port_search search = {s, fx->unit.id};
    struct port_request req = {.addr = addr,
                               .first = range->first,
                               .last = range->last,
                               .hint = fx->port_hint,
                               .taken = is_promised,
                               .clash = port_clash,
                               .ctx = &search};
    int r = port_pick(&req, ret);

    switch (r) {
    case 0:
        return true;
    case PORTS_E_NONE:
        spawn_failed(s, fx->unit.id, "port_clash", "every port from %u to %u is taken", (unsigned)range->first,
                     (unsigned)range->last);
        return false;
    case PORTS_E_BAD_ADDR:
        spawn_failed(s, fx->unit.id, "bad_address", "%s is not an address of this node (any more)", addr);
        return false;
    default:
        log_failure(LOG_LEVEL_ERROR, "port.pick", err_fold(r), "unit=%s", fx->unit.id);
        spawn_failed(s, fx->unit.id, "spawn_failed", "ports could not be looked up: %s", strerrordesc_np(-r));
        return false;
    }
}

/* spec: of a coordinator, whose key stands in key_file; else NULL. */
static void spawn(struct shell *s, const struct unit_facts *unit, const char *const *argv,
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
    struct process_command what = {.argv = argv, .env = env};
    struct outcome *o;
    struct child *c;
    int32_t pid;
    int r = s->options->sandbox ? sandbox_rules_make(&req, &rules) : 0;

    what.rule = (const char *const *)(uintptr_t)rules.rule;
    if (r == 0)
        r = process_spawn(s->processes, unit, &what, &pid);
    switch (r) {
    case 0:
        break;
    case PROCESS_E_EXISTS:
        spawn_failed(s, unit->id, "spawn_failed", "unit %s is there already", unit->id);
        return;
    case PROCESS_E_EXEC:
        spawn_failed(s, unit->id, "exec_failed", "%s cannot be executed", argv[0]);
        return;
    case PROCESS_E_SANDBOX:
        spawn_failed(s, unit->id, "sandbox_failed", "%s could not be shut in: see this agent's log, and `sandbox`",
                     argv[0]);
        return;
    default:
        log_failure(LOG_LEVEL_ERROR, "unit.spawn", err_fold(r), "unit=%s", unit->id);
        spawn_failed(s, unit->id, "spawn_failed", "%s could not be started: %s", argv[0], strerrordesc_np(-r));
        return;
    }
    log_info("unit.spawned", "unit=%s role=%s pid=%d addr=%s port=%u", unit->id, unit_role_name(unit->role), (int)pid,
             unit->addr, (unsigned)unit->port);
    c = shell_child_new(s, unit->id, unit->port);
    if (c && unit->role == UNIT_COORDINATOR)
        shell_watch_coordinator(s, c, unit->addr);
    o = shell_outcome(s, AGENT_EV_SPAWNED, unit->id);
    if (!o)
        return;
    o->ev.pid = pid;
    o->ev.port = unit->port;
    text_copy(o->addr, sizeof(o->addr), unit->addr);
}

static const struct model_place *find_model(const struct shell *s, const char *name)
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
        spawn_failed(s, unit->id, "no_file", "%s cannot be opened: %s", file, strerrordesc_np(-r));
    else if (r)
        spawn_failed(s, unit->id, "no_file", "%s %s", file,
                     r == MODEL_PATH_E_OUTSIDE ? "is a link that leads out of this node's `models`"
                                               : "is not there any more");
    return r == 0;
}

static void spawn_coordinator(struct shell *s, const struct agent_fx *fx, const struct unit_facts *unit)
{
    const struct coordinator_spec *spec = fx->coordinator;
    const struct model_place *model = find_model(s, spec->model);
    CLEANUP(coordinator_command_clear) struct coordinator_command command = {0};
    char key[PROTO_KEY_MAX + 1], key_path[PROTO_PATH_MAX];
    int r;

    if (!model || !model->usable) {
        spawn_failed(s, unit->id, "no_file", "%s is not among this node's usable models", spec->model);
        return;
    }
    if (model->header_hash != spec->header_hash) {
        spawn_failed(s, unit->id, "other_file", "%s is another file here than the one that was planned", spec->model);
        return;
    }
    if (!files_are_there(s, unit, model->path))
        return;
    snprintf(key, sizeof(key), "%s\n", spec->api_key);
    r = process_write_file(s->processes, unit->id, API_KEY_FILE, key, strlen(key), key_path, sizeof(key_path));
    explicit_bzero(key, sizeof(key));
    if (r == 0)
        r = coordinator_command_make(&s->llama, unit, spec, model->path, key_path, &command);
    if (r < 0) {
        log_failure(LOG_LEVEL_ERROR, "unit.spawn", r, "unit=%s", unit->id);
        spawn_failed(s, unit->id, "spawn_failed", "the coordinator could not be prepared: %s", strerrordesc_np(-r));
        return;
    }
    spawn(s, unit, command.argv, spec, key_path);
}

static void on_spawn(struct shell *s, const struct agent_fx *fx)
{
    struct unit_facts unit = fx->unit;
    struct worker_command command;

    if (!unit.addr[0])
        text_copy(unit.addr, sizeof(unit.addr), s->hello.addr[0]);
    if (!choose_port(s, fx, unit.addr, &unit.port))
        return;
    if (unit.role == UNIT_COORDINATOR) {
        spawn_coordinator(s, fx, &unit);
        return;
    }
    worker_command_make(s->llama.rpc_server, &unit, s->options->worker_threads, &command);
    spawn(s, &unit, command.argv, NULL, NULL);
}

/* ---- following --------------------------------------------------------------------------------------------------- */

static void on_coordinator_told(void *ctx, const char *unit_id, const struct agent_event_facts *facts)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = unit_id, .facts = facts});
}

void shell_watch_coordinator(struct shell *s, struct child *c, const char *addr)
{
    char path[PROTO_PATH_MAX], key_path[PROTO_PATH_MAX];
    int r = -ENAMETOOLONG;

    if (process_file_path(s->processes, c->id, "log", path, sizeof(path)) &&
        process_file_path(s->processes, c->id, API_KEY_FILE, key_path, sizeof(key_path)))
        r = coordinator_watch_new(s->base, c->id, path, key_path, addr, c->port, on_coordinator_told, s, &c->watch);
    if (r < 0) /* the core gives it up when it says nothing */
        log_failure(LOG_LEVEL_ERROR, "coordinator.watch", r, "unit=%s", c->id);
}

static void on_probed(void *ctx, const struct probe_result *result)
{
    struct child *c = ctx;
    struct agent_ev ev = {.kind = AGENT_EV_PROBED,
                          .unit_id = c->id,
                          .ok = result->ok,
                          .rpc = result->rpc,
                          .n_devices = result->n_devices,
                          .text = result->text};

    c->probe = NULL;
    memcpy(ev.device_total_bytes, result->total_bytes, sizeof(ev.device_total_bytes));
    if (result->ok)
        link_set_rpc(c->shell->link, &result->rpc);
    shell_feed(c->shell, &ev);
}

static void on_probe(struct shell *s, const struct agent_fx *fx)
{
    const struct unit_facts *unit = agent_unit(s->core, fx->unit_id);
    struct child *c = shell_child(s, fx->unit_id);
    struct outcome *o;
    int r = -ENOENT;

    if (c && !c->ended && unit) {
        probe_cancel(&c->probe);
        r = probe_start(s->base, unit->addr, c->port, fx->deadline_ms, on_probed, c, &c->probe);
    }
    if (r == 0)
        return;
    o = shell_outcome(s, AGENT_EV_PROBED, fx->unit_id);
    if (o)
        snprintf(o->text, sizeof(o->text), "it could not be asked: %s", strerrordesc_np(-r));
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static void persisted(struct shell *s, uint64_t token, int r)
{
    struct outcome *o = shell_outcome(s, AGENT_EV_PERSISTED, NULL);

    if (!o)
        return;
    o->ev.token = token;
    o->ev.ok = r == 0;
}

static void on_persist_epoch(struct shell *s, const struct agent_fx *fx)
{
    int r = state_dir_write_epoch(s->state, &fx->epoch);

    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "epoch.write", r, "instance=%s epoch=%" PRIu64, ID128(&fx->epoch.instance),
                    fx->epoch.epoch);
    persisted(s, fx->token, r);
}

static void on_assign(struct shell *s, const struct agent_fx *fx)
{
    int r = process_assign(s->processes, &fx->unit);

    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "unit.assign", r, "unit=%s", fx->unit.id);
    persisted(s, fx->token, r);
}

static void on_signal(struct shell *s, const struct agent_fx *fx)
{
    bool there = process_signal(s->processes, fx->unit_id, fx->signal) == 0;

    log_info("unit.signal", "unit=%s signal=%s%s", fx->unit_id, sigabbrev_np(fx->signal), there ? "" : " gone=yes");
}

static void on_forget(struct shell *s, const struct agent_fx *fx)
{
    struct child *c = shell_child(s, fx->unit_id);
    int r = process_forget(s->processes, fx->unit_id);

    if (r)
        log_warn("unit.forget", "unit=%s text=\"its record stays: %s\"", fx->unit_id,
                 r < 0 ? strerrordesc_np(-r) : "it still runs");
    if (c)
        shell_child_clear(c);
}

static void on_advertise(struct shell *s, const struct agent_fx *fx)
{
    struct mdns_txt txt[MDNS_TXT_MAX];
    int r;

    if (fx->advertise)
        r = mdns_publish(s->mdns, "worker", s->hello.name, "_llamacpp-rpc._tcp", fx->unit.port, txt,
                         shell_txt(s, &fx->unit, fx->advertise, txt));
    else
        r = mdns_withdraw(s->mdns, "worker");
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "mdns.worker", r, "state=%s", fx->advertise ? fx->advertise : "withdrawn");
}

static void on_transition(const struct agent_transition *t)
{
    enum log_level level = strcmp(t->verdict, "refuse") ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;

    if (!strcmp(t->verdict, "ignore"))
        level = LOG_LEVEL_DEBUG;
    log_line(level, "transition", "machine=%s id=%s from=%s to=%s event=%s verdict=%s%s%s", t->machine, t->id, t->from,
             t->to, t->event, t->verdict, t->sentence ? " text=" : "", t->sentence ? LOG_STR(t->sentence) : "");
}

void shell_carry_out(struct shell *s, struct agent_fx *fx)
{
    switch (fx->kind) {
    case AGENT_FX_SEND:
        link_send(s->link, fx->message);
        return;
    case AGENT_FX_PERSIST_EPOCH:
        on_persist_epoch(s, fx);
        return;
    case AGENT_FX_SPAWN:
        on_spawn(s, fx);
        return;
    case AGENT_FX_ASSIGN:
        on_assign(s, fx);
        return;
    case AGENT_FX_SIGNAL:
        on_signal(s, fx);
        return;
    case AGENT_FX_PROBE:
        on_probe(s, fx);
        return;
    case AGENT_FX_FORGET:
        on_forget(s, fx);
        return;
    case AGENT_FX_ADVERTISE:
        on_advertise(s, fx);
        return;
    case AGENT_FX_TRANSITION:
        on_transition(&fx->transition);
        return;
    case AGENT_FX_PEERS:
        shell_set_peers(s, fx);
        return;
    case AGENT_FX_PEER_SEND:
        shell_send_peer(s, fx);
        return;
    case AGENT_FX_KNOCK:
        shell_knock(s, fx);
        return;
    }
}
