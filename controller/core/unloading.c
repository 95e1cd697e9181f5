#include "controller/core/unloading.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/moving.h"
#include "controller/core/offers.h"
#include "controller/core/planning.h"
#include "controller/core/recovery.h"
#include "controller/core/sentence.h"
#include "controller/core/starts.h"
#include "controller/core/tasks.h"

/* ---- coming to stay or to go ------------------------------------------------------------------------------------- */

int instance_on_unload(struct step *s, struct instance *i, const struct cause *cause)
{
    i->drain.unload = true;
    i->drain.quiet_ms = s->now_ms + UNLOADING_QUIET_MS;
    text_format(i->reason, sizeof(i->reason), "%s", cause->text);
    return 0;
}

int instance_on_keep(struct step *s, struct instance *i, const struct cause *cause)
{
    (void)cause;
    i->drain.unload = false;
    i->drain.kept = i->drain.stop_asked;
    i->asked_ms = s->now_ms;
    i->reason[0] = '\0';
    return 0;
}

bool unloading_leaves(const struct instance *i)
{
    return i->drain.unload && i->state != INSTANCE_STOPPING && !instance_state_ended(i->state);
}

bool unloading_shows(const struct instance *i)
{
    return unloading_leaves(i) || (i->drain.unload && i->state == INSTANCE_STOPPING && !i->stop_task);
}

int unloading_keep(struct step *s, struct instance *i)
{
    int r;

    if (!unloading_leaves(i))
        return 0;
    if (i->state == INSTANCE_DRAINING)
        return err_fold(instance_event(s, i, INSTANCE_EV_KEEP, &(struct cause){.text = "somebody asks for it"}));
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    i->drain.unload = false;
    i->drain.kept = i->drain.stop_asked;
    return 0;
}

int unloading_keep_all(struct step *s, const char *name)
{
    int r = 0;

    for (size_t k = 0; !r && k < s->c->instances.n; k++) {
        if (!strcmp(CLUSTER_INSTANCE(s->c, k)->name, name))
            r = unloading_keep(s, CLUSTER_INSTANCE(s->c, k));
    }
    return err_fold(r);
}

int unloading_traffic(struct step *s, struct instance *i, const struct cluster_traffic *before)
{
    const struct cluster_traffic *now = &i->run.traffic;

    if (now->in_flight || before->in_flight || now->progress != before->progress)
        i->asked_ms = s->now_ms;
    /* in another state it is of an epoch that is over: whoever still wants it asks for it */
    return now->in_flight && i->state == INSTANCE_DRAINING ? err_fold(unloading_keep(s, i)) : 0;
}

/* ---- who may leave ------------------------------------------------------------------------------------------------ */

/* Nobody counts on it but those whose requests are in it. */
static bool is_free(const struct cluster *c, const struct instance *i)
{
    return i->state == INSTANCE_READY && !i->request.pinned && i->settle_ms == UINT64_MAX && !i->drain.stop_asked &&
           id128_is_zero(&i->follows) && !moving_successor(c, i) && !task_live(c, i->deploy_task);
}

static bool is_idle(const struct cluster *c, const struct instance *i)
{
    return is_free(c, i) && !i->run.traffic.in_flight;
}

static bool may_leave_for(const struct cluster *c, const struct instance *i, const char *name)
{
    return (i->demand || i->request.ttl_ms) && is_free(c, i) && strcmp(i->name, name) != 0;
}

static int by_last_request(const void *a, const void *b)
{
    const struct instance *x = *(const struct instance *const *)a, *y = *(const struct instance *const *)b;

    if (x->asked_ms != y->asked_ms)
        return x->asked_ms < y->asked_ms ? -1 : 1;
    return id128_compare(&x->id, &y->id);
}

enum when { NOW, ONCE_IDLE };

/* Those on their way out; behind them those who may leave, the one asked for longest ago first. */
static size_t list_gone(const struct cluster *c, const char *name, enum when when, struct gone *ret)
{
    size_t n_leaving;

    ret->n = 0;
    for (size_t k = 0; k < c->instances.n && ret->n < CLUSTER_INSTANCES_MAX; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (unloading_leaves(i) || i->state == INSTANCE_STOPPING)
            ret->instance[ret->n++] = i;
    }
    n_leaving = ret->n;
    for (size_t k = 0; k < c->instances.n && ret->n < CLUSTER_INSTANCES_MAX; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (may_leave_for(c, i, name) && (when == ONCE_IDLE || is_idle(c, i)))
            ret->instance[ret->n++] = i;
    }
    qsort(&ret->instance[n_leaving], ret->n - n_leaving, sizeof(ret->instance[0]), by_last_request);
    return n_leaving;
}

/* Whether it fits without the first n of them, and without `but` being gone. */
static int fits(const struct cluster *c, const struct planning *p, const struct gone *gone, size_t n,
                const struct instance *but, bool *ret)
{
    CLEANUP(cleanup_free) struct plan *plan = NULL;
    struct gone some = {.n = 0};
    struct planning without = *p;
    char why[PROTO_TEXT_MAX];
    int r;

    for (size_t k = 0; k < n; k++) {
        if (gone->instance[k] != but)
            some.instance[some.n++] = gone->instance[k];
    }
    without.gone = &some;
    r = planning_compute(c, &without, &plan, why, sizeof(why));
    *ret = r == 0;
    return r < 0 ? err_pass(r) : 0;
}

int unloading_may_help(struct step *s, const struct place_request *request, const struct instance *who, bool *ret)
{
    const struct planning p = {.request = request, .who = who};
    struct gone gone;

    list_gone(s->c, who ? who->name : starts_name(request), ONCE_IDLE, &gone);
    *ret = false;
    return gone.n ? err_fold(fits(s->c, &p, &gone, gone.n, NULL, ret)) : 0;
}

/* ---- want of memory ----------------------------------------------------------------------------------------------- */

/* The least number of them that must go for it to fit; 0: it does not even if all do. At least n_leaving. */
static int count_needed(const struct cluster *c, const struct planning *p, const struct gone *gone, size_t n_leaving,
                        size_t *ret)
{
    size_t low = n_leaving, high = gone->n;
    bool holds;
    int r = fits(c, p, gone, high, NULL, &holds);

    *ret = 0;
    if (r || !holds)
        return err_fold(r);
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        r = fits(c, p, gone, mid, NULL, &holds);
        if (r)
            return err_fold(r);
        if (holds)
            high = mid;
        else
            low = mid + 1;
    }
    *ret = high;
    return 0;
}

static void drop(struct gone *gone, size_t at)
{
    memmove(&gone->instance[at], &gone->instance[at + 1], (--gone->n - at) * sizeof(gone->instance[0]));
}

/* Of those who may leave the one asked for longest ago, that is needed. NULL: nobody need leave, or it would not help. */
static int choose(const struct cluster *c, const struct instance *i, struct instance **ret)
{
    const struct planning p = {.request = &i->request, .who = i};
    struct gone gone;
    size_t first = list_gone(c, i->name, NOW, &gone), n;
    bool holds;
    int r = count_needed(c, &p, &gone, first, &n);

    *ret = NULL;
    gone.n = r ? 0 : n;
    while (!r && first < gone.n) {
        r = fits(c, &p, &gone, gone.n, gone.instance[first], &holds);
        if (r || !holds)
            break;
        drop(&gone, first); /* it fits with that one staying */
    }
    if (!r && first < gone.n)
        *ret = instance_find(c, &gone.instance[first]->id);
    return err_fold(r);
}

bool unloading_unsure(const struct step *s)
{
    if (s->now_ms < s->c->numbers.settle_ms)
        return true;
    for (size_t k = 0; k < s->c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(s->c, k);
        bool awaited = n->freed_ms && n->last_report_ms <= n->freed_ms && s->now_ms < n->freed_ms + RECOVERY_REPORT_MS;

        if (n->state == NODE_SUSPECT || n->state == NODE_JOINING || (n->state == NODE_READY && awaited))
            return true;
    }
    return false;
}

/* A node that comes and goes does not put it off for ever. */
static bool looks_later(const struct step *s, struct instance *i)
{
    if (!unloading_unsure(s) || (i->unsure_ms && s->now_ms >= i->unsure_ms + UNLOADING_UNSURE_MS)) {
        i->unsure_ms = 0;
        return false;
    }
    i->unsure_ms = i->unsure_ms ? i->unsure_ms : s->now_ms;
    return true;
}

static int want(struct step *s, struct instance *i)
{
    struct instance *victim;
    char text[PROTO_TEXT_MAX];
    int r;

    if (i->state != INSTANCE_WAITING || s->now_ms < i->want_ms)
        return 0;
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    i->want_ms = s->now_ms + UNLOADING_LOOK_MS;
    if (looks_later(s, i))
        return 0;
    r = choose(s->c, i, &victim);
    if (r || !victim)
        return err_fold(r);
    sentence_add(i->reason, sizeof(i->reason), "; %s leaves for it", victim->name);
    text_format(text, sizeof(text), "%s needs its memory", i->name);
    return err_fold(instance_event(s, victim, INSTANCE_EV_UNLOAD, &(struct cause){.code = "unloaded", .text = text}));
}

/* ---- ttl ---------------------------------------------------------------------------------------------------------- */

/* All of one name are asked for as long as one of them is. UINT64_MAX: one is just now. */
static uint64_t name_asked_ms(const struct cluster *c, const struct instance *i)
{
    uint64_t asked_ms = i->asked_ms;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *other = CLUSTER_INSTANCE(c, k);

        if (other->state != INSTANCE_READY || strcmp(other->name, i->name) != 0)
            continue;
        asked_ms = sat_max(asked_ms, other->run.traffic.in_flight ? UINT64_MAX : other->asked_ms);
    }
    return asked_ms;
}

static uint64_t ttl_due_ms(const struct cluster *c, const struct instance *i)
{
    return i->request.ttl_ms && is_idle(c, i) ? sat_add(name_asked_ms(c, i), i->request.ttl_ms) : UINT64_MAX;
}

/* "10 min" */
static void say_idle(uint64_t ms, char *buf, size_t size)
{
    if (ms >= 7200000)
        text_format(buf, size, "idle for %" PRIu64 " h", ms / 3600000);
    else if (ms >= 120000)
        text_format(buf, size, "idle for %" PRIu64 " min", ms / 60000);
    else
        text_format(buf, size, "idle for %" PRIu64 " s", ms / 1000);
}

/* There is nothing of it that could serve meanwhile: it ends at once. */
static int stop_waiting(struct step *s, struct instance *i, const struct cause *cause)
{
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    i->drain.unload = true;
    text_format(i->reason, sizeof(i->reason), "%s", cause->text);
    return 0;
}

/* Those of its name that wait for room, where none serves any more that they could join. */
static int unload_waiting(struct step *s, const struct instance *i, const struct cause *cause)
{
    int r = 0;

    for (size_t k = 0; k < s->c->instances.n; k++) {
        const struct instance *other = CLUSTER_INSTANCE(s->c, k);

        if (other != i && other->state == INSTANCE_READY && !strcmp(other->name, i->name))
            return 0;
    }
    for (size_t k = 0; !r && k < s->c->instances.n; k++) {
        struct instance *other = CLUSTER_INSTANCE(s->c, k);

        if (other->state == INSTANCE_WAITING && !other->request.pinned && !strcmp(other->name, i->name))
            r = stop_waiting(s, other, cause);
    }
    return err_fold(r);
}

static int outlive(struct step *s, struct instance *i)
{
    char text[64];
    const struct cause cause = {.code = "unloaded", .text = text};
    int r;

    if (ttl_due_ms(s->c, i) > s->now_ms)
        return 0;
    say_idle(i->request.ttl_ms, text, sizeof(text));
    r = instance_event(s, i, INSTANCE_EV_UNLOAD, &cause);
    return r ? err_fold(r) : err_fold(unload_waiting(s, i, &cause));
}

/* ---- leaving ------------------------------------------------------------------------------------------------------ */

/* Shown as leaving, and nothing was on its way then; or its epoch has ended meanwhile, and it need not come back. */
static uint64_t over_ms(const struct instance *i)
{
    if (!i->drain.unload || i->drain.stop_asked || i->state == INSTANCE_STOPPING || instance_state_ended(i->state))
        return UINT64_MAX;
    return sat_max(i->state == INSTANCE_DRAINING ? i->drain.quiet_ms : 0, i->drain.again_ms);
}

static int advance_one(struct step *s, struct instance *i, struct node *unused)
{
    int r = outlive(s, i);

    (void)unused;
    if (!r && over_ms(i) <= s->now_ms)
        r = moving_stop(s, i);
    return r ? err_fold(r) : err_fold(want(s, i));
}

int unloading_advance(struct step *s)
{
    return err_fold(instances_each(s, NULL, advance_one));
}

uint64_t unloading_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        due = sat_min(due, sat_min(ttl_due_ms(c, i), over_ms(i)));
        if (i->state == INSTANCE_WAITING)
            due = sat_min(due, i->want_ms);
    }
    return due;
}
