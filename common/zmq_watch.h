/* What actor.c and wire_*.c share of ZeroMQ: the process-wide context, and a socket on a libevent loop.
 *
 * ZMQ_FD is edge-triggered and says only "look at ZMQ_EVENTS": messages may wait while the fd is silent, and any call on
 * the socket, a send too, may swallow the edge. That is dealt with here and nowhere else. */
#ifndef CARAVAN_COMMON_ZMQ_WATCH_H
#define CARAVAN_COMMON_ZMQ_WATCH_H

#include <stdbool.h>

struct event_base;
struct zmq_watch;

/* Takes one message from the socket; false: there was none. May destroy the watch and the socket. */
typedef bool zmq_watch_read(void *ctx);

/* Makes czmq's context, which actors and links share, and tells czmq to leave signals and standard output alone. Any
 * number of times, from the main thread first. Returns the context, NULL without memory. */
void *zmq_watch_context(void);

/* Calls read for each message, so many per turn of the loop at most, then lets others have theirs.
 * socket: a ZeroMQ socket, borrowed until zmq_watch_destroy. 0 or negative errno. */
int zmq_watch_new(struct event_base *base, void *socket, zmq_watch_read *read, void *ctx, struct zmq_watch **ret);
void zmq_watch_destroy(struct zmq_watch **w);
/* To be called after each send on the socket. */
void zmq_watch_sent(struct zmq_watch *w);

#endif
