/* What the kernel says of this network namespace's TCP sockets, by netlink (sock_diag), which every user may ask. It may not be
 * there: a kernel built without it, a module that cannot be loaded from here. */
#ifndef CARAVAN_COMMON_SOCK_DIAG_H
#define CARAVAN_COMMON_SOCK_DIAG_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/procfs.h"

typedef void sock_diag_visit(void *ctx, const struct procfs_socket *s);

/* Each socket of a family, AF_INET or AF_INET6, in these states (bits). 0; negative errno. */
int sock_diag_each(uint8_t family, unsigned states, sock_diag_visit *visit, void *ctx);

/* The one with these ends, which are of one family, and no other; remote all zero: the one that listens there. It is looked up, not searched
 * for: some microseconds. 0; SOCK_DIAG_E_NONE: there is none, or the kernel cannot be asked (it says the same of both); negative
 * errno. */
enum { SOCK_DIAG_E_NONE = 1 };
int sock_diag_find(const struct procfs_end *local, const struct procfs_end *remote, struct procfs_socket *ret);

/* Pure: one datagram of an answer, aligned as malloc does. 0: more will come; SOCK_DIAG_E_LAST: none will; negative errno, what
 * the kernel says or -EPROTO. */
enum { SOCK_DIAG_E_LAST = 1 };
int sock_diag_read(const char *buf, size_t n_bytes, sock_diag_visit *visit, void *ctx);

#endif
