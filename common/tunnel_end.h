/* The two ends of a stream of the rank tunnel until it stands: connect or accept, then the handshake of
 * common/tunnel_handshake.h. What comes out goes to common/relay.h. On the caller's loop; reads never take a byte more than
 * the handshake's, so that whatever follows is still in the socket.
 *
 * Both bound what a stranger can hold: a handshake has TUNNEL_DEADLINE_MS, and of unfinished ones there are at most
 * TUNNEL_HALF_OPEN_MAX, TUNNEL_HALF_OPEN_PER_ADDR of one address; the oldest of the address that has most goes for a new
 * one. */
#ifndef CARAVAN_COMMON_TUNNEL_END_H
#define CARAVAN_COMMON_TUNNEL_END_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/core/tunnel_claim.h"
#include "common/crypto.h"
#include "common/seal.h"

struct event_base;

enum { TUNNEL_DEADLINE_MS = 2000, TUNNEL_HALF_OPEN_MAX = 256, TUNNEL_HALF_OPEN_PER_ADDR = 32 };

/* Bytes in a record, by what the stream is for, at both ends: part of the version. Ranks move weights over a few streams; what
 * a coordinator is asked is small, and of requests there may be thousands. */
enum { TUNNEL_RANK_DATA_MAX = SEAL_DATA_MAX, TUNNEL_COORDINATOR_DATA_MAX = 16 * 1024 };

/* A stream that stands: far, seal, open and data_max of struct relay_sockets. Owned. The socket is non-blocking and prepared
 * as below. */
struct tunnel_end {
    int fd; /* -1: none */
    struct seal *seal, *open;
    size_t data_max;
};
/* With a reset, as whoever has it not carried to its end has cut it. */
void tunnel_end_clear(struct tunnel_end *end);

/* What makes a healed link carry again within a second, and keeps a dead one: TCP_NODELAY; TCP_USER_TIMEOUT with, where the
 * kernel has it (6.15), TCP_RTO_MAX_MS; and a keepalive, so that a host that was started anew says so on a stream that has
 * nothing to send. Silence ends nothing before TUNNEL_USER_TIMEOUT_MS: unanswered data, unanswered keepalives, and a
 * window that stays shut all count against that. */
enum { TUNNEL_USER_TIMEOUT_MS = 15 * 60 * 1000, TUNNEL_RTO_MAX_MS = 1000, TUNNEL_KEEPALIVE_S = 60 };
void tunnel_socket_prepare(int fd);

/* ---- dialling ---------------------------------------------------------------------------------------------------- */

struct tunnel_dial;
struct tunnel_dial_spec {
    const struct identity *own; /* borrowed until done */
    uint8_t peer[CRYPTO_KEY_BYTES];
    struct tunnel_claim claim;
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    uint32_t timeout_ms; /* for all of it; 0: 5000 */
};
/* Once, from the loop, never before tunnel_dial_start returns; the dial is gone then. r: 0: what end holds is the callee's
 * (end itself is not); else end is NULL, and r a negative errno: -ECONNREFUSED, -ETIMEDOUT, ...; -EACCES: verdict says why
 * (else it is TUNNEL_GRANTED); -ECONNRESET: hung up on without a word, as is whoever dials another key or version than
 * listens there; -EPROTO: what was answered is not from the peer, or changed on the way. */
typedef void tunnel_dialled(void *ctx, int r, struct tunnel_end *end, enum tunnel_verdict verdict);
/* ret: borrowed until done. 0; negative errno, also for what the kernel refuses at once: done is then not called. -EINVAL: no
 * IP literal, or peer is no key. */
int tunnel_dial_start(struct event_base *base, const struct tunnel_dial_spec *spec, tunnel_dialled *done, void *ctx,
                      struct tunnel_dial **ret);
void tunnel_dial_cancel(struct tunnel_dial **d); /* before done; NULL is fine */

/* ---- accepting --------------------------------------------------------------------------------------------------- */

struct tunnel_door;
struct tunnel_door_calls {
    /* May peer have what it claims? Once per handshake whose first message is sound; that may be a recording, so the answer
     * may not change anything but counters. The door may not be destroyed in it. */
    enum tunnel_verdict (*asked)(void *ctx, const struct tunnel_claim *claim, const uint8_t peer[CRYPTO_KEY_BYTES]);
    /* It was granted, up to the deadline ago, and has proven that it is who it says. What end holds is the callee's. The door
     * may be destroyed in it. */
    void (*opened)(void *ctx, const struct tunnel_claim *claim, const uint8_t peer[CRYPTO_KEY_BYTES],
                   struct tunnel_end *end);
    void *ctx;
};
struct tunnel_door_counts {
    uint64_t n_accepted; /* the sum of all below, but for n_starved */
    uint64_t n_opened, n_half_open;
    uint64_t n_refused[TUNNEL_VERDICT_N];
    uint64_t n_bad; /* no handshake of ours, changed bytes, another version */
    uint64_t
        n_left; /* cut off: mostly one who wants it no more, as when a client goes while the gateway dials for it */
    uint64_t n_slow;    /* the deadline */
    uint64_t n_dropped; /* for a newer one, or for want of memory */
    uint64_t n_starved; /* times that none could be accepted for want of descriptors or memory: they waited */
};
/* Listens at once. own: borrowed. addr: an IP literal. port 0: any; *ret_port says which. ret: owned. 0; negative errno. */
int tunnel_door_new(struct event_base *base, const struct identity *own, const char *addr, uint16_t port,
                    const struct tunnel_door_calls *calls, uint16_t *ret_port, struct tunnel_door **ret);
void tunnel_door_counts(const struct tunnel_door *d, struct tunnel_door_counts *ret);
/* For tests: of those accepted from now on. */
void tunnel_door_set_deadline(struct tunnel_door *d, uint32_t deadline_ms);
/* Unfinished handshakes end with a reset, streams that stand go on. NULL is fine. */
void tunnel_door_destroy(struct tunnel_door **d);

#endif
