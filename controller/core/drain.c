#include "controller/core/drain.h"

#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/moving.h"
#include "controller/core/nodes.h"
#include "controller/core/retire.h"
#include "controller/core/tasks.h"

/* ---- what an operator says --------------------------------------------------------------------------------------- */

static int answer(struct step *s, uint64_t request_id, const struct node *n, uint64_t token, bool attached,
                  const char *text)
{
    struct cluster_answer a = {.accepted = true, .attached = attached, .task_id = n->drain_task};

    text_format(a.text, sizeof(a.text), "node %s %s", n->hello.name, text);
    return err_fold(fx_answer(s, token, request_id, &a));
}

/* The node's state forbids it: nothing changes, and it is counted. kind: 0 where there is no task for it. */
static int refuse(struct step *s, const struct cluster_ev *ev, struct node *n, enum node_event event,
                  enum task_kind kind)
{
    struct cluster_answer a = {.code = "invalid_transition"};
    struct task *t;
    int r;

    text_format(a.text, sizeof(a.text), "node %s is %s: %s", n->hello.name, node_state_name(n->state),
                node_cell(n->state, event)->sentence);
    r = node_event(s, n, event, NULL);
    if (!r && kind) {
        r = task_new(s, kind, &n->id, n->hello.name, &t);
        if (!r)
            r = task_event(s, t, TASK_EV_REFUSE, &(struct cause){.code = a.code, .text = a.text});
        if (r)
            return err_fold(r);
        a.task_id = t->view.id;
    }
    return r ? err_fold(r) : err_fold(fx_answer(s, 0, ev->request_id, &a));
}

static int begin(struct step *s, const struct cluster_ev *ev, struct node *n)
{
    struct task *t;
    int r = step_node(s, n);

    if (!r)
        r = task_new(s, TASK_DRAIN, &n->id, n->hello.name, &t);
    if (r)
        return err_fold(r);
    n->drain_task = t->view.id;
    n->draining = true;
    r = task_event(s, t, TASK_EV_BEGIN, NULL);
    if (!r)
        r = record_node(s, n);
    if (!r)
        r = step_then_node(s, INTENT_DRAIN, n);
    return r ? err_fold(r) : err_fold(answer(s, ev->request_id, n, t->token, false, "is being drained"));
}

int drain_begin(struct step *s, const struct cluster_ev *ev)
{
    char why[PROTO_TEXT_MAX] = "";
    struct node *n = retire_target(s->c, ev->target, why, sizeof(why));
    const struct task *t;

    if (!n)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    t = task_live(s->c, n->drain_task);
    if (t)
        return err_fold(answer(s, ev->request_id, n, t->token, true, "is being drained"));
    if (node_cell(n->state, NODE_EV_DRAIN)->verdict == REFUSE)
        return err_fold(refuse(s, ev, n, NODE_EV_DRAIN, TASK_DRAIN));
    return err_fold(begin(s, ev, n));
}

int drain_end(struct step *s, const struct cluster_ev *ev)
{
    char why[PROTO_TEXT_MAX] = "";
    struct node *n = retire_target(s->c, ev->target, why, sizeof(why));
    int r;

    if (!n)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    if (node_cell(n->state, NODE_EV_UNDRAIN)->verdict == REFUSE)
        return err_fold(refuse(s, ev, n, NODE_EV_UNDRAIN, 0));
    if (!n->draining)
        return err_fold(answer(s, ev->request_id, n, 0, true, "is not being drained"));
    r = step_node(s, n);
    if (r)
        return err_fold(r);
    n->draining = false;
    r = record_node(s, n);
    if (!r)
        r = step_then_node(s, INTENT_UNDRAIN, n);
    return r ? err_fold(r) : err_fold(answer(s, ev->request_id, n, step_token(s), false, "is in use again"));
}

/* ---- going on ----------------------------------------------------------------------------------------------------- */

static int move_all(struct step *s, const struct node *n, struct task *t)
{
    bool busy = false;
    int r;

    for (size_t k = 0; k < s->c->instances.n && !busy && !task_state_ended(t->view.state); k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (i->settle_ms != UINT64_MAX)
            return 0; /* what there is after our restart is being found out */
        if (!moving_is_on(i, n))
            continue;
        r = moving_one(s, n, t, i, &busy);
        if (r)
            return err_fold(r);
    }
    return 0;
}

static bool owes(const struct instance *i, const struct node *n)
{
    for (size_t d = 0; d < i->n_debts; d++) {
        if (id128_equal(&i->debt[d].node, &n->id))
            return true;
    }
    return false;
}

static bool is_empty(const struct step *s, const struct node *n)
{
    bool gone = node_gone(s->c, &n->id, s->now_ms); /* what was told there is no answer to wait for */

    for (size_t k = 0; k < s->c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (i->settle_ms != UINT64_MAX || (!gone && owes(i, n)) ||
            (moving_is_on(i, n) && (!gone || instance_state_runs(i->state))))
            return false;
    }
    return true;
}

static int finish(struct step *s, const struct node *n, struct task *t)
{
    char text[PROTO_TEXT_MAX];
    int r;

    if (n->state != NODE_DRAINED) {
        r = moving_say(s, t, n->hello.name, "itself did not answer; nothing is served there any more");
        if (r)
            return err_fold(r);
    }
    memcpy(text, t->view.text, sizeof(text));
    return err_fold(task_event(s, t, TASK_EV_DONE, &(struct cause){.text = text}));
}

static int advance_node(struct step *s, struct node *n)
{
    struct task *t = task_live(s->c, n->drain_task);
    bool empty;
    int r;

    if (!n->draining || (t && t->token)) /* not before it is durable */
        return 0;
    empty = is_empty(s, n);
    if (empty && n->state == NODE_DRAINING) {
        r = node_event(s, n, NODE_EV_EMPTIED, NULL);
        if (r)
            return err_fold(r);
    }
    if (!t)
        return 0;
    if (n->state == NODE_DRAINED || (empty && node_gone(s->c, &n->id, s->now_ms)))
        return err_fold(finish(s, n, t));
    return n->state == NODE_DRAINING ? err_fold(move_all(s, n, t)) : 0;
}

int drain_advance(struct step *s)
{
    int r = moving_hand_over(s);

    for (size_t k = 0; !r && k < s->c->nodes.n; k++)
        r = advance_node(s, CLUSTER_NODE(s->c, k));
    return err_fold(r);
}

static int undrained(struct step *s, struct node *n)
{
    const struct cause cause = {.code = "undrained", .text = "an operator has taken the node into use again"};
    int r = tasks_end(s, n->drain_task, TASK_EV_CANCEL, &cause);

    for (size_t k = 0; !r && k < s->c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);
        struct instance *j = i->state == INSTANCE_READY && moving_is_on(i, n) ? moving_successor(s->c, i) : NULL;

        if (j && j->state != INSTANCE_READY)
            r = moving_stop(s, j); /* the old one stays */
    }
    return r ? err_fold(r) : err_fold(node_event(s, n, NODE_EV_UNDRAIN, NULL));
}

int drain_go_on(struct step *s, enum intent intent, const struct id128 *node, bool ok)
{
    struct node *n = node_find(s->c, node);
    int r;

    if (!n)
        return 0;
    if (ok && intent == INTENT_UNDRAIN)
        return n->draining ? 0 : err_fold(undrained(s, n));
    if (ok)
        return n->draining && n->state == NODE_READY ? err_fold(node_event(s, n, NODE_EV_DRAIN, NULL)) : 0;
    r = step_node(s, n);
    if (r)
        return err_fold(r);
    n->draining = intent == INTENT_UNDRAIN || n->state == NODE_DRAINING || n->state == NODE_DRAINED;
    return 0;
}

uint64_t drain_due_ms(const struct cluster *c)
{
    return moving_due_ms(c);
}
