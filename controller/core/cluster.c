/* The step: who is asked about what. Decisions are in the rooms. */
#include "controller/core/cluster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "controller/core/access.h"
#include "controller/core/api_keys.h"
#include "controller/core/brake.h"
#include "controller/core/deadlines.h"
#include "controller/core/detector.h"
#include "controller/core/drain.h"
#include "controller/core/effects.h"
#include "controller/core/ensure.h"
#include "controller/core/hearing.h"
#include "controller/core/hello.h"
#include "controller/core/instances.h"
#include "controller/core/knocks.h"
#include "controller/core/lifecycle.h"
#include "controller/core/loading.h"
#include "controller/core/neighbours.h"
#include "controller/core/nodes.h"
#include "controller/core/recovery.h"
#include "controller/core/release.h"
#include "controller/core/restore.h"
#include "controller/core/retire.h"
#include "controller/core/state.h"
#include "controller/core/tasks.h"
#include "controller/core/tokens.h"
#include "controller/core/unloading.h"
#include "controller/core/wishes.h"

int cluster_new(const struct cluster_config *config, struct cluster **ret)
{
    struct cluster *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_raise(-ENOMEM);
    c->config = *config;
    c->config.served = NULL;
    c->numbers.settle_ms = c->numbers.boot_ms = UINT64_MAX;
    c->n_served = config->n_served;
    c->boot = calloc(config->n_served + 1, sizeof(*c->boot));
    r = c->boot ? served_copy(config->served, config->n_served, &c->served) : err_raise(-ENOMEM);
    if (r) {
        cluster_destroy(&c);
        return err_fold(r);
    }
    *ret = c;
    return 0;
}

void cluster_destroy(struct cluster **c)
{
    if (!c || !*c)
        return;
    table_destroy(&(*c)->nodes, node_free);
    table_destroy(&(*c)->instances, instance_free);
    table_destroy(&(*c)->tasks, free);
    table_destroy(&(*c)->held, held_free);
    table_destroy(&(*c)->pending, free);
    table_destroy(&(*c)->answers, free);
    table_destroy(&(*c)->keys, free);
    table_destroy(&(*c)->tokens, free);
    table_destroy(&(*c)->api_keys, free);
    if ((*c)->served)
        served_free((*c)->served, (*c)->n_served);
    free((*c)->boot);
    free(*c);
    *c = NULL;
}

/* ---- commits ---------------------------------------------------------------------------------------------------- */

#define STORE_FAILED "the controller's store refused the record; see its log, and free disk space if that is it"

static int settle_tasks(struct step *s, const struct cluster_ev *ev)
{
    int r;

    for (size_t k = 0; k < s->c->tasks.n; k++) {
        struct task *t = CLUSTER_TASK(s->c, k);

        if (!t->token || t->token != ev->token)
            continue;
        r = step_task(s, t);
        if (r)
            return err_fold(r);
        t->token = 0;
        if (ev->ok)
            continue;
        r = tasks_end(s, t->view.id, TASK_EV_FAIL, &(struct cause){.code = "store_failed", .text = STORE_FAILED});
        if (r)
            return err_fold(r);
    }
    return 0;
}

static int settle_answers(struct step *s, const struct cluster_ev *ev)
{
    const struct table *t = &s->c->answers;
    int r;

    for (size_t k = 0; k < t->n;) {
        struct pending_answer *a = t->item[k];

        if (a->token != ev->token) {
            k++;
            continue;
        }
        r = ev->ok ? fx_answer(s, 0, a->request_id, &a->answer)
                   : fx_refuse(s, a->request_id, "store_failed", STORE_FAILED);
        if (!r)
            r = journal_remove(&s->journal, &s->c->answers, a, free);
        if (r)
            return err_fold(r);
    }
    return 0;
}

static int go_on_instance(struct step *s, const struct pending *p, bool ok)
{
    const struct cause failed = {.code = "store_failed", .text = STORE_FAILED};
    struct instance *i = instance_find(s->c, &p->instance);

    if (!i || i->epoch != p->epoch)
        return 0;
    if (p->intent == INTENT_PLAN)
        return err_fold(ok ? instance_event(s, i, INSTANCE_EV_PLANNED, NULL) : lifecycle_not_planned(s, i, &failed));
    return err_fold(ok ? instance_event(s, i, INSTANCE_EV_PROVEN, NULL)
                       : instance_event(s, i, INSTANCE_EV_TROUBLE, &failed));
}

static int go_on(struct step *s, const struct pending *p, bool ok)
{
    struct instance *i;

    switch (p->intent) {
    case INTENT_RETIRE:
        return err_fold(retire_go_on(s, p, ok));
    case INTENT_DRAIN:
    case INTENT_UNDRAIN:
        return err_fold(drain_go_on(s, p->intent, &p->instance, ok));
    case INTENT_ALLOW:
        return err_fold(access_allowed(s, p, ok));
    case INTENT_REVOKE:
        return err_fold(retire_revoked(s, p, ok));
    case INTENT_TOKEN:
        return err_fold(tokens_made(s, p, ok));
    case INTENT_UNTOKEN:
        return err_fold(tokens_withdrawn(s, p, ok));
    case INTENT_API_KEY:
        return err_fold(api_keys_written(s, p, ok));
    case INTENT_STOP:
        i = instance_find(s->c, &p->instance);
        return err_fold(i ? release_wanted(s, i, ok) : release_ended(s, p->task, NULL));
    case INTENT_PLAN:
    case INTENT_READY:
        return err_fold(go_on_instance(s, p, ok));
    }
    return 0;
}

static int settle_intents(struct step *s, const struct cluster_ev *ev)
{
    const struct table *t = &s->c->pending;
    int r;

    for (size_t k = 0; k < t->n;) {
        const struct pending *p = t->item[k];

        if (p->token != ev->token) {
            k++;
            continue;
        }
        r = journal_remove(&s->journal, &s->c->pending, p, free); /* still readable until the step is kept */
        if (!r)
            r = go_on(s, p, ev->ok);
        if (r)
            return err_fold(r);
    }
    return 0;
}

static int committed(struct step *s, const struct cluster_ev *ev)
{
    int r = settle_tasks(s, ev);

    if (!r)
        r = settle_answers(s, ev);
    if (!r)
        r = settle_intents(s, ev);
    return err_fold(r);
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static int from_stranger(struct step *s, const struct cluster_ev *ev)
{
    char name[ID128_SHORT_TEXT];

    s->c->numbers.late_messages++;
    if (ev->message->kind != MESSAGE_REPORT)
        return 0;
    return err_fold(node_refuse_stranger(s, id128_short(&ev->node, name), NODE_EV_REPORT, NULL));
}

/* Only the link that said hello last speaks for a node: another one with its key was refused. A boot that has only said
 * hello through a neighbour has none. */
static bool other_link(const struct node *n, const struct cluster_ev *ev)
{
    return ev->peer_addr[0] && strcmp(ev->peer_addr, n->peer_addr) != 0;
}

static int heard(struct step *s, const struct cluster_ev *ev)
{
    struct node *n = node_find(s->c, &ev->node);
    struct message *m = ev->message;
    int r;

    if (!n)
        return err_fold(from_stranger(s, ev));
    if (other_link(n, ev))
        return err_fold(hello_missed(s, n, ev));
    r = nodes_seen(s, n, m, NULL);
    if (r)
        return err_fold(r);
    if (m->kind == MESSAGE_RELAY)
        return err_fold(neighbours_relayed(s, n, m));
    return err_fold(hear_message(s, n, m));
}

static int warmed(struct step *s, const struct cluster_ev *ev)
{
    struct instance *i = instance_find(s->c, &ev->instance);
    int r;

    if (!i || i->epoch != ev->epoch)
        return step_late(s);
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    if (i->state == INSTANCE_READY || i->state == INSTANCE_DRAINING)
        return err_fold(detector_warmed(s, i, ev->ok, ev->text));
    return err_fold(loading_warmed(s, i, ev->ok, ev->text));
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* Nodes first: what is known of them decides what follows for instances. */
static int tick(struct step *s)
{
    static int (*const rooms[])(struct step * s) = {nodes_tick,      knocks_tick,   brake_tick,
                                                    neighbours_tick, detector_tick, deadlines_tick};

    for (size_t k = 0; k < sizeof(rooms) / sizeof(rooms[0]); k++) {
        int r = rooms[k](s);

        if (r)
            return err_fold(r);
    }
    return 0;
}

uint64_t cluster_deadline_ms(const struct cluster *c)
{
    static uint64_t (*const rooms[])(const struct cluster *c) = {
        nodes_due_ms, knocks_due_ms, brake_due_ms,  neighbours_due_ms, detector_due_ms, deadlines_due_ms,
        drain_due_ms, wishes_due_ms, tokens_due_ms, unloading_due_ms,  ensure_due_ms};
    uint64_t due = UINT64_MAX;

    for (size_t k = 0; k < sizeof(rooms) / sizeof(rooms[0]); k++) {
        uint64_t at = rooms[k](c);

        due = at < due ? at : due;
    }
    return due;
}

/* ---- the step --------------------------------------------------------------------------------------------------- */

static int dispatch(struct step *s, struct cluster_ev *ev)
{
    switch (ev->kind) {
    case CLUSTER_EV_RESTORE:
        return err_fold(restore_record(s, ev->record));
    case CLUSTER_EV_BEGIN:
        return err_fold(restore_begin(s));
    case CLUSTER_EV_HELLO:
        return err_fold(hello_heard(s, ev, NULL));
    case CLUSTER_EV_MESSAGE:
        return err_fold(heard(s, ev));
    case CLUSTER_EV_DEPLOY:
        return err_fold(wish_deploy(s, ev));
    case CLUSTER_EV_STOP:
        return err_fold(wish_stop(s, ev));
    case CLUSTER_EV_COMMITTED:
        return err_fold(committed(s, ev));
    case CLUSTER_EV_WARMED:
        return err_fold(warmed(s, ev));
    case CLUSTER_EV_TICK:
        return err_fold(tick(s));
    case CLUSTER_EV_CLOSED:
        return err_fold(knocks_closed(s, ev));
    case CLUSTER_EV_KNOCKED:
        return err_fold(knocks_own(s, ev));
    case CLUSTER_EV_HOST:
        return err_fold(brake_host(s, ev));
    case CLUSTER_EV_RESUMED:
        return err_fold(nodes_resumed(s));
    case CLUSTER_EV_DRAIN:
        return err_fold(drain_begin(s, ev));
    case CLUSTER_EV_UNDRAIN:
        return err_fold(drain_end(s, ev));
    case CLUSTER_EV_RETIRE:
        return err_fold(retire_begin(s, ev));
    case CLUSTER_EV_LIFT_BRAKE:
        return err_fold(brake_lift(s, ev));
    case CLUSTER_EV_TRAFFIC:
        return err_fold(detector_traffic(s, ev));
    case CLUSTER_EV_UPSTREAM:
        return err_fold(detector_upstream(s, ev));
    case CLUSTER_EV_JOIN:
        return err_fold(tokens_join(s, ev));
    case CLUSTER_EV_TOKEN:
        return err_fold(tokens_make(s, ev));
    case CLUSTER_EV_UNTOKEN:
        return err_fold(tokens_withdraw(s, ev));
    case CLUSTER_EV_APPROVE:
        return err_fold(access_approve(s, ev));
    case CLUSTER_EV_REVOKE:
        return err_fold(retire_revoke(s, ev));
    case CLUSTER_EV_API_KEY:
        return err_fold(api_keys_make(s, ev));
    case CLUSTER_EV_ENSURE:
        return err_fold(ensure_wish(s, ev));
    case CLUSTER_EV_API_UNKEY:
        return err_fold(api_keys_remove(s, ev));
    }
    return 0;
}

static int step_run(struct step *s, struct cluster_ev *ev)
{
    static int (*const rooms[])(struct step * s) = {recovery_look, drain_advance,     wishes_retry,
                                                    ensure_boots,  unloading_advance, tokens_expire};
    int r;

    s->fx = calloc(1, sizeof(*s->fx));
    if (!s->fx)
        return err_raise(-ENOMEM);
    r = dispatch(s, ev);
    for (size_t k = 0; !r && k < sizeof(rooms) / sizeof(rooms[0]); k++)
        r = rooms[k](s);
    return r ? err_fold(r) : err_fold(fx_finish(s));
}

struct cluster_effects *cluster_step(struct cluster *c, struct cluster_ev *ev, uint64_t now_ms)
{
    struct step s = {.c = c, .now_ms = now_ms, .wall_ms = ev->wall_ms};
    struct numbers before = c->numbers;
    int r = step_run(&s, ev);

    free(s.record);
    if (r) {
        journal_undo(&s.journal);
        c->numbers = before;
        cluster_effects_destroy(&s.fx);
        return NULL;
    }
    journal_keep(&s.journal);
    message_destroy(&ev->message);
    return s.fx;
}
