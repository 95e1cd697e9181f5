/* The kernel's tables of TCP sockets, by netlink (sock_diag) where that can be had, else from /proc/PID/net. Both walk a
 * hash table as large as the machine's memory wants it: with 262144 buckets netlink takes 0.3 ms and one file 11 to 24 ms. */
#ifndef CARAVAN_AGENT_SOCKETS_H
#define CARAVAN_AGENT_SOCKETS_H

#include <stdint.h>

#include "common/sock_diag.h"

/* Which sockets: bits of their states. */
enum {
    SOCKETS_LISTENING = 1 << PROCFS_TCP_LISTEN,
    SOCKETS_CONNECTED = 1 << PROCFS_TCP_ESTABLISHED | 1 << PROCFS_TCP_CLOSE_WAIT,
    SOCKETS_LEFT = 1 << PROCFS_TCP_FIN_WAIT1 | 1 << PROCFS_TCP_FIN_WAIT2 | 1 << PROCFS_TCP_TIME_WAIT
};

/* Each socket of these states, v4 and (where also_v6 is set) v6, of our own network namespace (pid 0) or of the one that pid
 * is in. The table is read while it changes: a socket that is there all the time may be missed once. 0; negative errno
 * (-ENOENT: there is no such process any more). */
int sockets_each(int32_t pid, unsigned states, bool also_v6, sock_diag_visit *visit, void *ctx);

#endif
