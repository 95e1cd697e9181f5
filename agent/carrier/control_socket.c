#include "agent/carrier/control_socket.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/event_clear.h"
#include "common/log.h"
#include "common/seldom.h"

enum { BACKLOG = 8 };

struct client {
    struct control_socket *of;
    int fd; /* -1: free */
    struct event *on_readable;
    uint64_t heard; /* `count` of then */
};

struct control_socket {
    struct event_base *base;
    struct acceptor *acceptor;
    control_asked *asked;
    void *ctx;
    uint64_t count; /* of packets and clients */
    uint64_t n_refused;
    struct seldom refused;
    struct client client[CONTROL_CLIENTS_MAX];
};

static void hang_up(struct client *c)
{
    event_clear(&c->on_readable);
    cleanup_close(&c->fd);
}

/* What does not fit its socket is not waited for: whoever asks and does not read has gone wrong. */
static void answer(struct client *c, const char *packet, size_t n_bytes)
{
    struct control_answer a = {.text = "this is no question that is known here"};
    char buf[CONTROL_PACKET_MAX];
    struct control_question q;

    if (n_bytes <= CONTROL_PACKET_MAX && control_question_parse(packet, n_bytes, &q) == 0) {
        a = (struct control_answer){0};
        c->of->asked(c->of->ctx, &q, &a);
    }
    n_bytes = control_answer_format(&a, buf);
    if (send(c->fd, buf, n_bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n_bytes)
        hang_up(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    char packet[CONTROL_PACKET_MAX];
    struct client *c = arg;
    ssize_t n = recv(fd, packet, sizeof(packet), MSG_TRUNC | MSG_DONTWAIT); /* the packet's whole length */

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->heard = ++c->of->count;
    if (n <= 0)
        hang_up(c);
    else
        answer(c, packet, (size_t)n);
}

static bool is_allowed(struct control_socket *s, int fd)
{
    struct ucred who;
    socklen_t n = sizeof(who);
    uint64_t times;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
        return false;
    if (who.uid == geteuid() || who.uid == 0)
        return true;
    s->n_refused++;
    times = seldom_count(&s->refused, clock_now_ms());
    if (times)
        log_warn("control.refused", "uid=%u pid=%d n=%" PRIu64, (unsigned)who.uid, (int)who.pid, times);
    return false;
}

static struct client *free_client(struct control_socket *s)
{
    struct client *quietest = &s->client[0];

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (s->client[i].fd < 0)
            return &s->client[i];
        if (s->client[i].heard < quietest->heard)
            quietest = &s->client[i];
    }
    hang_up(quietest);
    return quietest;
}

static void on_came(void *ctx, int fd, const struct sockaddr_storage *from)
{
    struct control_socket *s = ctx;
    struct client *c;

    (void)from;
    if (!is_allowed(s, fd)) {
        close(fd);
        return;
    }
    c = free_client(s);
    *c = (struct client){.of = s, .fd = fd, .heard = ++s->count};
    c->on_readable = event_new(s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    if (!c->on_readable || event_add(c->on_readable, NULL) < 0)
        hang_up(c);
}

static int listen_at(const char *path, int *ret_fd)
{
    CLEANUP(cleanup_close) int fd = -1;
    struct sockaddr_un place = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(place.sun_path))
        return err_raise(-ENAMETOOLONG);
    memcpy(place.sun_path, path, strlen(path));
    if (unlink(path) < 0 && errno != ENOENT)
        return err_raise(-errno);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&place, sizeof(place)) < 0 || listen(fd, BACKLOG) < 0)
        return err_raise(-errno);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int control_socket_new(struct event_base *base, const char *path, control_asked *asked, void *ctx,
                       struct control_socket **ret)
{
    CLEANUP(control_socket_destroy) struct control_socket *s = calloc(1, sizeof(*s));
    int fd, r;

    if (!s)
        return err_raise(-ENOMEM);
    s->base = base;
    s->asked = asked;
    s->ctx = ctx;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        s->client[i].fd = -1;
    r = listen_at(path, &fd);
    if (r == 0)
        r = acceptor_new(base, &fd, "control", on_came, s, &s->acceptor);
    if (r < 0)
        return err_pass(r);
    *ret = s;
    s = NULL;
    return 0;
}

uint64_t control_socket_refused(const struct control_socket *s)
{
    return s->n_refused;
}

void control_socket_destroy(struct control_socket **c)
{
    if (!*c)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        hang_up(&(*c)->client[i]);
    acceptor_destroy(&(*c)->acceptor);
    free(*c);
    *c = NULL;
}
