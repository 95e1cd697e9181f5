/* All streams of one carrier, by the rank that they are of; the coordinator counts as one more place. Each joins a socket of
 * this machine, near, and one of the tunnel, far; or, for a rank whose worker is on this machine, two of this machine, so that
 * the sensor sees that rank as well. From the loop's thread. */
#ifndef CARAVAN_AGENT_CARRIER_STREAMS_H
#define CARAVAN_AGENT_CARRIER_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/carrier/conf.h"
#include "common/crypto.h"
#include "common/tunnel_end.h"

struct event_base;
struct streams;

enum { STREAMS_PER_RANK = 64, STREAMS_TO_COORDINATOR = 256, STREAMS_RANKS_MAX = PROTO_RANKS_MAX + 1 };

struct streams_counts {
    uint64_t n_dialled;       /* through the tunnel, that stood */
    uint64_t n_unreached;     /* whose other side could not be had */
    uint64_t n_without_room;  /* were never begun */
    uint64_t n_forged, n_cut; /* ended so: common/relay.h */
};

/* conf, own: borrowed. ret: owned. 0; -ENOMEM. */
int streams_new(struct event_base *base, const struct carrier_conf *conf, const struct identity *own,
                struct streams **ret);
/* All of them are reset. NULL is fine. */
void streams_destroy(struct streams **s);

/* Is there room for one more of those? claim: one that was granted. */
bool streams_have_room(struct streams *s, const struct tunnel_claim *claim);

/* far, which a peer has opened with a claim that was granted, to the worker or coordinator here. What it holds is ours. */
void streams_add_far(struct streams *s, const struct tunnel_claim *claim, struct tunnel_end *far);

/* near, a socket that was accepted where conf's route of that number listens, to that rank. It is ours. */
void streams_add_near(struct streams *s, size_t route, int near);

size_t streams_open(const struct streams *s); /* how many there are */
void streams_counts(const struct streams *s, struct streams_counts *ret);

/* A flow per rank of conf, also of those without a stream. Returns how many. */
size_t streams_flows(const struct streams *s, uint64_t now_ms, struct rank_flow ret[STREAMS_RANKS_MAX]);

#endif
