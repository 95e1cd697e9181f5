/* Is that node there? Design, "Noticing": two connects to its neighbour port, the second 225 ms after the first, each with
 * one authenticated ping, over all of its addresses at once, 450 ms in all: a second of silence, two rounds of knocks, and
 * what their words take on the way must come to 2 s at most.
 *
 * What an address has said is told by the dial itself: libzmq reports the TCP connection before the handshake. Where it
 * ends before there was one, libzmq does not say why, and a refused port is another thing than a route that is gone: then
 * one plain connect asks the kernel for the errno. A plain connect beside every dial would tell the same, but whatever
 * connects to a stopped process stays in its accept queue: once that is full (half as many knocks), a stuck node looks
 * dead. */
#ifndef CARAVAN_COMMON_KNOCK_H
#define CARAVAN_COMMON_KNOCK_H

#include "common/core/protocol.h"
#include "common/crypto.h"

struct event_base;
struct knock;

enum { KNOCK_AGAIN_MS = 225, KNOCK_MS = 450, KNOCK_ADDRS_MAX = 8 /* of a node's addresses; the first ones */ };

/* Exactly once, from the loop, within KNOCK_MS; the knock is gone by then. KNOCK_NO_CARRIER: this machine could not have
 * been heard: its links are down, or it has no descriptors left. A node that has proven its key and does not know ours has
 * answered: its agent lives. */
typedef void knock_done(void *ctx, enum knock_outcome outcome);

/* At the addresses of peer that host_worth_dialling names. id: borrowed until done; peer: borrowed for the call.
 * 0; negative errno (-EDESTADDRREQ: there is no address, port or key to knock at), and done is not called. */
int knock_start(struct event_base *base, const struct identity *id, const struct peer_facts *peer, knock_done *done,
                void *ctx, struct knock **ret);
/* done is not called any more. NULL is fine; sets *k to NULL. */
void knock_cancel(struct knock **k);

#endif
