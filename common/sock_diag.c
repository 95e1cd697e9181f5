#include "common/sock_diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { READ_BYTES = 16 * 1024, TIMER_RETRANSMIT = 1 };

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

static struct question question_of(uint8_t family, uint16_t flags, unsigned states)
{
    return (struct question){
        .head = {.nlmsg_len = sizeof(struct question), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = flags},
        .body = {.sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = states}};
}

static int ask(int fd, const struct question *q)
{
    return send(fd, q, sizeof(*q), 0) < 0 ? err_raise(-errno) : 0;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void take_end(bool v6, const uint32_t addr[4], uint16_t port, struct procfs_end *ret)
{
    *ret = (struct procfs_end){.v6 = v6, .port = ntohs(port)};
    memcpy(ret->addr, addr, v6 ? 16 : 4);
    procfs_end_unmap(ret);
}

static void take_diag(const struct inet_diag_msg *m, sock_diag_visit *visit, void *ctx)
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

int sock_diag_read(const char *buf, size_t n_bytes, sock_diag_visit *visit, void *ctx)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)buf;
    ssize_t left = (ssize_t)n_bytes; /* signed: NLMSG_NEXT takes the padding off that a last one may lack */

    for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        const struct nlmsgerr *error = NLMSG_DATA(h);

        if (h->nlmsg_type == NLMSG_DONE)
            return SOCK_DIAG_E_LAST;
        if (h->nlmsg_type == NLMSG_ERROR)
            return err_raise(h->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error < 0 ? error->error : -EPROTO);
        if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
            take_diag(NLMSG_DATA(h), visit, ctx);
    }
    return 0;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

int sock_diag_each(uint8_t family, unsigned states, sock_diag_visit *visit, void *ctx)
{
    CLEANUP(cleanup_close) int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    CLEANUP(cleanup_free) char *buf = malloc(READ_BYTES);
    const struct question q = question_of(family, NLM_F_REQUEST | NLM_F_DUMP, states);
    int r;

    if (fd < 0)
        return err_raise(-errno);
    if (!buf)
        return err_raise(-ENOMEM);
    r = ask(fd, &q);
    while (r == 0) {
        ssize_t n = recv(fd, buf, READ_BYTES, 0);

        if (n < 0)
            return err_raise(-errno);
        r = sock_diag_read(buf, (size_t)n, visit, ctx);
    }
    return r < 0 ? err_pass(r) : 0;
}

/* ---- one of them ------------------------------------------------------------------------------------------------- */

struct found {
    bool any;
    struct procfs_socket socket;
};

static void take_found(void *ctx, const struct procfs_socket *s)
{
    *(struct found *)ctx = (struct found){.any = true, .socket = *s};
}

static void put_end(const struct procfs_end *e, uint32_t addr[4], uint16_t *port)
{
    memcpy(addr, e->addr, sizeof(e->addr));
    *port = htons(e->port);
}

/* The kernel has answered when it has taken the question: nothing is waited for. */
static int ask_for_one(const struct question *q, struct found *ret)
{
    CLEANUP(cleanup_close) int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    _Alignas(struct nlmsghdr) char buf[1024];
    ssize_t n;
    int r;

    if (fd < 0)
        return err_raise(-errno);
    r = ask(fd, q);
    if (r < 0)
        return err_pass(r);
    n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n < 0)
        return err_raise(-errno);
    r = sock_diag_read(buf, (size_t)n, take_found, ret);
    return r < 0 && r != -ENOENT ? err_pass(r) : 0;
}

/* Where no connection has these ends, the kernel goes on to whoever listens at the local one, as it would for a SYN. */
static bool is_wanted(const struct procfs_socket *s, const struct procfs_end *remote)
{
    return !remote->port || (s->state != PROCFS_TCP_LISTEN && procfs_end_equal(&s->remote, remote));
}

int sock_diag_find(const struct procfs_end *local, const struct procfs_end *remote, struct procfs_socket *ret)
{
    struct question q = question_of(local->v6 ? AF_INET6 : AF_INET, NLM_F_REQUEST, ~0U);
    struct found found = {.any = false};
    int r;

    put_end(local, q.body.id.idiag_src, &q.body.id.idiag_sport);
    put_end(remote, q.body.id.idiag_dst, &q.body.id.idiag_dport);
    q.body.id.idiag_cookie[0] = q.body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    r = ask_for_one(&q, &found);
    if (r < 0)
        return err_pass(r);
    if (!found.any || !is_wanted(&found.socket, remote))
        return SOCK_DIAG_E_NONE;
    *ret = found.socket;
    return 0;
}
