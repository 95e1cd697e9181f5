#include "controller/shell.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "controller/shell_state.h"

/* The core could not go on, or what it decided could not be kept: better to start again from the store than to guess. */
void shell_give_up(struct shell *s, const char *what, int r)
{
    log_failure(LOG_LEVEL_ERROR, "controller.give_up", r, "doing=%s", what);
    s->failure = r;
    event_base_loopbreak(s->base);
}

int shell_failure(const struct shell *s)
{
    return s->failure;
}

/* ---- events for the next turn ---- */

void shell_on_turn(evutil_socket_t fd, short what, void *ctx)
{
    struct shell *s = ctx;
    struct late *l;

    (void)fd;
    (void)what;
    while ((l = STAILQ_FIRST(&s->late))) {
        STAILQ_REMOVE_HEAD(&s->late, link);
        l->ev.text = l->text;
        shell_step(s, &l->ev);
        free(l);
    }
}

void shell_tell_later(struct shell *s, const struct cluster_ev *ev)
{
    struct late *l = calloc(1, sizeof(*l));

    if (!l) {
        shell_give_up(s, "tell_later", -ENOMEM);
        return;
    }
    l->ev = *ev;
    snprintf(l->text, sizeof(l->text), "%s", ev->text ? ev->text : "");
    STAILQ_INSERT_TAIL(&s->late, l, link);
    event_active(s->turn, EV_TIMEOUT, 0);
}

/* Somebody waits for what this says: it must be in the picture before he is told. What was refused has changed nothing. */
static bool is_urgent(const struct cluster_fx *fx)
{
    if (fx->kind == CLUSTER_FX_ANSWER)
        return fx->answer.accepted;
    return fx->kind == CLUSTER_FX_TRANSITION && strcmp(fx->transition.verdict, "go") == 0 &&
           strcmp(fx->transition.machine, "node") != 0;
}

static bool any_urgent(const struct cluster_effects *fx)
{
    for (size_t i = 0; i < fx->n; i++)
        if (is_urgent(&fx->item[i]))
            return true;
    return false;
}

/* ---- carrying out ---- */

/* The epoch's key is known to the shell alone. */
static void fill_key(const struct shell *s, struct message *m)
{
    if (m->kind == MESSAGE_COMMAND && m->command.kind == COMMAND_START_COORDINATOR)
        upstream_key(s->secret, &m->instance, m->epoch, m->command.coordinator.api_key);
}

static void send_message(struct shell *s, struct cluster_fx *fx)
{
    struct message *m = fx->message;
    int r;

    fill_key(s, m->kind == MESSAGE_RELAY ? m->relay.inner : m);
    r = fx->addr[0] ? link_answer(s->link, m) : link_send(s->link, fx->key, m);
    if (r == LINK_E_NOT_SENT)
        log_debug("link.not_sent", "key=%.16s", fx->key); /* its silence will tell the core */
    else if (r < 0)
        log_failure(LOG_LEVEL_WARN, "link.send", r, "key=%.16s", fx->key);
}

static void on_warmed(void *ctx, const struct upstream_target *target, bool ok, const char *text)
{
    struct warming *w = ctx;
    struct shell *s = w->shell;

    LIST_REMOVE(w, link);
    free(w);
    shell_step(
        s,
        &(struct cluster_ev){
            .kind = CLUSTER_EV_WARMED, .instance = target->instance, .epoch = target->epoch, .ok = ok, .text = text});
}

static void warm_up(struct shell *s, const struct cluster_fx *fx)
{
    const struct upstream up = {s->base, s->secret, s->tunnels, NULL};
    struct upstream_target target = {
        .port = fx->port, .instance = fx->instance, .epoch = fx->epoch, .embeds = fx->embeds};
    struct warming *w = calloc(1, sizeof(*w));
    int r = w ? 0 : err_raise(-ENOMEM);

    memcpy(target.addr, fx->addr, sizeof(target.addr));
    memcpy(target.key, fx->key, sizeof(target.key));
    if (!r)
        r = warm_up_start(&up, &target, s->warm_up_ms, on_warmed, w, &w->warm_up);
    if (!r) {
        w->shell = s;
        LIST_INSERT_HEAD(&s->warming, w, link);
        return;
    }
    free(w);
    shell_tell_later(s, &(struct cluster_ev){.kind = CLUSTER_EV_WARMED,
                                             .instance = fx->instance,
                                             .epoch = fx->epoch,
                                             .ok = false,
                                             .text = upstream_failure_text(r)});
}

static void answer(struct shell *s, const struct cluster_fx *fx)
{
    struct front_note *n;

    n = shell_note_new(s, FRONT_NOTE_ANSWER);
    if (!n)
        return;
    n->request_id = fx->request_id;
    n->answer = fx->answer;
    if (s->refusal && strcmp(fx->answer.code, "invalid_transition") == 0)
        n->refusal = (struct front_refusal){s->refusal->machine, s->refusal->from, s->refusal->event};
    if (fx->answer.accepted)
        shell_note_send(s, n);
    else
        shell_hold_answer(s, n);
}

/* One line per transition, its message named after the machine: "node.state", or "node.refused". */
static void log_transition(const struct cluster_transition *t)
{
    bool refused = strcmp(t->verdict, "refuse") == 0;
    char msg[32];

    snprintf(msg, sizeof(msg), "%s.%s", t->machine, refused ? "refused" : "state");
    log_line(refused ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, msg,
             "id=%s instance=%s epoch=%" PRIu64 " from=%s to=%s event=%s text=%s", LOG_STR(t->id),
             id128_is_zero(&t->instance) ? "-" : ID128_SHORT(&t->instance), t->epoch, t->from, t->to ? t->to : t->from,
             t->event, LOG_STR(t->text));
}

static void transition(struct shell *s, const struct cluster_transition *t)
{
    struct front_note *n = shell_note_new(s, FRONT_NOTE_TRANSITION);
    bool refused = strcmp(t->verdict, "refuse") == 0;

    log_transition(t);
    if (refused)
        s->refusal = t;
    if (refused || (strcmp(t->verdict, "go") == 0 && strcmp(t->machine, "task") != 0)) /* tasks are kept themselves */
        shell_audit(s, t);
    if (!n)
        return;
    n->transition = *t;
    shell_note_send(s, n);
}

static void carry_out(struct shell *s, struct cluster_fx *fx)
{
    switch (fx->kind) {
    case CLUSTER_FX_SEND:
        send_message(s, fx);
        return;
    case CLUSTER_FX_COMMIT:
        shell_commit(s, fx);
        return;
    case CLUSTER_FX_WARM_UP:
        warm_up(s, fx);
        return;
    case CLUSTER_FX_ANSWER:
        answer(s, fx);
        return;
    case CLUSTER_FX_TRANSITION:
        transition(s, &fx->transition);
        return;
    case CLUSTER_FX_CHANGED:
        shell_mark_stale(s);
        return;
    case CLUSTER_FX_KNOCK:
        shell_knock(s, fx);
        return;
    case CLUSTER_FX_ALLOW:
        shell_allow(s, fx);
        return;
    case CLUSTER_FX_FORBID:
        shell_forbid(s, fx);
        return;
    }
}

static void arm_tick(struct shell *s)
{
    uint64_t at_ms = cluster_deadline_ms(s->cluster), now_ms = clock_now_ms();
    uint64_t wait_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    struct timeval tv = {.tv_sec = (time_t)(wait_ms / 1000), .tv_usec = (suseconds_t)(wait_ms % 1000) * 1000};

    if (at_ms == UINT64_MAX)
        event_del(s->tick);
    else
        event_add(s->tick, &tv);
}

void shell_step(struct shell *s, struct cluster_ev *ev)
{
    CLEANUP(cluster_effects_destroy) struct cluster_effects *fx = NULL;

    if (s->failure)
        return;
    ev->wall_ms = clock_wall_ms();
    fx = cluster_step(s->cluster, ev, clock_now_ms());
    if (!fx) {
        shell_give_up(s, "step", err_raise(-ENOMEM));
        return;
    }
    if (any_urgent(fx))
        shell_show(s);
    for (size_t i = 0; i < fx->n; i++)
        carry_out(s, &fx->item[i]);
    s->refusal = NULL;
    shell_settle_answers(s);
    arm_tick(s);
}

void shell_on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    shell_look_at_clocks(ctx);
    shell_step(ctx, &(struct cluster_ev){.kind = CLUSTER_EV_TICK});
}

/* ---- what happens ---- */

static enum cluster_ev_kind heard_as(const struct message *m)
{
    if (m->kind == MESSAGE_JOIN)
        return CLUSTER_EV_JOIN;
    return m->kind == MESSAGE_HELLO ? CLUSTER_EV_HELLO : CLUSTER_EV_MESSAGE;
}

void shell_on_message(void *ctx, const struct link_peer *peer, const char *peer_addr, struct message **m)
{
    struct cluster_ev ev = {.kind = heard_as(*m), .node = peer->node, .message = *m};
    struct shell *s = ctx;

    if (ev.kind == CLUSTER_EV_JOIN)
        ev.node = shell_id_of_key((*m)->join.key);
    snprintf(ev.key, sizeof(ev.key), "%s", peer->key_hex);
    snprintf(ev.peer_addr, sizeof(ev.peer_addr), "%s", peer_addr);
    shell_step(s, &ev);
    *m = ev.message; /* NULL where the core has taken it */
}

void shell_on_service(void *ctx, const struct mdns_service *service)
{
    struct shell *s = ctx;

    discovery_service(s->discovery, service, clock_wall_ms());
    if (discovery_changed(s->discovery))
        shell_mark_stale(s);
}

void shell_on_mdns_state(void *ctx, bool running)
{
    (void)ctx;
    if (running)
        log_info("mdns.running", "effect=%s", LOG_STR("advertised"));
    else
        log_warn("mdns.absent", "effect=%s", LOG_STR("agents need controllers = here until avahi-daemon runs"));
}

/* The same wish under the policy that was not asked for. */
static int plan_other(struct shell *s, const struct place_request *req, const struct front_planned *planned,
                      struct plan **ret)
{
    enum place_policy done = planned->plan ? planned->plan->policy : req->policy;
    struct place_request other = *req;
    char why[PROTO_TEXT_MAX];
    int r;

    if (req->nodes)
        return 0;
    other.policy = done == POLICY_SPREAD ? POLICY_FIT : POLICY_SPREAD;
    r = cluster_plan(s->cluster, &other, clock_now_ms(), ret, why, sizeof(why));
    return r < 0 ? err_pass(r) : 0;
}

static void do_plan(struct shell *s, const struct front_order *o)
{
    struct front_note *n = shell_note_new(s, FRONT_NOTE_PLANNED);
    struct front_planned *p;

    if (!n)
        return;
    n->request_id = o->request_id;
    p = &n->planned;
    p->r = cluster_plan(s->cluster, &o->request, clock_now_ms(), &p->plan, p->why, sizeof(p->why));
    if (p->r >= 0 && p->r < CLUSTER_E_UNKNOWN_MODEL && plan_other(s, &o->request, p, &p->other) < 0)
        p->r = -ENOMEM;
    shell_note_send(s, n);
}

/* As the core hears of it; 0: it is no event of the core's. */
static enum cluster_ev_kind event_of(enum front_order_kind k)
{
    switch (k) {
    case FRONT_ORDER_DEPLOY:
        return CLUSTER_EV_DEPLOY;
    case FRONT_ORDER_STOP:
        return CLUSTER_EV_STOP;
    case FRONT_ORDER_DRAIN:
        return CLUSTER_EV_DRAIN;
    case FRONT_ORDER_UNDRAIN:
        return CLUSTER_EV_UNDRAIN;
    case FRONT_ORDER_RETIRE:
        return CLUSTER_EV_RETIRE;
    case FRONT_ORDER_LIFT_BRAKE:
        return CLUSTER_EV_LIFT_BRAKE;
    case FRONT_ORDER_TRAFFIC:
        return CLUSTER_EV_TRAFFIC;
    case FRONT_ORDER_UPSTREAM:
        return CLUSTER_EV_UPSTREAM;
    case FRONT_ORDER_TOKEN:
        return CLUSTER_EV_TOKEN;
    case FRONT_ORDER_UNTOKEN:
        return CLUSTER_EV_UNTOKEN;
    case FRONT_ORDER_APPROVE:
        return CLUSTER_EV_APPROVE;
    case FRONT_ORDER_REVOKE:
        return CLUSTER_EV_REVOKE;
    case FRONT_ORDER_API_KEY:
        return CLUSTER_EV_API_KEY;
    case FRONT_ORDER_API_UNKEY:
        return CLUSTER_EV_API_UNKEY;
    case FRONT_ORDER_ENSURE:
        return CLUSTER_EV_ENSURE;
    case FRONT_ORDER_PLAN:
        break;
    }
    return (enum cluster_ev_kind)0;
}

/* Somebody waits for its answer. */
static bool is_asked(enum front_order_kind k)
{
    return k != FRONT_ORDER_TRAFFIC && k != FRONT_ORDER_UPSTREAM;
}

static void turn_away(struct shell *s, uint64_t request_id)
{
    struct front_note *n = shell_note_new(s, FRONT_NOTE_ANSWER);

    if (!n)
        return;
    n->request_id = request_id;
    n->answer = (struct cluster_answer){.code = "busy", .text = "the store is behind with its writing: try again"};
    shell_note_send(s, n);
}

void shell_on_order(void *ctx, struct front_order *order)
{
    CLEANUP(front_order_destroy) struct front_order *o = order;
    struct shell *s = ctx;
    struct cluster_ev ev = {.kind = event_of(o->kind),
                            .request_id = o->request_id,
                            .request = &o->request,
                            .plan = o->plan,
                            .target = o->target,
                            .instance = o->instance,
                            .epoch = o->epoch,
                            .traffic = o->traffic,
                            .upstream = o->upstream,
                            .access = &o->access,
                            .api_key = &o->api_key};

    if (o->kind == FRONT_ORDER_APPROVE)
        ev.node = shell_id_of_key(o->access.key);
    if (!ev.kind) {
        do_plan(s, o);
    } else if (is_asked(o->kind) && shell_store_is_behind(s)) {
        turn_away(s, o->request_id);
    } else {
        ev.new_instance = crypto_random_id();
        shell_step(s, &ev);
    }
}
