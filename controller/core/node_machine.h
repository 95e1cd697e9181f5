/* The states of a node. Source: design, "State machines" and "Noticing". */
#ifndef CARAVAN_CONTROLLER_CORE_NODE_MACHINE_H
#define CARAVAN_CONTROLLER_CORE_NODE_MACHINE_H

#include "controller/core/machine.h"
#include "controller/core/view.h"

enum { NODE_STATE_N = NODE_RETIRED + 1 };

enum node_event {
    NODE_EV_HELLO,     /* its hello was found good */
    NODE_EV_BAD_HELLO, /* its hello was not: the cause says why */
    NODE_EV_PARTIAL,   /* a report, and no full one yet since its hello */
    NODE_EV_REPORT,    /* a report that leaves a whole picture */
    NODE_EV_SILENT,    /* nothing heard for silent_ms */
    NODE_EV_KNOCK_ANSWERED,
    NODE_EV_KNOCK_REFUSED, /* its kernel answers, its agent does not */
    NODE_EV_KNOCK_UNANSWERED,
    NODE_EV_EVICT,
    NODE_EV_DRAIN,
    NODE_EV_UNDRAIN,
    NODE_EV_EMPTIED, /* the last unit on a draining node has gone */
    NODE_EV_RETIRE,
    NODE_EVENT_N
};

struct step;
struct node;

struct node_cell {
    enum verdict verdict;
    enum node_state to;
    int (*action)(struct step *s, struct node *n, const struct cause *cause);
    const char *sentence; /* REFUSE, IGNORE: for a person */
};

const char *node_event_name(enum node_event e);
const struct node_cell *node_cell(enum node_state state, enum node_event event);

/* The only place that sets a node's state. cause: borrowed, may be NULL. 0, -ENOMEM. */
int node_event(struct step *s, struct node *n, enum node_event event, const struct cause *cause);

/* What is refused in NODE_UNKNOWN, for somebody who is no node of ours. */
int node_refuse_stranger(struct step *s, const char *name, enum node_event event, const struct cause *cause);

#endif
