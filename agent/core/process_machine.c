#include "agent/core/process_machine.h"

#include <string.h>

/* clang-format off: a table is read by its columns */
#define GO(state)                      \
    {                                  \
        PROCESS_GO, UNIT_##state, NULL \
    }
#define REFUSE(sentence)            \
    {                               \
        PROCESS_REFUSE, 0, sentence \
    }
#define IGNORE(sentence)            \
    {                               \
        PROCESS_IGNORE, 0, sentence \
    }

#define NEVER_STARTED "This process was never started; what is said of it must be meant for another one."
#define HAS_ENDED     "This process has ended already."
#define NOT_STOPPING  "This process was not asked to end."
#define LATE_ANSWER   "This process is being ended; whether it answers no longer matters."

static const struct process_cell table[PROCESS_STATES][PROCESS_EV_N] = {
    [UNIT_IDLE] =
        {
            [PROCESS_EV_START] = GO(STARTING),
            [PROCESS_EV_SPAWNED] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_SPAWN_FAILED] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_ANSWERED] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_SILENT] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_EMPTY] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_NOT_EMPTY] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_STOP] = GO(EXITED),
            [PROCESS_EV_GRACE_OVER] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_DYING] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_EXITED] = REFUSE(NEVER_STARTED),
            [PROCESS_EV_BACK_OFF] = REFUSE("This process was never started; it need not wait for its first start."),
        },
    [UNIT_STARTING] =
        {
            [PROCESS_EV_START] = IGNORE("This process is being started already."),
            [PROCESS_EV_SPAWNED] = GO(STARTING),
            [PROCESS_EV_SPAWN_FAILED] = GO(FAILED),
            [PROCESS_EV_ANSWERED] = GO(RUNNING),
            [PROCESS_EV_SILENT] = GO(STOPPING),
            [PROCESS_EV_EMPTY] = REFUSE("This worker does not serve yet; it cannot be asked whether it is empty."),
            [PROCESS_EV_NOT_EMPTY] = REFUSE("This worker does not serve yet; it cannot be asked whether it is empty."),
            [PROCESS_EV_STOP] = GO(STOPPING),
            [PROCESS_EV_GRACE_OVER] = IGNORE(NOT_STOPPING),
            [PROCESS_EV_DYING] = GO(STARTING),
            [PROCESS_EV_EXITED] = GO(EXITED),
            [PROCESS_EV_BACK_OFF] = REFUSE("This process is being started; it waits for nothing."),
        },
    [UNIT_RUNNING] =
        {
            [PROCESS_EV_START] = IGNORE("This process runs already."),
            [PROCESS_EV_SPAWNED] = IGNORE("This process was known to run."),
            [PROCESS_EV_SPAWN_FAILED] = REFUSE("This process runs; the start that failed cannot be its own."),
            [PROCESS_EV_ANSWERED] = IGNORE("This process was known to answer."),
            [PROCESS_EV_SILENT] = IGNORE("This process has answered since."),
            [PROCESS_EV_EMPTY] = GO(RUNNING),
            [PROCESS_EV_NOT_EMPTY] = GO(STOPPING),
            [PROCESS_EV_STOP] = GO(STOPPING),
            [PROCESS_EV_GRACE_OVER] = IGNORE(NOT_STOPPING),
            [PROCESS_EV_DYING] = GO(RUNNING),
            [PROCESS_EV_EXITED] = GO(EXITED),
            [PROCESS_EV_BACK_OFF] = REFUSE("This process runs; it waits for nothing."),
        },
    [UNIT_STOPPING] =
        {
            [PROCESS_EV_START] = REFUSE("This process is being ended; it can be started when it is gone."),
            [PROCESS_EV_SPAWNED] = GO(STOPPING), /* it came into being too late to get the first signal */
            [PROCESS_EV_SPAWN_FAILED] = GO(EXITED),
            [PROCESS_EV_ANSWERED] = IGNORE(LATE_ANSWER),
            [PROCESS_EV_SILENT] = IGNORE(LATE_ANSWER),
            [PROCESS_EV_EMPTY] = IGNORE(LATE_ANSWER),
            [PROCESS_EV_NOT_EMPTY] = IGNORE(LATE_ANSWER),
            [PROCESS_EV_STOP] = IGNORE("This process is being ended already."),
            [PROCESS_EV_GRACE_OVER] = GO(STOPPING),
            [PROCESS_EV_DYING] = GO(STOPPING),
            [PROCESS_EV_EXITED] = GO(EXITED),
            [PROCESS_EV_BACK_OFF] = REFUSE("This process is being ended; it can be started again when it is gone."),
        },
    [UNIT_EXITED] =
        {
            [PROCESS_EV_START] = REFUSE("This process has ended; it starts again after its backoff."),
            [PROCESS_EV_SPAWNED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_SPAWN_FAILED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_ANSWERED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_SILENT] = IGNORE(HAS_ENDED),
            [PROCESS_EV_EMPTY] = IGNORE(HAS_ENDED),
            [PROCESS_EV_NOT_EMPTY] = IGNORE(HAS_ENDED),
            [PROCESS_EV_STOP] = IGNORE(HAS_ENDED),
            [PROCESS_EV_GRACE_OVER] = IGNORE(HAS_ENDED),
            [PROCESS_EV_DYING] = IGNORE(HAS_ENDED),
            [PROCESS_EV_EXITED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_BACK_OFF] = GO(BACKOFF),
        },
    [UNIT_BACKOFF] =
        {
            [PROCESS_EV_START] = GO(STARTING),
            [PROCESS_EV_SPAWNED] = REFUSE("This process waits for its next start; the one that exists is not its own."),
            [PROCESS_EV_SPAWN_FAILED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_ANSWERED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_SILENT] = IGNORE(HAS_ENDED),
            [PROCESS_EV_EMPTY] = IGNORE(HAS_ENDED),
            [PROCESS_EV_NOT_EMPTY] = IGNORE(HAS_ENDED),
            [PROCESS_EV_STOP] = GO(EXITED),
            [PROCESS_EV_GRACE_OVER] = IGNORE(HAS_ENDED),
            [PROCESS_EV_DYING] = IGNORE(HAS_ENDED),
            [PROCESS_EV_EXITED] = IGNORE(HAS_ENDED),
            [PROCESS_EV_BACK_OFF] = IGNORE("This process waits for its next start already."),
        },
    [UNIT_FAILED] =
        {
            [PROCESS_EV_START] = REFUSE("This process could not be started; the next try comes after its backoff."),
            [PROCESS_EV_SPAWNED] = REFUSE("This process could not be started; the one that exists is not its own."),
            [PROCESS_EV_SPAWN_FAILED] = IGNORE("This process is known to have failed."),
            [PROCESS_EV_ANSWERED] = IGNORE("This process could not be started; it cannot answer."),
            [PROCESS_EV_SILENT] = IGNORE("This process is known to have failed."),
            [PROCESS_EV_EMPTY] = IGNORE("This process could not be started; it cannot answer."),
            [PROCESS_EV_NOT_EMPTY] = IGNORE("This process could not be started; it cannot answer."),
            [PROCESS_EV_STOP] = IGNORE("This process could not be started; there is nothing to end."),
            [PROCESS_EV_GRACE_OVER] = IGNORE("This process could not be started; there is nothing to end."),
            [PROCESS_EV_DYING] = IGNORE("This process could not be started; there is nothing to end."),
            [PROCESS_EV_EXITED] = IGNORE("This process is known to have failed."),
            [PROCESS_EV_BACK_OFF] = GO(BACKOFF),
        },
};
/* clang-format on */

const struct process_cell *process_machine_cell(enum unit_state state, enum process_event event)
{
    return &table[state][event];
}

const char *process_event_name(enum process_event event)
{
    switch (event) {
    case PROCESS_EV_START:
        return "start";
    case PROCESS_EV_SPAWNED:
        return "spawned";
    case PROCESS_EV_SPAWN_FAILED:
        return "spawn_failed";
    case PROCESS_EV_ANSWERED:
        return "answered";
    case PROCESS_EV_SILENT:
        return "silent";
    case PROCESS_EV_EMPTY:
        return "empty";
    case PROCESS_EV_NOT_EMPTY:
        return "not_empty";
    case PROCESS_EV_STOP:
        return "stop";
    case PROCESS_EV_GRACE_OVER:
        return "grace_over";
    case PROCESS_EV_DYING:
        return "dying";
    case PROCESS_EV_EXITED:
        return "exited";
    case PROCESS_EV_BACK_OFF:
        return "back_off";
    case PROCESS_EV_N:
        break;
    }
    return "unknown";
}

static const char *verdict_name(enum process_verdict v)
{
    switch (v) {
    case PROCESS_GO:
        return "go";
    case PROCESS_REFUSE:
        return "refuse";
    case PROCESS_IGNORE:
        return "ignore";
    case PROCESS_UNDECIDED:
        break;
    }
    return "undecided";
}

bool process_machine_apply(struct unit_facts *u, enum process_event event, struct effects *fx)
{
    const struct process_cell *cell = process_machine_cell(u->state, event);
    enum unit_state to = cell->verdict == PROCESS_GO ? cell->to : u->state;
    struct agent_fx *item = effects_add(fx, AGENT_FX_TRANSITION);

    if (item) {
        memcpy(item->unit_id, u->id, sizeof(item->unit_id));
        item->transition = (struct agent_transition){
            .machine = "process",
            .from = unit_state_name(u->state),
            .to = unit_state_name(to),
            .event = process_event_name(event),
            .verdict = verdict_name(cell->verdict),
            .sentence = cell->sentence,
        };
        memcpy(item->transition.id, u->id, sizeof(item->transition.id));
    }
    u->state = to;
    return cell->verdict == PROCESS_GO;
}
