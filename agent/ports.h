/* Proves a port free before a child is told to use it: no listener on it on any address (a worker on 127.0.0.1 and
 * another's on 0.0.0.0 do not disturb each other, but clients reach the wrong one), and a bind that succeeds. */
#ifndef CARAVAN_AGENT_PORTS_H
#define CARAVAN_AGENT_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { PORTS_E_NONE = 1 /* every port of the range is held */, PORTS_E_BAD_ADDR /* the address is not ours */ };

enum { PORTS_CLASHES_TOLD = 4 };

struct port_request {
    const char *addr; /* IP literal that the child will bind */
    uint16_t first, last;
    uint16_t hint; /* tried first where it is in the range; 0: none */
    /* Ports of our own children, who may not have bound them yet. */
    bool (*taken)(void *ctx, uint16_t port);
    /* Told of the first PORTS_CLASHES_TOLD ports that somebody else holds, where it was their turn: to name the holder
     * takes a walk over all processes. */
    void (*clash)(void *ctx, uint16_t port, const char *text);
    void *ctx;
};

/* 0, PORTS_E_NONE, PORTS_E_BAD_ADDR, negative errno. */
int port_pick(const struct port_request *req, uint16_t *ret);

#endif
