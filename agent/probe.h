/* Asks an rpc-server who it is and what it has: HELLO, device count, each device's memory. About a quarter of a
 * millisecond for a free one.
 *
 * Never for a leased, running rank: rpc-server serves one client at a time, so that a busy one looks hung and a probe
 * stands in the way of its coordinator. Every reply is read to its end before the connection is closed: a server that
 * does not ignore SIGPIPE would die of one that leaves early. */
#ifndef CARAVAN_AGENT_PROBE_H
#define CARAVAN_AGENT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

struct event_base;
struct probe;

struct probe_result {
    bool ok;                /* HELLO was answered; rpc may still be one that nobody here speaks */
    struct rpc_version rpc; /* 0.0.0 where !ok */
    size_t n_devices;       /* 0 where the dialect is not known */
    uint64_t total_bytes[PROTO_DEVICES_MAX];
    uint64_t free_bytes[PROTO_DEVICES_MAX];
    char text[PROTO_TEXT_MAX]; /* !ok: why, for a person */
};

/* addr: IP literal. Tries again while the connection is refused, until deadline_ms from now. done: once, from the loop,
 * unless cancelled before; the handle is gone when it returns. 0 or negative errno (done is then not called). */
int probe_start(struct event_base *base, const char *addr, uint16_t port, uint64_t deadline_ms,
                void (*done)(void *ctx, const struct probe_result *result), void *ctx, struct probe **ret);
/* NULL is fine. */
void probe_cancel(struct probe **p);

#endif
