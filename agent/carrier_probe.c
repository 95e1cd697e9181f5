#include "agent/carrier_probe.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/event_clear.h"

enum { RETRY_MIN_MS = 5, RETRY_MAX_MS = 80 };

struct carrier_probe {
    struct event_base *base;
    char unit_dir[PROTO_PATH_MAX];
    int fd;
    struct event *on_answer, *on_retry, *on_deadline;
    uint32_t retry_ms;
    struct carrier_probe_result result; /* why the last try came to nothing */
    void (*done)(void *ctx, const struct carrier_probe_result *result);
    void *ctx;
};

static void hang_up(struct carrier_probe *p)
{
    event_clear(&p->on_answer);
    cleanup_close(&p->fd);
}

void carrier_probe_cancel(struct carrier_probe **p)
{
    if (!*p)
        return;
    hang_up(*p);
    event_clear(&(*p)->on_retry);
    event_clear(&(*p)->on_deadline);
    free(*p);
    *p = NULL;
}

static void finish(struct carrier_probe *p)
{
    void (*done)(void *ctx, const struct carrier_probe_result *result) = p->done;
    struct carrier_probe_result result = p->result;
    void *ctx = p->ctx;

    carrier_probe_cancel(&p);
    done(ctx, &result);
}

/* error 0: `text` says it all. */
static void try_later(struct carrier_probe *p, const char *text, int error)
{
    struct timeval in = {.tv_usec = (suseconds_t)(p->retry_ms * 1000)};

    text_format(p->result.text, sizeof(p->result.text), "%s%s%s", text, error ? ": " : "",
                error ? strerrordesc_np(error) : "");
    hang_up(p);
    p->retry_ms = p->retry_ms * 2 < RETRY_MAX_MS ? p->retry_ms * 2 : RETRY_MAX_MS;
    evtimer_add(p->on_retry, &in);
}

static void answered(evutil_socket_t fd, short what, void *ctx)
{
    struct carrier_probe *p = ctx;
    char packet[CONTROL_PACKET_MAX];
    ssize_t n = recv(fd, packet, sizeof(packet), MSG_TRUNC | MSG_DONTWAIT); /* the packet's whole length */

    (void)what;
    if (n <= 0) {
        try_later(p, "it hung up without an answer", n < 0 ? errno : 0);
    } else if ((size_t)n > sizeof(packet) || control_answer_parse(packet, (size_t)n, &p->result.answer)) {
        try_later(p, "its answer is not understood", 0);
    } else if (!p->result.answer.ok) {
        try_later(p, p->result.answer.text, 0);
    } else {
        p->result.ok = true;
        finish(p);
    }
}

/* The path of a socket is short, that of a state directory need not be: it is named by a descriptor. */
static int connect_to(const char *unit_dir, int fd)
{
    CLEANUP(cleanup_close) int dir = open(unit_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct sockaddr_un place = {.sun_family = AF_UNIX};

    if (dir < 0)
        return -1;
    snprintf(place.sun_path, sizeof(place.sun_path), "/proc/self/fd/%d/control", dir);
    return connect(fd, (const struct sockaddr *)&place, sizeof(place));
}

static void ask(evutil_socket_t unused_fd, short unused_what, void *ctx)
{
    const struct control_question hello = {.kind = CONTROL_HELLO};
    struct carrier_probe *p = ctx;
    char packet[CONTROL_PACKET_MAX];
    size_t n = control_question_format(&hello, packet);

    (void)unused_fd;
    (void)unused_what;
    p->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0) {
        try_later(p, "it could not be asked", errno);
        return;
    }
    if (connect_to(p->unit_dir, p->fd) < 0 || send(p->fd, packet, n, MSG_NOSIGNAL) < 0) {
        try_later(p, "its control socket cannot be reached", errno);
        return;
    }
    p->on_answer = event_new(p->base, p->fd, EV_READ, answered, p);
    if (!p->on_answer || event_add(p->on_answer, NULL) < 0)
        try_later(p, "it could not be asked", ENOMEM);
}

static void deadline_over(evutil_socket_t fd, short what, void *ctx)
{
    struct carrier_probe *p = ctx;

    (void)fd;
    (void)what;
    if (p->on_answer)
        text_copy(p->result.text, sizeof(p->result.text), "it was asked and does not answer");
    finish(p);
}

int carrier_probe_start(struct event_base *base, const char *unit_dir, uint64_t deadline_ms,
                        void (*done)(void *ctx, const struct carrier_probe_result *result), void *ctx,
                        struct carrier_probe **ret)
{
    struct timeval now = {0}, deadline = {.tv_sec = (time_t)(deadline_ms / 1000),
                                          .tv_usec = (suseconds_t)(deadline_ms % 1000 * 1000)};
    CLEANUP(carrier_probe_cancel) struct carrier_probe *p = calloc(1, sizeof(*p));

    if (!p)
        return err_raise(-ENOMEM);
    p->fd = -1;
    p->base = base;
    p->done = done;
    p->ctx = ctx;
    p->retry_ms = RETRY_MIN_MS;
    if (strlen(unit_dir) >= sizeof(p->unit_dir))
        return err_raise(-ENAMETOOLONG);
    memcpy(p->unit_dir, unit_dir, strlen(unit_dir) + 1);
    p->on_retry = evtimer_new(base, ask, p);
    p->on_deadline = evtimer_new(base, deadline_over, p);
    if (!p->on_retry || !p->on_deadline || evtimer_add(p->on_deadline, &deadline) < 0 ||
        evtimer_add(p->on_retry, &now) < 0)
        return err_raise(-ENOMEM);
    *ret = p;
    p = NULL;
    return 0;
}
