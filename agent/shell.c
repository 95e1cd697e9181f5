#include "agent/shell.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier_routes.h"
#include "agent/shell_internal.h"
#include "agent/system.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/event_clear.h"
#include "common/log.h"

enum { SAMPLE_MS = 500 };

/* ---- children ---------------------------------------------------------------------------------------------------- */

struct child *shell_child(struct shell *s, const char *id)
{
    for (size_t i = 0; i < PROTO_UNITS_MAX; i++)
        if (s->child[i].id[0] && !strcmp(s->child[i].id, id))
            return &s->child[i];
    return NULL;
}

struct child *shell_child_new(struct shell *s, const char *id, uint16_t port)
{
    struct child *c = shell_child(s, id);

    for (size_t i = 0; !c && i < PROTO_UNITS_MAX; i++)
        if (!s->child[i].id[0])
            c = &s->child[i];
    if (!c)
        return NULL; /* the core has no more units than this table has places */
    shell_child_clear(c);
    c->shell = s;
    c->port = port;
    text_copy(c->id, sizeof(c->id), id);
    return c;
}

void shell_child_clear(struct child *c)
{
    probe_cancel(&c->probe);
    coordinator_watch_destroy(&c->watch);
    carried_destroy(&c->carried);
    free(c->routes);
    *c = (struct child){0};
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* An event that is lost leaves the core wrong for ever: a unit that ended would run on in its eyes. So the agent ends, its
 * children live on, and the next one adopts them as they are. */
static void short_of_memory(struct shell *s)
{
    log_error("shell.memory",
              "text=\"too little memory: the agent ends and is to be started again; its children live on\"");
    s->short_of_memory = true;
    if (s->base)
        event_base_loopbreak(s->base);
}

struct outcome *shell_outcome(struct shell *s, enum agent_ev_kind kind, const char *unit_id)
{
    struct outcome *o = calloc(1, sizeof(*o));

    if (!o) {
        short_of_memory(s);
        return NULL;
    }
    o->ev.kind = kind;
    if (unit_id) {
        text_copy(o->unit_id, sizeof(o->unit_id), unit_id);
        o->ev.unit_id = o->unit_id;
    }
    o->ev.addr = o->addr;
    o->ev.reason = o->reason;
    o->ev.text = o->text;
    *s->last_outcome = o;
    s->last_outcome = &o->next;
    return o;
}

static struct outcome *take_outcome(struct shell *s)
{
    struct outcome *o = s->first_outcome;

    if (o) {
        s->first_outcome = o->next;
        if (!s->first_outcome)
            s->last_outcome = &s->first_outcome;
    }
    return o;
}

static void set_tick(struct shell *s)
{
    uint64_t due = agent_deadline_ms(s->core), now = clock_now_ms(), in = due > now ? due - now : 0;
    struct timeval tv = {.tv_sec = (time_t)(in / 1000), .tv_usec = (suseconds_t)(in % 1000 * 1000)};

    if (due == UINT64_MAX)
        evtimer_del(s->on_tick);
    else
        evtimer_add(s->on_tick, &tv);
}

static bool step(struct shell *s, const struct agent_ev *ev)
{
    CLEANUP(agent_effects_destroy) struct agent_effects *fx = agent_step(s->core, ev, clock_now_ms());

    if (!fx) {
        short_of_memory(s);
        return false;
    }
    for (size_t i = 0; i < fx->n; i++)
        shell_carry_out(s, &fx->item[i]);
    return true;
}

/* Effects are carried out whole before what they bring about is fed: the core never sees itself in the middle. */
bool shell_feed(struct shell *s, const struct agent_ev *ev)
{
    struct outcome *o;
    bool ok;

    if (!s->core)
        return false;
    ok = step(s, ev);
    while ((o = take_outcome(s))) {
        step(s, &o->ev);
        free(o);
    }
    set_tick(s);
    return ok;
}

/* Before every tick and sample: what was due while the machine slept is not decided before the core knows that it did. */
static void look_at_clocks(struct shell *s)
{
    uint64_t mono_ms = clock_now_ms();

    if (!wake_seen(&s->wake, clock_ms(CLOCK_BOOTTIME), mono_ms))
        return;
    log_warn("host.resumed", "text=\"the machine was suspended\"");
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_RESUMED});
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    look_at_clocks(ctx);
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_TICK});
}

static void on_sample(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    look_at_clocks(ctx);
    shell_sample(ctx);
}

static void on_stop(evutil_socket_t fd, short what, void *ctx)
{
    struct shell *s = ctx;

    (void)what;
    log_info("agent.stop", "signal=%s text=\"children live on\"", sigabbrev_np((int)fd));
    event_base_loopexit(s->base, NULL);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* Of a coordinator the line that says best why, with its ranks as the plan calls them. */
static const char *say_cause(struct child *c, const char *tail, char *buf, size_t size)
{
    const char *cause = c->watch ? coordinator_watch_cause(c->watch) : "";

    text_copy(buf, size, cause[0] ? cause : tail);
    if (c->routes)
        carrier_routes_name_text(c->routes, buf, size);
    return buf;
}

static void on_exited(void *ctx, const char *id, const struct exit_facts *exit, const char *tail)
{
    struct shell *s = ctx;
    struct child *c = shell_child(s, id);
    struct agent_ev ev = {.kind = AGENT_EV_EXITED, .unit_id = id, .exit = *exit, .text = tail};
    char cause[PROTO_TEXT_MAX] = "";

    if (c) {
        ev.text = say_cause(c, tail, cause, sizeof(cause));
        c->ended = true;
        probe_cancel(&c->probe); /* nobody is there to be asked */
        coordinator_watch_destroy(&c->watch);
        if (c->carried)
            shell_carrier_ended(s, c);
    }
    log_info("unit.exited", "unit=%s known=%s code=%d signal=%s text=%s", id, exit->known ? "yes" : "no",
             (int)exit->code, exit->signal ? sigabbrev_np(exit->signal) : "none", LOG_STR(ev.text));
    shell_feed(s, &ev);
}

static void on_dying(void *ctx, const char *id)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = id});
}

static void on_found(void *ctx, const struct unit_facts *unit)
{
    struct shell *s = ctx;
    struct child *c = shell_child_new(s, unit->id, unit->port);

    log_info("unit.adopted", "unit=%s role=%s state=%s pid=%d port=%u", unit->id, unit_role_name(unit->role),
             unit_state_name(unit->state), (int)unit->pid, (unsigned)unit->port);
    if (c)
        c->ended = unit->state == UNIT_EXITED;
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_ADOPT, .unit = unit});
}

/* ---- link, mDNS, models ------------------------------------------------------------------------------------------ */

static void on_link_up(void *ctx)
{
    struct shell *s = ctx;

    shell_welcomed(s);
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_LINK_UP, .minor = link_minor(s->link)});
}

static void on_link_down(void *ctx)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_LINK_DOWN});
}

static bool on_denied(void *ctx)
{
    return shell_own_key_denied(ctx);
}

static void on_message(void *ctx, const struct message *m)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_MESSAGE, .message = m});
}

static void on_snapshot(void *ctx, struct snapshot *snapshot)
{
    struct shell *s = ctx;

    if (s->local)
        local_api_take(s->local, snapshot);
}

static void on_controller(void *ctx, const uint8_t *key)
{
    peers_allow_controller(((struct shell *)ctx)->peers, key);
}

static void on_service(void *ctx, const struct mdns_service *service)
{
    struct shell *s = ctx;

    link_on_service(s->link, service);
}

/* Adverts come again by themselves, and a lost mDNS says nothing about links that are up. */
static void on_mdns_state(void *ctx, bool running)
{
    (void)ctx;
    (void)running;
}

static int remember_places(struct shell *s, const struct inventory *inventory)
{
    struct model_place *place = calloc(inventory->n_models + 1, sizeof(*place));

    if (!place)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < inventory->n_models; i++) {
        const struct model_facts *m = &inventory->model[i];

        text_copy(place[i].name, sizeof(place[i].name), m->name);
        text_copy(place[i].path, sizeof(place[i].path), m->path);
        place[i].header_hash = m->header_hash;
        place[i].usable = !m->problem[0];
    }
    free(s->model);
    s->model = place;
    s->n_models = inventory->n_models;
    return 0;
}

static void on_models(void *ctx, struct inventory *found)
{
    CLEANUP(inventory_destroy) struct inventory *inventory = found;
    struct shell *s = ctx;
    struct agent_ev ev = {.kind = AGENT_EV_MODELS, .model = inventory->model, .n_models = inventory->n_models};
    int r = remember_places(s, inventory);

    if (r < 0) {
        log_failure(LOG_LEVEL_ERROR, "inventory.take", r, "models=%zu", inventory->n_models);
        return;
    }
    r = s->tensors ? tensor_room_take(s->tensors, inventory) : 0;
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "tensors.take", r, "models=%zu", inventory->n_models);
    log_info("inventory", "models=%zu left_out=%zu", inventory->n_models, inventory->n_left_out);
    if (shell_feed(s, &ev)) {
        inventory->model = NULL; /* the core has it now */
        inventory->n_models = 0;
    }
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void shell_clear(struct shell *s)
{
    struct outcome *o;

    for (size_t i = 0; i < PROTO_UNITS_MAX; i++)
        shell_child_clear(&s->child[i]);
    if (s->inventory)
        inventory_room_destroy(&s->inventory);
    tensor_room_destroy(&s->tensors);
    if (s->mdns)
        mdns_destroy(&s->mdns);
    join_destroy(&s->join);
    if (s->link)
        link_destroy(&s->link);
    shell_close_peers(s);
    local_api_destroy(&s->local);
    if (s->processes)
        process_table_destroy(&s->processes);
    agent_destroy(&s->core);
    gpu_destroy(&s->gpu);
    while (s->last_outcome && (o = take_outcome(s)))
        free(o);
    event_clear(&s->on_tick);
    event_clear(&s->on_sample);
    event_clear(&s->on_term);
    event_clear(&s->on_int);
    free(s->model);
    if (s->base)
        event_base_free(s->base);
}

static int make_events(struct shell *s)
{
    static const struct timeval every = {.tv_usec = SAMPLE_MS * 1000};

    s->base = event_base_new();
    if (!s->base)
        return err_raise(-ENOMEM);
    s->on_tick = evtimer_new(s->base, on_tick, s);
    s->on_sample = event_new(s->base, -1, EV_PERSIST, on_sample, s);
    s->on_term = evsignal_new(s->base, SIGTERM, on_stop, s);
    s->on_int = evsignal_new(s->base, SIGINT, on_stop, s);
    if (!s->on_tick || !s->on_sample || !s->on_term || !s->on_int || event_add(s->on_sample, &every) < 0 ||
        event_add(s->on_term, NULL) < 0 || event_add(s->on_int, NULL) < 0)
        return err_raise(-ENOMEM);
    return 0;
}

/* Children are adopted before anybody can ask for new ones, and the link is there before the core may want to send. */
static int make_rooms(struct shell *s, const char *shim_path)
{
    static const char *const services[] = {"_caravan-ctl._tcp", NULL};
    struct process_callbacks process_cb = {on_exited, on_dying, s};
    struct link_callbacks link_cb = {on_link_up, on_link_down, on_message, on_snapshot, on_controller, s, on_denied};
    struct mdns_callbacks mdns_cb = {on_service, on_mdns_state, s};
    int r = s->options->socket[0] ? local_api_new(s->base, s->options->socket, &s->local) : 0;

    if (r < 0)
        return err_pass(r); /* that the place cannot be used has been said */
    r = process_table_new(s->base, state_dir_path(s->state), shim_path, &process_cb, &s->processes);
    if (r < 0)
        return err_pass(r);
    r = link_new(s->base, s->options, s->state, s->identity, &s->ticket->cluster, &s->hello, &link_cb, &s->link);
    if (!r)
        r = shell_open_join(s);
    if (r < 0)
        return err_pass(r);
    r = mdns_new(s->base, services, &mdns_cb, &s->mdns);
    if (r < 0)
        return err_pass(r);
    r = shell_advertise_agent(s);
    if (r < 0)
        return err_pass(r);
    r = process_adopt(s->processes, on_found, s);
    if (r < 0)
        return err_pass(r);
    shell_adopt_carriers(s);
    if (s->options->tunnel) /* else nothing is fed */
        r = tensor_room_new(s->base, s->tensor_dir, s->options->models, s->options->n_models, NULL, NULL, &s->tensors);
    if (r < 0)
        return err_pass(r);
    r = inventory_room_new(s->base, s->options->models, s->options->n_models, on_models, s, &s->inventory);
    return r < 0 ? err_pass(r) : 0;
}

static int run(struct shell *s, const char *shim_path)
{
    const struct agent_epoch *epoch;
    struct agent_config config;
    int r = shell_find_out(s, &config);

    if (r < 0)
        return err_pass(r);
    r = make_events(s);
    if (r < 0)
        return err_pass(r);
    r = shell_open_peers(s);
    if (r < 0)
        return err_pass(r);
    config.hello = s->hello;
    r = agent_new(&config, state_dir_epochs(s->state, &epoch) ? epoch : NULL, state_dir_epochs(s->state, &epoch),
                  &s->core);
    if (r < 0)
        return err_pass(r);
    r = make_rooms(s, shim_path);
    if (r < 0)
        return err_pass(r);
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_BEGIN});
    shell_sample(s);
    log_info("agent.start", "node=%s id=%s addr=%s build=%s trust=%s transport=%s", s->hello.name,
             ID128_SHORT(&s->hello.node), s->hello.addr[0], s->hello.build[0] ? s->hello.build : "none",
             s->options->trust_open ? "open" : "keys", s->hello.transport);
    if (!s->short_of_memory && event_base_dispatch(s->base) < 0)
        return err_raise(-EIO);
    return s->short_of_memory ? err_raise(-ENOMEM) : 0;
}

int shell_run(const struct agent_options *options, struct state_dir *state, const struct identity *identity,
              struct join_ticket *ticket, const char *shim_path, const char *carrier_path)
{
    CLEANUP(cleanup_free) struct shell *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_raise(-ENOMEM);
    s->options = options;
    s->state = state;
    s->identity = identity;
    s->ticket = ticket;
    s->carrier_path = carrier_path;
    s->last_outcome = &s->first_outcome;
    r = run(s, shim_path);
    shell_clear(s);
    return r < 0 ? err_pass(r) : 0;
}
