/* The initiator's end of a stream. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/event_clear.h"
#include "common/host.h"
#include "common/socket_reset.h"
#include "common/tunnel_private.h"

enum { TIMEOUT_MS = 5000 };

struct tunnel_dial {
    int fd;
    struct tunnel_handshake *handshake;
    struct event *on_connected, *on_readable, *on_time;
    tunnel_dialled *done;
    void *ctx;
};

void tunnel_dial_cancel(struct tunnel_dial **d)
{
    if (!*d)
        return;
    event_clear(&(*d)->on_connected);
    event_clear(&(*d)->on_readable);
    event_clear(&(*d)->on_time);
    tunnel_handshake_destroy(&(*d)->handshake);
    socket_hang_up(&(*d)->fd);
    free(*d);
    *d = NULL;
}

/* Last in its callers: d is gone. */
static void dial_finish(struct tunnel_dial *d, int r, struct tunnel_end *end, enum tunnel_verdict verdict)
{
    tunnel_dialled *done = d->done;
    void *ctx = d->ctx;

    tunnel_dial_cancel(&d);
    done(ctx, r, end, verdict);
}

static void dial_fail(struct tunnel_dial *d, int r)
{
    dial_finish(d, r, NULL, TUNNEL_GRANTED);
}

/* The peer has said yes. What it hears of us now is the proof that we are who we say. */
static void dial_stand(struct tunnel_dial *d)
{
    struct tunnel_end end;
    int r = tunnel_write(d->fd, d->handshake);

    if (r == 0)
        r = tunnel_end_make(d->handshake, &d->fd, &end);
    if (r < 0)
        dial_fail(d, err_pass(r));
    else
        dial_finish(d, 0, &end, TUNNEL_GRANTED);
}

static void dial_readable(evutil_socket_t fd, short what, void *arg)
{
    struct tunnel_dial *d = arg;
    int r = tunnel_read(fd, d->handshake);

    (void)what;
    if (r == 0)
        return;
    if (r == TUNNEL_DONE)
        dial_stand(d);
    else if (r == TUNNEL_REFUSED)
        dial_finish(d, err_raise(-EACCES), NULL, tunnel_handshake_verdict(d->handshake));
    else
        dial_fail(d, r < 0 ? err_pass(r) : err_raise(-EPROTO));
}

static void dial_connected(evutil_socket_t fd, short what, void *arg)
{
    struct tunnel_dial *d = arg;
    int error = 0, r;
    socklen_t n = sizeof(error);

    (void)what;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    r = error ? err_raise(-error) : tunnel_write(fd, d->handshake);
    if (r == 0 && event_add(d->on_readable, NULL) < 0)
        r = err_raise(-ENOMEM);
    if (r < 0)
        dial_fail(d, err_pass(r));
}

static void dial_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    dial_fail(arg, err_raise(-ETIMEDOUT));
}

static int begin_connect(struct tunnel_dial *d, const char *addr, uint16_t port)
{
    struct sockaddr_storage address;
    socklen_t n = host_sockaddr(addr, port, &address);

    if (!n)
        return err_raise(-EINVAL);
    d->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return err_raise(-errno);
    tunnel_socket_prepare(d->fd);
    if (connect(d->fd, (const struct sockaddr *)&address, n) < 0 && errno != EINPROGRESS)
        return err_raise(-errno);
    return 0;
}

static int make_events(struct tunnel_dial *d, struct event_base *base, uint32_t timeout_ms)
{
    const struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

    d->on_connected = event_new(base, d->fd, EV_WRITE, dial_connected, d);
    d->on_readable = event_new(base, d->fd, EV_READ | EV_PERSIST, dial_readable, d);
    d->on_time = evtimer_new(base, dial_late, d);
    if (!d->on_connected || !d->on_readable || !d->on_time || event_add(d->on_connected, NULL) < 0 ||
        evtimer_add(d->on_time, &limit) < 0)
        return err_raise(-ENOMEM);
    return 0;
}

int tunnel_dial_start(struct event_base *base, const struct tunnel_dial_spec *spec, tunnel_dialled *done, void *ctx,
                      struct tunnel_dial **ret)
{
    CLEANUP(tunnel_dial_cancel) struct tunnel_dial *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return err_raise(-ENOMEM);
    d->fd = -1;
    d->done = done;
    d->ctx = ctx;
    r = tunnel_initiator_new(spec->own, spec->peer, &spec->claim, seal_offer(), &d->handshake);
    if (r == TUNNEL_E_BAD)
        return err_raise(-EINVAL);
    if (r == 0)
        r = begin_connect(d, spec->addr, spec->port);
    if (r == 0)
        r = make_events(d, base, spec->timeout_ms ? spec->timeout_ms : TIMEOUT_MS);
    if (r < 0)
        return err_pass(r);
    *ret = d;
    d = NULL;
    return 0;
}
