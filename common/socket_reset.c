#include "common/socket_reset.h"

#include <sys/socket.h>

#include "common/cleanup.h"

void socket_reset_at_close(int fd, bool reset)
{
    const struct linger how = {.l_onoff = reset, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how));
}

void socket_hang_up(int *fd)
{
    if (*fd >= 0)
        socket_reset_at_close(*fd, true);
    cleanup_close(fd);
}
