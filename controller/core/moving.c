#include "controller/core/moving.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/lifecycle.h"
#include "controller/core/planning.h"
#include "controller/core/recovery.h"
#include "controller/core/sentence.h"
#include "controller/core/tasks.h"

/* ---- who follows whom --------------------------------------------------------------------------------------------- */

struct instance *moving_successor(const struct cluster *c, const struct instance *i)
{
    for (size_t k = c->instances.n; k--;) {
        struct instance *j = CLUSTER_INSTANCE(c, k);

        if (id128_equal(&j->follows, &i->id) && !instance_state_ended(j->state))
            return j;
    }
    return NULL;
}

int moving_stop(struct step *s, struct instance *i)
{
    int r;

    if (i->drain.stop_asked || i->state == INSTANCE_STOPPING || s->now_ms < i->drain.again_ms)
        return 0;
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    i->drain.stop_asked = true;
    r = record_instance(s, i, INSTANCE_STOPPING, false);
    return r ? err_fold(r) : err_fold(step_then(s, INTENT_STOP, i, 0));
}

/* ---- moving ------------------------------------------------------------------------------------------------------- */

static int show(struct step *s, struct task *t, const char *name)
{
    int r = step_task(s, t);

    if (r)
        return err_fold(r);
    text_format(t->view.step, sizeof(t->view.step), "moving %s", name);
    return 0;
}

/* What the task has done so far, one part after the other. */
int moving_say(struct step *s, struct task *t, const char *name, const char *what)
{
    int r = show(s, t, name);

    if (r)
        return err_fold(r);
    sentence_add(t->view.text, sizeof(t->view.text), "%s%s %s", t->view.text[0] ? "; " : "", name, what);
    return 0;
}

static int end_first(struct step *s, struct task *t, struct instance *i, const char *why)
{
    int r = moving_say(s, t, i->name, why);

    if (r)
        return err_fold(r);
    return err_fold(
        instance_event(s, i, INSTANCE_EV_DRAIN, &(struct cause){.code = RECOVERY_DRAINED, .text = t->view.step}));
}

static int begin_successor(struct step *s, struct task *t, struct instance *i)
{
    struct id128 id = instances_new_id(s, &i->id, t->view.id);
    struct instance *j;
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    i->drain.again_ms = s->now_ms + MOVING_AGAIN_MS; /* should it come to nothing, as when the store is broken */
    r = instance_add(s, &id, i->name, &i->request, NULL, &j);
    if (r)
        return err_fold(r);
    j->follows = i->id;
    j->replica = i->replica;
    j->demand = i->demand;
    r = show(s, t, i->name);
    return r ? err_fold(r) : err_fold(instance_event(s, j, INSTANCE_EV_PLACE, NULL));
}

static int move(struct step *s, struct task *t, struct instance *i)
{
    CLEANUP(cleanup_free) struct plan *plan = NULL;
    char why[PROTO_TEXT_MAX] = "", text[PROTO_TEXT_MAX + 64];
    int r;

    if (i->pinned)
        return err_fold(end_first(s, t, i, "was ended: its plan was pinned to this node, so it waits"));
    if (instances_live(s->c) >= CLUSTER_INSTANCES_MAX)
        return err_fold(end_first(s, t, i, "was ended first: there were too many instances for another one"));
    r = planning_instance(s->c, i, &plan, why, sizeof(why));
    if (r < 0)
        return err_pass(r);
    if (r > 0) {
        text_format(text, sizeof(text), "was ended first, since there was no place beside it: %s", why);
        return err_fold(end_first(s, t, i, text));
    }
    return err_fold(begin_successor(s, t, i));
}

/* Nothing was served by it yet: its next epoch is placed elsewhere at once. */
static int divert(struct step *s, struct task *t, struct instance *i, const struct node *n)
{
    int r = moving_say(s, t, i->name, "was on its way and began again elsewhere");

    return r ? err_fold(r)
             : err_fold(lifecycle_trouble(s, i, NULL, RECOVERY_DRAINED, "node %s is being drained", n->hello.name));
}

/* The successor has failed for good: the old one serves on. */
static int fail(struct step *s, struct task *t, const struct instance *i, struct instance *j)
{
    char text[PROTO_TEXT_MAX];
    int r;

    text_format(text, sizeof(text),
                "%s could not move and is served where it is; drain again, stop it, or undrain the node: %s", i->name,
                j->reason);
    r = task_event(s, t, TASK_EV_FAIL, &(struct cause){.code = j->code, .text = text});
    if (!r)
        r = step_instance(s, j);
    if (r)
        return err_fold(r);
    j->follows = (struct id128){{0}}; /* it is told once */
    return err_fold(record_instance(s, j, 0, false));
}

static struct instance *failed_successor(const struct cluster *c, const struct instance *i)
{
    for (size_t k = 0; k < c->instances.n; k++) {
        struct instance *j = CLUSTER_INSTANCE(c, k);

        if (j->state == INSTANCE_FAILED && id128_equal(&j->follows, &i->id))
            return j;
    }
    return NULL;
}

/* What to do about one instance with a member on this node. ret_busy: nothing else is begun before that is over. */
int moving_one(struct step *s, const struct node *n, struct task *t, struct instance *i, bool *ret_busy)
{
    struct instance *j;

    switch (i->state) {
    case INSTANCE_LEASING:
    case INSTANCE_STARTING:
    case INSTANCE_LOADING:
        return err_fold(divert(s, t, i, n));
    case INSTANCE_READY:
        *ret_busy = true;
        j = failed_successor(s->c, i);
        if (j)
            return err_fold(fail(s, t, i, j));
        j = moving_successor(s->c, i);
        if (!j)
            return s->now_ms < i->drain.again_ms ? 0 : err_fold(move(s, t, i));
        return j->state == INSTANCE_WAITING ? err_fold(moving_stop(s, j))
                                            : 0; /* there is no room beside it after all */
    case INSTANCE_PLACING:                       /* a step later it is leasing */
    case INSTANCE_RECOVERING:
    case INSTANCE_DRAINING:
    case INSTANCE_STOPPING:
        *ret_busy = true;
        break;
    case INSTANCE_REQUESTED:
    case INSTANCE_WAITING:
    case INSTANCE_STOPPED:
    case INSTANCE_FAILED:
        break;
    }
    return 0;
}

bool moving_is_on(const struct instance *i, const struct node *n)
{
    size_t m;

    return run_member(&i->run, &n->id, &m) && (i->run.member[m].told || i->run.member[m].leased);
}

/* ---- handing over ------------------------------------------------------------------------------------------------- */

int instance_on_drain(struct step *s, struct instance *i, const struct cause *cause)
{
    (void)cause;
    i->drain.quiet_ms = s->now_ms + MOVING_QUIET_MS;
    i->drain.end_ms = s->now_ms + MOVING_WAIT_MS;
    return 0;
}

static uint64_t over_ms(const struct instance *i)
{
    uint64_t at = i->run.traffic.in_flight ? i->drain.end_ms : i->drain.quiet_ms;

    return at > i->drain.again_ms ? at : i->drain.again_ms;
}

/* It gets no new requests; when the last one is over, or has had its time, it ends. */
static int leave(struct step *s, struct instance *i)
{
    int r;

    if (i->state != INSTANCE_DRAINING || i->drain.unload || over_ms(i) > s->now_ms)
        return 0;
    if (moving_successor(s->c, i))
        return err_fold(moving_stop(s, i));
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    i->drain.quiet_ms = i->drain.end_ms = UINT64_MAX;
    return err_fold(lifecycle_trouble(s, i, NULL, RECOVERY_DRAINED, "its node is being drained"));
}

/* To the tasks of all the draining nodes that it leaves. */
static int say_moved(struct step *s, const struct instance *old)
{
    int r = 0;

    for (size_t k = 0; !r && k < s->c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(s->c, k);
        struct task *t = n->draining && moving_is_on(old, n) ? task_live(s->c, n->drain_task) : NULL;

        if (t)
            r = moving_say(s, t, old->name, "moved to another one that was loaded beside it");
    }
    return err_fold(r);
}

/* The other one is ready: the name is its. */
static int take_over(struct step *s, struct instance *old)
{
    const struct cause cause = {.code = RECOVERY_DRAINED, .text = "another one took its place"};

    if (old->state == INSTANCE_READY) {
        int r = say_moved(s, old);

        return r ? err_fold(r) : err_fold(instance_event(s, old, INSTANCE_EV_DRAIN, &cause));
    }
    return old->state == INSTANCE_DRAINING ? 0 : err_fold(moving_stop(s, old));
}

static int follow(struct step *s, struct instance *j)
{
    struct instance *old;
    int r;

    if (id128_is_zero(&j->follows) || instance_state_ended(j->state) || j->settle_ms != UINT64_MAX)
        return 0;
    old = instance_find(s->c, &j->follows);
    if (old && !instance_state_ended(old->state))
        return j->state == INSTANCE_READY && old->settle_ms == UINT64_MAX ? err_fold(take_over(s, old)) : 0;
    r = step_instance(s, j);
    if (r)
        return err_fold(r);
    j->follows = (struct id128){{0}};
    return j->state == INSTANCE_READY ? err_fold(record_instance(s, j, 0, false))
                                      : 0; /* else its next record says so */
}

static int hand_over_one(struct step *s, struct instance *i, struct node *unused)
{
    int r = follow(s, i);

    (void)unused;
    return r ? err_fold(r) : err_fold(leave(s, i));
}

int moving_hand_over(struct step *s)
{
    return err_fold(instances_each(s, NULL, hand_over_one));
}

uint64_t moving_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);
        bool leaves = i->state == INSTANCE_DRAINING && !i->drain.unload && !i->drain.stop_asked;
        uint64_t at = leaves ? over_ms(i) : UINT64_MAX;

        due = at < due ? at : due;
    }
    return due;
}
