/* The leader's three tables, and the functions that the linker puts before theirs. */
#include "controller/core/state.h"
#include "tests/sim/cells.h"
#include "tests/sim/cells_tables.h"

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __real_node_event(struct step *s, struct node *n, enum node_event event, const struct cause *cause);
int __real_node_refuse_stranger(struct step *s, const char *name, enum node_event event, const struct cause *cause);
int __real_instance_event(struct step *s, struct instance *i, enum instance_event event, const struct cause *cause);
int __real_task_event(struct step *s, struct task *t, enum task_event event, const struct cause *cause);
int __wrap_node_event(struct step *s, struct node *n, enum node_event event, const struct cause *cause);
int __wrap_node_refuse_stranger(struct step *s, const char *name, enum node_event event, const struct cause *cause);
int __wrap_instance_event(struct step *s, struct instance *i, enum instance_event event, const struct cause *cause);
int __wrap_task_event(struct step *s, struct task *t, enum task_event event, const struct cause *cause);

int __wrap_node_event(struct step *s, struct node *n, enum node_event event, const struct cause *cause)
{
    cells_count(CELLS_NODE, n->state, event);
    return __real_node_event(s, n, event, cause);
}

int __wrap_node_refuse_stranger(struct step *s, const char *name, enum node_event event, const struct cause *cause)
{
    cells_count(CELLS_NODE, NODE_UNKNOWN, event);
    return __real_node_refuse_stranger(s, name, event, cause);
}

int __wrap_instance_event(struct step *s, struct instance *i, enum instance_event event, const struct cause *cause)
{
    cells_count(CELLS_INSTANCE, i->state, event);
    return __real_instance_event(s, i, event, cause);
}

int __wrap_task_event(struct step *s, struct task *t, enum task_event event, const struct cause *cause)
{
    cells_count(CELLS_TASK, t->view.state, event);
    return __real_task_event(s, t, event, cause);
}
/* A deploy of what is there already is decided by its cell, and never raised. */
const struct instance_cell *__real_instance_cell(enum instance_state state, enum instance_event event);
const struct instance_cell *__wrap_instance_cell(enum instance_state state, enum instance_event event);

const struct instance_cell *__wrap_instance_cell(enum instance_state state, enum instance_event event)
{
    if (event == INSTANCE_EV_DEPLOY)
        cells_consulted(CELLS_INSTANCE, state, event);
    return __real_instance_cell(state, event);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static const char *instance_unreachable(unsigned state, unsigned event)
{
    if (state == INSTANCE_WAITING && event == INSTANCE_EV_GIVE_UP)
        return "no story lasts so long that what requests alone want is waited for in vain";
    return state == INSTANCE_REQUESTED && event != INSTANCE_EV_PLACE
               ? "an instance is requested only within the step that makes it"
               : NULL;
}

static const char *node_unreachable(unsigned state, unsigned event)
{
    if (event == NODE_EV_SILENT && state == NODE_DRAINED)
        return "nobody listens for a drained node: it may be switched off";
    return NULL;
}

static const char *task_unreachable(unsigned state, unsigned event)
{
    if (state == TASK_RUNNING && event == TASK_EV_REFUSE)
        return "a task is refused before it has begun";
    return NULL;
}

static const char *node_state_of(unsigned s)
{
    return node_state_name((enum node_state)s);
}

static const char *node_event_of(unsigned e)
{
    return node_event_name((enum node_event)e);
}

static const char *instance_state_of(unsigned s)
{
    return instance_state_name((enum instance_state)s);
}

static const char *instance_event_of(unsigned e)
{
    return instance_event_name((enum instance_event)e);
}

static const char *task_state_of(unsigned s)
{
    return task_state_name((enum task_state)s);
}

static const char *task_event_of(unsigned e)
{
    return task_event_name((enum task_event)e);
}

static struct cells_cell plain(enum verdict verdict, int to)
{
    return (struct cells_cell){verdict == GO       ? CELLS_GO
                               : verdict == REFUSE ? CELLS_REFUSE
                                                   : CELLS_IGNORE,
                               (unsigned)to};
}

static struct cells_cell node_cell_of(unsigned s, unsigned e)
{
    const struct node_cell *c = node_cell((enum node_state)s, (enum node_event)e);

    return plain(c->verdict, (int)c->to);
}

static struct cells_cell instance_cell_of(unsigned s, unsigned e)
{
    const struct instance_cell *c = instance_cell((enum instance_state)s, (enum instance_event)e);

    return plain(c->verdict, (int)c->to);
}

static struct cells_cell task_cell_of(unsigned s, unsigned e)
{
    const struct task_cell *c = task_cell((enum task_state)s, (enum task_event)e);

    return plain(c->verdict, (int)c->to);
}

const struct cells_table cells_node_table = {"node",        NODE_UNKNOWN,  NODE_STATE_N, NODE_EVENT_N,
                                             node_state_of, node_event_of, node_cell_of, node_unreachable};
const struct cells_table cells_instance_table = {"instance",       INSTANCE_REQUESTED,  INSTANCE_STATE_N,
                                                 INSTANCE_EVENT_N, instance_state_of,   instance_event_of,
                                                 instance_cell_of, instance_unreachable};
const struct cells_table cells_task_table = {"task",        TASK_PENDING,  TASK_STATE_N, TASK_EVENT_N,
                                             task_state_of, task_event_of, task_cell_of, task_unreachable};
