#include "controller/host_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/host.h"
#include "common/log.h"

struct host_watch {
    int fd; /* -1: the kernel does not tell */
    struct event *told, *poll;
    struct cluster_host host;
    void (*changed)(void *ctx, const struct cluster_host *host);
    void *ctx;
};

static void free_addresses(struct ifaddrs **list)
{
    if (*list)
        freeifaddrs(*list);
}

/* One that a node may name as its own or come from. An IPv6 address that is the link's alone names no machine. */
static bool format_address(const struct ifaddrs *i, char buf[PROTO_ADDR_MAX])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)i->ifa_addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;

    if (!i->ifa_addr || host_is_for_guests(i->ifa_name))
        return false;
    if (i->ifa_addr->sa_family == AF_INET)
        return inet_ntop(AF_INET, &v4->sin_addr, buf, PROTO_ADDR_MAX) != NULL;
    if (i->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
        return inet_ntop(AF_INET6, &v6->sin6_addr, buf, PROTO_ADDR_MAX) != NULL;
    return false;
}

/* Loopback last: it is the same everywhere, and only tells where an agent on this machine comes from. */
static void add_addresses(const struct ifaddrs *all, bool loopback, struct cluster_host *ret)
{
    for (const struct ifaddrs *i = all; i && ret->n_addrs < PROTO_ADDRS_MAX; i = i->ifa_next)
        if (!!(i->ifa_flags & IFF_LOOPBACK) == loopback && format_address(i, ret->addr[ret->n_addrs]))
            ret->n_addrs++;
}

/* What cannot be read is as it was. */
static void look(struct cluster_host *host)
{
    CLEANUP(free_addresses) struct ifaddrs *all = NULL;

    if (getifaddrs(&all) < 0)
        return;
    memset(host, 0, sizeof(*host)); /* compared as bytes */
    host->carrier = host_has_carrier();
    add_addresses(all, false, host);
    add_addresses(all, true, host);
}

static void look_again(struct host_watch *h)
{
    struct cluster_host now;

    memcpy(&now, &h->host, sizeof(now));
    look(&now);
    if (memcmp(&now, &h->host, sizeof(now)) == 0)
        return;
    memcpy(&h->host, &now, sizeof(now));
    h->changed(h->ctx, &h->host); /* last: it may destroy us */
}

static void on_poll(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    look_again(ctx);
}

/* What the messages say is asked for anew: so a lost one (ENOBUFS) costs nothing. */
static void on_told(evutil_socket_t fd, short what, void *ctx)
{
    char buf[8192];

    (void)what;
    while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == EINTR || errno == ENOBUFS)
        ;
    look_again(ctx);
}

static int open_netlink(void)
{
    const struct sockaddr_nl sa = {.nl_family = AF_NETLINK,
                                   .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
    CLEANUP(cleanup_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    int given;

    if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -1;
    given = fd;
    fd = -1;
    return given;
}

static int arm(struct host_watch *h, struct event_base *base)
{
    static const struct timeval second = {.tv_sec = 1};

    h->fd = open_netlink();
    if (h->fd < 0) {
        log_info("host.polled", "reason=%s", LOG_STR("netlink is not to be had; links are looked at each second"));
        h->poll = event_new(base, -1, EV_PERSIST, on_poll, h);
        return h->poll && event_add(h->poll, &second) == 0 ? 0 : err_raise(-ENOMEM);
    }
    h->told = event_new(base, h->fd, EV_READ | EV_PERSIST, on_told, h);
    return h->told && event_add(h->told, NULL) == 0 ? 0 : err_raise(-ENOMEM);
}

int host_watch_new(struct event_base *base, void (*changed)(void *ctx, const struct cluster_host *host), void *ctx,
                   struct host_watch **ret)
{
    CLEANUP(host_watch_destroy) struct host_watch *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return err_raise(-ENOMEM);
    h->fd = -1;
    h->changed = changed;
    h->ctx = ctx;
    r = arm(h, base);
    if (r < 0)
        return err_pass(r);
    h->host.carrier = true; /* where nothing can be read, nothing shall be excused by it */
    look(&h->host);
    *ret = h;
    h = NULL;
    return 0;
}

void host_watch_destroy(struct host_watch **h)
{
    if (!*h)
        return;
    if ((*h)->told)
        event_free((*h)->told);
    if ((*h)->poll)
        event_free((*h)->poll);
    if ((*h)->fd >= 0)
        close((*h)->fd);
    free(*h);
    *h = NULL;
}

const struct cluster_host *host_watch_now(const struct host_watch *h)
{
    return &h->host;
}
