#include "controller/core/starts.h"

#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/ensure.h"
#include "controller/core/instances.h"
#include "controller/core/planning.h"
#include "controller/core/release.h"
#include "controller/core/replicas.h"
#include "controller/core/tasks.h"

/* Those that begin together. */
struct batch {
    size_t n;
    uint32_t number[SERVED_REPLICAS_MAX];
    struct id128 id[SERVED_REPLICAS_MAX];
};

const char *starts_name(const struct place_request *r)
{
    return r->alias[0] ? r->alias : r->model;
}

int starts_answer(struct step *s, uint64_t request_id, const struct task *t, bool attached)
{
    struct cluster_answer answer = {
        .accepted = true, .attached = attached, .task_id = t->view.id, .instance = t->view.instance};

    return err_fold(fx_answer(s, t->token, request_id, &answer));
}

static void fill_batch(const struct step *s, const struct start *st, struct batch *b)
{
    const char *name = starts_name(st->request);
    size_t wanted = replicas_wanted(st->request);

    b->n = st->failed ? replicas_failed(s->c, name, wanted, sat_sub(s->now_ms, ENSURE_FAILED_MS), b->number)
                      : replicas_missing(s->c, name, wanted, b->number);
}

const char *starts_objection(const struct step *s, const struct start *st, char *why, size_t size)
{
    const struct model_facts *model;
    struct batch b;
    int r;

    fill_batch(s, st, &b);
    if (st->plan && replicas_wanted(st->request) > 1) {
        text_format(why, size, "a plan is for one instance: deploy replicas without it");
        return "one_plan";
    }
    if (instances_live(s->c) + b.n > CLUSTER_INSTANCES_MAX) {
        text_format(why, size, "there are %zu instances already, and %d at most; stop one first", instances_live(s->c),
                    (int)CLUSTER_INSTANCES_MAX);
        return "too_many";
    }
    if (id128_is_zero(&st->id) || instance_find(s->c, &st->id)) {
        text_format(why, size, "the id for a new instance is taken; try again");
        return "id_taken";
    }
    r = planning_model(s->c, st->request->model, &model, why, size);
    return r ? planning_code(r) : NULL;
}

/* Takes the place of one that has ended; its last task still tells what became of it. */
static int replace_ended(struct step *s, struct instance *old)
{
    int r;

    r = instance_event(s, old, INSTANCE_EV_DEPLOY, NULL);
    if (r)
        return err_fold(r);
    if (release_owed(s->c, old))
        return 0; /* a node that is away must still be told to end it */
    r = record_instance(s, old, 0, true);
    if (r)
        return err_fold(r);
    return err_fold(instance_remove(s, old));
}

/* The newest that bore its name and number, and has ended. */
static struct instance *ended_before(const struct cluster *c, const struct instance *i)
{
    for (size_t k = c->instances.n; k--;) {
        struct instance *old = CLUSTER_INSTANCE(c, k);

        if (instance_state_ended(old->state) && old->replica == i->replica && !strcmp(old->name, i->name))
            return old;
    }
    return NULL;
}

static int add_all(struct step *s, const struct start *st, struct batch *b)
{
    struct instance *i;
    int r = 0;

    for (size_t k = 0; !r && k < b->n; k++) {
        b->id[k] = k ? instances_new_id(s, &st->id, b->number[k]) : st->id;
        r = instance_add(s, &b->id[k], starts_name(st->request), st->request, st->plan, &i);
        if (r)
            break;
        i->replica = b->number[k];
        i->demand = st->demand;
    }
    return err_fold(r);
}

static int give_task(struct step *s, const struct start *st, const struct batch *b)
{
    struct task *t = st->task;
    int r = t ? 0 : task_new(s, TASK_DEPLOY, &b->id[0], starts_name(st->request), &t);

    if (!r)
        r = step_task(s, t);
    if (r)
        return err_fold(r);
    t->view.instance = b->id[0];
    for (size_t k = 0; k < b->n; k++)
        instance_find(s->c, &b->id[k])->deploy_task = t->view.id;
    r = task_event(s, t, TASK_EV_BEGIN, NULL);
    return r ? err_fold(r) : err_fold(starts_answer(s, st->request_id, t, false));
}

/* One without a place leaves the old one to be seen. */
static int place_one(struct step *s, const struct id128 *id)
{
    struct instance *i = instance_find(s->c, id), *old;
    int r = instance_event(s, i, INSTANCE_EV_PLACE, NULL);

    i = instance_find(s->c, id);
    old = !r && i ? ended_before(s->c, i) : NULL;
    if (old)
        r = replace_ended(s, old);
    return err_fold(r);
}

int starts_begin(struct step *s, const struct start *st)
{
    struct batch b;
    int r;

    fill_batch(s, st, &b);
    r = add_all(s, st, &b);
    if (!r)
        r = give_task(s, st, &b);
    for (size_t k = 0; !r && k < b.n; k++)
        r = place_one(s, &b.id[k]);
    return err_fold(r);
}
