/* Who connects to a port on 127.0.0.1: every user of this machine can, and TCP does not say which one it is. The kernel's table
 * of sockets does, as the other end stands in it too. */
#ifndef CARAVAN_AGENT_CARRIER_OWN_USER_H
#define CARAVAN_AGENT_CARRIER_OWN_USER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/seldom.h"

struct own_user {
    bool cannot_ask; /* everybody passes */
    uint64_t n_refused;
    struct seldom refused, failed;
};

/* port: one on which this process listens. Where the kernel cannot be asked of it, this is said, once, and everybody passes. */
void own_user_init(struct own_user *u, uint16_t port);

/* from: the other end of a connection that was accepted on port. false: it is neither of our user nor root (counted, and said
 * now and then), or it has gone: a socket that no process has any more is nobody's, and the kernel calls that root's. */
bool own_user_has(struct own_user *u, const struct sockaddr_storage *from, uint16_t port, uint64_t now_ms);

#endif
