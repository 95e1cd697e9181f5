/* Which connections of a bound ZeroMQ socket were closed. Private to wire_*.c. */
#ifndef CARAVAN_COMMON_WIRE_MONITOR_H
#define CARAVAN_COMMON_WIRE_MONITOR_H

struct event_base;
struct wire_monitor;

/* closed: the descriptor of the connection, which libzmq may have given to the next one already; it may not destroy the
 * monitor. context, socket: borrowed, live as long. 0 or negative errno. */
int wire_monitor_new(struct event_base *base, void *zmq_context, void *socket, void (*closed)(void *ctx, int fd),
                     void *ctx, struct wire_monitor **ret);
/* Before the socket is closed. */
void wire_monitor_destroy(struct wire_monitor **m);
/* Hands on what is there already. libzmq tells of a closed connection before it reads from the next one under the same
 * descriptor: whoever has a message in hand and calls this first never takes the one for the other. NULL is fine. */
void wire_monitor_catch_up(struct wire_monitor *m);

#endif
