/* Where agents reach this controller, and the key that they find it by: what a join token says. Pure. */
#ifndef CARAVAN_CONTROLLER_DOOR_H
#define CARAVAN_CONTROLLER_DOOR_H

#include "common/core/join_token.h"
#include "common/crypto.h"
#include "controller/core/cluster.h"

struct door {
    uint8_t key[CRYPTO_KEY_BYTES];
    uint16_t port;
    size_t n_addrs;
    char addr[JOIN_TOKEN_CONTROLLERS_MAX][PROTO_ADDR_MAX]; /* IP literals */
};

/* Sets the addresses: `listen` where that is one address, else those of the host that it takes in, in the host's order.
 * Loopback counts only where there is nothing else; what is the link's alone names no machine. */
void door_fill(struct door *d, const char *listen, const struct cluster_host *host);

#endif
