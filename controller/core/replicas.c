#include "controller/core/replicas.h"

#include <inttypes.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/sentence.h"
#include "controller/core/tasks.h"

size_t replicas_wanted(const struct place_request *r)
{
    if (!r->replicas)
        return 1;
    return r->replicas < SERVED_REPLICAS_MAX ? r->replicas : SERVED_REPLICAS_MAX;
}

size_t replicas_missing(const struct cluster *c, const char *name, size_t wanted, uint32_t *ret)
{
    bool there[SERVED_REPLICAS_MAX] = {false};
    size_t n = 0;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (i->replica < SERVED_REPLICAS_MAX && !instance_state_ended(i->state) && i->state != INSTANCE_STOPPING &&
            !strcmp(i->name, name))
            there[i->replica] = true;
    }
    for (uint32_t k = 0; k < wanted; k++) {
        if (!there[k])
            ret[n++] = k;
    }
    return n;
}

static bool was_given_up(const struct cluster *c, const char *name, uint32_t number, uint64_t since_ms)
{
    for (size_t k = c->instances.n; k--;) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (i->replica == number && !strcmp(i->name, name))
            return i->state == INSTANCE_FAILED && i->failed_ms <= since_ms;
    }
    return false;
}

size_t replicas_failed(const struct cluster *c, const char *name, size_t wanted, uint64_t since_ms, uint32_t *ret)
{
    size_t n_missing = replicas_missing(c, name, wanted, ret), n = 0;

    for (size_t k = 0; k < n_missing; k++) {
        if (was_given_up(c, name, ret[k], since_ms))
            ret[n++] = ret[k];
    }
    return n;
}

bool replicas_are_sisters(const struct instance *i, const struct instance *other)
{
    return other != i && !strcmp(other->name, i->name) && !id128_equal(&other->id, &i->follows) &&
           !id128_equal(&other->follows, &i->id) &&
           (instance_state_runs(other->state) || other->state == INSTANCE_PLACING);
}

/* ---- the task ---------------------------------------------------------------------------------------------------- */

/* It may still become ready, and somebody waits for that. */
static bool is_awaited(const struct instance *i)
{
    switch (i->state) {
    case INSTANCE_REQUESTED:
    case INSTANCE_PLACING:
    case INSTANCE_LEASING:
    case INSTANCE_STARTING:
    case INSTANCE_LOADING:
    case INSTANCE_RECOVERING:
        return true;
    case INSTANCE_WAITING:
        return i->recovery.patience_ms != UINT64_MAX;
    case INSTANCE_READY:
    case INSTANCE_DRAINING:
    case INSTANCE_STOPPING:
    case INSTANCE_STOPPED:
    case INSTANCE_FAILED:
        break;
    }
    return false;
}

struct parts {
    uint32_t n_awaited, n_ready;
};

static struct parts count_parts(const struct cluster *c, const struct instance *i)
{
    struct parts p = {0};

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *other = CLUSTER_INSTANCE(c, k);

        if (other->deploy_task != i->deploy_task)
            continue;
        p.n_awaited += other != i && is_awaited(other);
        p.n_ready += other->state == INSTANCE_READY || other->state == INSTANCE_DRAINING;
    }
    return p;
}

static void note_lost(struct task *t, const struct instance *i, enum task_event event, const struct cause *cause)
{
    if (!t->n_lost++)
        text_format(t->lost_code, sizeof(t->lost_code), "%s", cause->code);
    t->n_stopped += event == TASK_EV_CANCEL;
    sentence_add(t->view.text, sizeof(t->view.text), "%sreplica %" PRIu32 ": %s", t->n_lost > 1 ? "; " : "", i->replica,
                 cause->text);
}

static int end_task(struct step *s, struct task *t, uint32_t n_ready)
{
    char text[PROTO_TEXT_MAX];
    const struct cause cause = {.code = t->lost_code, .text = text};

    if (!t->n_lost)
        return err_fold(task_event(s, t, TASK_EV_DONE, NULL));
    text_format(text, sizeof(text), "%" PRIu32 " of %" PRIu32 " are ready; %s", n_ready, n_ready + t->n_lost,
                t->view.text);
    return err_fold(task_event(s, t, n_ready || t->n_stopped < t->n_lost ? TASK_EV_FAIL : TASK_EV_CANCEL, &cause));
}

int replicas_task_end(struct step *s, struct instance *i, enum task_event event, const struct cause *cause)
{
    struct task *t = task_live(s->c, i->deploy_task);
    struct parts p;
    int r;

    if (!t)
        return 0;
    if (replicas_wanted(&i->request) == 1)
        return err_fold(task_event(s, t, event, cause));
    r = step_task(s, t);
    if (r)
        return err_fold(r);
    if (event != TASK_EV_DONE)
        note_lost(t, i, event, cause);
    p = count_parts(s->c, i);
    return p.n_awaited ? 0 : err_fold(end_task(s, t, p.n_ready));
}
