/* The states of an instance. What a state begins is its action's work (lifecycle.h). Source: design, "State machines",
 * "The failure unit". */
#ifndef CARAVAN_CONTROLLER_CORE_INSTANCE_MACHINE_H
#define CARAVAN_CONTROLLER_CORE_INSTANCE_MACHINE_H

#include <stdbool.h>

#include "controller/core/machine.h"
#include "controller/core/view.h"

enum { INSTANCE_STATE_N = INSTANCE_FAILED + 1 };

enum instance_event {
    INSTANCE_EV_PLACE,       /* it wants a place: compute one */
    INSTANCE_EV_NO_ROOM,     /* nothing fits now, but may later */
    INSTANCE_EV_UNPLACEABLE, /* nothing fits, or it cannot be asked for */
    INSTANCE_EV_PLANNED,     /* the epoch and its plan are durable */
    INSTANCE_EV_LEASED,      /* every node has promised its memory */
    INSTANCE_EV_WORKERS_UP,  /* every worker answers */
    INSTANCE_EV_PROVEN,      /* ranks proven, listening, warm, and that is durable */
    INSTANCE_EV_TROUBLE,     /* a member failed in any way: the epoch is over */
    INSTANCE_EV_RELEASED,    /* nothing of the epoch is left */
    INSTANCE_EV_GIVE_UP,     /* tried too often, or no other attempt can change it */
    INSTANCE_EV_ADOPTED,     /* found whole after a restart of the controller */
    INSTANCE_EV_FOUND,       /* found in the middle of its load after one */
    INSTANCE_EV_DEPLOY,      /* somebody asks for what is there */
    INSTANCE_EV_DRAIN,       /* its node is to be emptied */
    INSTANCE_EV_UNLOAD,      /* nobody asks for it, or another one needs its memory */
    INSTANCE_EV_KEEP,        /* somebody asks for it while it leaves for that */
    INSTANCE_EV_STOP,        /* somebody wants it stopped, and that is durable */
    INSTANCE_EVENT_N
};

struct step;
struct instance;

struct instance_cell {
    enum verdict verdict;
    enum instance_state to;
    int (*action)(struct step *s, struct instance *i, const struct cause *cause);
    const char *sentence; /* REFUSE, IGNORE: for a person */
    bool hold;            /* REFUSE: the state may only be late, so wait transition_grace first */
};

const char *instance_event_name(enum instance_event e);
const struct instance_cell *instance_cell(enum instance_state state, enum instance_event event);

/* Stopped or failed: nothing more happens to it by itself. */
bool instance_state_ended(enum instance_state state);
/* Its epoch's processes are wanted: leasing to ready, and draining. */
bool instance_state_runs(enum instance_state state);

/* The only place that sets an instance's state. cause: borrowed, may be NULL. 0, -ENOMEM. */
int instance_event(struct step *s, struct instance *i, enum instance_event event, const struct cause *cause);

#endif
