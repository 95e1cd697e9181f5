/* Who comes to a listening socket is taken in; and where nothing is left to take him in with, the loop does not spin on it. */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* The next `n_failing` fail so. */
static int n_failing, failing_with;

static int faulty_accept(int fd, struct sockaddr *from, socklen_t *n, int flags)
{
    if (n_failing <= 0)
        return accept4(fd, from, n, flags);
    n_failing--;
    errno = failing_with;
    return -1;
}

/* The next n_not_added are not. */
static int n_not_added;

static int faulty_add(struct event *ev, const struct timeval *after)
{
    return n_not_added-- > 0 ? -1 : event_add(ev, after);
}

#define accept4   faulty_accept
#define event_add faulty_add
#include "common/acceptor.c"
#undef accept4
#undef event_add

static struct event_base *base;
static int n_came;
static struct sockaddr_storage last;

static void on_came(void *ctx, int fd, const struct sockaddr_storage *from)
{
    assert_ptr_equal(ctx, &base);
    last = *from;
    n_came++;
    close(fd);
}

static int begin(void **state)
{
    (void)state;
    base = event_base_new();
    n_failing = n_came = n_not_added = 0;
    return base ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

static struct acceptor *acceptor_of(int fd)
{
    struct acceptor *a;

    assert_int_equal(acceptor_new(base, &fd, "test", on_came, &base, &a), 0);
    assert_int_equal(fd, -1);
    return a;
}

static int dial(uint16_t port)
{
    struct sockaddr_storage at;
    socklen_t n = host_sockaddr("127.0.0.1", port, &at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&at, n), 0);
    return fd;
}

static void test_who_comes_is_taken_in(void **state)
{
    enum { N = 2 * ACCEPTS_PER_TURN + 1 };
    struct sockaddr_in own;
    socklen_t n = sizeof(own);
    struct acceptor *a;
    int listener, fd[N];
    uint16_t port;

    (void)state;
    assert_int_equal(acceptor_listen("127.0.0.1", 0, &listener, &port), 0);
    a = acceptor_of(listener);
    for (int i = 0; i < N; i++)
        fd[i] = dial(port);
    while (n_came < N)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(getsockname(fd[N - 1], (struct sockaddr *)&own, &n), 0);
    assert_memory_equal(&last, &own, sizeof(own)); /* in their order, and each is who it says */
    assert_int_equal(acceptor_starved(a), 0);
    for (int i = 0; i < N; i++)
        close(fd[i]);
    acceptor_destroy(&a);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    own.sin_port = htons(port);
    assert_int_equal(connect(fd[0], (const struct sockaddr *)&own, sizeof(own)), -1); /* nobody listens any more */
    close(fd[0]);
}

static void test_starved(void **state)
{
    static const struct {
        int error;
        bool starves;
    } rows[] = {{EMFILE, true}, {ENFILE, true}, {ENOBUFS, true},       {ENOMEM, true},
                {EINVAL, true}, {EINTR, false}, {ECONNABORTED, false}, {EAGAIN, false}};
    struct acceptor *a;
    int listener, fd;
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(acceptor_listen("127.0.0.1", 0, &listener, &port), 0);
        a = acceptor_of(listener);
        n_came = 0;
        n_failing = 2;
        failing_with = rows[i].error;
        fd = dial(port);
        event_base_loop(base, EVLOOP_ONCE);
        if (rows[i].starves) /* or it would be asked in each turn */
            assert_false(event_pending(a->on_knock, EV_READ, NULL));
        while (!n_came)
            event_base_loop(base, EVLOOP_ONCE);
        assert_int_equal(acceptor_starved(a), rows[i].starves ? 2 : 0);
        close(fd);
        acceptor_destroy(&a);
    }
}

/* As a carrier's control socket is. */
static void test_a_socket_of_packets(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = ""}; /* the kernel gives it a name */
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), fd;
    socklen_t n = sizeof(at);
    struct acceptor *a;

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    a = acceptor_of(listener);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, n), 0);
    n_failing = 1;
    failing_with = EMFILE;
    while (!n_came)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(acceptor_starved(a), 1);
    close(fd);
    acceptor_destroy(&a);
}

/* Also the loop may have no memory, for the pause or for its end: who comes is taken in all the same, later. */
static void test_a_loop_without_memory(void **state)
{
    struct acceptor *a;
    int listener, fd;
    uint16_t port;

    (void)state;
    for (int pause = 0; pause < 2; pause++) {
        assert_int_equal(acceptor_listen("127.0.0.1", 0, &listener, &port), 0);
        a = acceptor_of(listener);
        n_came = 0;
        n_failing = 1;
        failing_with = EMFILE;
        fd = dial(port);
        if (pause)
            n_not_added = 1;
        event_base_loop(base, EVLOOP_ONCE);
        assert_int_equal(acceptor_starved(a), 1);
        assert_int_equal(event_pending(a->on_knock, EV_READ, NULL) != 0, pause);
        if (!pause)
            n_not_added = 3;
        while (!n_came)
            assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0); /* 1: nothing is awaited any more */
        assert_int_equal(acceptor_starved(a), pause ? 1 : 4);
        assert_false(event_pending(a->on_fed, EV_TIMEOUT, NULL));
        close(fd);
        acceptor_destroy(&a);
    }
}

static void test_destroyed_while_starved(void **state)
{
    struct acceptor *a;
    int listener, fd;
    uint16_t port;

    (void)state;
    assert_int_equal(acceptor_listen("::1", 0, &listener, &port), 0);
    close(listener);
    assert_int_equal(acceptor_listen("127.0.0.1", 0, &listener, &port), 0);
    a = acceptor_of(listener);
    n_failing = 1;
    failing_with = EMFILE;
    fd = dial(port);
    event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(acceptor_starved(a), 1);
    acceptor_destroy(&a);
    acceptor_destroy(&a);
    close(fd);
}

static void test_where_nobody_can_listen(void **state)
{
    int listener, fd = -1;
    uint16_t port;

    (void)state;
    assert_int_equal(acceptor_listen("localhost", 0, &fd, &port), -EINVAL);
    assert_int_equal(acceptor_listen("127.0.0.1", 0, &listener, &port), 0);
    assert_int_equal(acceptor_listen("127.0.0.1", port, &fd, &port), -EADDRINUSE);
    assert_int_equal(fd, -1);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_comes_is_taken_in, begin, end),
        cmocka_unit_test_setup_teardown(test_starved, begin, end),
        cmocka_unit_test_setup_teardown(test_a_socket_of_packets, begin, end),
        cmocka_unit_test_setup_teardown(test_a_loop_without_memory, begin, end),
        cmocka_unit_test_setup_teardown(test_destroyed_while_starved, begin, end),
        cmocka_unit_test(test_where_nobody_can_listen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
