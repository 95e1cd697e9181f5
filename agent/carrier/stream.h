/* One stream of a carrier, from its first side to its last byte. It is begun by one side, which is not read before the other
 * stands: what that side sends waits in its socket, and where the other cannot be had it is reset. From then on the relay
 * carries, and where it is RPC that passes, the sensor reads along. */
#ifndef CARAVAN_AGENT_CARRIER_STREAM_H
#define CARAVAN_AGENT_CARRIER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/rpc_frames.h"
#include "common/crypto.h"
#include "common/relay.h"
#include "common/tunnel_end.h"

struct event_base;
struct feeding_files;
struct stream;

/* The side that does not begin it. */
struct stream_goal {
    char addr[PROTO_ADDR_MAX]; /* a numeric address */
    uint16_t port;
    const uint8_t *peer;       /* whose carrier that is; NULL: dialled as it is, on this machine */
    struct tunnel_claim claim; /* with peer */
    bool is_rpc;
    struct feeding_files *feed; /* the goal is a worker that is fed from them, with is_rpc; NULL: it is not */
};

struct stream_ending {
    bool stood; /* both sides did; else the goal was not reached, for `error` and, where it said so, `verdict` */
    enum relay_end end; /* of what stood */
    int error;          /* a positive errno, or 0 */
    enum tunnel_verdict verdict;
};

struct stream_calls {
    void (*stands)(void *ctx);
    /* Once, the last one: the stream is to be destroyed, in it or later. */
    void (*ended)(void *ctx, const struct stream_ending *ending);
    void *ctx;
};

/* goal, own: borrowed until the stream is destroyed. No call comes before these have returned. ret: owned. 0; negative errno,
 * and then the socket, or what far holds, is gone all the same, with a reset. */
int stream_from_near(struct event_base *base, const struct identity *own, const struct stream_goal *goal, int near,
                     const struct stream_calls *calls, struct stream **ret);
int stream_from_far(struct event_base *base, const struct stream_goal *goal, struct tunnel_end *far,
                    const struct stream_calls *calls, struct stream **ret);
/* Resets what has not ended. NULL is fine. */
void stream_destroy(struct stream **s);

/* What the sensor has read, as it crossed the network; all zero where it does not read. */
void stream_figures(const struct stream *s, uint64_t now_ms, struct rpc_figures *ret);

#endif
