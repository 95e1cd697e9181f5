/* Closing a connection so that its other end knows that this is not all, and the kernel keeps nothing of it. */
#ifndef CARAVAN_COMMON_SOCKET_RESET_H
#define CARAVAN_COMMON_SOCKET_RESET_H

#include <stdbool.h>

/* Whether whatever closes fd from now on, the end of the process too, does so with a reset. */
void socket_reset_at_close(int fd, bool reset);

/* At once. -1 is nothing; *fd is -1 then. */
void socket_hang_up(int *fd);

#endif
