/* One stream of the tunnel between two sockets: near, which is plain, and far, which is sealed or plain too. On libevent's
 * events with buffers of its own: bufferevents cost four times as much.
 *
 * What one read has given goes out with one send, as one record where far is sealed. While the output takes no more, its
 * input is not read, and nothing is kept but one buffer per direction. The end of one direction passes on behind its last
 * byte, as FIN or as a record of its own, while the other goes on; a reset passes as a reset. What is not as it was sealed,
 * and a sealed direction that ends without its record, ends all of it. Silence ends nothing, and nothing here waits for a
 * time. A socket is not read while what it gave last waits for the other one, nor behind its end: a reset that comes then
 * shows with the next read or send. The process may be killed at any time: then both sockets are reset. */
#ifndef CARAVAN_COMMON_RELAY_H
#define CARAVAN_COMMON_RELAY_H

#include <stddef.h>
#include <stdint.h>

#include "common/seal.h"

struct event_base;
struct relay;

enum relay_direction { RELAY_OUT /* near to far */, RELAY_BACK, RELAY_DIRECTIONS };

enum relay_end {
    RELAY_DONE,   /* both directions have ended, and all bytes are out */
    RELAY_RESET,  /* a socket was reset, or failed otherwise: error says how */
    RELAY_CUT,    /* far ended in the middle: somebody on the way, or a carrier that died */
    RELAY_FORGED, /* what came from far is not what its other end has sealed */
    RELAY_SPENT   /* there is no number for another record, or the cipher failed */
};
const char *relay_end_name(enum relay_end end);

struct relay_calls {
    /* Plain bytes of one direction have come, and go out next; data: borrowed. NULL is fine. */
    void (*came)(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n_bytes);
    /* So many of them the kernel has taken now (far sealed: those of a whole record at once). NULL is fine. */
    void (*sent)(void *ctx, enum relay_direction direction, size_t n_bytes);
    /* Once, as the last call. Both sockets are closed by now, after RELAY_DONE with FIN, otherwise with a reset, so that
     * nobody takes for whole what was cut. The relay may be destroyed in it. error: a positive errno, or 0. */
    void (*ended)(void *ctx, enum relay_end end, int error);
    void *ctx;
};

struct relay_sockets {
    int near, far; /* connected; made non-blocking, and without Nagle's delay where they are TCP */
    /* For what goes out to far and what comes from it; both NULL: far is plain. */
    struct seal *seal, *open;
    size_t data_max; /* bytes in one buffer; where far is sealed, that of the seals */
};

/* It begins with the loop's next turn. with: borrowed; its sockets and seals are the relay's where 0 is returned, and still
 * the caller's otherwise. calls: borrowed; its ctx until ended. ret: owned. No call comes before this has returned, and came
 * and sent may not destroy the relay. 0; negative errno. */
int relay_new(struct event_base *base, const struct relay_sockets *with, const struct relay_calls *calls,
              struct relay **ret);
/* From the loop's thread. A relay that has not ended is ended by it with a reset at both sockets, without a call: what an
 * eviction wants. NULL is fine. */
void relay_destroy(struct relay **r);

#endif
