/* A process that carries a stream may be killed: both of its sides are reset at once, so that nobody takes for whole what was
 * cut off, and a worker is free for the next one. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/relay.h"

enum { LIMIT_MS = 60000 };

static void make_pair(int pair[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(pair[0], (struct sockaddr *)&at, n), 0);
    pair[1] = accept(listener, NULL, NULL);
    assert_true(pair[1] >= 0);
    close(listener);
}

static void on_ended(void *ctx, enum relay_end end, int error)
{
    (void)ctx, (void)end, (void)error;
    _exit(1);
}

static void carry(int near, int far)
{
    const struct relay_sockets sockets = {.near = near, .far = far, .data_max = 4096};
    const struct relay_calls calls = {.ended = on_ended};
    struct event_base *base = event_base_new();
    struct relay *relay;

    if (base && relay_new(base, &sockets, &calls, &relay) == 0)
        event_base_dispatch(base);
    _exit(2);
}

/* What comes next: bytes, the end, or an errno as a negative number. */
static ssize_t next(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint8_t buf[64];
    ssize_t n;

    assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
    n = recv(fd, buf, sizeof(buf), 0);
    return n < 0 ? -errno : n;
}

static void test_killed(void **state)
{
    int near[2], far[2], status;
    pid_t pid;

    (void)state;
    make_pair(near);
    make_pair(far);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        carry(near[1], far[1]);
    close(near[1]);
    close(far[1]);
    assert_int_equal(send(near[0], "to", 2, 0), 2);
    assert_int_equal(next(far[0]), 2);
    assert_int_equal(send(far[0], "back", 4, 0), 4);
    assert_int_equal(next(near[0]), 4);
    kill(pid, SIGKILL);
    assert_int_equal(next(near[0]), -ECONNRESET);
    assert_int_equal(next(far[0]), -ECONNRESET);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    close(near[0]);
    close(far[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
