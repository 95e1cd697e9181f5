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
#include "controller/record.h"
#include "controller/shell_state.h"

enum { BOOT_RETRY_MS = 30000 };

/* Request ids of the HTTP thread count from 1; those of models.conf have this bit and the section's index. */
#define BOOT_REQUEST (UINT64_C(1) << 63)

/* The core could not go on, or what it decided could not be kept: better to start again from the store than to guess. */
static void give_up(struct shell *s, const char *what, int r)
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

static void tell_later(struct shell *s, const struct cluster_ev *ev)
{
    struct late *l = calloc(1, sizeof(*l));

    if (!l) {
        give_up(s, "tell_later", -ENOMEM);
        return;
    }
    l->ev = *ev;
    snprintf(l->text, sizeof(l->text), "%s", ev->text ? ev->text : "");
    STAILQ_INSERT_TAIL(&s->late, l, link);
    event_active(s->turn, EV_TIMEOUT, 0);
}

/* ---- the picture ---- */

static void send_note(struct shell *s, struct front_note *note)
{
    int r = front_send(s->front, note);

    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "controller.http_behind", r, "effect=note_dropped");
}

static struct front_note *new_note(struct shell *s, enum front_note_kind kind)
{
    struct front_note *n = calloc(1, sizeof(*n));

    if (!n) {
        give_up(s, "note", -ENOMEM);
        return NULL;
    }
    n->kind = kind;
    n->wall_ms = clock_wall_ms();
    return n;
}

static void send_backends(struct shell *s)
{
    struct front_note *n;

    if (!discovery_changed(s->discovery) || !(n = new_note(s, FRONT_NOTE_BACKENDS)))
        return;
    if (discovery_snapshot(s->discovery, &n->backends) < 0)
        front_note_destroy(&n);
    else
        send_note(s, n);
}

static void ask_boot(struct shell *s, const struct view *v);

void shell_show(struct shell *s)
{
    CLEANUP(front_note_destroy) struct front_note *n = new_note(s, FRONT_NOTE_VIEW);
    int r = n ? cluster_view(s->cluster, clock_now_ms(), n->wall_ms, &n->view) : -ENOMEM;

    if (r < 0) { /* the old picture stands a little longer */
        log_failure(LOG_LEVEL_WARN, "controller.view", r, "effect=stale");
        return;
    }
    s->stale = false;
    event_del(s->show);
    link_counts(s->link, &s->counters.messages_malformed, &s->counters.messages_unknown);
    n->control = s->counters;
    discovery_view(s->discovery, n->view);
    ask_boot(s, n->view);
    send_note(s, n);
    n = NULL;
    send_backends(s);
}

void shell_on_show(evutil_socket_t fd, short what, void *ctx)
{
    struct shell *s = ctx;

    (void)fd;
    (void)what;
    if (s->stale)
        shell_show(s);
}

static void mark_stale(struct shell *s)
{
    struct timeval tv = {.tv_usec = SHELL_VIEW_MS * 1000};

    s->stale = true;
    if (!event_pending(s->show, EV_TIMEOUT, NULL))
        event_add(s->show, &tv);
}

/* Somebody waits for what these effects say: it must be in the picture before he is told. */
static bool is_urgent(const struct cluster_effects *fx)
{
    for (size_t i = 0; i < fx->n; i++)
        if (fx->item[i].kind == CLUSTER_FX_ANSWER ||
            (fx->item[i].kind == CLUSTER_FX_TRANSITION && strcmp(fx->item[i].transition.machine, "node") != 0))
            return true;
    return false;
}

/* ---- carrying out ---- */

static void send_message(struct shell *s, struct cluster_fx *fx)
{
    struct message *m = fx->message;
    int r;

    if (m->kind == MESSAGE_COMMAND && m->command.kind == COMMAND_START_COORDINATOR)
        upstream_key(s->secret, &m->instance, m->epoch, m->command.coordinator.api_key);
    r = link_send(s->link, fx->key, m);
    if (r == LINK_E_NOT_SENT)
        log_debug("link.not_sent", "key=%.16s", fx->key); /* its silence will tell the core */
    else if (r < 0)
        log_failure(LOG_LEVEL_WARN, "link.send", r, "key=%.16s", fx->key);
}

static void note_commit(struct shell *s)
{
    if (s->n_commits == COMMITS_MAX) /* slower than ever measured: the figure of the oldest is lost */
        return;
    clock_gettime(CLOCK_MONOTONIC, &s->commit_at[(s->commit_head + s->n_commits++) % COMMITS_MAX]);
}

static void rows_clear(struct store_record *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(row[i].value);
    free(row);
}

static int append_records(struct shell *s, const struct cluster_fx *fx)
{
    struct store_record *row = calloc(fx->n_records ? fx->n_records : 1, sizeof(*row));
    int r = row ? 0 : err_raise(-ENOMEM);

    for (size_t i = 0; !r && i < fx->n_records; i++)
        r = record_to_store(&fx->record[i], s->audit_seq++, &row[i]);
    if (!r) {
        r = store_append(s->store, fx->token, row, fx->n_records);
        memset(row, 0, fx->n_records * sizeof(*row)); /* the values are the store's */
    }
    rows_clear(row, row ? fx->n_records : 0);
    return r < 0 ? err_pass(r) : r;
}

static void commit(struct shell *s, const struct cluster_fx *fx)
{
    int r = append_records(s, fx);

    if (!r) {
        note_commit(s);
        return;
    }
    log_failure(LOG_LEVEL_ERROR, "store.append", r, "token=%" PRIu64, fx->token);
    if (fx->token)
        tell_later(s, &(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = fx->token, .ok = false});
}

void shell_on_committed(void *ctx, uint64_t token, int r)
{
    struct shell *s = ctx;
    struct timespec now, *at = &s->commit_at[s->commit_head];

    if (s->n_commits) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        metrics_observe(&s->counters.store_commit,
                        (double)(now.tv_sec - at->tv_sec) + (double)(now.tv_nsec - at->tv_nsec) / 1e9);
        s->commit_head = (s->commit_head + 1) % COMMITS_MAX;
        s->n_commits--;
    }
    if (r == STORE_E_FULL)
        log_error("store.full", "token=%" PRIu64 " do=%s", token, LOG_STR("free space for the state directory"));
    else if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "store.commit", r, "token=%" PRIu64, token);
    if (token)
        shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = token, .ok = r == 0});
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
    struct upstream_target target = {.port = fx->port, .instance = fx->instance, .epoch = fx->epoch};
    struct warming *w = calloc(1, sizeof(*w));
    int r = w ? 0 : err_raise(-ENOMEM);

    memcpy(target.addr, fx->addr, sizeof(target.addr));
    if (!r)
        r = warm_up_start(s->base, s->secret, &target, s->warm_up_ms, on_warmed, w, &w->warm_up);
    if (!r) {
        w->shell = s;
        LIST_INSERT_HEAD(&s->warming, w, link);
        return;
    }
    free(w);
    tell_later(s, &(struct cluster_ev){.kind = CLUSTER_EV_WARMED,
                                       .instance = fx->instance,
                                       .epoch = fx->epoch,
                                       .ok = false,
                                       .text = upstream_failure_text(r)});
}

static void answer_boot(struct shell *s, size_t i, const struct cluster_answer *a)
{
    struct boot *b = &s->boot[i];
    const char *section = s->models->entry[i].section;

    if (a->accepted) {
        b->state = BOOT_DONE;
        log_info("models_conf.deployed", "model=%s task=%" PRIu64, LOG_STR(section), a->task_id);
        return;
    }
    b->state = BOOT_WAITS;
    b->next_ms = clock_now_ms() + BOOT_RETRY_MS;
    log_warn("models_conf.refused", "model=%s code=%s text=%s", LOG_STR(section), a->code, LOG_STR(a->text));
}

static void answer(struct shell *s, const struct cluster_fx *fx)
{
    struct front_note *n;

    if (fx->request_id & BOOT_REQUEST) {
        answer_boot(s, fx->request_id & ~BOOT_REQUEST, &fx->answer);
        return;
    }
    n = new_note(s, FRONT_NOTE_ANSWER);
    if (!n)
        return;
    n->request_id = fx->request_id;
    n->answer = fx->answer;
    send_note(s, n);
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
    struct front_note *n = new_note(s, FRONT_NOTE_TRANSITION);

    log_transition(t);
    if (!n)
        return;
    n->transition = *t;
    send_note(s, n);
}

static void carry_out(struct shell *s, struct cluster_fx *fx)
{
    switch (fx->kind) {
    case CLUSTER_FX_SEND:
        send_message(s, fx);
        return;
    case CLUSTER_FX_COMMIT:
        commit(s, fx);
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
        mark_stale(s);
        return;
    case CLUSTER_FX_KNOCK:
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
        give_up(s, "step", err_raise(-ENOMEM));
        return;
    }
    if (is_urgent(fx))
        shell_show(s);
    for (size_t i = 0; i < fx->n; i++)
        carry_out(s, &fx->item[i]);
    arm_tick(s);
}

void shell_on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    shell_step(ctx, &(struct cluster_ev){.kind = CLUSTER_EV_TICK});
}

/* ---- what happens ---- */

void shell_on_message(void *ctx, const struct link_peer *peer, const char *peer_addr, struct message **m)
{
    struct cluster_ev ev = {
        .kind = (*m)->kind == MESSAGE_HELLO ? CLUSTER_EV_HELLO : CLUSTER_EV_MESSAGE, .node = peer->node, .message = *m};
    struct shell *s = ctx;

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
        mark_stale(s);
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
    struct front_note *n = new_note(s, FRONT_NOTE_PLANNED);
    struct front_planned *p;

    if (!n)
        return;
    n->request_id = o->request_id;
    p = &n->planned;
    p->r = cluster_plan(s->cluster, &o->request, clock_now_ms(), &p->plan, p->why, sizeof(p->why));
    if (p->r >= 0 && p->r < CLUSTER_E_UNKNOWN_MODEL && plan_other(s, &o->request, p, &p->other) < 0)
        p->r = -ENOMEM;
    send_note(s, n);
}

void shell_on_order(void *ctx, struct front_order *order)
{
    CLEANUP(front_order_destroy) struct front_order *o = order;
    struct shell *s = ctx;
    struct cluster_ev ev = {.request_id = o->request_id};

    if ((o->kind == FRONT_ORDER_DEPLOY || o->kind == FRONT_ORDER_PLAN) && !o->plan &&
        models_conf_apply(s->models, &o->request) < 0) {
        give_up(s, "order", -ENOMEM);
        return;
    }
    switch (o->kind) {
    case FRONT_ORDER_DEPLOY:
        ev.kind = CLUSTER_EV_DEPLOY;
        ev.request = &o->request;
        ev.plan = o->plan;
        ev.new_instance = crypto_random_id();
        shell_step(s, &ev);
        return;
    case FRONT_ORDER_STOP:
        ev.kind = CLUSTER_EV_STOP;
        ev.target = o->target;
        shell_step(s, &ev);
        return;
    case FRONT_ORDER_PLAN:
        do_plan(s, o);
        return;
    case FRONT_ORDER_TRAFFIC:
    case FRONT_ORDER_UPSTREAM:
        ev.kind = o->kind == FRONT_ORDER_TRAFFIC ? CLUSTER_EV_TRAFFIC : CLUSTER_EV_UPSTREAM;
        ev.instance = o->instance;
        ev.epoch = o->epoch;
        ev.traffic = o->traffic;
        ev.upstream = o->upstream;
        shell_step(s, &ev);
        return;
    }
}

/* ---- start = boot ---- */

static bool is_there(const struct view *v, const char *model)
{
    for (size_t i = 0; i < v->n_models; i++)
        if (strcmp(v->model[i].name, model) == 0)
            return !*v->model[i].problem;
    return false;
}

/* Asks for each section that is to be served and whose model has appeared. */
static void ask_boot(struct shell *s, const struct view *v)
{
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < s->models->n; i++) {
        const struct models_conf_entry *e = &s->models->entry[i];
        struct cluster_ev ev = {.kind = CLUSTER_EV_DEPLOY, .request_id = BOOT_REQUEST | i, .request = &e->request};

        if (e->start != MODELS_START_BOOT || s->boot[i].state != BOOT_WAITS || now_ms < s->boot[i].next_ms ||
            !is_there(v, e->request.model))
            continue;
        s->boot[i].state = BOOT_ASKED;
        ev.new_instance = crypto_random_id();
        tell_later(s, &ev);
    }
}
