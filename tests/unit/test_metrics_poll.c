/* Polls against a server of a few lines: answers, other answers, none, nobody there. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/metrics_poll.h"

enum { HELD_MAX = 8 };

struct server {
    int fd;
    uint16_t port;
    struct event *on_accept;
    const char *answer; /* NULL: the connection is held */
    char asked[1024];
    size_t n_asked, n_held;
    int held[HELD_MAX];
};

static struct event_base *base;

static void on_request(evutil_socket_t fd, short what, void *ctx)
{
    struct server *s = ctx;
    ssize_t n = recv(fd, s->asked, sizeof(s->asked) - 1, 0); /* of one segment */

    (void)what;
    if (n <= 0) { /* it has been given up */
        close(fd);
        return;
    }
    s->asked[n] = '\0';
    s->n_asked++;
    if (!s->answer) {
        assert_true(s->n_held < HELD_MAX);
        s->held[s->n_held++] = fd;
        return;
    }
    assert_true(write(fd, s->answer, strlen(s->answer)) > 0);
    close(fd);
}

static void on_accept(evutil_socket_t fd, short what, void *ctx)
{
    int one = accept(fd, NULL, NULL);

    (void)what;
    assert_true(one >= 0);
    event_base_once(base, one, EV_READ, on_request, ctx, NULL);
}

static void server_open(struct server *s, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int on = 1;

    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(s->fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&sa, &len), 0);
    s->port = ntohs(sa.sin_port);
    s->on_accept = event_new(base, s->fd, EV_READ | EV_PERSIST, on_accept, s);
    event_add(s->on_accept, NULL);
}

static void server_close(struct server *s)
{
    event_free(s->on_accept);
    close(s->fd);
    while (s->n_held)
        close(s->held[--s->n_held]);
}

static struct metrics_figures figures(const struct metrics_poll *p)
{
    struct metrics_figures f;

    metrics_poll_figures(p, &f);
    return f;
}

#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"

static void test_polls(void **state)
{
    struct server s = {.answer = HEAD "# TYPE x counter\nllamacpp:n_decode_total 41\n"};
    struct metrics_poll *p;
    uint16_t port;

    (void)state;
    base = event_base_new();
    server_open(&s, 0);
    assert_int_equal(metrics_poll_new(base, "127.0.0.1", s.port, "s3cret", &p), 0);
    AWAIT(figures(p).n_decode == 41);
    assert_non_null(strstr(s.asked, "GET /metrics HTTP/1.1\r\n"));
    assert_non_null(strstr(s.asked, "Authorization: Bearer s3cret\r\n"));
    s.answer = HEAD "llamacpp:n_decode_total 42"; /* whole, without an end of line */
    AWAIT(figures(p).n_decode == 42);

    s.answer = NULL; /* it is stopped: the kernel accepts, nobody answers; it is asked anew */
    AWAIT(figures(p).silent_ms > 2 * METRICS_POLL_LIMIT_MS + 500);
    assert_int_equal(figures(p).n_decode, 42);
    s.answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"; /* no figures, but an answer */
    AWAIT(figures(p).silent_ms == 0);
    assert_int_equal(figures(p).n_decode, 42);

    port = s.port;
    server_close(&s); /* its port refuses */
    AWAIT(figures(p).silent_ms > 0);
    s.answer = HEAD "llamacpp:n_decode_total 1\n"; /* another process there: fewer */
    server_open(&s, port);
    AWAIT(figures(p).n_decode == 1);
    assert_int_equal(figures(p).silent_ms, 0);
    metrics_poll_destroy(&p);
    server_close(&s);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_polls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
