/* What tests of a relay stand on: a kernel that takes less than it could, sockets with little room, and scribes, who send
 * what they are given and write down what comes. */
#ifndef CARAVAN_TESTS_UNIT_RELAY_HARNESS_H
#define CARAVAN_TESTS_UNIT_RELAY_HARNESS_H

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/failing_alloc.h"
#include "tests/lib/random.h"

#define MAYBE_UNUSED __attribute__((unused))

/* The relay's own calls: counted, and the kernel takes less than it could. */
static unsigned n_calls;
static uint64_t stingy; /* a seed; 0: the kernel as it is */

static ssize_t counted_recv(int fd, void *buf, size_t n, int flags)
{
    n_calls++;
    return recv(fd, buf, stingy ? random_in(&stingy, 1, n) : n, flags);
}

static ssize_t counted_send(int fd, const void *buf, size_t n, int flags)
{
    n_calls++;
    if (stingy && random_one_in(&stingy, 3)) {
        errno = random_one_in(&stingy, 2) ? EINTR : EAGAIN;
        return -1;
    }
    return send(fd, buf, stingy ? random_in(&stingy, 1, n) : n, flags);
}

#define recv counted_recv
#define send counted_send
#include "common/relay.c"
#undef recv
#undef send

static struct event_base *base;

MAYBE_UNUSED static uint8_t byte_at(uint64_t seed, size_t at)
{
    uint64_t s = seed + at / 8;

    return (uint8_t)(random_next(&s) >> 8 * (at % 8));
}

/* ---- sockets ------------------------------------------------------------------------------------------------------ */

static void tcp_pair(int fd[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CLEANUP(cleanup_close) int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n = sizeof(at);
    int on = 1, room = 65536;

    assert_true(door >= 0 && bind(door, (struct sockaddr *)&at, n) == 0 && listen(door, 1) == 0);
    assert_int_equal(getsockname(door, (struct sockaddr *)&at, &n), 0);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd[0], (struct sockaddr *)&at, n), 0);
    fd[1] = accept4(door, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd[1] >= 0);
    for (size_t i = 0; i < 2; i++) { /* little room, so that it is soon full */
        setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    }
}

MAYBE_UNUSED static void socket_pair(bool tcp, int fd[2])
{
    if (tcp)
        tcp_pair(fd);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

/* ---- the loop ----------------------------------------------------------------------------------------------------- */

static void too_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

/* Turns the loop until done says so. */
MAYBE_UNUSED static void run_until(bool (*done)(const void *), const void *arg)
{
    static const struct timeval limit = {60, 0};
    bool is_late = false;
    struct event *late = event_new(base, -1, 0, too_late, &is_late);

    event_add(late, &limit);
    while (!is_late && !done(arg))
        event_base_loop(base, EVLOOP_ONCE);
    event_free(late);
    assert_false(is_late);
}

static int begin_loop(void **state)
{
    (void)state;
    base = event_base_new();
    return base ? crypto_init() : -1;
}

static int end_loop(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

/* ---- scribes ------------------------------------------------------------------------------------------------------ */

struct bytes {
    uint8_t *p;
    size_t n, cap;
};

MAYBE_UNUSED static uint8_t *bytes_room(struct bytes *b, size_t n)
{
    if (b->cap - b->n < n) {
        b->cap = 2 * b->cap + n;
        b->p = realloc(b->p, b->cap);
        assert_non_null(b->p);
    }
    b->n += n;
    return b->p + b->n - n;
}

MAYBE_UNUSED static void bytes_add(struct bytes *b, const void *p, size_t n)
{
    if (n)
        memcpy(bytes_room(b, n), p, n);
}

MAYBE_UNUSED static void bytes_fill(struct bytes *b, uint8_t with, size_t n)
{
    if (n)
        memset(bytes_room(b, n), with, n);
}

MAYBE_UNUSED static void bytes_clear(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){0};
}

struct scribe {
    int fd;
    struct bytes in, out;
    size_t n_sent;
    bool ends; /* after its last byte it says so */
    bool eof, reset;
    uint64_t sizes;   /* seed of the sizes of its pieces */
    size_t piece_max; /* of what it sends */
    struct event *on_readable, *on_writable;
};

MAYBE_UNUSED static void scribe_readable(evutil_socket_t fd, short what, void *arg)
{
    static uint8_t buf[100000];
    struct scribe *s = arg;
    ssize_t n = recv(fd, buf, random_in(&s->sizes, 1, sizeof(buf)), MSG_DONTWAIT);

    (void)what;
    if (n > 0)
        bytes_add(&s->in, buf, (size_t)n);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    s->eof = n == 0;
    s->reset = s->reset || n < 0;
    event_del(s->on_readable);
}

MAYBE_UNUSED static void scribe_writable(evutil_socket_t fd, short what, void *arg)
{
    struct scribe *s = arg;
    size_t left = s->out.n - s->n_sent, n = random_in(&s->sizes, 1, s->piece_max);
    ssize_t sent = left ? send(fd, s->out.p + s->n_sent, n < left ? n : left, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

    (void)what;
    s->n_sent += sent > 0 ? (size_t)sent : 0;
    if (s->n_sent < s->out.n && (sent >= 0 || errno == EAGAIN))
        return;
    event_del(s->on_writable);
    s->reset = s->reset || sent < 0; /* (the kernel tells it once, to whoever asks first) */
    if (sent >= 0 && s->ends)
        shutdown(fd, SHUT_WR);
}

MAYBE_UNUSED static void scribe_begin(struct scribe *s, int fd, uint64_t seed)
{
    *s = (struct scribe){.fd = fd, .sizes = seed, .piece_max = 100000};
    s->on_readable = event_new(base, fd, EV_READ | EV_PERSIST, scribe_readable, s);
    s->on_writable = event_new(base, fd, EV_WRITE | EV_PERSIST, scribe_writable, s);
    event_add(s->on_readable, NULL);
}

/* What was added to out goes out, and, with ends, its end. */
MAYBE_UNUSED static void scribe_send(struct scribe *s)
{
    event_add(s->on_writable, NULL);
}

MAYBE_UNUSED static void scribe_end(struct scribe *s)
{
    event_free(s->on_readable);
    event_free(s->on_writable);
    close(s->fd);
    bytes_clear(&s->in);
    bytes_clear(&s->out);
}

#endif
