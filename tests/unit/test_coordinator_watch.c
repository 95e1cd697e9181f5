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

struct followed {
    char path[40];
    struct event_base *base;
    struct coordinator_watch *watch;
    int log, listener;
    size_t n_told;
};

static void follow(struct followed *f, const char *line)
{
    uint16_t port;

    log_set_level(LOG_LEVEL_ERROR);
    strcpy(f->path, "/tmp/test_coordinator_watch.XXXXXX");
    f->base = event_base_new();
    f->log = mkstemp(f->path);
    assert_int_equal(write(f->log, line, strlen(line)), strlen(line));
    f->listener = listen_on_loopback(&port);
    assert_int_equal(coordinator_watch_new(f->base, "c1", f->path, "/nonexistent", "127.0.0.1", port, on_told,
                                           &f->n_told, &f->watch),
                     0);
}

static void run_for(struct followed *f, suseconds_t us)
{
    event_base_loopexit(f->base, &(struct timeval){.tv_usec = us});
    event_base_dispatch(f->base);
}

static void leave(struct followed *f)
{
    coordinator_watch_destroy(&f->watch);
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    event_base_free(f->base);
    close(f->listener);
    close(f->log);
    unlink(f->path);
}

/* "Loaded" makes it ask at once, while it is about to ask anyway: one question is under way at a time. */
static void test_one_question_at_a_time(void **state)
{
    struct followed f = {.n_told = 0};

    (void)state;
    follow(&f, "0.00.000.000 I main: model loaded\n");
    run_for(&f, 300000); /* what is not answered lasts 2 s */
    assert_int_equal(accept_all(f.listener), 1);
    leave(&f);
}

/* A child that was taken over makes a terabyte of nothing of its log: whoever follows it must not read all of that. */
static void test_a_log_without_end(void **state)
{
    struct followed f = {.n_told = 0};

    (void)state;
    follow(&f, "0.00.000.000 I main: something\n");
    assert_int_equal(ftruncate(f.log, (off_t)1 << 40), 0);
    run_for(&f, 200000);
    assert_non_null(coordinator_watch_cause(f.watch));
    leave(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_question_at_a_time),
        cmocka_unit_test(test_a_log_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
