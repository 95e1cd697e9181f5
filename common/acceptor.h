/* Takes in who connects to a listening socket, on the caller's loop. Where descriptors or memory have run out, whoever waits
 * outside would be told of again in each turn of the loop, which would spin: nobody is taken in for a moment then, they wait in
 * the kernel, and it is said now and then. */
#ifndef CARAVAN_COMMON_ACCEPTOR_H
#define CARAVAN_COMMON_ACCEPTOR_H

#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct acceptor;

/* fd: non-blocking, the callee's. from: borrowed; a port's address, of a Unix socket nothing of use. The acceptor may not be
 * destroyed in it. */
typedef void acceptor_came(void *ctx, int fd, const struct sockaddr_storage *from);

/* A TCP socket that listens, non-blocking. addr: an IP literal. port 0: any; *ret_port says which. *ret_fd: owned. 0; negative
 * errno. */
int acceptor_listen(const char *addr, uint16_t port, int *ret_fd, uint16_t *ret_port);

/* *fd: such a socket, of any family; consumed. name: what it is called in log lines; borrowed. ret: owned. 0; negative errno. */
int acceptor_new(struct event_base *base, int *fd, const char *name, acceptor_came *came, void *ctx,
                 struct acceptor **ret);
uint64_t acceptor_starved(const struct acceptor *a); /* how often nobody could be taken in */
/* It listens no more. NULL is fine. */
void acceptor_destroy(struct acceptor **a);

#endif
