/* Following a coordinator where inotify cannot be had: its log is read at each question for health instead. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/coordinator_watch.h"
#include "common/log.h"

/* The user's share is used up. */
int inotify_init1(int flags)
{
    (void)flags;
    errno = EMFILE;
    return -1;
}

static void on_told(void *ctx, const char *unit_id, const struct agent_event_facts *facts)
{
    (void)unit_id, (void)facts;
    ++*(size_t *)ctx;
}

static int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static size_t accept_all(int fd)
{
    size_t n = 0;
    int one;

    while ((one = accept(fd, NULL, NULL)) >= 0) {
        close(one);
        n++;
    }
    return n;
}

/* "Loaded" makes it ask at once, while it is about to ask anyway: one question is under way at a time. */
static void test_one_question_at_a_time(void **state)
{
    static const char loaded[] = "0.00.000.000 I main: model loaded\n";
    char path[] = "/tmp/test_coordinator_watch.XXXXXX";
    struct event_base *base = event_base_new();
    struct coordinator_watch *w;
    int log = mkstemp(path), listener;
    size_t n_told = 0;
    uint16_t port;

    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(write(log, loaded, sizeof(loaded) - 1), sizeof(loaded) - 1);
    listener = listen_on_loopback(&port);
    assert_int_equal(coordinator_watch_new(base, "c1", path, "/nonexistent", "127.0.0.1", port, on_told, &n_told, &w),
                     0);
    event_base_loopexit(base, &(struct timeval){.tv_usec = 300000}); /* what is not answered lasts 2 s */
    event_base_dispatch(base);
    assert_int_equal(accept_all(listener), 1);
    coordinator_watch_destroy(&w);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
    close(listener);
    close(log);
    unlink(path);
}

/* A child that was taken over makes a terabyte of nothing of its log: whoever follows it must not read all of that. */
static void test_a_log_without_end(void **state)
{
    static const char line[] = "0.00.000.000 I main: something\n";
    char path[] = "/tmp/test_coordinator_watch.XXXXXX";
    struct event_base *base = event_base_new();
    struct coordinator_watch *w;
    int log = mkstemp(path), listener;
    size_t n_told = 0;
    uint16_t port;

    (void)state;
    assert_int_equal(write(log, line, sizeof(line) - 1), sizeof(line) - 1);
    listener = listen_on_loopback(&port);
    assert_int_equal(coordinator_watch_new(base, "c1", path, "/nonexistent", "127.0.0.1", port, on_told, &n_told, &w),
                     0);
    assert_int_equal(ftruncate(log, (off_t)1 << 40), 0);
    event_base_loopexit(base, &(struct timeval){.tv_usec = 200000});
    event_base_dispatch(base);
    assert_non_null(coordinator_watch_cause(w));
    coordinator_watch_destroy(&w);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
    close(listener);
    close(log);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_question_at_a_time),
        cmocka_unit_test(test_a_log_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
