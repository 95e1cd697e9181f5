/* Carriers as agent/carrier is: whom they let in, what passes through them and what they see of it. A coordinator's stream
 * goes through its own carrier, the network and the rank's carrier to the worker; that of a rank on its own node through
 * its own carrier alone. The end of any of these closes both sides, as soon as the network lets that be known; a cut
 * network closes nothing. */
#ifndef CARAVAN_TESTS_SIM_CARRIER_H
#define CARAVAN_TESTS_SIM_CARRIER_H

#include "agent/core/agent.h"
#include "tests/sim/llama.h"
#include "tests/sim/world.h"

enum { CARRIER_DIAL_MS = 5000 };

/* What one was started with, and what it has counted. */
struct carrier {
    struct carrier_spec spec;
    uint16_t worker_port, coordinator_port; /* on loopback; 0: none here */
    bool feeds;                             /* it has the model's file, with an index */
    size_t n_flows;
    struct rank_flow flow[PROTO_RANKS_MAX + 1];
};

/* p has just been started. */
void carrier_begin(struct world *w, struct process *p, const struct carrier_spec *spec, uint16_t worker_port,
                   uint16_t coordinator_port);

/* It would be let in there, and its next hop listens. LATER: nobody can tell yet. */
enum dialled { DIALLED, DIALLED_LATER, DIALLED_NOBODY };

/* A worker as a coordinator reaches it. */
struct rank_end {
    struct host *at;
    struct process *worker;
    int32_t far; /* its carrier; 0: none */
};
/* The k-th endpoint of a coordinator that has a carrier. */
enum dialled carrier_dial(struct world *w, struct host *h, struct process *coordinator, size_t k, struct rank_end *ret);

/* Whether a stream between coordinator p and its worker moves now; sets s->closed where p's end is known to be. */
bool carrier_moves(struct world *w, const struct host *h, const struct process *p, struct stream *s);
/* Notes what waits on it, and where. moves: as carrier_moves has said. */
void carrier_waits(struct world *w, const struct host *h, const struct process *p, struct stream *s, bool moves);
/* The worker's client, who comes through a carrier, has gone and that is known here. */
bool carrier_client_left(struct world *w, struct host *h, const struct process *worker);

/* The coordinator that a gateway reaches through h's carrier at to->port; else *ret is NULL. */
enum asked carrier_reach(struct world *w, struct host *h, const struct upstream *to, struct process **ret,
                         int32_t *ret_carrier);
/* That coordinator, whether or not it is reached now; NULL: none. */
struct process *carrier_leads_to(struct host *h, uint16_t port);

/* carrier_flows.c: what it has seen, brought up to now, into the sample. */
void carrier_sample(struct world *w, struct host *h, struct process *p, struct agent_sample *s);

#endif
