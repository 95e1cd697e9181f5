/* Connections that are kept: when they are, when they are not, and what is told of those that went meanwhile. The other end
 * plays one line of a script per request, on whichever connection it comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/httpc_place.h"

#define OK     "HTTP/1.1 200 OK\r\n"
#define OK_TWO OK "Content-Length: 2\r\n\r\nok"

/* Instead of an answer. */
static const char hangs_up[] = "a", resets[] = "b", is_mute[] = "c";

static struct event_base *base;

/* ---- the other end ---- */

struct peer {
    struct evconnlistener *listener;
    uint16_t port;
    const char *const *script; /* of answers, NULL at its end */
    char request[8192];        /* all that was asked */
    int n_connections, n_closed, n_asked;
    struct bufferevent *last;
};

static void peer_readable(struct bufferevent *bev, void *arg)
{
    struct peer *p = arg;
    size_t used = strlen(p->request);
    const char *answer;

    used += bufferevent_read(bev, p->request + used, sizeof(p->request) - 1 - used);
    p->request[used] = '\0';
    p->n_asked++;
    answer = *p->script ? *p->script++ : is_mute;
    if (answer == hangs_up || answer == resets) {
        if (answer == resets)
            setsockopt(bufferevent_getfd(bev), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        p->n_closed++;
        bufferevent_free(bev);
        p->last = NULL;
    } else if (answer != is_mute) {
        bufferevent_write(bev, answer, strlen(answer));
    }
}

static void peer_event(struct bufferevent *bev, short what, void *arg)
{
    struct peer *p = arg;

    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
        return;
    p->n_closed++;
    if (p->last == bev)
        p->last = NULL;
    bufferevent_free(bev);
}

static void peer_take(struct peer *p, int fd)
{
    p->n_connections++;
    p->last = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(p->last, peer_readable, NULL, peer_event, p);
    bufferevent_enable(p->last, EV_READ | EV_WRITE);
}

static void peer_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    (void)l, (void)sa, (void)n;
    peer_take(arg, fd);
}

static void peer_start(struct peer *p, const char *const *script)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);

    *p = (struct peer){.script = script};
    p->listener = evconnlistener_new_bind(base, peer_accept, p, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 64,
                                          (struct sockaddr *)&sa, sizeof(sa));
    assert_non_null(p->listener);
    getsockname(evconnlistener_get_fd(p->listener), (struct sockaddr *)&sa, &n);
    p->port = ntohs(sa.sin_port);
}

static void peer_stop_listening(struct peer *p)
{
    if (p->listener)
        evconnlistener_free(p->listener);
    p->listener = NULL;
}

/* ---- our end ---- */

struct answer {
    struct httpc_request *request;
    int n_heads, n_done, result;
    char body[256];
};

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    (void)status, (void)header, (void)n_headers;
    ((struct answer *)ctx)->n_heads++;
}

static void on_data(void *ctx, const void *buf, size_t n_bytes)
{
    struct answer *a = ctx;

    strncat(a->body, buf, n_bytes);
}

static void on_done(void *ctx, int r)
{
    struct answer *a = ctx;

    a->request = NULL;
    a->n_done++;
    a->result = r;
}

static struct httpc_place *place_at(const struct peer *p)
{
    const struct httpc_spec spec = {.host = "127.0.0.1", .port = p->port};
    struct httpc_place *place = NULL;

    assert_int_equal(httpc_place_new(&spec, &place), 0);
    return place;
}

#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

static void ask(struct answer *a, struct httpc_place *place)
{
    const struct httpc_spec spec = {
        .place = place, .method = "POST", .target = "/x", .body = "{\"a\":1}", .n_body_bytes = 7};
    const struct httpc_callbacks cb = {on_head, on_data, on_done, a};

    *a = (struct answer){.request = NULL};
    assert_int_equal(httpc_start(base, &spec, &cb, &a->request), 0);
    assert_int_equal(a->n_done, 0); /* nothing is called before it returns */
}

static void ask_and_wait(struct answer *a, struct httpc_place *place)
{
    ask(a, place);
    AWAIT(a->n_done);
}

static void end(struct peer *p, struct httpc_place **place)
{
    httpc_place_leave(place);
    peer_stop_listening(p);
    AWAIT(p->n_closed == p->n_connections);
}

/* ---- tests ---- */

static void test_one_connection_for_all(void **state)
{
    static const char *const script[] = {OK_TWO,
                                         OK "Content-Length: 0\r\n\r\n",
                                         OK_TWO,
                                         "HTTP/1.1 204 x\r\n\r\n",
                                         OK "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                                         "HTTP/1.1 400 x\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nno",
                                         NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;
    char want[256];

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    for (int i = 0; i < 6; i++) {
        ask_and_wait(&a, place);
        assert_int_equal(a.result, 0);
        assert_int_equal(httpc_place_idle(place), 1);
    }
    assert_string_equal(a.body, "no");
    assert_int_equal(p.n_connections, 1);
    snprintf(want, sizeof(want), "POST /x HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
             p.port);
    assert_memory_equal(p.request, want, strlen(want));
    assert_int_equal(strlen(p.request), 6 * strlen(want));
    end(&p, &place);
}

static void test_what_is_not_kept(void **state)
{
    static const char *const answers[] = {
        OK "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", /* llama-server's trap */
        OK "Connection: close\r\nContent-Length: 2\r\n\r\nok",
        OK "Connection: keep-alive, close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK_TWO "HTTP/1.1 200 OK\r\n", /* what nobody asked for */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const char *script[] = {answers[i], OK_TWO, NULL};
        struct httpc_place *place;
        struct answer a;
        struct peer p;

        peer_start(&p, script);
        place = place_at(&p);
        ask_and_wait(&a, place);
        assert_int_equal(a.result, 0);
        assert_int_equal(httpc_place_idle(place), 0);
        AWAIT(p.n_closed == 1);
        ask_and_wait(&a, place);
        assert_int_equal(a.result, 0);
        assert_int_equal(p.n_connections, 2);
        end(&p, &place);
    }
}

/* While a stream comes, the connection of the next request is made. */
static void test_one_ahead_of_the_next(void **state)
{
    static const char stream[] =
        OK "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
           "5\r\ndata:\r\n";
    static const char *const script[] = {stream, stream, OK_TWO, OK_TWO, NULL};
    struct httpc_place *place;
    struct answer a, b;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask(&a, place);
    AWAIT(httpc_place_idle(place) == 1);
    assert_int_equal(p.n_connections, 2);
    ask(&b, place); /* on that one, and it is a stream too */
    AWAIT(*b.body);
    AWAIT(httpc_place_idle(place) == 1);
    assert_int_equal(p.n_connections, 3);
    assert_int_equal(p.n_asked, 2);
    httpc_cancel(&a.request);
    httpc_cancel(&b.request);
    ask_and_wait(&a, place);
    assert_int_equal(p.n_connections, 3);
    assert_int_equal(httpc_place_idle(place), 1);
    ask_and_wait(&a, place);
    assert_int_equal(p.n_connections, 3);
    end(&p, &place);
}

/* A place that is left while it is being made, and one that cannot be made: nobody is told. */
static void test_none_ahead(void **state)
{
    static const char stream[] = OK "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n:\n\r\n";
    static const char *const script[] = {stream, stream, NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask(&a, place);
    AWAIT(*a.body);
    httpc_place_leave(&place);
    httpc_cancel(&a.request);
    place = place_at(&p);
    ask(&a, place);
    AWAIT(p.last && p.n_asked == 2);
    peer_stop_listening(&p);
    AWAIT(*a.body);
    bufferevent_write(p.last, "0\r\n\r\n", 5);
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    httpc_place_leave(&place);
}

/* One that waits and is closed, or is told something, is gone before anybody takes it. */
static void test_what_goes_while_it_waits(void **state)
{
    static const char *const script[] = {OK_TWO, OK_TWO, OK_TWO, NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask_and_wait(&a, place);
    bufferevent_write(p.last, "x", 1);
    AWAIT(!httpc_place_idle(place));
    ask_and_wait(&a, place);
    shutdown(bufferevent_getfd(p.last), SHUT_WR);
    AWAIT(!httpc_place_idle(place));
    ask_and_wait(&a, place);
    assert_int_equal(a.result, 0);
    assert_int_equal(p.n_connections, 3);
    /* its end is in the kernel, and the loop has not heard of it */
    shutdown(bufferevent_getfd(p.last), SHUT_WR);
    assert_int_equal(httpc_place_idle(place), 1);
    ask(&a, place);
    AWAIT(p.n_connections == 4);
    httpc_cancel(&a.request);
    end(&p, &place);
}

/* It closes on the request: that is sent again, once, and whole. */
static void test_a_stale_one_is_replaced_once(void **state)
{
    static const struct {
        const char *script[5];
        int result, n_connections;
    } cases[] = {
        {{OK_TWO, hangs_up, OK_TWO, NULL}, 0, 2},
        {{OK_TWO, resets, OK_TWO, NULL}, 0, 2},
        {{OK_TWO, hangs_up, hangs_up, OK_TWO, NULL}, -ECONNRESET, 2},
        {{OK_TWO, hangs_up, "HTTP/1.1 200", NULL}, -ECONNRESET, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct httpc_place *place;
        struct answer a;
        struct peer p;

        peer_start(&p, cases[i].script);
        place = place_at(&p);
        ask_and_wait(&a, place);
        ask(&a, place);
        if (cases[i].script[2][0] == 'H' && cases[i].result) {
            AWAIT(p.n_asked == 3);
            event_base_loop(base, EVLOOP_NONBLOCK);
            shutdown(bufferevent_getfd(p.last), SHUT_WR);
        }
        AWAIT(a.n_done);
        if (a.result != cases[i].result || p.n_connections != cases[i].n_connections || p.n_asked != 3)
            fail_msg("case %zu: %d, %d connections, asked %d times", i, a.result, p.n_connections, p.n_asked);
        assert_memory_equal(p.request, strstr(p.request + 1, "POST"), strlen(p.request) / 3);
        end(&p, &place);
    }
}

/* Of an answer that has begun nothing is asked again. */
static void test_an_answer_that_is_cut_is_no_stale_one(void **state)
{
    static const char *const script[] = {OK_TWO, OK "Content-Length: 9\r\n\r\nok", OK_TWO, NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask_and_wait(&a, place);
    ask(&a, place);
    AWAIT(*a.body);
    shutdown(bufferevent_getfd(p.last), SHUT_WR);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNRESET);
    assert_int_equal(p.n_asked, 2);
    end(&p, &place);
}

/* Whoever listened there died of the request, or before it: it had been sent, so that is told, not that nobody listens. */
static void test_a_stale_one_that_nobody_replaces(void **state)
{
    static const char *const script[] = {OK_TWO, hangs_up, NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask_and_wait(&a, place);
    peer_stop_listening(&p);
    ask_and_wait(&a, place);
    assert_int_equal(a.result, -ECONNRESET);
    ask_and_wait(&a, place); /* and now nothing was sent */
    assert_int_equal(a.result, -ECONNREFUSED);
    end(&p, &place);
}

/* As many as there were requests at a time, and of those no more than the bound; the newest is taken first. */
static void test_how_many_are_kept(void **state)
{
    enum { MORE = HTTPC_IDLE_MAX + 5 };
    const char *script[2 * MORE + 1] = {NULL};
    struct httpc_place *place;
    struct answer a[MORE];
    struct peer p;

    (void)state;
    for (int i = 0; i < 2 * MORE; i++)
        script[i] = OK_TWO;
    peer_start(&p, script);
    place = place_at(&p);
    for (int n = 3; n <= MORE; n = n < MORE ? MORE : n + 1) {
        for (int i = 0; i < n; i++)
            ask(&a[i], place);
        for (int i = 0; i < n; i++)
            AWAIT(a[i].n_done);
        assert_int_equal(p.n_connections, n);
        assert_int_equal(httpc_place_idle(place), n < HTTPC_IDLE_MAX ? n : HTTPC_IDLE_MAX);
    }
    end(&p, &place);
}

static void test_not_for_long(void **state)
{
    static const char *const script[] = {OK_TWO, NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask_and_wait(&a, place);
    assert_int_equal(httpc_place_idle(place), 1);
    AWAIT(p.n_closed == 1); /* by our end alone */
    assert_int_equal(httpc_place_idle(place), 0);
    end(&p, &place);
}

static void test_a_place_that_is_left(void **state)
{
    static const char *const script[] = {OK_TWO, is_mute, is_mute, NULL};
    struct httpc_place *place, *left;
    struct answer a, b;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask_and_wait(&a, place);
    ask(&a, place); /* on the kept one */
    ask(&b, place); /* on a new one */
    AWAIT(p.n_asked == 3);
    left = place; /* which the requests keep */
    httpc_place_leave(&place);
    assert_null(place);
    bufferevent_write(p.last, OK_TWO, strlen(OK_TWO)); /* they go on, and nothing is kept */
    AWAIT(b.n_done);
    assert_int_equal(b.result, 0);
    assert_int_equal(httpc_place_idle(left), 0);
    AWAIT(p.n_closed == 1);
    httpc_cancel(&a.request);
    end(&p, &place);
}

static void test_given_up_it_is_not_kept(void **state)
{
    static const char *const script[] = {OK_TWO, is_mute, NULL};
    struct httpc_place *place;
    struct answer a;
    struct peer p;

    (void)state;
    peer_start(&p, script);
    place = place_at(&p);
    ask_and_wait(&a, place);
    ask(&a, place);
    AWAIT(p.n_asked == 2);
    httpc_cancel(&a.request);
    assert_int_equal(httpc_place_idle(place), 0);
    AWAIT(p.n_closed == 1);
    end(&p, &place);
}

/* ---- through a dialler ---- */

struct dials {
    struct peer *peer;
    int n_dials, n_closed, verdict;
    struct event *turn;
    void (*done)(void *arg, int fd_or_errno);
    void *arg;
};

static void dial_done(evutil_socket_t fd, short what, void *ctx)
{
    struct dials *d = ctx;
    int pair[2];

    (void)fd, (void)what;
    if (d->verdict) {
        d->done(d->arg, d->verdict);
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    peer_take(d->peer, pair[1]);
    d->done(d->arg, pair[0]);
}

static int dial(void *ctx, struct event_base *on, void (*done)(void *arg, int fd_or_errno), void *arg, void **handle)
{
    struct dials *d = ctx;

    (void)on;
    d->n_dials++;
    d->done = done;
    d->arg = arg;
    *handle = d;
    event_active(d->turn, EV_TIMEOUT, 0);
    return 0;
}

static int no_failure(void *handle, int r)
{
    (void)handle;
    return r;
}

static void count_close(void *handle)
{
    ((struct dials *)handle)->n_closed++;
}

static void test_dialled_connections_are_kept(void **state)
{
    static const char *const script[] = {OK_TWO, OK_TWO, hangs_up, OK_TWO, hangs_up, NULL};
    struct peer p = {.script = script};
    struct dials d = {.peer = &p, .turn = event_new(base, -1, 0, dial_done, &d)};
    const struct httpc_dialer dialer = {.dial = dial, .failure = no_failure, .close = count_close, .ctx = &d};
    const struct httpc_spec spec = {.host = "127.0.0.1", .port = 1, .dialer = &dialer};
    struct httpc_place *place = NULL;
    struct answer a;

    (void)state;
    assert_int_equal(httpc_place_new(&spec, &place), 0);
    ask_and_wait(&a, place);
    ask_and_wait(&a, place);
    assert_int_equal(d.n_dials, 1);
    assert_int_equal(d.n_closed, 0);
    ask_and_wait(&a, place); /* stale */
    assert_int_equal(a.result, 0);
    assert_int_equal(d.n_dials, 2);
    assert_int_equal(d.n_closed, 1);
    d.verdict = -ESTALE;
    ask_and_wait(&a, place);
    assert_int_equal(a.result, -ECONNRESET);
    ask_and_wait(&a, place);
    assert_int_equal(a.result, -ESTALE);
    assert_int_equal(d.n_closed, d.n_dials);
    end(&p, &place);
    event_free(d.turn);
}

static int make_base(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    base = event_base_new();
    return base ? 0 : -1;
}

static int free_base(void **state)
{
    (void)state;
    event_base_loop(base, EVLOOP_NONBLOCK); /* what was freed with a callback under way */
    event_base_free(base);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_base, free_base)
    const struct CMUnitTest tests[] = {
        TEST(test_one_connection_for_all),
        TEST(test_what_is_not_kept),
        TEST(test_one_ahead_of_the_next),
        TEST(test_none_ahead),
        TEST(test_what_goes_while_it_waits),
        TEST(test_a_stale_one_is_replaced_once),
        TEST(test_an_answer_that_is_cut_is_no_stale_one),
        TEST(test_a_stale_one_that_nobody_replaces),
        TEST(test_how_many_are_kept),
        TEST(test_not_for_long),
        TEST(test_a_place_that_is_left),
        TEST(test_given_up_it_is_not_kept),
        TEST(test_dialled_connections_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
