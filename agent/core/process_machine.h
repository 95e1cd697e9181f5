/* The life of a process, as one table: design, "State machines", Process.
 *
 *   idle -> starting -> running -> stopping -> exited -> backoff -> starting;  starting -> failed -> backoff
 *
 * What a move entails (signals, probes, timers) is done by unit.c; whether there is a move is decided here alone. */
#ifndef CARAVAN_AGENT_CORE_PROCESS_MACHINE_H
#define CARAVAN_AGENT_CORE_PROCESS_MACHINE_H

#include <stdbool.h>

#include "agent/core/agent.h"
#include "agent/core/effects.h"

enum process_event {
    PROCESS_EV_START,        /* decided: let it run */
    PROCESS_EV_SPAWNED,      /* it exists */
    PROCESS_EV_SPAWN_FAILED, /* it could not be made */
    PROCESS_EV_ANSWERED,     /* it serves: HELLO, /health */
    PROCESS_EV_SILENT,       /* it did not answer in time */
    PROCESS_EV_EMPTY,        /* a running worker has no client */
    PROCESS_EV_NOT_EMPTY,    /* it has one that should be gone, or it hangs */
    PROCESS_EV_STOP,         /* decided: end it */
    PROCESS_EV_GRACE_OVER,   /* it did not end by itself in time */
    PROCESS_EV_DYING,        /* its kernel takes it down */
    PROCESS_EV_EXITED,       /* it is gone */
    PROCESS_EV_BACK_OFF,     /* decided: start it again, later */
    PROCESS_EV_N
};

enum { PROCESS_STATES = UNIT_FAILED + 1 };

enum process_verdict { PROCESS_UNDECIDED, PROCESS_GO, PROCESS_REFUSE, PROCESS_IGNORE };

struct process_cell {
    enum process_verdict verdict;
    enum unit_state to;   /* GO */
    const char *sentence; /* REFUSE, IGNORE: what a person is shown */
};

const struct process_cell *process_machine_cell(enum unit_state state, enum process_event event);
const char *process_event_name(enum process_event event);

/* The only function that writes the state of a unit; each call is one AGENT_FX_TRANSITION. True: it moved (GO). */
bool process_machine_apply(struct unit_facts *u, enum process_event event, struct effects *fx);

#endif
