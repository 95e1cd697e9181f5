#include "controller/core/wishes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/recovery.h"
#include "controller/core/replicas.h"
#include "controller/core/starts.h"
#include "controller/core/tasks.h"
#include "controller/core/unloading.h"

/* A deploy, fresh or held. */
struct wish {
    struct start start;
    struct stay stay;
    bool patient; /* may be held (longer) */
};

/* ---- deploy ----------------------------------------------------------------------------------------------------- */

static struct stay stay_of(const struct place_request *said)
{
    return (struct stay){.pinned = said->pinned, .ttl_ms = said->ttl_ms, .replicas = said->replicas};
}

/* What it has said of this before stands where it says nothing now. */
static void take_stay(const struct stay *said, struct place_request *request)
{
    struct place_request now = {.replicas = said->replicas};

    request->pinned |= said->pinned;
    if (said->ttl_ms)
        request->ttl_ms = said->ttl_ms == PLACE_TTL_NEVER ? 0 : said->ttl_ms;
    if (replicas_wanted(&now) > replicas_wanted(request)) /* fewer: those that are there are stopped one by one */
        request->replicas = said->replicas;
}

/* As its place, where that is just being written, is. */
static enum instance_state written_as(const struct instance *i)
{
    return i->state == INSTANCE_PLACING ? INSTANCE_LEASING : (enum instance_state)0;
}

static int stay_one(struct step *s, const struct stay *said, struct instance *i, bool *changed)
{
    bool says = said->pinned || said->ttl_ms || said->replicas;
    int r = unloading_keep(s, i);

    if (r || (!says && !i->demand) || (i->drain.stop_asked && !i->drain.kept))
        return err_fold(r);
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    *changed = true;
    i->demand = false;
    take_stay(said, &i->request);
    return err_fold(record_instance(s, i, written_as(i), false));
}

/* A person wants it: it is no request's any more, whoever began it, and does not leave now. */
static int stay(struct step *s, const struct stay *said, const char *name, bool *ret_changed)
{
    int r = 0;

    *ret_changed = false;
    for (size_t k = 0; !r && k < s->c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (!strcmp(i->name, name) && !instance_state_ended(i->state) && i->state != INSTANCE_STOPPING &&
            !task_live(s->c, i->stop_task))
            r = stay_one(s, said, i, ret_changed);
    }
    return err_fold(r);
}

/* A task for one that is there, or on its way there without anybody waiting for it. */
static int task_for(struct step *s, struct instance *i, struct task **ret)
{
    int r = step_instance(s, i);

    if (!r)
        r = task_new(s, TASK_DEPLOY, &i->id, i->name, ret);
    if (!r)
        r = task_event(s, *ret, TASK_EV_BEGIN, NULL);
    if (!r && i->state == INSTANCE_READY)
        r = task_event(s, *ret, TASK_EV_DONE, NULL);
    if (r)
        return err_fold(r);
    i->deploy_task = (*ret)->view.id;
    if (i->state == INSTANCE_WAITING)
        i->recovery.patience_ms = s->now_ms + RECOVERY_PATIENCE_MS;
    return err_fold(tasks_show_step(s, i));
}

/* It is there, or on its way: the caller gets that one's task. changed: by this wish, so he hears when that is durable. */
static int attach(struct step *s, const struct wish *w, struct instance *i, bool changed)
{
    struct cluster_answer there = {.accepted = true, .attached = true};
    struct task *t = task_find(s->c, i->deploy_task);
    char text[64];
    int r;

    if (!t || (task_state_ended(t->view.state) && (i->state != INSTANCE_READY || t->view.state != TASK_COMPLETE))) {
        r = task_for(s, i, &t);
        if (r)
            return err_fold(r);
    }
    if (w->start.task) {
        text_format(text, sizeof(text), "task %llu does the same", (unsigned long long)t->view.id);
        r = task_event(s, w->start.task, TASK_EV_CANCEL, &(struct cause){.code = "attached", .text = text});
        if (r)
            return err_fold(r);
    }
    there.task_id = t->view.id;
    there.instance = t->view.instance;
    return err_fold(fx_answer(s, changed ? step_token(s) : t->token, w->start.request_id, &there));
}

/* The instance's state forbids it, and waiting has not helped. */
static int refuse_transition(struct step *s, const struct wish *w, struct instance *i)
{
    const struct instance_cell *cell = instance_cell(i->state, INSTANCE_EV_DEPLOY);
    struct cluster_answer answer = {.instance = i->id, .code = "invalid_transition"};
    struct task *t = w->start.task;
    int r = 0;

    text_format(answer.text, sizeof(answer.text), "instance %s is %s: %s", i->name, instance_state_name(i->state),
                cell->sentence);
    if (!t)
        r = task_new(s, TASK_DEPLOY, &i->id, i->name, &t);
    if (!r)
        r = instance_event(s, i, INSTANCE_EV_DEPLOY, NULL);
    if (!r)
        r = task_event(s, t, TASK_EV_REFUSE, &(struct cause){.code = answer.code, .text = answer.text});
    if (r)
        return err_fold(r);
    answer.task_id = t->view.id;
    return err_fold(fx_answer(s, 0, w->start.request_id, &answer));
}

static int refuse_wish(struct step *s, const struct wish *w, const char *code, const char *text)
{
    int r = 0;

    if (w->start.task)
        r = task_event(s, w->start.task, TASK_EV_REFUSE, &(struct cause){.code = code, .text = text});
    if (r)
        return err_fold(r);
    return err_fold(fx_refuse(s, w->start.request_id, code, text));
}

/* What can be said against a deploy before anything is begun. NULL: nothing; else the code, and the sentence in why. */
static const char *objection(const struct step *s, const struct wish *w, const struct instance *named, char *why,
                             size_t size)
{
    if (!named || instance_state_ended(named->state))
        return starts_objection(s, &w->start, why, size);
    if (strcmp(named->request.model, w->start.request->model) == 0)
        return NULL; /* there already: what is asked of a new one is not asked of it */
    text_format(why, size, "%s is the name of an instance of %s; choose another --alias", named->name,
                named->request.model);
    return "name_taken";
}

/* It is there, or on its way, as it was asked for the first time, but for how long it stays; what is missing begins. */
static int join(struct step *s, const struct wish *w, struct instance *i)
{
    struct start rest = w->start;
    uint32_t number[SERVED_REPLICAS_MAX];
    char why[PROTO_TEXT_MAX] = "";
    const char *code;
    bool changed;
    int r = stay(s, &w->stay, i->name, &changed);

    if (r)
        return err_fold(r);
    if (!replicas_missing(s->c, i->name, replicas_wanted(&i->request), number))
        return err_fold(
            attach(s, w, i, changed)); /* also to a start that is just failing: its result is the caller's too */
    rest.request = &i->request;
    rest.plan = NULL;
    code = starts_objection(s, &rest, why, sizeof(why));
    return code ? err_fold(refuse_wish(s, w, code, why)) : err_fold(starts_begin(s, &rest));
}

/* One wish, decided; or, where its time may only not have come, *ret_hold. */
static int deploy(struct step *s, const struct wish *w, bool *ret_hold)
{
    struct instance *i = instance_named(s->c, starts_name(w->start.request));
    char why[PROTO_TEXT_MAX] = "";
    const struct instance_cell *cell;
    const char *code;

    *ret_hold = false;
    code = objection(s, w, i, why, sizeof(why));
    if (code)
        return err_fold(refuse_wish(s, w, code, why));
    if (!i || instance_state_ended(i->state))
        return err_fold(starts_begin(s, &w->start));
    cell = instance_cell(i->state, INSTANCE_EV_DEPLOY);
    if (cell->verdict == GO || task_live(s->c, i->deploy_task))
        return err_fold(join(s, w, i));
    if (cell->hold && w->patient) {
        *ret_hold = true;
        return 0;
    }
    return err_fold(refuse_transition(s, w, i));
}

/* ---- held ------------------------------------------------------------------------------------------------------- */

/* Its task was not written, and has failed for that: nothing is begun by it. */
static int drop_held(struct step *s, const struct held *h)
{
    const struct task *t = task_find(s->c, h->task);

    return err_fold(fx_refuse(s, h->request_id, t ? t->view.code : "store_failed",
                              t ? t->view.text : "it could not be written; try again"));
}

static int hold(struct step *s, const struct wish *w)
{
    struct held *h = calloc(1, sizeof(*h));
    struct task *t;
    int r;

    if (!h)
        return err_raise(-ENOMEM);
    h->request_id = w->start.request_id;
    h->due_ms = s->now_ms + s->c->config.transition_grace_ms;
    h->new_instance = w->start.id;
    h->stay = w->stay;
    r = request_copy(w->start.request, &h->request);
    if (!r && w->start.plan) {
        h->plan = plan_copy(w->start.plan);
        r = h->plan ? 0 : err_raise(-ENOMEM);
    }
    if (r) {
        held_free(h);
        return err_fold(r);
    }
    r = journal_add(&s->journal, &s->c->held, s->c->held.n, h, held_free);
    if (!r)
        r = task_new(s, TASK_DEPLOY, &w->start.id, starts_name(w->start.request), &t);
    if (r)
        return err_fold(r);
    h->task = t->view.id;
    return 0;
}

static int wish(struct step *s, const struct wish *w)
{
    const struct place_request *request = w->start.request;
    char text[PROTO_TEXT_MAX];
    bool wait;
    int r;

    for (size_t a = 0; a < request->n_args; a++) {
        const char *owned = place_owned_flag(request->arg[a]);

        if (!owned)
            continue;
        text_format(text, sizeof(text), "%s is set by Caravan itself; leave it out of the arguments", owned);
        return err_fold(refuse_wish(s, w, "owned_flag", text));
    }
    if (!request->model[0])
        return err_fold(refuse_wish(s, w, "unknown_model", "no model is named"));
    r = deploy(s, w, &wait);
    if (!r && wait)
        r = hold(s, w);
    return err_fold(r);
}

int wish_deploy(struct step *s, const struct cluster_ev *ev)
{
    struct place_request request;
    struct wish w = {
        .start = {.request_id = ev->request_id, .request = &request, .plan = ev->plan, .id = ev->new_instance},
        .stay = stay_of(ev->request),
        .patient = s->c->held.n < CLUSTER_HELD_MAX};
    /* a plan says itself what is left unsaid */
    int r = served_fill(ev->plan ? NULL : served_named(s->c, ev->request->model), ev->request, &request);

    if (r)
        return err_fold(r);
    r = wish(s, &w);
    request_clear(&request);
    return err_fold(r);
}

static int retry(struct step *s, struct held *h)
{
    struct wish w = {.start = {.request_id = h->request_id,
                               .request = &h->request,
                               .plan = h->plan,
                               .id = h->new_instance,
                               .task = task_find(s->c, h->task)},
                     .stay = h->stay,
                     .patient = s->now_ms < h->due_ms};
    bool wait = false;
    int r;

    r = task_live(s->c, h->task) ? deploy(s, &w, &wait) : drop_held(s, h);
    if (r || wait)
        return err_fold(r);
    return err_fold(journal_remove(&s->journal, &s->c->held, h, held_free));
}

int wishes_retry(struct step *s)
{
    const struct table *held = &s->c->held;
    int r;

    for (size_t k = 0; k < held->n;) {
        struct held *h = held->item[k];

        r = retry(s, h);
        if (r)
            return err_fold(r);
        if (k < held->n && held->item[k] == h)
            k++;
    }
    return 0;
}

uint64_t wishes_due_ms(const struct cluster *c)
{
    /* oldest first, and all wait equally long */
    return c->held.n ? ((const struct held *)c->held.item[0])->due_ms : UINT64_MAX;
}

/* ---- stop ------------------------------------------------------------------------------------------------------- */

/* By name, by id, or by the model if that is clear. NULL: none; why: the sentence, then. */
static struct instance *find_target(const struct cluster *c, const char *target, char *why, size_t size)
{
    struct instance *found = instance_named(c, target);
    struct id128 id;

    if (found && found->state != INSTANCE_STOPPED)
        return found;
    if (id128_parse(target, &id) && (found = instance_find(c, &id)) && found->state != INSTANCE_STOPPED)
        return found;
    found = NULL;
    for (size_t k = 0; k < c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(c, k);

        if (i->state == INSTANCE_STOPPED || strcmp(i->request.model, target) != 0)
            continue;
        if (found && strcmp(found->name, i->name) != 0) {
            text_format(why, size, "%s is served by %s and by %s: name one of them", target, found->name, i->name);
            return NULL;
        }
        found = i;
    }
    if (!found)
        text_format(why, size, "nothing named %s runs; `caravan instances` lists what does", target);
    return found;
}

static int stop_one(struct step *s, struct instance *i, uint64_t task)
{
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    i->stop_task = task;
    r = record_instance(s, i, instance_cell(i->state, INSTANCE_EV_STOP)->to, false);
    return r ? err_fold(r) : err_fold(step_then(s, INTENT_STOP, i, task));
}

/* It bears the name too, and no other stop is ending it already: that one's task would never end without it. One that has
 * failed goes too where it is one of several: nobody would name it again. */
static bool goes_with(const struct cluster *c, const struct instance *other, const struct instance *i)
{
    bool there = !instance_state_ended(other->state) ||
                 (other->state == INSTANCE_FAILED && replicas_wanted(&other->request) > 1);

    return other != i && there && !strcmp(other->name, i->name) && !task_live(c, other->stop_task);
}

/* With it go its sisters, and with one that moves the one that is to take its place, unless it was named by its own id. */
static int stop_new(struct step *s, const struct cluster_ev *ev, struct instance *i)
{
    bool by_id = !strcmp(ev->target, ID128(&i->id));
    struct task *t;
    int r;

    r = task_new(s, TASK_STOP, &i->id, i->name, &t);
    if (!r)
        r = task_event(s, t, TASK_EV_BEGIN, NULL);
    if (!r)
        r = starts_answer(s, ev->request_id, t, false);
    if (!r)
        r = stop_one(s, i, t->view.id);
    for (size_t k = 0; !r && !by_id && k < s->c->instances.n; k++) {
        struct instance *other = CLUSTER_INSTANCE(s->c, k);

        if (goes_with(s->c, other, i))
            r = stop_one(s, other, t->view.id);
    }
    return err_fold(r);
}

int wish_stop(struct step *s, const struct cluster_ev *ev)
{
    char why[PROTO_TEXT_MAX] = "";
    struct instance *i = find_target(s->c, ev->target, why, sizeof(why));
    struct task *t;

    if (!i)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    t = task_live(s->c, i->stop_task);
    if (t)
        return err_fold(starts_answer(s, ev->request_id, t, true));
    return err_fold(stop_new(s, ev, i));
}
