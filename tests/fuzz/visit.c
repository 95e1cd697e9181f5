#include "tests/fuzz/visit.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Until nothing is ready: libevent runs one round. */
enum { ROUNDS = 4 };

static void settle(struct event_base *base)
{
    for (int i = 0; i < ROUNDS; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

static size_t hear(int fd, char *buf, size_t size)
{
    char rest[4096];
    size_t total = 0;
    ssize_t n;

    do {
        n = total < size ? recv(fd, buf + total, size - total, MSG_DONTWAIT)
                         : recv(fd, rest, sizeof(rest), MSG_DONTWAIT);
        total += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    return total;
}

/* What does not fit its buffer is not said: the other end has closed, or reads no more. */
static void say(int fd, const uint8_t *data, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0)
            return;
        data += sent;
        n -= (size_t)sent;
    }
}

size_t visit(struct event_base *base, const struct sockaddr_un *place, const uint8_t *data, size_t n, char *buf,
             size_t size)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t half = n / 2, answered;

    if (fd < 0 || connect(fd, (const struct sockaddr *)place, sizeof(*place)) < 0)
        abort();
    say(fd, data, half);
    settle(base);
    say(fd, data + half, n - half);
    settle(base);
    answered = hear(fd, buf, size);
    close(fd);
    settle(base);
    return answered;
}
