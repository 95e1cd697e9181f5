/* Whose a connection on 127.0.0.1 is: our own user's and root's, and nobody else's, not even one's who has gone. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/sock_diag.h"

/* 0: as it is; else what the kernel says. */
static int the_kernel_says;

static int asked(const struct procfs_end *local, const struct procfs_end *remote, struct procfs_socket *ret)
{
    return the_kernel_says ? the_kernel_says : sock_diag_find(local, remote, ret);
}

#define sock_diag_find asked
#include "agent/carrier/own_user.c"
#undef sock_diag_find

#include "common/acceptor.h"
#include "common/host.h"

static int listener;
static uint16_t port;
static struct own_user user;

static int begin(void **state)
{
    (void)state;
    the_kernel_says = 0;
    if (acceptor_listen("127.0.0.1", 0, &listener, &port) < 0)
        return -1;
    own_user_init(&user, port);
    assert_false(user.cannot_ask);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return close(listener);
}

static int dial(void)
{
    struct sockaddr_storage at;
    socklen_t n = host_sockaddr("127.0.0.1", port, &at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&at, n), 0);
    return fd;
}

/* Of who waits to be taken in. */
static bool has(void)
{
    struct sockaddr_storage from;
    socklen_t n = sizeof(from);
    int fd = accept4(listener, (struct sockaddr *)&from, &n, SOCK_CLOEXEC); /* whoever connects has connected */
    bool yes;

    assert_true(fd >= 0);
    yes = own_user_has(&user, &from, port, 1);
    close(fd);
    return yes;
}

static void test_our_own(void **state)
{
    int fd = dial();

    (void)state;
    assert_true(has());
    close(fd);
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0); /* as one who knows IPv6 alone would dial */
    if (fd >= 0) {
        struct sockaddr_in6 at = {.sin6_family = AF_INET6,
                                  .sin6_port = htons(port),
                                  .sin6_addr.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};

        assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
        assert_true(has());
        close(fd);
    }
    assert_int_equal(user.n_refused, 0);
}

/* What it has sent is there to be read, and who sent it cannot be told. */
static void test_who_has_gone(void **state)
{
    int fd = dial();

    (void)state;
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    close(fd);
    assert_false(has());
    fd = dial(); /* with a reset */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    assert_false(has());
    assert_int_equal(user.n_refused, 0);
    fd = dial(); /* this one has only nothing more to say */
    shutdown(fd, SHUT_WR);
    assert_true(has());
    close(fd);
}

/* Dials, goes with a reset, and listens there. -1: somebody else has taken the port in between. */
static int listen_where_one_has_gone(void)
{
    int fd = dial(), other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at;
    socklen_t n = sizeof(at);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    if (bind(other, (struct sockaddr *)&at, sizeof(at)) == 0) {
        assert_int_equal(listen(other, 1), 0);
        return other;
    }
    assert_int_equal(errno, EADDRINUSE);
    close(other);
    return -1;
}

/* Another process of ours, or root's, listens where the one who has gone had its end. */
static void test_a_listener_on_the_port_of_who_has_gone(void **state)
{
    int other;

    (void)state;
    while ((other = listen_where_one_has_gone()) < 0)
        has();
    assert_false(has());
    close(other);
}

static void test_another_user(void **state)
{
    int ready[2], status;
    char byte;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (setgid(65534) < 0 || setuid(65534) < 0)
            _exit(3);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dial();
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_false(has());
    assert_int_equal(user.n_refused, 1);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_a_kernel_that_cannot_be_asked(void **state)
{
    static const int says[] = {SOCK_DIAG_E_NONE, -EPROTONOSUPPORT, -EACCES};
    int fd = dial();

    (void)state;
    for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
        the_kernel_says = says[i];
        own_user_init(&user, port);
        assert_true(user.cannot_ask);
    }
    assert_true(has());
    close(fd);
    the_kernel_says = 0; /* one that can, and fails once */
    own_user_init(&user, port);
    the_kernel_says = -ENOBUFS;
    fd = dial();
    assert_false(has());
    close(fd);
    the_kernel_says = 0;
    fd = dial();
    assert_true(has());
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_our_own, begin, end),
        cmocka_unit_test_setup_teardown(test_who_has_gone, begin, end),
        cmocka_unit_test_setup_teardown(test_a_listener_on_the_port_of_who_has_gone, begin, end),
        cmocka_unit_test_setup_teardown(test_another_user, begin, end),
        cmocka_unit_test_setup_teardown(test_a_kernel_that_cannot_be_asked, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
