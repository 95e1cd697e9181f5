/* What a carrier says of one rank: the sums over its streams, and what waits in those that are open. Pure. */
#ifndef CARAVAN_AGENT_CARRIER_TALLY_H
#define CARAVAN_AGENT_CARRIER_TALLY_H

#include "common/core/protocol.h"
#include "common/core/rpc_frames.h"

/* Adds what has passed in a stream, which may have ended. */
void tally_passed(struct rank_flow *flow, const struct rpc_figures *of);

/* Adds an open one: that too, and what waits in it, where it waits longer than in those added before. The first that is not
 * understood says why. */
void tally_open(struct rank_flow *flow, const struct rpc_figures *of);

#endif
