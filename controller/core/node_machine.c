#include "controller/core/node_machine.h"

#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/brake.h"
#include "controller/core/effects.h"
#include "controller/core/knocks.h"
#include "controller/core/nodes.h"

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
#define LATE(text)                            \
    {                                         \
        .verdict = IGNORE, .sentence = (text) \
    }

#define BAD_HELLO    "its hello cannot be accepted"
#define NOT_ASKED    "nobody knocks at a node in this state"
#define NOT_DRAINING "the node is not being drained"
#define NOT_JOINED   "the node has not joined"
#define SILENT_KNOWN "it is known already that the node is silent"
#define IS_RETIRED   "the node was retired; join it again with a new key"
#define REPORTED     "the node has reported since"
/* Drain and retirement are durable flags of the node beside its state. A flagged node that comes back is drained again by
 * node_on_ready; so UNDRAIN is taken in every state in which the flag can stand. */
static const struct node_cell node_table[NODE_STATE_N][NODE_EVENT_N] = {
    [NODE_UNKNOWN][NODE_EV_HELLO] = TO(NODE_JOINING),
    [NODE_UNKNOWN][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_UNKNOWN][NODE_EV_PARTIAL] = NO(NOT_JOINED),
    [NODE_UNKNOWN][NODE_EV_REPORT] = NO(NOT_JOINED),
    [NODE_UNKNOWN][NODE_EV_SILENT] = LATE(NOT_JOINED),
    [NODE_UNKNOWN][NODE_EV_KNOCK_ANSWERED] = LATE(NOT_ASKED),
    [NODE_UNKNOWN][NODE_EV_KNOCK_REFUSED] = LATE(NOT_ASKED),
    [NODE_UNKNOWN][NODE_EV_KNOCK_UNANSWERED] = LATE(NOT_ASKED),
    [NODE_UNKNOWN][NODE_EV_EVICT] = LATE(NOT_JOINED),
    [NODE_UNKNOWN][NODE_EV_DRAIN] = NO(NOT_JOINED),
    [NODE_UNKNOWN][NODE_EV_UNDRAIN] = TO(NODE_UNKNOWN),
    [NODE_UNKNOWN][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_UNKNOWN][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_JOINING][NODE_EV_HELLO] = TO(NODE_JOINING),
    [NODE_JOINING][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_JOINING][NODE_EV_PARTIAL] = TO(NODE_JOINING),
    [NODE_JOINING][NODE_EV_REPORT] = TO_WITH(NODE_READY, node_on_ready),
    [NODE_JOINING][NODE_EV_SILENT] = TO_WITH(NODE_SUSPECT, node_on_silent),
    [NODE_JOINING][NODE_EV_KNOCK_ANSWERED] = LATE(NOT_ASKED),
    [NODE_JOINING][NODE_EV_KNOCK_REFUSED] = LATE(NOT_ASKED),
    [NODE_JOINING][NODE_EV_KNOCK_UNANSWERED] = LATE(NOT_ASKED),
    [NODE_JOINING][NODE_EV_EVICT] = LATE("the node has just come back"),
    [NODE_JOINING][NODE_EV_DRAIN] = NO("the node is only joining; drain it when it is ready"),
    [NODE_JOINING][NODE_EV_UNDRAIN] = TO(NODE_JOINING),
    [NODE_JOINING][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_JOINING][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_READY][NODE_EV_HELLO] = TO(NODE_JOINING), /* its agent began anew: its next full report tells what is left */
    [NODE_READY][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_READY][NODE_EV_PARTIAL] = TO(NODE_READY),
    [NODE_READY][NODE_EV_REPORT] = TO(NODE_READY),
    [NODE_READY][NODE_EV_SILENT] = TO_WITH(NODE_SUSPECT, node_on_silent),
    [NODE_READY][NODE_EV_KNOCK_ANSWERED] = LATE(REPORTED),
    [NODE_READY][NODE_EV_KNOCK_REFUSED] = LATE(REPORTED),
    [NODE_READY][NODE_EV_KNOCK_UNANSWERED] = LATE(REPORTED),
    [NODE_READY][NODE_EV_EVICT] = LATE(REPORTED),
    [NODE_READY][NODE_EV_DRAIN] = TO(NODE_DRAINING),
    [NODE_READY][NODE_EV_UNDRAIN] = LATE(NOT_DRAINING),
    [NODE_READY][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_READY][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_SUSPECT][NODE_EV_HELLO] = TO(NODE_JOINING),
    [NODE_SUSPECT][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_SUSPECT][NODE_EV_PARTIAL] = TO(NODE_JOINING),
    [NODE_SUSPECT][NODE_EV_REPORT] = TO_WITH(NODE_READY, node_on_ready),
    [NODE_SUSPECT][NODE_EV_SILENT] = LATE(SILENT_KNOWN),
    [NODE_SUSPECT][NODE_EV_KNOCK_ANSWERED] = TO(NODE_SUSPECT), /* it cannot be told anything before it reports */
    [NODE_SUSPECT][NODE_EV_KNOCK_REFUSED] = TO_WITH(NODE_STUCK, node_on_stuck),
    [NODE_SUSPECT][NODE_EV_KNOCK_UNANSWERED] = TO_WITH(NODE_LOST, node_on_lost),
    [NODE_SUSPECT][NODE_EV_EVICT] = LATE("whether the node is lost is being found out"),
    [NODE_SUSPECT][NODE_EV_DRAIN] = NO("the node is silent; drain it when it answers again, or retire it"),
    [NODE_SUSPECT][NODE_EV_UNDRAIN] = TO(NODE_SUSPECT),
    [NODE_SUSPECT][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_SUSPECT][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_LOST][NODE_EV_HELLO] = TO(NODE_JOINING),
    [NODE_LOST][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_LOST][NODE_EV_PARTIAL] = TO(NODE_JOINING),
    [NODE_LOST][NODE_EV_REPORT] = TO_WITH(NODE_READY, node_on_ready),
    [NODE_LOST][NODE_EV_SILENT] = LATE(SILENT_KNOWN),
    [NODE_LOST][NODE_EV_KNOCK_ANSWERED] = TO(NODE_SUSPECT),
    [NODE_LOST][NODE_EV_KNOCK_REFUSED] = TO_WITH(NODE_STUCK, node_on_stuck),
    [NODE_LOST][NODE_EV_KNOCK_UNANSWERED] = TO(NODE_LOST), /* knocked at until it is evicted: it may be back in time */
    [NODE_LOST][NODE_EV_EVICT] = TO(NODE_EVICTED),
    [NODE_LOST][NODE_EV_DRAIN] = NO("the node is lost; retire it, or drain it when it is back"),
    [NODE_LOST][NODE_EV_UNDRAIN] = TO(NODE_LOST),
    [NODE_LOST][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_LOST][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_EVICTED][NODE_EV_HELLO] = TO(NODE_JOINING),
    [NODE_EVICTED][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_EVICTED][NODE_EV_PARTIAL] = TO(NODE_JOINING),
    [NODE_EVICTED][NODE_EV_REPORT] = TO_WITH(NODE_READY, node_on_ready),
    [NODE_EVICTED][NODE_EV_SILENT] = LATE(SILENT_KNOWN),
    [NODE_EVICTED][NODE_EV_KNOCK_ANSWERED] = LATE(NOT_ASKED),
    [NODE_EVICTED][NODE_EV_KNOCK_REFUSED] = LATE(NOT_ASKED),
    [NODE_EVICTED][NODE_EV_KNOCK_UNANSWERED] = LATE(NOT_ASKED),
    [NODE_EVICTED][NODE_EV_EVICT] = LATE("the node is evicted already"),
    [NODE_EVICTED][NODE_EV_DRAIN] =
        NO("the node is lost and nothing is placed there; retire it, or drain it when it is back"),
    [NODE_EVICTED][NODE_EV_UNDRAIN] = TO(NODE_EVICTED),
    [NODE_EVICTED][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_EVICTED][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_STUCK][NODE_EV_HELLO] = TO(NODE_JOINING),
    [NODE_STUCK][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_STUCK][NODE_EV_PARTIAL] = TO(NODE_JOINING),
    [NODE_STUCK][NODE_EV_REPORT] = TO_WITH(NODE_READY, node_on_ready),
    [NODE_STUCK][NODE_EV_SILENT] = LATE(SILENT_KNOWN),
    [NODE_STUCK][NODE_EV_KNOCK_ANSWERED] = TO(NODE_SUSPECT),
    [NODE_STUCK][NODE_EV_KNOCK_REFUSED] = TO(NODE_STUCK),
    [NODE_STUCK][NODE_EV_KNOCK_UNANSWERED] = TO_WITH(NODE_LOST, node_on_lost),
    [NODE_STUCK][NODE_EV_EVICT] = LATE("the node's kernel answers, so it is not evicted"),
    [NODE_STUCK][NODE_EV_DRAIN] = NO("the node's agent does not answer; restart it, or retire the node"),
    [NODE_STUCK][NODE_EV_UNDRAIN] = TO(NODE_STUCK),
    [NODE_STUCK][NODE_EV_EMPTIED] = LATE(NOT_DRAINING),
    [NODE_STUCK][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_DRAINING][NODE_EV_HELLO] = TO(NODE_DRAINING),
    [NODE_DRAINING][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_DRAINING][NODE_EV_PARTIAL] = TO(NODE_DRAINING),
    [NODE_DRAINING][NODE_EV_REPORT] = TO(NODE_DRAINING),
    [NODE_DRAINING][NODE_EV_SILENT] = TO_WITH(NODE_SUSPECT, node_on_silent),
    [NODE_DRAINING][NODE_EV_KNOCK_ANSWERED] = LATE(REPORTED),
    [NODE_DRAINING][NODE_EV_KNOCK_REFUSED] = LATE(REPORTED),
    [NODE_DRAINING][NODE_EV_KNOCK_UNANSWERED] = LATE(REPORTED),
    [NODE_DRAINING][NODE_EV_EVICT] = LATE(REPORTED),
    [NODE_DRAINING][NODE_EV_DRAIN] = LATE("the node is being drained already"),
    [NODE_DRAINING][NODE_EV_UNDRAIN] = TO(NODE_READY),
    [NODE_DRAINING][NODE_EV_EMPTIED] = TO(NODE_DRAINED),
    [NODE_DRAINING][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_DRAINED][NODE_EV_HELLO] = TO(NODE_DRAINED),
    [NODE_DRAINED][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_DRAINED][NODE_EV_PARTIAL] = TO(NODE_DRAINED),
    [NODE_DRAINED][NODE_EV_REPORT] = TO(NODE_DRAINED),
    [NODE_DRAINED][NODE_EV_SILENT] =
        TO(NODE_DRAINED), /* a drained node may be switched off: that is what drain is for */
    [NODE_DRAINED][NODE_EV_KNOCK_ANSWERED] = LATE(NOT_ASKED),
    [NODE_DRAINED][NODE_EV_KNOCK_REFUSED] = LATE(NOT_ASKED),
    [NODE_DRAINED][NODE_EV_KNOCK_UNANSWERED] = LATE(NOT_ASKED),
    [NODE_DRAINED][NODE_EV_EVICT] = LATE("nothing runs on a drained node"),
    [NODE_DRAINED][NODE_EV_DRAIN] = LATE("the node is drained already"),
    [NODE_DRAINED][NODE_EV_UNDRAIN] = TO(NODE_JOINING),
    [NODE_DRAINED][NODE_EV_EMPTIED] = LATE("the node is drained already"),
    [NODE_DRAINED][NODE_EV_RETIRE] = TO_WITH(NODE_RETIRED, node_on_retired),

    [NODE_RETIRED][NODE_EV_HELLO] = NO(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_BAD_HELLO] = NO(BAD_HELLO),
    [NODE_RETIRED][NODE_EV_PARTIAL] = NO(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_REPORT] = NO(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_SILENT] = LATE(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_KNOCK_ANSWERED] = LATE(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_KNOCK_REFUSED] = LATE(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_KNOCK_UNANSWERED] = LATE(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_EVICT] = LATE(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_DRAIN] = NO(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_UNDRAIN] = NO(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_EMPTIED] = LATE(IS_RETIRED),
    [NODE_RETIRED][NODE_EV_RETIRE] = LATE("the node is retired already"),
};

const char *node_event_name(enum node_event e)
{
    static const char *const names[NODE_EVENT_N] = {
        [NODE_EV_HELLO] = "hello",
        [NODE_EV_BAD_HELLO] = "bad_hello",
        [NODE_EV_PARTIAL] = "partial_report",
        [NODE_EV_REPORT] = "report",
        [NODE_EV_SILENT] = "silent",
        [NODE_EV_KNOCK_ANSWERED] = "knock_answered",
        [NODE_EV_KNOCK_REFUSED] = "knock_refused",
        [NODE_EV_KNOCK_UNANSWERED] = "knock_unanswered",
        [NODE_EV_EVICT] = "evict",
        [NODE_EV_DRAIN] = "drain",
        [NODE_EV_UNDRAIN] = "undrain",
        [NODE_EV_EMPTIED] = "emptied",
        [NODE_EV_RETIRE] = "retire",
    };

    return (unsigned)e < NODE_EVENT_N ? names[e] : "unknown";
}

const struct node_cell *node_cell(enum node_state state, enum node_event event)
{
    return &node_table[state][event];
}

static int node_emit(struct step *s, const char *name, enum node_state from, enum node_event event,
                     const struct node_cell *cell, const struct cause *cause)
{
    struct cluster_transition t = {.machine = "node",
                                   .from = node_state_name(from),
                                   .to = node_state_name(cell->verdict == GO ? cell->to : from),
                                   .event = node_event_name(event)};

    text_format(t.id, sizeof(t.id), "%s", name);
    return err_fold(fx_verdict(s, &t, cell->verdict, cell->sentence, cause, &s->c->node_refused[from][event]));
}

/* What belongs to a silence goes with it. */
static void node_entered(struct node *n, const struct cause *cause)
{
    switch (n->state) {
    case NODE_UNKNOWN:
    case NODE_JOINING:
    case NODE_READY:
    case NODE_DRAINING:
    case NODE_DRAINED:
        n->reason[0] = '\0';
        n->silent_since_ms = 0;
        knocks_end(n);
        return;
    case NODE_EVICTED:
    case NODE_RETIRED:
        knocks_end(n);
        break;
    case NODE_SUSPECT:
    case NODE_STUCK:
    case NODE_LOST:
        break;
    }
    text_format(n->reason, sizeof(n->reason), "%s", cause && cause->text ? cause->text : "");
}

int node_event(struct step *s, struct node *n, enum node_event event, const struct cause *cause)
{
    const struct node_cell *cell = node_cell(n->state, event);
    enum node_state from = n->state;
    int r = 0;

    if (cell->verdict == GO) {
        r = step_node(s, n);
        if (r)
            return err_fold(r);
        n->state = cell->to;
        if (cell->to != from || (cause && cause->text))
            node_entered(n, cause);
    }
    if (cell->verdict != GO || cell->to != from)
        r = node_emit(s, n->hello.name, from, event, cell, cause);
    if (!r && cell->action)
        r = cell->action(s, n, cause);
    if (!r && cell->verdict == GO && cell->to != from)
        r = brake_review(s);
    return err_fold(r);
}

int node_refuse_stranger(struct step *s, const char *name, enum node_event event, const struct cause *cause)
{
    return err_fold(node_emit(s, name, NODE_UNKNOWN, event, node_cell(NODE_UNKNOWN, event), cause));
}
