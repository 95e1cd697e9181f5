#include "controller/core/tasks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"

struct task *task_find(const struct cluster *c, uint64_t id)
{
    for (size_t k = c->tasks.n; k--;) { /* the newest are asked for most */
        if (CLUSTER_TASK(c, k)->view.id == id)
            return CLUSTER_TASK(c, k);
    }
    return NULL;
}

struct task *task_live(const struct cluster *c, uint64_t id)
{
    struct task *t = id ? task_find(c, id) : NULL;

    return t && !task_state_ended(t->view.state) ? t : NULL;
}

/* One in, one out: the oldest that has ended. */
static int tasks_prune(struct step *s)
{
    int r;

    for (size_t k = 0; k < s->c->tasks.n && s->c->tasks.n > CLUSTER_TASKS_MAX;) {
        struct task *t = CLUSTER_TASK(s->c, k);

        if (!task_state_ended(t->view.state) || t->token) {
            k++;
            continue;
        }
        r = record_task(s, t, true);
        if (r)
            return err_fold(r);
        r = journal_remove(&s->journal, &s->c->tasks, t, free);
        if (r)
            return err_fold(r);
    }
    return 0;
}

static int task_add(struct step *s, const struct view_task *view, uint64_t token, struct task **ret)
{
    struct task *t = calloc(1, sizeof(*t));
    size_t at = s->c->tasks.n;
    int r;

    if (!t)
        return err_raise(-ENOMEM);
    t->view = *view;
    t->token = token;
    while (at && CLUSTER_TASK(s->c, at - 1)->view.id > view->id)
        at--;
    s->changed = true;
    r = journal_add(&s->journal, &s->c->tasks, at, t, free);
    if (r)
        return err_fold(r);
    if (view->id > s->c->numbers.last_task)
        s->c->numbers.last_task = view->id;
    *ret = t;
    return 0;
}

int task_new(struct step *s, enum task_kind kind, const struct id128 *instance, const char *name, struct task **ret)
{
    struct view_task view = {.id = s->c->numbers.last_task + 1,
                             .kind = kind,
                             .state = TASK_PENDING,
                             .instance = *instance,
                             .created_wall_ms = s->wall_ms};
    int r;

    text_format(view.name, sizeof(view.name), "%s", name);
    r = task_add(s, &view, step_token(s), ret);
    if (r)
        return err_fold(r);
    r = record_task(s, *ret, false);
    if (r)
        return err_fold(r);
    return err_fold(tasks_prune(s));
}

int task_restore(struct step *s, const struct view_task *view)
{
    struct task *t;

    return err_fold(task_add(s, view, 0, &t));
}

int tasks_end(struct step *s, uint64_t id, enum task_event event, const struct cause *cause)
{
    struct task *t = task_live(s->c, id);

    return t ? err_fold(task_event(s, t, event, cause)) : 0;
}

int tasks_show_step(struct step *s, const struct instance *i)
{
    const uint64_t ids[] = {i->deploy_task, i->stop_task};
    int r;

    for (size_t k = 0; k < sizeof(ids) / sizeof(ids[0]); k++) {
        struct task *t = task_live(s->c, ids[k]);

        if (!t)
            continue;
        r = step_task(s, t);
        if (r)
            return err_fold(r);
        text_format(t->view.step, sizeof(t->view.step), "%s", instance_state_name(i->state));
    }
    return 0;
}
