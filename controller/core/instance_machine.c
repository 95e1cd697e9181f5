#include "controller/core/instance_machine.h"

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/lifecycle.h"
#include "controller/core/tasks.h"

#define TO(state)                    \
    {                                \
        .verdict = GO, .to = (state) \
    }
#define TO_WITH(state, f)                           \
    {                                               \
        .verdict = GO, .to = (state), .action = (f) \
    }
#define NO(text)                              \
    {                                         \
        .verdict = REFUSE, .sentence = (text) \
    }
#define NOT_YET(text)                                       \
    {                                                       \
        .verdict = REFUSE, .sentence = (text), .hold = true \
    }
#define LATE(text)                            \
    {                                         \
        .verdict = IGNORE, .sentence = (text) \
    }

#define NO_PLAN      "it has no place yet"
#define PLACED       "it has a place already"
#define BEYOND       "that step is behind it"
#define NOT_THERE    "it has not come so far"
#define NOTHING_RUNS "nothing of it runs yet"
#define BEING_ENDED  "its epoch is being ended already"
#define NOT_ENDING   "its epoch is not being ended"
#define NOT_RESTORED "it was not restored from the store"
#define ENDED        "it has ended"
#define DRAIN_READY  "only a ready instance can be drained; wait until it is ready, or stop it"

/* Waiting and draining are decided here; nothing leads there yet. Placing again after a failure comes in where RELEASED
 * leads from recovering to failed. */
static const struct instance_cell instance_table[INSTANCE_STATE_N][INSTANCE_EVENT_N] = {
    [INSTANCE_REQUESTED][INSTANCE_EV_PLACE] = TO_WITH(INSTANCE_PLACING, instance_on_place),
    [INSTANCE_REQUESTED][INSTANCE_EV_NO_ROOM] = LATE(NOT_THERE),
    [INSTANCE_REQUESTED][INSTANCE_EV_UNPLACEABLE] = TO_WITH(INSTANCE_FAILED, instance_on_unplaced),
    [INSTANCE_REQUESTED][INSTANCE_EV_PLANNED] = LATE(NOT_THERE),
    [INSTANCE_REQUESTED][INSTANCE_EV_LEASED] = LATE(NOT_THERE),
    [INSTANCE_REQUESTED][INSTANCE_EV_WORKERS_UP] = LATE(NOT_THERE),
    [INSTANCE_REQUESTED][INSTANCE_EV_PROVEN] = LATE(NOT_THERE),
    [INSTANCE_REQUESTED][INSTANCE_EV_TROUBLE] = LATE(NOTHING_RUNS),
    [INSTANCE_REQUESTED][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_REQUESTED][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_REQUESTED][INSTANCE_EV_DEPLOY] = TO(INSTANCE_REQUESTED),
    [INSTANCE_REQUESTED][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_REQUESTED][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_PLACING][INSTANCE_EV_PLACE] = LATE("a place is being looked for already"),
    [INSTANCE_PLACING][INSTANCE_EV_NO_ROOM] = TO(INSTANCE_WAITING),
    [INSTANCE_PLACING][INSTANCE_EV_UNPLACEABLE] = TO_WITH(INSTANCE_FAILED, instance_on_unplaced),
    [INSTANCE_PLACING][INSTANCE_EV_PLANNED] = TO_WITH(INSTANCE_LEASING, instance_on_lease),
    [INSTANCE_PLACING][INSTANCE_EV_LEASED] = LATE(NOT_THERE),
    [INSTANCE_PLACING][INSTANCE_EV_WORKERS_UP] = LATE(NOT_THERE),
    [INSTANCE_PLACING][INSTANCE_EV_PROVEN] = LATE(NOT_THERE),
    [INSTANCE_PLACING][INSTANCE_EV_TROUBLE] = LATE(NOTHING_RUNS),
    [INSTANCE_PLACING][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_PLACING][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_PLACING][INSTANCE_EV_DEPLOY] = TO(INSTANCE_PLACING),
    [INSTANCE_PLACING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_PLACING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_WAITING][INSTANCE_EV_PLACE] = TO_WITH(INSTANCE_PLACING, instance_on_place),
    [INSTANCE_WAITING][INSTANCE_EV_NO_ROOM] = LATE("it waits for room already"),
    [INSTANCE_WAITING][INSTANCE_EV_UNPLACEABLE] = TO_WITH(INSTANCE_FAILED, instance_on_unplaced),
    [INSTANCE_WAITING][INSTANCE_EV_PLANNED] = LATE(NOT_THERE),
    [INSTANCE_WAITING][INSTANCE_EV_LEASED] = LATE(NOT_THERE),
    [INSTANCE_WAITING][INSTANCE_EV_WORKERS_UP] = LATE(NOT_THERE),
    [INSTANCE_WAITING][INSTANCE_EV_PROVEN] = LATE(NOT_THERE),
    [INSTANCE_WAITING][INSTANCE_EV_TROUBLE] = LATE(NOTHING_RUNS),
    [INSTANCE_WAITING][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_WAITING][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_WAITING][INSTANCE_EV_DEPLOY] = TO(INSTANCE_WAITING),
    [INSTANCE_WAITING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_WAITING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_LEASING][INSTANCE_EV_PLACE] = LATE(PLACED),
    [INSTANCE_LEASING][INSTANCE_EV_NO_ROOM] = LATE(PLACED),
    [INSTANCE_LEASING][INSTANCE_EV_UNPLACEABLE] = LATE(PLACED),
    [INSTANCE_LEASING][INSTANCE_EV_PLANNED] = LATE(BEYOND),
    [INSTANCE_LEASING][INSTANCE_EV_LEASED] = TO_WITH(INSTANCE_STARTING, instance_on_start),
    [INSTANCE_LEASING][INSTANCE_EV_WORKERS_UP] = LATE(NOT_THERE),
    [INSTANCE_LEASING][INSTANCE_EV_PROVEN] = LATE(NOT_THERE),
    [INSTANCE_LEASING][INSTANCE_EV_TROUBLE] = TO_WITH(INSTANCE_RECOVERING, instance_on_trouble),
    [INSTANCE_LEASING][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_LEASING][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_LEASING][INSTANCE_EV_DEPLOY] = TO(INSTANCE_LEASING),
    [INSTANCE_LEASING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_LEASING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_STARTING][INSTANCE_EV_PLACE] = LATE(PLACED),
    [INSTANCE_STARTING][INSTANCE_EV_NO_ROOM] = LATE(PLACED),
    [INSTANCE_STARTING][INSTANCE_EV_UNPLACEABLE] = LATE(PLACED),
    [INSTANCE_STARTING][INSTANCE_EV_PLANNED] = LATE(BEYOND),
    [INSTANCE_STARTING][INSTANCE_EV_LEASED] = LATE(BEYOND),
    [INSTANCE_STARTING][INSTANCE_EV_WORKERS_UP] = TO_WITH(INSTANCE_LOADING, instance_on_load),
    [INSTANCE_STARTING][INSTANCE_EV_PROVEN] = LATE(NOT_THERE),
    [INSTANCE_STARTING][INSTANCE_EV_TROUBLE] = TO_WITH(INSTANCE_RECOVERING, instance_on_trouble),
    [INSTANCE_STARTING][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_STARTING][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_STARTING][INSTANCE_EV_DEPLOY] = TO(INSTANCE_STARTING),
    [INSTANCE_STARTING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_STARTING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_LOADING][INSTANCE_EV_PLACE] = LATE(PLACED),
    [INSTANCE_LOADING][INSTANCE_EV_NO_ROOM] = LATE(PLACED),
    [INSTANCE_LOADING][INSTANCE_EV_UNPLACEABLE] = LATE(PLACED),
    [INSTANCE_LOADING][INSTANCE_EV_PLANNED] = LATE(BEYOND),
    [INSTANCE_LOADING][INSTANCE_EV_LEASED] = LATE(BEYOND),
    [INSTANCE_LOADING][INSTANCE_EV_WORKERS_UP] = LATE(BEYOND),
    [INSTANCE_LOADING][INSTANCE_EV_PROVEN] = TO_WITH(INSTANCE_READY, instance_on_ready),
    [INSTANCE_LOADING][INSTANCE_EV_TROUBLE] = TO_WITH(INSTANCE_RECOVERING, instance_on_trouble),
    [INSTANCE_LOADING][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_LOADING][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_LOADING][INSTANCE_EV_DEPLOY] = TO(INSTANCE_LOADING),
    [INSTANCE_LOADING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_LOADING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_READY][INSTANCE_EV_PLACE] = LATE(PLACED),
    [INSTANCE_READY][INSTANCE_EV_NO_ROOM] = LATE(PLACED),
    [INSTANCE_READY][INSTANCE_EV_UNPLACEABLE] = LATE(PLACED),
    [INSTANCE_READY][INSTANCE_EV_PLANNED] = LATE(BEYOND),
    [INSTANCE_READY][INSTANCE_EV_LEASED] = LATE(BEYOND),
    [INSTANCE_READY][INSTANCE_EV_WORKERS_UP] = LATE(BEYOND),
    [INSTANCE_READY][INSTANCE_EV_PROVEN] = LATE(BEYOND),
    [INSTANCE_READY][INSTANCE_EV_TROUBLE] = TO_WITH(INSTANCE_RECOVERING, instance_on_trouble),
    [INSTANCE_READY][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_READY][INSTANCE_EV_ADOPTED] = LATE("it is ready already"),
    [INSTANCE_READY][INSTANCE_EV_DEPLOY] = TO(INSTANCE_READY),
    [INSTANCE_READY][INSTANCE_EV_DRAIN] = TO(INSTANCE_DRAINING),
    [INSTANCE_READY][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_RECOVERING][INSTANCE_EV_PLACE] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_NO_ROOM] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_UNPLACEABLE] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_PLANNED] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_LEASED] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_WORKERS_UP] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_PROVEN] = LATE(BEING_ENDED),
    [INSTANCE_RECOVERING][INSTANCE_EV_TROUBLE] = TO_WITH(INSTANCE_RECOVERING, instance_on_trouble),
    [INSTANCE_RECOVERING][INSTANCE_EV_RELEASED] = TO_WITH(INSTANCE_FAILED, instance_on_failed),
    [INSTANCE_RECOVERING][INSTANCE_EV_ADOPTED] = TO_WITH(INSTANCE_READY, instance_on_ready),
    [INSTANCE_RECOVERING][INSTANCE_EV_DEPLOY] =
        NOT_YET("it has failed and is being taken down; deploy it again when that is done"),
    [INSTANCE_RECOVERING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_RECOVERING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_DRAINING][INSTANCE_EV_PLACE] = LATE(PLACED),
    [INSTANCE_DRAINING][INSTANCE_EV_NO_ROOM] = LATE(PLACED),
    [INSTANCE_DRAINING][INSTANCE_EV_UNPLACEABLE] = LATE(PLACED),
    [INSTANCE_DRAINING][INSTANCE_EV_PLANNED] = LATE(BEYOND),
    [INSTANCE_DRAINING][INSTANCE_EV_LEASED] = LATE(BEYOND),
    [INSTANCE_DRAINING][INSTANCE_EV_WORKERS_UP] = LATE(BEYOND),
    [INSTANCE_DRAINING][INSTANCE_EV_PROVEN] = LATE(BEYOND),
    [INSTANCE_DRAINING][INSTANCE_EV_TROUBLE] = TO_WITH(INSTANCE_RECOVERING, instance_on_trouble),
    [INSTANCE_DRAINING][INSTANCE_EV_RELEASED] = LATE(NOT_ENDING),
    [INSTANCE_DRAINING][INSTANCE_EV_ADOPTED] = LATE(NOT_RESTORED),
    [INSTANCE_DRAINING][INSTANCE_EV_DEPLOY] = NOT_YET("it is being drained; deploy it again when it has moved"),
    [INSTANCE_DRAINING][INSTANCE_EV_DRAIN] = LATE("it is being drained already"),
    [INSTANCE_DRAINING][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPING, instance_on_stop),

    [INSTANCE_STOPPING][INSTANCE_EV_PLACE] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_NO_ROOM] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_UNPLACEABLE] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_PLANNED] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_LEASED] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_WORKERS_UP] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_PROVEN] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_TROUBLE] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_RELEASED] = TO_WITH(INSTANCE_STOPPED, instance_on_stopped),
    [INSTANCE_STOPPING][INSTANCE_EV_ADOPTED] = LATE(BEING_ENDED),
    [INSTANCE_STOPPING][INSTANCE_EV_DEPLOY] = NOT_YET("it is being stopped; deploy it again when that is done"),
    [INSTANCE_STOPPING][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_STOPPING][INSTANCE_EV_STOP] = TO(INSTANCE_STOPPING),

    [INSTANCE_STOPPED][INSTANCE_EV_PLACE] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_NO_ROOM] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_UNPLACEABLE] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_PLANNED] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_LEASED] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_WORKERS_UP] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_PROVEN] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_TROUBLE] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_RELEASED] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_ADOPTED] = LATE(ENDED),
    [INSTANCE_STOPPED][INSTANCE_EV_DEPLOY] = LATE("it has ended; a new one takes its place"),
    [INSTANCE_STOPPED][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_STOPPED][INSTANCE_EV_STOP] = LATE("it is stopped already"),

    [INSTANCE_FAILED][INSTANCE_EV_PLACE] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_NO_ROOM] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_UNPLACEABLE] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_PLANNED] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_LEASED] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_WORKERS_UP] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_PROVEN] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_TROUBLE] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_RELEASED] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_ADOPTED] = LATE(ENDED),
    [INSTANCE_FAILED][INSTANCE_EV_DEPLOY] = LATE("it has failed; a new one takes its place"),
    [INSTANCE_FAILED][INSTANCE_EV_DRAIN] = NO(DRAIN_READY),
    [INSTANCE_FAILED][INSTANCE_EV_STOP] = TO_WITH(INSTANCE_STOPPED, instance_on_stopped),
};

const char *instance_event_name(enum instance_event e)
{
    static const char *const names[INSTANCE_EVENT_N] = {
        [INSTANCE_EV_PLACE] = "place",
        [INSTANCE_EV_NO_ROOM] = "no_room",
        [INSTANCE_EV_UNPLACEABLE] = "unplaceable",
        [INSTANCE_EV_PLANNED] = "planned",
        [INSTANCE_EV_LEASED] = "leased",
        [INSTANCE_EV_WORKERS_UP] = "workers_up",
        [INSTANCE_EV_PROVEN] = "ranks_proven",
        [INSTANCE_EV_TROUBLE] = "trouble",
        [INSTANCE_EV_RELEASED] = "released",
        [INSTANCE_EV_ADOPTED] = "adopted",
        [INSTANCE_EV_DEPLOY] = "deploy",
        [INSTANCE_EV_DRAIN] = "drain",
        [INSTANCE_EV_STOP] = "stop",
    };

    return (unsigned)e < INSTANCE_EVENT_N ? names[e] : "unknown";
}

const struct instance_cell *instance_cell(enum instance_state state, enum instance_event event)
{
    return &instance_table[state][event];
}

bool instance_state_ended(enum instance_state state)
{
    return state == INSTANCE_STOPPED || state == INSTANCE_FAILED;
}

bool instance_state_runs(enum instance_state state)
{
    switch (state) {
    case INSTANCE_LEASING:
    case INSTANCE_STARTING:
    case INSTANCE_LOADING:
    case INSTANCE_READY:
    case INSTANCE_DRAINING:
        return true;
    case INSTANCE_REQUESTED:
    case INSTANCE_PLACING:
    case INSTANCE_WAITING:
    case INSTANCE_RECOVERING:
    case INSTANCE_STOPPING:
    case INSTANCE_STOPPED:
    case INSTANCE_FAILED:
        break;
    }
    return false;
}

static int instance_emit(struct step *s, const struct instance *i, enum instance_state from, enum instance_event event,
                         const struct instance_cell *cell, const struct cause *cause)
{
    struct cluster_transition t = {.machine = "instance",
                                   .instance = i->id,
                                   .epoch = i->epoch,
                                   .from = instance_state_name(from),
                                   .to = instance_state_name(i->state),
                                   .event = instance_event_name(event)};

    text_format(t.id, sizeof(t.id), "%s", i->name);
    return err_fold(fx_verdict(s, &t, cell->verdict, cell->sentence, cause, &s->c->instance_refused[from][event]));
}

int instance_event(struct step *s, struct instance *i, enum instance_event event, const struct cause *cause)
{
    const struct instance_cell *cell = instance_cell(i->state, event);
    enum instance_state from = i->state;
    int r = 0;

    if (cell->verdict == GO) {
        r = step_instance(s, i);
        if (r)
            return err_fold(r);
        if (cell->to != from) {
            i->state = cell->to;
            i->state_since_wall_ms = s->wall_ms;
            r = tasks_show_step(s, i);
            if (r)
                return err_fold(r);
        }
    }
    if (cell->verdict != GO || cell->to != from)
        r = instance_emit(s, i, from, event, cell, cause);
    if (!r && cell->action)
        r = cell->action(s, i, cause);
    return err_fold(r);
}
