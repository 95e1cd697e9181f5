/* What both ends of a link set on their sockets, and why. Private to wire_*.c. */
#ifndef CARAVAN_COMMON_WIRE_SETTINGS_H
#define CARAVAN_COMMON_WIRE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_HEARTBEAT_MS = 300,
    WIRE_HEARTBEAT_TIMEOUT_MS = 900, /* a dead link is noticed before the detector's 1.0 s of silence */
    WIRE_HEARTBEAT_TTL_MS = 1200,    /* what we ask of the other end; ZMTP counts it in steps of 100 ms */
    WIRE_HANDSHAKE_MS = 3000,        /* a half-open connection may cost us a socket for so long */
    WIRE_QUEUE_MAX = 1000,           /* messages per peer and direction; a full one is the sender's to handle */
    /* A peer that is stopped accepts nothing more, and what knocks at it stays in its queue though it has left: once that
     * is full the kernel answers no SYN, and who is merely stuck looks dead. The kernel cuts it to net.core.somaxconn. */
    WIRE_BACKLOG = 4096
};

struct wire_int_option {
    int name, value;
};

/* Sets what both ends have in common: heartbeats, bounds, no linger. socket: a ZeroMQ socket. 0 or negative errno. */
int wire_set_common(void *socket);
int wire_set_ints(void *socket, const struct wire_int_option *option, size_t n);

enum { WIRE_ENDPOINT_MAX = 80 };

/* Writes tcp://ADDR:PORT, [ADDR] for IPv6, * for any port. 0 or WIRE_E_BAD_ADDR (neither an IP literal nor "*"). */
int wire_endpoint(const char *addr, uint16_t port, char buf[WIRE_ENDPOINT_MAX]);
/* Whether ZMQ_IPV6 must be set for it: "*" is both families. */
bool wire_endpoint_needs_ipv6(const char *addr);

/* Receives one message. 0: none there. 1: *ret is a message of one frame, the caller closes it. -1: it had more frames and
 * was thrown away. flags as for zmq_msg_recv. */
int wire_receive_single(void *socket, void *ret_msg);

#endif
