/* One stream of the tunnel between two sockets: near, which is plain, and far, which is sealed or plain too. On libevent's
 * events with buffers of its own: bufferevents cost four times as much.
 *
 * What one read has given goes out with one send, as one record where far is sealed. While the output takes no more, its
 * input is not read, and nothing is kept but one buffer per direction (and one for what a filter inserts). The end of one
 * direction passes on behind its last byte, as FIN or as a record of its own, while the other goes on; a reset passes as a
 * reset. What is not as it was sealed, and a sealed direction that ends without its record, ends all of it. Silence ends
 * nothing, and nothing here waits for a time. A socket is not read while what it gave last waits for the other one, nor
 * behind its end: a reset that comes then shows with the next read or send. The process may be killed at any time: then
 * both sockets are reset. */
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

/* What becomes of bytes that came from far. */
enum relay_verdict {
    RELAY_PASS = 1, /* they go to near as they are */
    RELAY_SWALLOW,  /* they go nowhere; a filter that wants them has copied them */
    RELAY_INSERT    /* nor do they, and in their place goes what `read` gives, which may be much */
};

enum { RELAY_ANSWER_MAX = 16 };

/* Stands before near, and hears each byte that comes from far once, in order. It may put others in their place, and answer
 * far itself. Only one of these is under way at a time, and until it is through nothing more of far is read or judged; what
 * near says goes on. None of its calls may destroy the relay. */
struct relay_filter {
    /* Bytes that are not judged yet, up to data_max; came was called for all that passed before them. Returns how many of
     * them *ret is about, 1..n_bytes. With n_bytes 0: far has ended, and what was swallowed to be judged later can still be
     * inserted before that end passes. */
    size_t (*judge)(void *ctx, const uint8_t *data, size_t n_bytes, enum relay_verdict *ret);
    /* The next bytes of what is inserted, n_bytes of them; fewer: that was the last of it. One piece in each turn of the
     * loop, and only after near has taken the last one. */
    size_t (*read)(void *ctx, uint8_t *buf, size_t n_bytes);
    /* near has taken it all. Returns the bytes of an answer for far, 0: none. It goes behind all that was read from near, so
     * that near's own answers must be whole by then: that is for `judge` to see to. Neither came nor sent tells of it. */
    size_t (*answer)(void *ctx, uint8_t buf[RELAY_ANSWER_MAX]);
    void *ctx;
};

struct relay_calls {
    /* Plain bytes of one direction go out next; with a filter, those that have passed it or come from it. data: borrowed.
     * NULL is fine. */
    void (*came)(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n_bytes);
    /* So many of them the kernel has taken now (far sealed: those of a whole record at once). NULL is fine. */
    void (*sent)(void *ctx, enum relay_direction direction, size_t n_bytes);
    /* Once, as the last call. Both sockets are closed by now, after RELAY_DONE with FIN, otherwise with a reset, so that
     * nobody takes for whole what was cut. The relay may be destroyed in it. error: a positive errno, or 0. */
    void (*ended)(void *ctx, enum relay_end end, int error);
    void *ctx;
    struct relay_filter filter; /* judge NULL: none; else data_max is at least RELAY_ANSWER_MAX */
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
