/* One switch: what the core wants done. Each effect's outcome goes back as an event, after the step's other effects. What
 * starts a child stands in shell_spawn.c. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/carrier_routes.h"
#include "agent/shell_internal.h"
#include "common/core/text.h"
#include "common/log.h"

/* ---- following --------------------------------------------------------------------------------------------------- */

static void on_coordinator_told(void *ctx, const char *unit_id, const struct agent_event_facts *facts)
{
    struct agent_event_facts named = *facts;
    struct shell *s = ctx;
    const struct child *c = shell_child(s, unit_id);

    if (c && c->routes) {
        carrier_routes_name_buffers(c->routes, &named);
        carrier_routes_name_text(c->routes, named.text, sizeof(named.text));
    }
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_COORDINATOR, .unit_id = unit_id, .facts = &named});
}

void shell_watch_coordinator(struct shell *s, struct child *c, const char *addr)
{
    char path[PROTO_PATH_MAX], key_path[PROTO_PATH_MAX];
    int r = -ENAMETOOLONG;

    if (process_file_path(s->processes, c->id, "log", path, sizeof(path)) &&
        process_file_path(s->processes, c->id, SHELL_API_KEY_FILE, key_path, sizeof(key_path)))
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

    if (c && !c->ended && unit && c->carried) {
        r = shell_ask_carrier(s, c, fx->deadline_ms);
    } else if (c && !c->ended && unit) {
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
    bool there;

    if (shell_drop_held(s, fx->unit_id))
        return;
    there = process_signal(s->processes, fx->unit_id, fx->signal) == 0;
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
    uint16_t port = s->options->tunnel ? s->hello.port : fx->unit.port; /* where somebody answers who knocks */
    struct mdns_txt txt[MDNS_TXT_MAX];
    int r;

    if (fx->advertise)
        r = mdns_publish(s->mdns, "worker", s->hello.name, "_llamacpp-rpc._tcp", port, txt,
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
        shell_spawn(s, fx);
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
