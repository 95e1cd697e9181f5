/* The streams of one thread to coordinators, through the carriers of their nodes (design, "The rank tunnel"). Each serves one
 * HTTP connection and goes with it, in whatever state it is, so that a client who leaves frees the coordinator's slot at once.
 * What goes out is sealed on its way to the socket, and what comes is opened on its way from there.
 *
 * A carrier drops the oldest of TUNNEL_HALF_OPEN_PER_ADDR handshakes for a newer one: fewer are begun with it at a time, and
 * who comes then waits. A stream that stands holds one record that is not whole yet, and what one read has given, however
 * slowly its client reads. */
#ifndef CARAVAN_CONTROLLER_TUNNELS_H
#define CARAVAN_CONTROLLER_TUNNELS_H

#include "common/crypto.h"
#include "common/httpc.h"

struct event_base;
struct tunnels;
struct upstream_target;

enum { TUNNELS_MAX = 3072, TUNNELS_DIALS_MAX = 16 /* at a time, to one carrier */ };

/* own: borrowed for its life. ret: owned. 0, -ENOMEM. */
int tunnels_new(struct event_base *base, const struct identity *own, struct tunnels **ret);
/* Each stream ends. Requests that still have one may be given up later. NULL is fine. */
void tunnels_destroy(struct tunnels **t);

/* For the dialler's ctx; both borrowed during httpc_start. */
struct tunnels_way {
    struct tunnels *tunnels;
    const struct upstream_target *target; /* with a key */
};
/* Its errors, beside those of connect (-ECONNREFUSED: nobody listens at the carrier's port, so it has exited):
 *   -ESTALE        a carrier is there, and has no such epoch for us: it is over there, not begun, or granted to others
 *   -EBUSY         it has as many streams as it may have
 *   -EOPNOTSUPP    it knows none of our ciphers
 *   -ENOLINK       it hung up before the stream stood, as does whoever has another key, or too many strangers at its door
 *   -EKEYREJECTED  whoever answers there has not the node's key
 *   -EAGAIN        TUNNELS_MAX
 * and of one that stood: -ECONNRESET (the coordinator, its carrier), -EBADMSG (what came was changed on the way), -EIO (its keys
 * are spent), or what ended the socket. */
extern const struct httpc_dialer tunnels_dialer; /* without its ctx */

#endif
