#include "common/httpc_conn.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { CONNECT_TIMEOUT_MS = 5000 };

void httpc_conn_close(struct httpc_conn **conn)
{
    struct httpc_conn *c = *conn;

    if (!c)
        return;
    if (c->bev)
        bufferevent_free(c->bev);
    if (c->dialled)
        c->dialer.close(c->dialled);
    if (c->timer)
        event_free(c->timer);
    if (c->addresses)
        freeaddrinfo(c->addresses);
    free(c->host);
    free(c);
    *conn = NULL;
}

void httpc_conn_arm(struct httpc_conn *c, uint32_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    if (ms)
        event_add(c->timer, &tv);
    else
        event_del(c->timer);
}

/* ---- its life --------------------------------------------------------------------------------------------------- */

static int connect_next(struct httpc_conn *c);
static void on_event(struct bufferevent *bev, short what, void *arg);

static void on_readable(struct bufferevent *bev, void *arg)
{
    struct httpc_conn *c = arg;

    (void)bev;
    c->calls.readable(c->calls.ctx);
}

/* The connection stands; a new bufferevent takes it over for the handshake, for which there is as much time again. */
static int make_secure(struct httpc_conn *c)
{
    int fd = bufferevent_getfd(c->bev);
    struct bufferevent *bev;

    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    bev = fd < 0 ? NULL : c->secure->connect(c->secure->ctx, c->base, fd, c->host);
    if (!bev) {
        if (fd >= 0)
            close(fd);
        return err_raise(-ENOMEM);
    }
    bufferevent_free(c->bev);
    c->bev = bev;
    c->secured = true;
    bufferevent_setcb(bev, on_readable, NULL, on_event, c);
    bufferevent_enable(bev, EV_WRITE);
    httpc_conn_arm(c, c->connect_timeout_ms);
    return 0;
}

static void on_connected(struct httpc_conn *c)
{
    int on = 1;

    setsockopt(bufferevent_getfd(c->bev), IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof(on)); /* else a stream costs 36 ms more */
    if (c->secure && !c->secured) {
        if (make_secure(c) < 0)
            c->calls.ended(c->calls.ctx, -ENOMEM);
        return;
    }
    c->stands = true;
    c->calls.opened(c->calls.ctx);
}

static int end_result(const struct httpc_conn *c, short what, int error)
{
    int r = what & BEV_EVENT_EOF ? 0 : error ? -error : -ECONNRESET;

    r = c->dialled ? c->dialer.failure(c->dialled, r) : r;
    return !r && !c->stands ? -ECONNRESET : r;
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct httpc_conn *c = arg;
    int error = EVUTIL_SOCKET_ERROR();

    if (what & BEV_EVENT_CONNECTED) {
        on_connected(c);
        return;
    }
    if (c->secured && (what & BEV_EVENT_ERROR))
        error = -c->secure->failure(c->secure->ctx, bev);
    if (!c->stands && !c->secured && c->next_address && connect_next(c) == 0)
        return;
    if (c->stands && !c->secured && (what & BEV_EVENT_WRITING)) {
        /* It does not want the rest of our body; its reason (413) may be on the way, or reading will fail as well. */
        evbuffer_drain(bufferevent_get_output(bev), evbuffer_get_length(bufferevent_get_output(bev)));
        return;
    }
    c->calls.ended(c->calls.ctx, end_result(c, what, error));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct httpc_conn *c = arg;

    (void)fd;
    (void)what;
    if (!c->stands && !c->secured && c->next_address && connect_next(c) == 0)
        return;
    c->calls.timed_out(c->calls.ctx);
}

/* ---- the ways to make it ---------------------------------------------------------------------------------------- */

static int connect_to(struct httpc_conn *c, const struct addrinfo *address)
{
    if (c->bev)
        bufferevent_free(c->bev);
    /* Deferred: no callback comes out of our own calls. */
    c->bev = bufferevent_socket_new(c->base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!c->bev)
        return err_raise(-ENOMEM);
    bufferevent_setcb(c->bev, on_readable, NULL, on_event, c);
    if (bufferevent_socket_connect(c->bev, address->ai_addr, (int)address->ai_addrlen) < 0)
        return err_raise(errno ? -errno : -ECONNREFUSED);
    httpc_conn_arm(c, c->connect_timeout_ms);
    return 0;
}

/* Starts on the next address that can be tried at all. */
static int connect_next(struct httpc_conn *c)
{
    int result = -ENXIO;

    while (c->next_address) {
        struct addrinfo *address = c->next_address;

        c->next_address = address->ai_next;
        result = connect_to(c, address);
        if (result == 0)
            return 0;
    }
    return err_pass(result);
}

static int look_up(const struct httpc_spec *spec, struct addrinfo **ret)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    int r;

    snprintf(port, sizeof(port), "%u", spec->port);
    r = getaddrinfo(spec->host, port, &hints, ret);
    if (r == 0)
        return 0;
    return err_raise(r == EAI_MEMORY ? -ENOMEM : -ENXIO);
}

static int connect_unix(struct httpc_conn *c, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const struct addrinfo address = {.ai_addr = (struct sockaddr *)&sa, .ai_addrlen = sizeof(sa)};
    int result;

    if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path) >= (int)sizeof(sa.sun_path))
        return err_raise(-ENAMETOOLONG);
    result = connect_to(c, &address);
    return result < 0 ? err_pass(result) : 0;
}

/* fd: consumed */
static struct bufferevent *plain(struct event_base *base, int fd)
{
    struct bufferevent *bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);

    if (!bev)
        close(fd);
    return bev;
}

static void on_dialled(void *arg, int fd)
{
    struct httpc_conn *c = arg;

    if (fd < 0) {
        c->calls.ended(c->calls.ctx, err_pass(fd));
        return;
    }
    c->bev = c->dialer.wrap ? c->dialer.wrap(c->dialled, c->base, fd) : plain(c->base, fd);
    if (!c->bev) {
        c->calls.ended(c->calls.ctx, err_raise(-ENOMEM));
        return;
    }
    bufferevent_setcb(c->bev, on_readable, NULL, on_event, c);
    on_connected(c);
}

static int dial(struct httpc_conn *c, const struct httpc_dialer *dialer)
{
    int result;

    c->dialer = *dialer;
    result = dialer->dial(dialer->ctx, c->base, on_dialled, c, &c->dialled);
    if (result < 0) {
        c->dialled = NULL; /* whatever it has set it to */
        return err_pass(result);
    }
    httpc_conn_arm(c, c->connect_timeout_ms);
    return 0;
}

static int connect_first(struct httpc_conn *c, const struct httpc_spec *spec)
{
    int result;

    if (spec->dialer)
        return err_fold(dial(c, spec->dialer));
    if (spec->unix_path)
        return err_fold(connect_unix(c, spec->unix_path));
    result = look_up(spec, &c->addresses);
    if (result < 0)
        return err_pass(result);
    c->next_address = c->addresses;
    return err_fold(connect_next(c));
}

int httpc_conn_open(struct event_base *base, const struct httpc_spec *spec, const struct httpc_conn_calls *calls,
                    struct httpc_conn **ret)
{
    CLEANUP(httpc_conn_close) struct httpc_conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_raise(-ENOMEM);
    c->base = base;
    c->calls = *calls;
    c->secure = spec->secure;
    c->connect_timeout_ms = spec->connect_timeout_ms ? spec->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    c->host = spec->secure ? strdup(spec->host) : NULL;
    c->timer = event_new(base, -1, 0, on_timer, c);
    if (!c->timer || (spec->secure && !c->host))
        return err_raise(-ENOMEM);
    r = connect_first(c, spec);
    if (r < 0)
        return err_pass(r);
    *ret = c;
    c = NULL;
    return 0;
}
