#include "agent/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { READ_BYTES = 16 * 1024, TIMER_RETRANSMIT = 1 };

/* ---- netlink ----------------------------------------------------------------------------------------------------- */

static void take_end(bool v6, const uint32_t addr[4], uint16_t port, struct procfs_end *ret)
{
    *ret = (struct procfs_end){.v6 = v6, .port = ntohs(port)};
    memcpy(ret->addr, addr, v6 ? 16 : 4);
    procfs_end_unmap(ret);
}

static void take_diag(const struct inet_diag_msg *m, sockets_visit *visit, void *ctx)
{
    bool v6 = m->idiag_family == AF_INET6;
    struct procfs_socket s = {.state = m->idiag_state,
                              .unread_bytes = m->idiag_rqueue,
                              .retransmits = m->idiag_timer == TIMER_RETRANSMIT ? m->idiag_retrans : 0,
                              .uid = m->idiag_uid,
                              .inode = m->idiag_inode};

    take_end(v6, m->id.idiag_src, m->id.idiag_sport, &s.local);
    take_end(v6, m->id.idiag_dst, m->id.idiag_dport, &s.remote);
    s.any = procfs_end_is_any(&s.local);
    visit(ctx, &s);
}

static int ask_diag(int fd, uint8_t family, unsigned states)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 body;
    } q = {
        .head = {.nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states}};
    ssize_t n = send(fd, &q, sizeof(q), 0);

    return n < 0 ? err_raise(-errno) : 0;
}

int sockets_read_diag(const char *buf, size_t n_bytes, sockets_visit *visit, void *ctx)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)buf;
    ssize_t left = (ssize_t)n_bytes; /* signed: NLMSG_NEXT takes the padding off that a last one may lack */

    for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        const struct nlmsgerr *error = NLMSG_DATA(h);

        if (h->nlmsg_type == NLMSG_DONE)
            return SOCKETS_E_LAST;
        if (h->nlmsg_type == NLMSG_ERROR)
            return err_raise(h->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error < 0 ? error->error : -EPROTO);
        if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
            take_diag(NLMSG_DATA(h), visit, ctx);
    }
    return 0;
}

static int each_by_diag(uint8_t family, unsigned states, sockets_visit *visit, void *ctx)
{
    CLEANUP(cleanup_close) int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    CLEANUP(cleanup_free) char *buf = malloc(READ_BYTES);
    int r;

    if (fd < 0)
        return err_raise(-errno);
    if (!buf)
        return err_raise(-ENOMEM);
    r = ask_diag(fd, family, states);
    while (r == 0) {
        ssize_t n = recv(fd, buf, READ_BYTES, 0);

        if (n < 0)
            return err_raise(-errno);
        r = sockets_read_diag(buf, (size_t)n, visit, ctx);
    }
    return r < 0 ? err_pass(r) : 0;
}

/* ---- /proc ------------------------------------------------------------------------------------------------------- */

static int each_of_file(const char *path, unsigned states, sockets_visit *visit, void *ctx)
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
static int each_by_files(int32_t pid, unsigned states, bool also_v6, sockets_visit *visit, void *ctx)
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
int sockets_each(int32_t pid, unsigned states, bool also_v6, sockets_visit *visit, void *ctx)
{
    int r = pid ? -EOPNOTSUPP : each_by_diag(AF_INET, states, visit, ctx);

    if (r == 0 && !also_v6)
        return 0;
    if (r == 0) {
        r = each_by_diag(AF_INET6, states, visit, ctx);
        return r < 0 && r != -ENOENT ? err_pass(r) : 0;
    }
    if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
        return err_pass(r);
    r = each_by_files(pid, states, also_v6, visit, ctx);
    return r < 0 ? err_pass(r) : 0;
}
