#include "agent/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { READ_BYTES = 16 * 1024 };

static int each_of_file(const char *path, unsigned states, sock_diag_visit *visit, void *ctx)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    CLEANUP(cleanup_free) char *buf = malloc(READ_BYTES);
    size_t used = 0;
    ssize_t n;

    if (fd < 0)
        return err_raise(-errno);
    if (!buf)
        return err_raise(-ENOMEM);
    while ((n = read(fd, buf + used, READ_BYTES - used)) > 0) {
        char *line = buf, *end = buf + used + n, *eol;

        while ((eol = memchr(line, '\n', (size_t)(end - line)))) {
            struct procfs_socket s;

            if (procfs_socket_parse(line, (size_t)(eol - line), &s) && s.state < 32 && states >> s.state & 1)
                visit(ctx, &s);
            line = eol + 1;
        }
        used = (size_t)(end - line);
        if (used == READ_BYTES)
            return err_raise(-EPROTO);
        memmove(buf, line, used);
    }
    return n < 0 ? err_raise(-errno) : 0;
}

/* A kernel without IPv6 has no tcp6; where a process is gone, the first of the two is missing. */
static int each_by_files(int32_t pid, unsigned states, bool also_v6, sock_diag_visit *visit, void *ctx)
{
    static const char *const names[] = {"tcp", "tcp6"};
    char path[64];

    for (size_t i = 0; i < (also_v6 ? 2 : 1); i++) {
        int r;

        if (pid)
            snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, names[i]);
        else
            snprintf(path, sizeof(path), "/proc/net/%s", names[i]);
        r = each_of_file(path, states, visit, ctx);
        if (r < 0 && !(r == -ENOENT && i > 0))
            return err_pass(r);
    }
    return 0;
}

/* Whether the kernel has it (tcp_diag may be a module that cannot be loaded from here) is known before anything is told:
 * v4 is there or nothing is. */
int sockets_each(int32_t pid, unsigned states, bool also_v6, sock_diag_visit *visit, void *ctx)
{
    int r = pid ? -EOPNOTSUPP : sock_diag_each(AF_INET, states, visit, ctx);

    if (r == 0 && !also_v6)
        return 0;
    if (r == 0) {
        r = sock_diag_each(AF_INET6, states, visit, ctx);
        return r < 0 && r != -ENOENT ? err_pass(r) : 0;
    }
    if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
        return err_pass(r);
    r = each_by_files(pid, states, also_v6, visit, ctx);
    return r < 0 ? err_pass(r) : 0;
}
