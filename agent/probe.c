#include "agent/probe.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/probe_talk.h"
#include "common/cleanup.h"
#include "common/core/err.h"

enum { RETRY_MIN_MS = 5, RETRY_MAX_MS = 80 };

struct probe {
    struct event_base *base;
    struct sockaddr_storage address;
    int address_len;
    int fd;
    struct event *on_io, *on_retry, *on_deadline;
    uint32_t retry_ms;
    bool connected;
    int no_socket; /* errno of the last dial that came to none; 0: it had one */
    size_t n_out, n_written;
    uint8_t out[RPC_REQUEST_MAX];
    struct probe_talk talk;
    void (*done)(void *ctx, const struct probe_result *result);
    void *ctx;
};

static void io_ready(evutil_socket_t fd, short what, void *ctx);

static void hang_up(struct probe *p)
{
    if (p->on_io)
        event_free(p->on_io);
    p->on_io = NULL;
    cleanup_close(&p->fd);
    p->connected = false;
}

void probe_cancel(struct probe **p)
{
    if (!*p)
        return;
    hang_up(*p);
    if ((*p)->on_retry)
        event_free((*p)->on_retry);
    if ((*p)->on_deadline)
        event_free((*p)->on_deadline);
    free(*p);
    *p = NULL;
}

/* problem: why not, or NULL: as the talk has it. */
static void finish(struct probe *p, const char *problem)
{
    void (*done)(void *ctx, const struct probe_result *result) = p->done;
    struct probe_result result = p->talk.result;
    void *ctx = p->ctx;

    if (problem) {
        result = (struct probe_result){.ok = false};
        snprintf(result.text, sizeof(result.text), "%s", problem);
    }
    probe_cancel(&p);
    done(ctx, &result);
}

static void prepare(struct probe *p)
{
    p->n_out = probe_talk_request(&p->talk, p->out);
    p->n_written = 0;
}

/* Waits for the socket to take the request, or to bring the reply. */
static void wait_io(struct probe *p, short what)
{
    if (p->on_io)
        event_free(p->on_io);
    p->on_io = event_new(p->base, p->fd, what, io_ready, p);
    if (!p->on_io || event_add(p->on_io, NULL) < 0)
        finish(p, "out of memory");
}

static void retry_later(struct probe *p)
{
    struct timeval in = {.tv_usec = (suseconds_t)(p->retry_ms * 1000)};

    hang_up(p);
    p->retry_ms = p->retry_ms * 2 < RETRY_MAX_MS ? p->retry_ms * 2 : RETRY_MAX_MS;
    evtimer_add(p->on_retry, &in);
}

static void dial(evutil_socket_t unused_fd, short unused_what, void *ctx)
{
    struct probe *p = ctx;

    (void)unused_fd;
    (void)unused_what;
    p->fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    p->no_socket = p->fd < 0 ? errno : 0;
    if (p->no_socket) { /* our own want of descriptors or memory, which may pass: it is no answer */
        retry_later(p);
        return;
    }
    prepare(p);
    if (connect(p->fd, (struct sockaddr *)&p->address, (socklen_t)p->address_len) < 0 && errno != EINPROGRESS)
        retry_later(p);
    else
        wait_io(p, EV_WRITE);
}

/* The connection went away before the answer. Refused: the server is not up yet. */
static void lost(struct probe *p, int error)
{
    char text[PROTO_TEXT_MAX];

    if (!p->connected) {
        retry_later(p);
    } else if (probe_talk_closed(&p->talk)) {
        hang_up(p);
        dial(-1, 0, p);
    } else {
        snprintf(text, sizeof(text), "the connection broke: %s", strerrordesc_np(error));
        finish(p, error ? text : NULL);
    }
}

static void read_reply(struct probe *p)
{
    uint8_t buf[RPC_REPLY_MAX + 16];
    ssize_t n = recv(p->fd, buf, sizeof(buf), 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        wait_io(p, EV_READ);
        return;
    }
    if (n <= 0) {
        lost(p, n < 0 ? errno : 0);
        return;
    }
    switch (probe_talk_feed(&p->talk, buf, (size_t)n)) {
    case PROBE_TALK_MORE:
        wait_io(p, EV_READ);
        return;
    case PROBE_TALK_NEXT:
        prepare(p);
        wait_io(p, EV_WRITE);
        return;
    case PROBE_TALK_DONE:
        finish(p, NULL);
        return;
    }
}

static void write_request(struct probe *p)
{
    ssize_t n = send(p->fd, p->out + p->n_written, p->n_out - p->n_written, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        lost(p, errno);
        return;
    }
    if (n > 0)
        p->n_written += (size_t)n;
    wait_io(p, p->n_written < p->n_out ? EV_WRITE : EV_READ);
}

static void io_ready(evutil_socket_t fd, short what, void *ctx)
{
    struct probe *p = ctx;
    socklen_t len = sizeof(int);
    int error = 0;

    if (!p->connected) {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            lost(p, error);
            return;
        }
        p->connected = true;
    }
    if (what & EV_WRITE)
        write_request(p);
    else
        read_reply(p);
}

static void deadline_over(evutil_socket_t fd, short what, void *ctx)
{
    struct probe *p = ctx;
    char text[PROTO_TEXT_MAX] = "nothing listens there";

    (void)fd;
    (void)what;
    if (p->connected)
        snprintf(text, sizeof(text), "it accepts connections and does not answer: busy with another client, or hung");
    else if (p->no_socket)
        snprintf(text, sizeof(text), "it could not be asked: %s", strerrordesc_np(p->no_socket));
    finish(p, text);
}

int probe_start(struct event_base *base, const char *addr, uint16_t port, uint64_t deadline_ms,
                void (*done)(void *ctx, const struct probe_result *result), void *ctx, struct probe **ret)
{
    struct timeval now = {0}, deadline = {.tv_sec = (time_t)(deadline_ms / 1000),
                                          .tv_usec = (suseconds_t)(deadline_ms % 1000 * 1000)};
    CLEANUP(probe_cancel) struct probe *p = calloc(1, sizeof(*p));
    char text[PROTO_ADDR_MAX + 16];

    if (!p)
        return err_raise(-ENOMEM);
    p->fd = -1;
    p->base = base;
    p->done = done;
    p->ctx = ctx;
    p->retry_ms = RETRY_MIN_MS;
    p->address_len = sizeof(p->address);
    snprintf(text, sizeof(text), strchr(addr, ':') ? "[%s]:%u" : "%s:%u", addr, (unsigned)port);
    if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&p->address, &p->address_len) < 0)
        return err_raise(-EINVAL);
    p->on_retry = evtimer_new(base, dial, p);
    p->on_deadline = evtimer_new(base, deadline_over, p);
    if (!p->on_retry || !p->on_deadline || evtimer_add(p->on_deadline, &deadline) < 0 ||
        evtimer_add(p->on_retry, &now) < 0)
        return err_raise(-ENOMEM);
    *ret = p;
    p = NULL;
    return 0;
}
