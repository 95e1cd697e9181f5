/* The agent at work: turns what happens into events for the core (agent/core) and carries out what the core wants. One
 * libevent loop; mDNS, the model inventory and the index of its tensors are actors. */
#ifndef CARAVAN_AGENT_SHELL_H
#define CARAVAN_AGENT_SHELL_H

#include "agent/join_ticket.h"
#include "agent/options.h"
#include "agent/state.h"

/* Runs until SIGTERM or SIGINT; children live on. All borrowed; the ticket's key is wiped. carrier_path: NULL where the
 * transport is direct. 0 or negative errno (logged by the caller). */
int shell_run(const struct agent_options *options, struct state_dir *state, const struct identity *identity,
              struct join_ticket *ticket, const char *shim_path, const char *carrier_path);

#endif
