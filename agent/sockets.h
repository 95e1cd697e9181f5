/* The kernel's tables of TCP sockets, by netlink (sock_diag) where that can be had, else from /proc/PID/net. Both walk a
 * hash table as large as the machine's memory wants it: with 262144 buckets netlink takes 0.3 ms and one file 11 to 24 ms. */
#ifndef CARAVAN_AGENT_SOCKETS_H
#define CARAVAN_AGENT_SOCKETS_H

#include <stdint.h>

#include "common/core/procfs.h"

/* Which sockets: bits of their states. */
enum {
    SOCKETS_LISTENING = 1 << PROCFS_TCP_LISTEN,
    SOCKETS_CONNECTED = 1 << PROCFS_TCP_ESTABLISHED | 1 << PROCFS_TCP_CLOSE_WAIT,
    SOCKETS_LEFT = 1 << PROCFS_TCP_FIN_WAIT1 | 1 << PROCFS_TCP_FIN_WAIT2 | 1 << PROCFS_TCP_TIME_WAIT
};

typedef void sockets_visit(void *ctx, const struct procfs_socket *s);

/* Each socket of these states, v4 and (where also_v6 is set) v6, of our own network namespace (pid 0) or of the one that pid is in. The table is
 * read while it changes: a socket that is there all the time may be missed once. 0; negative errno (-ENOENT: there is no
 * such process any more). */
int sockets_each(int32_t pid, unsigned states, bool also_v6, sockets_visit *visit, void *ctx);

/* Pure: one datagram of sock_diag's answer, aligned as malloc does. 0: more will come; SOCKETS_E_LAST: none will; negative
 * errno, what the kernel says or -EPROTO. */
enum { SOCKETS_E_LAST = 1 };
int sockets_read_diag(const char *buf, size_t n_bytes, sockets_visit *visit, void *ctx);

#endif
