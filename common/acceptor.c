#include "common/acceptor.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/event_clear.h"
#include "common/host.h"
#include "common/log.h"
#include "common/seldom.h"

/* So many before the loop's other work has its turn; and so long none, when there was nothing to accept with. */
enum { ACCEPTS_PER_TURN = 16, STARVED_MS = 100 };

struct acceptor {
    int fd;
    const char *name;
    acceptor_came *came;
    void *ctx;
    struct event *on_knock, *on_fed; /* on_fed: again and again, until it is listened again */
    uint64_t n_starved;
    struct seldom starved;
};

static uint16_t port_of(const struct sockaddr_storage *at)
{
    return ntohs(at->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)at)->sin6_port
                                           : ((const struct sockaddr_in *)at)->sin_port);
}

int acceptor_listen(const char *addr, uint16_t port, int *ret_fd, uint16_t *ret_port)
{
    CLEANUP(cleanup_close) int fd = -1;
    struct sockaddr_storage at;
    socklen_t n = host_sockaddr(addr, port, &at);
    int on = 1;

    if (!n)
        return err_raise(-EINVAL);
    fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_raise(-errno);
    /* (connections of the one before, which the kernel still remembers, do not keep us from its port) */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&at, n) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) < 0)
        return err_raise(-errno);
    *ret_port = port_of(&at);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static void note_starved(struct acceptor *a, int r)
{
    uint64_t n = seldom_count(&a->starved, clock_now_ms());

    a->n_starved++;
    if (n)
        log_failure(LOG_LEVEL_WARN, "accept.failed", r, "socket=%s times=%" PRIu64, LOG_STR(a->name), n);
}

static void starve(struct acceptor *a, int r)
{
    static const struct timeval moment = {.tv_usec = STARVED_MS * 1000};

    note_starved(a, r);
    if (event_add(a->on_fed, &moment) < 0)
        return; /* better asked in each turn than deaf */
    event_del(a->on_knock);
}

static void fed(evutil_socket_t fd, short what, void *arg)
{
    struct acceptor *a = arg;

    (void)fd;
    (void)what;
    if (event_add(a->on_knock, NULL) < 0)
        note_starved(a, err_raise(-ENOMEM));
    else
        event_del(a->on_fed);
}

static void knocked(evutil_socket_t listener, short what, void *arg)
{
    struct acceptor *a = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t n = sizeof(from);
        int fd = accept4(listener, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            a->came(a->ctx, fd, &from);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (errno != EINTR && errno != ECONNABORTED) {
            starve(a, err_raise(-errno));
            return;
        }
    }
}

int acceptor_new(struct event_base *base, int *fd, const char *name, acceptor_came *came, void *ctx,
                 struct acceptor **ret)
{
    CLEANUP(acceptor_destroy) struct acceptor *a = calloc(1, sizeof(*a));

    if (!a) {
        cleanup_close(fd);
        return err_raise(-ENOMEM);
    }
    *a = (struct acceptor){.fd = *fd, .name = name, .came = came, .ctx = ctx};
    *fd = -1;
    a->on_knock = event_new(base, a->fd, EV_READ | EV_PERSIST, knocked, a);
    a->on_fed = event_new(base, -1, EV_PERSIST, fed, a);
    if (!a->on_knock || !a->on_fed || event_add(a->on_knock, NULL) < 0)
        return err_raise(-ENOMEM);
    *ret = a;
    a = NULL;
    return 0;
}

uint64_t acceptor_starved(const struct acceptor *a)
{
    return a->n_starved;
}

void acceptor_destroy(struct acceptor **a)
{
    if (!*a)
        return;
    event_clear(&(*a)->on_knock);
    event_clear(&(*a)->on_fed);
    cleanup_close(&(*a)->fd);
    free(*a);
    *a = NULL;
}
