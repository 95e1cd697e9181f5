/* What this machine knows of its own network, now. */
#ifndef CARAVAN_COMMON_HOST_H
#define CARAVAN_COMMON_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/core/protocol.h"

/* Whether one of its interfaces has this address (an IP literal as inet_ntop writes it). false too where that cannot be
 * found out. */
bool host_has_address(const char *addr);

/* Those of a peer's addresses that are worth a dial, at most max, in its order. One that is ours too is passed over (it
 * would be ourselves that answers), unless the peer has no other: an agent on this very machine. */
size_t host_worth_dialling(const struct peer_facts *peer, char ret[][PROTO_ADDR_MAX], size_t max);

/* Whether one of its links has a carrier; loopback, tunnels and what container engines make for their own guests do not
 * count. true where it cannot be found out: nothing shall be excused by it then. */
bool host_has_carrier(void);

/* By its name: a bridge or veth of a container engine or hypervisor, which other machines cannot reach. Pure. */
bool host_is_for_guests(const char *interface);

/* An IP literal and a port as connect and bind want them. Returns the length; 0: no literal. Pure. */
socklen_t host_sockaddr(const char *addr, uint16_t port, struct sockaddr_storage *ret);

#endif
