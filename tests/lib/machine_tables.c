#include "tests/lib/machine_tables.h"

#include <stddef.h>

#include "agent/core/process_machine.h"
#include "controller/core/instance_machine.h"
#include "controller/core/node_machine.h"
#include "controller/core/task_machine.h"

/* The enums of each machine by their numbers. */
#define NAMES(machine, state_enum, state_fn, event_enum, event_fn) \
    static const char *machine##_state_word(int state)             \
    {                                                              \
        return state_fn((enum state_enum)state);                   \
    }                                                              \
    static const char *machine##_event_word(int event)             \
    {                                                              \
        return event_fn((enum event_enum)event);                   \
    }
NAMES(node, node_state, node_state_name, node_event, node_event_name)
NAMES(instance, instance_state, instance_state_name, instance_event, instance_event_name)
NAMES(task, task_state, task_state_name, task_event, task_event_name)
NAMES(process, unit_state, unit_state_name, process_event, process_event_name)

static struct machine_cell node_seen(int state, int event)
{
    const struct node_cell *c = node_cell((enum node_state)state, (enum node_event)event);

    return (struct machine_cell){
        .verdict = c->verdict, .to = (int)c->to, .acts = c->action != NULL, .sentence = c->sentence};
}

static struct machine_cell instance_seen(int state, int event)
{
    const struct instance_cell *c = instance_cell((enum instance_state)state, (enum instance_event)event);

    return (struct machine_cell){
        .verdict = c->verdict, .to = (int)c->to, .acts = c->action != NULL, .holds = c->hold, .sentence = c->sentence};
}

static struct machine_cell task_seen(int state, int event)
{
    const struct task_cell *c = task_cell((enum task_state)state, (enum task_event)event);

    return (struct machine_cell){.verdict = c->verdict, .to = (int)c->to, .sentence = c->sentence};
}

static enum verdict verdict_of(enum process_verdict v)
{
    switch (v) {
    case PROCESS_GO:
        return GO;
    case PROCESS_REFUSE:
        return REFUSE;
    case PROCESS_IGNORE:
        return IGNORE;
    case PROCESS_UNDECIDED:
        break;
    }
    return UNDECIDED;
}

static struct machine_cell process_seen(int state, int event)
{
    const struct process_cell *c = process_machine_cell((enum unit_state)state, (enum process_event)event);

    return (struct machine_cell){.verdict = verdict_of(c->verdict), .to = (int)c->to, .sentence = c->sentence};
}

#define WORDS(machine) .state_name = machine##_state_word, .event_name = machine##_event_word, .cell = machine##_seen

const struct machine_table machine_tables[] = {
    {.name = "node",
     .program = "controller",
     .what = "A machine with an agent, as the controller sees it.",
     .first_state = NODE_UNKNOWN,
     .last_state = NODE_STATE_N - 1,
     .n_events = NODE_EVENT_N,
     WORDS(node)},
    {.name = "instance",
     .program = "controller",
     .what = "One model served: a coordinator and its workers, which live and die together.",
     .first_state = INSTANCE_REQUESTED,
     .last_state = INSTANCE_STATE_N - 1,
     .n_events = INSTANCE_EVENT_N,
     WORDS(instance)},
    {.name = "task",
     .program = "controller",
     .what = "What somebody asked for: a deploy, a stop, a drain.",
     .first_state = TASK_PENDING,
     .last_state = TASK_STATE_N - 1,
     .n_events = TASK_EVENT_N,
     WORDS(task)},
    {.name = "process",
     .program = "agent",
     .what = "One rpc-server, llama-server or caravan-carrier that the agent runs.",
     .first_state = UNIT_IDLE,
     .last_state = PROCESS_STATES - 1,
     .n_events = PROCESS_EV_N,
     WORDS(process)},
    {.name = NULL},
};
