#include "tests/sim/cells.h"

#include "agent/core/process_machine.h"
#include "tests/sim/cells_tables.h"

static struct stats *counts;
static bool in_step;

void cells_count_in(struct stats *s)
{
    counts = s;
}

void cells_count(enum cells_machine m, unsigned state, unsigned event)
{
    counts->cell[m][state][event]++;
}

void cells_in_step(bool on)
{
    in_step = on;
}

void cells_consulted(enum cells_machine m, unsigned state, unsigned event)
{
    if (in_step)
        cells_count(m, state, event);
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
bool __real_process_machine_apply(struct unit_facts *u, enum process_event event, struct effects *fx);
bool __wrap_process_machine_apply(struct unit_facts *u, enum process_event event, struct effects *fx);

bool __wrap_process_machine_apply(struct unit_facts *u, enum process_event event, struct effects *fx)
{
    cells_count(CELLS_PROCESS, u->state, event);
    return __real_process_machine_apply(u, event, fx);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static const char *state_of(unsigned s)
{
    return unit_state_name((enum unit_state)s);
}

static const char *event_of(unsigned e)
{
    return process_event_name((enum process_event)e);
}

/* An agent's own decisions are taken where the state allows them, and nobody else can raise them. */
static const char *unreachable(unsigned state, unsigned event)
{
    bool gone = state == UNIT_EXITED || state == UNIT_BACKOFF || state == UNIT_FAILED;

    if (state == UNIT_STOPPING && event == PROCESS_EV_SPAWNED)
        return "a shell starts a process at once, but what waits for its carrier: that is dropped when it is ended";
    if (state == UNIT_BACKOFF && event == PROCESS_EV_STOP)
        return "what waits in backoff and is not wanted any more is dropped";
    if (process_machine_cell((enum unit_state)state, (enum process_event)event)->verdict == PROCESS_GO &&
        state != UNIT_IDLE)
        return NULL;
    if (state == UNIT_IDLE)
        return event == PROCESS_EV_START ? NULL : "a unit is idle only within the step that makes it";
    switch ((enum process_event)event) {
    case PROCESS_EV_START:
        return "only what is idle, or waits in backoff, is started";
    case PROCESS_EV_ANSWERED:
    case PROCESS_EV_SILENT:
        return "an answer counts only while it is awaited, which is in starting";
    case PROCESS_EV_EMPTY:
    case PROCESS_EV_NOT_EMPTY:
        return "only a running worker is asked whether it is empty";
    case PROCESS_EV_STOP:
        return gone || state == UNIT_STOPPING ? "what has ended, or is ending, is not ended again" : NULL;
    case PROCESS_EV_GRACE_OVER:
        return "only a stop waits for a grace";
    case PROCESS_EV_BACK_OFF:
        return "only what has ended waits for its next start";
    case PROCESS_EV_SPAWNED:
    case PROCESS_EV_SPAWN_FAILED:
    case PROCESS_EV_DYING:
    case PROCESS_EV_EXITED:
    case PROCESS_EV_N:
        break;
    }
    return NULL;
}

static struct cells_cell cell_of(unsigned s, unsigned e)
{
    const struct process_cell *c = process_machine_cell((enum unit_state)s, (enum process_event)e);

    return (struct cells_cell){c->verdict == PROCESS_GO       ? CELLS_GO
                               : c->verdict == PROCESS_REFUSE ? CELLS_REFUSE
                                                              : CELLS_IGNORE,
                               (unsigned)c->to};
}

const struct cells_table cells_process_table = {"process", UNIT_IDLE, PROCESS_STATES, PROCESS_EV_N,
                                                state_of,  event_of,  cell_of,        unreachable};

const struct cells_table *cells_table(enum cells_machine m)
{
    static const struct cells_table *const tables[] = {&cells_node_table, &cells_instance_table, &cells_task_table,
                                                       &cells_process_table};

    return tables[m];
}
