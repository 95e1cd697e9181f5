/* The states of a task: what somebody asked for, until it has ended. Source: design, "State machines". */
#ifndef CARAVAN_CONTROLLER_CORE_TASK_MACHINE_H
#define CARAVAN_CONTROLLER_CORE_TASK_MACHINE_H

#include <stdbool.h>

#include "controller/core/machine.h"
#include "controller/core/view.h"

enum { TASK_STATE_N = TASK_CANCELLED + 1 };

enum task_event {
    TASK_EV_BEGIN,
    TASK_EV_DONE,
    TASK_EV_FAIL,
    TASK_EV_REFUSE, /* the machine that it asked refused */
    TASK_EV_CANCEL, /* somebody asked for the opposite */
    TASK_EVENT_N
};

struct step;
struct task;

struct task_cell {
    enum verdict verdict;
    enum task_state to;
    const char *sentence;
};

const char *task_event_name(enum task_event e);
const struct task_cell *task_cell(enum task_state state, enum task_event event);
bool task_state_ended(enum task_state state);

/* The only place that sets a task's state; also has it recorded. cause: code and sentence of the end. 0, -ENOMEM. */
int task_event(struct step *s, struct task *t, enum task_event event, const struct cause *cause);

#endif
