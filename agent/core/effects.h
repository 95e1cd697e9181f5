/* The list of effects that a step makes. A failed allocation is remembered, not reported at each call: the step goes on
 * over its draft and is given up as a whole at the end (see agent.c). */
#ifndef CARAVAN_AGENT_CORE_EFFECTS_H
#define CARAVAN_AGENT_CORE_EFFECTS_H

#include <stdbool.h>

#include "agent/core/agent.h"

struct effects {
    struct agent_effects *list;
    bool failed;
};

/* 0, -ENOMEM. */
int effects_begin(struct effects *e);

/* A zeroed effect at the end of the list, borrowed until the next call; NULL: memory is short, the step will be given up. */
struct agent_fx *effects_add(struct effects *e, enum agent_fx_kind kind);

/* The same for a message to the controller. For REPORT and EVENT their structure is there, zeroed (a report's lists as
 * far as they are counted). */
struct message *effects_send(struct effects *e, enum message_kind kind);
/* ... to a neighbour. */
struct message *effects_peer_send(struct effects *e, const char *to, enum message_kind kind);
/* ... to a neighbour, to be passed on for `key`: what is borrowed is the message within. */
struct message *effects_relay(struct effects *e, const char *to, const char *key, enum message_kind kind);

/* For a copy made for an effect that failed. */
void effects_fail(struct effects *e);

/* A flat copy for an effect to own; NULL: memory is short, the step will be given up. */
void *effects_copy(struct effects *e, const void *from, size_t n_bytes);

#endif
