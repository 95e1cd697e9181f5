/* Tasks: what was asked for, and how it ended. */
#ifndef CARAVAN_CONTROLLER_CORE_TASKS_H
#define CARAVAN_CONTROLLER_CORE_TASKS_H

#include "controller/core/state.h"

struct task *task_find(const struct cluster *c, uint64_t id); /* NULL: none */
struct task *task_live(const struct cluster *c, uint64_t id); /* NULL: none, or it has ended */

/* All return 0 or -ENOMEM. */

/* A pending one, durable with this step's commit; old ended ones go. ret: borrowed. */
int task_new(struct step *s, enum task_kind kind, const struct id128 *instance, const char *name, struct task **ret);
int task_restore(struct step *s, const struct view_task *view);
/* Ends a task with DONE, FAIL, CANCEL; nothing where it has ended or is not there. */
int tasks_end(struct step *s, uint64_t id, enum task_event event, const struct cause *cause);
/* Its step is the state of its instance. */
int tasks_show_step(struct step *s, const struct instance *i);

#endif
