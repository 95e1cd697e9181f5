/* A coordinator dials its carrier's ports in place of its ranks, and knows of nothing else: what it is told, and what it says
 * in its log, is put from the one to the other here. Pure. */
#ifndef CARAVAN_AGENT_CARRIER_ROUTES_H
#define CARAVAN_AGENT_CARRIER_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/carrier/control.h"
#include "common/core/protocol.h"

/* The ranks' endpoints in spec become the carrier's, by rank. false: a rank has none; spec is then in between. */
bool carrier_routes_apply(const struct control_answer *carrier, struct coordinator_spec *spec);

/* Endpoints of the carrier become what they stand for: in buffers that a log named, and wherever they stand in a text. */
void carrier_routes_name_buffers(const struct control_answer *carrier, struct agent_event_facts *facts);
void carrier_routes_name_text(const struct control_answer *carrier, char *text, size_t size);

#endif
