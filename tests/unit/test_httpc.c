/* The HTTP client against a listener in the same loop that plays one script per connection. */
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
#include <sys/un.h>
#include <unistd.h>

#include "common/httpc.h"

#define OK      "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

static struct event_base *base;

/* ---- the other end ---- */

enum then { THEN_CLOSE, THEN_RESET, THEN_STAY };

struct peer {
    struct evconnlistener *listener;
    uint16_t port;
    const char *answer; /* said once the request's head is there */
    size_t n_answer_times;
    enum then then;
    struct bufferevent *bev; /* the newest connection */
    char request[4096];
    int n_connections, n_closed;
};

static void peer_hang_up(struct peer *p)
{
    if (!p->bev)
        return;
    if (p->then == THEN_RESET)
        setsockopt(bufferevent_getfd(p->bev), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    bufferevent_free(p->bev);
    p->bev = NULL;
}

static void peer_sent(struct bufferevent *bev, void *arg)
{
    struct peer *p = arg;

    if (p->then != THEN_STAY && !p->answer && !evbuffer_get_length(bufferevent_get_output(bev)))
        peer_hang_up(p);
}

static void peer_readable(struct bufferevent *bev, void *arg)
{
    struct peer *p = arg;
    size_t used = strlen(p->request);
    size_t n = bufferevent_read(bev, p->request + used, sizeof(p->request) - 1 - used);

    p->request[used + n] = '\0';
    if (!p->answer || !strstr(p->request, "\r\n\r\n"))
        return;
    for (size_t i = 0; i < p->n_answer_times; i++)
        bufferevent_write(bev, p->answer, strlen(p->answer));
    p->answer = NULL;
}

static void peer_event(struct bufferevent *bev, short what, void *arg)
{
    struct peer *p = arg;

    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
        return;
    p->n_closed++;
    bufferevent_free(bev);
    p->bev = NULL;
}

/* The newest connection. */
static void peer_take(struct peer *p, int fd)
{
    p->n_connections++;
    p->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(p->bev, peer_readable, peer_sent, peer_event, p);
    bufferevent_enable(p->bev, EV_READ | EV_WRITE);
}

static void peer_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    (void)l, (void)sa, (void)n;
    peer_take(arg, fd);
}

static void peer_start(struct peer *p, const char *answer, enum then then)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);

    *p = (struct peer){.answer = answer, .n_answer_times = 1, .then = then};
    p->listener = evconnlistener_new_bind(base, peer_accept, p, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 8,
                                          (struct sockaddr *)&sa, sizeof(sa));
    assert_non_null(p->listener);
    getsockname(evconnlistener_get_fd(p->listener), (struct sockaddr *)&sa, &n);
    p->port = ntohs(sa.sin_port);
}

static void peer_end(struct peer *p)
{
    if (p->bev)
        bufferevent_free(p->bev);
    if (p->listener)
        evconnlistener_free(p->listener);
}

/* ---- our end ---- */

enum act { ACT_NOTHING, ACT_CANCEL_IN_HEAD, ACT_CANCEL_IN_DATA, ACT_PAUSE_IN_HEAD, ACT_PAUSE_IN_DATA };

struct answer {
    struct httpc_request *request;
    int status, n_heads, n_done, result;
    char type[64], body[256];
    size_t n_body_bytes;
    int n_data;
    enum act act;
};

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    struct answer *a = ctx;

    assert_int_equal(a->n_data, 0);
    a->n_heads++;
    a->status = status;
    for (size_t i = 0; i < n_headers; i++)
        if (strcmp(header[i].name, "Content-Type") == 0)
            snprintf(a->type, sizeof(a->type), "%s", header[i].value);
    if (a->act == ACT_CANCEL_IN_HEAD)
        httpc_cancel(&a->request);
    if (a->act == ACT_PAUSE_IN_HEAD)
        httpc_pause(a->request);
}

static void on_data(void *ctx, const void *buf, size_t n_bytes)
{
    struct answer *a = ctx;

    assert_int_equal(a->n_heads, 1);
    a->n_data++;
    if (a->n_body_bytes + n_bytes < sizeof(a->body))
        memcpy(a->body + a->n_body_bytes, buf, n_bytes);
    a->n_body_bytes += n_bytes;
    if (a->act == ACT_CANCEL_IN_DATA)
        httpc_cancel(&a->request);
    if (a->act == ACT_PAUSE_IN_DATA)
        httpc_pause(a->request);
}

static void on_done(void *ctx, int r)
{
    struct answer *a = ctx;

    a->request = NULL;
    a->n_done++;
    a->result = r;
}

static void ask_with(struct answer *a, const struct httpc_spec *spec)
{
    const struct httpc_callbacks cb = {on_head, on_data, on_done, a};

    assert_int_equal(httpc_start(base, spec, &cb, &a->request), 0);
    assert_int_equal(a->n_done, 0); /* nothing is called before it returns */
}

static struct httpc_spec get(const struct peer *p)
{
    return (struct httpc_spec){.host = "127.0.0.1", .port = p->port, .method = "GET", .target = "/"};
}

/* ---- a connection that is made for us ---- */

/* One dial: a pair of sockets, whose other end is the peer's. */
struct pair {
    struct peer *peer;
    int refusal; /* of dial; negative errno, 0: it goes on */
    int verdict; /* of done; negative errno, 0: the socket */
    int failure;
    bool waits; /* done is left to the test */
    int n_dials, n_closed;
    bool done_called, asked_after_close;
    struct event *turn;
    void (*done)(void *arg, int fd_or_errno);
    void *arg;
};

static void pair_done(struct pair *d)
{
    int fd[2];

    d->done_called = true;
    if (d->verdict) {
        d->done(d->arg, d->verdict);
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    peer_take(d->peer, fd[1]);
    d->done(d->arg, fd[0]);
}

static void pair_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    pair_done(arg);
}

static int pair_dial(void *ctx, struct event_base *on, void (*done)(void *arg, int fd_or_errno), void *arg,
                     void **handle)
{
    struct pair *d = ctx;

    assert_ptr_equal(on, base);
    d->n_dials++;
    *handle = d;
    if (d->refusal)
        return d->refusal;
    d->done = done;
    d->arg = arg;
    d->turn = event_new(base, -1, 0, pair_turn, d);
    if (!d->waits)
        event_active(d->turn, EV_TIMEOUT, 0);
    return 0;
}

static int pair_failure(void *handle, int r)
{
    struct pair *d = handle;

    d->asked_after_close |= d->n_closed > 0;
    return d->failure ? d->failure : r;
}

static void pair_close(void *handle)
{
    struct pair *d = handle;

    d->n_closed++;
    event_free(d->turn); /* done is not called from here on */
    d->turn = NULL;
}

static struct httpc_spec get_dialled(struct pair *d, struct httpc_dialer *dialer, struct peer *p, const char *answer,
                                     enum then then)
{
    struct httpc_spec spec;

    *p = (struct peer){.answer = answer, .n_answer_times = 1, .then = then, .port = 18080};
    d->peer = p;
    *dialer = (struct httpc_dialer){.dial = pair_dial, .failure = pair_failure, .close = pair_close, .ctx = d};
    spec = get(p);
    spec.dialer = dialer;
    return spec;
}

#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

/* ---- tests ---- */

static void test_how_answers_end(void **state)
{
    static const struct {
        const char *answer;
        enum then then;
        int result;
        const char *body;
    } cases[] = {
        {OK "Content-Length: 5\r\n\r\nhello", THEN_CLOSE, 0, "hello"},
        {OK "Content-Length: 5\r\n\r\nhello", THEN_STAY, 0, "hello"}, /* a peer that keeps its end open */
        {OK "Content-Length: 0\r\n\r\n", THEN_STAY, 0, ""},
        {OK "\r\nhello", THEN_CLOSE, 0, "hello"},
        {CHUNKED "5\r\nhello\r\n0\r\n\r\n", THEN_STAY, 0, "hello"},
        {"HTTP/1.1 204 Done\r\n\r\n", THEN_STAY, 0, ""},
        /* cut short: a coordinator that dies */
        {OK "Content-Length: 6\r\n\r\nhello", THEN_CLOSE, -ECONNRESET, "hello"},
        {CHUNKED "5\r\nhello\r\n", THEN_CLOSE, -ECONNRESET, "hello"},
        {CHUNKED "5\r\nhello\r\n0\r\n", THEN_CLOSE, -ECONNRESET, "hello"},
        {CHUNKED "5\r\nhello\r\n", THEN_RESET, -ECONNRESET, NULL}, /* a reset may overtake what was sent */
        {"", THEN_CLOSE, -ECONNRESET, ""},
        {OK, THEN_CLOSE, -ECONNRESET, ""},
        /* not HTTP as we take it */
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", THEN_STAY, -EPROTO, ""},
        {CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", THEN_STAY, -EPROTO, ""},
        {OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", THEN_STAY, -EPROTO, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer p;
        struct answer a = {0};
        struct httpc_spec spec;

        peer_start(&p, cases[i].answer, cases[i].then);
        spec = get(&p);
        ask_with(&a, &spec);
        if (!*cases[i].answer) {
            AWAIT(p.bev);
            peer_hang_up(&p);
        }
        AWAIT(a.n_done);
        if (a.result != cases[i].result || (cases[i].body && strcmp(a.body, cases[i].body) != 0))
            fail_msg("case %zu: %d \"%s\"", i, a.result, a.body);
        peer_end(&p);
    }
}

/* A socket in the file system: named in place of host and port, which then stand in the request only. */
static void test_unix_socket(void **state)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct answer a = {0}, refused = {0};
    struct peer p = {.answer = OK "Content-Length: 2\r\n\r\nok", .n_answer_times = 1, .then = THEN_STAY};
    struct httpc_spec spec;
    char too_long[200];

    (void)state;
    snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/caravan-test-%d.sock", (int)getpid());
    p.listener =
        evconnlistener_new_bind(base, peer_accept, &p, LEV_OPT_CLOSE_ON_FREE, 8, (struct sockaddr *)&sa, sizeof(sa));
    assert_non_null(p.listener);
    spec = get(&p);
    spec.port = 80;
    spec.unix_path = sa.sun_path;
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    assert_string_equal(a.body, "ok");
    assert_non_null(strstr(p.request, "Host: 127.0.0.1:80\r\n"));
    peer_end(&p);
    unlink(sa.sun_path);
    if (httpc_start(base, &spec, &(struct httpc_callbacks){on_head, on_data, on_done, &refused}, &refused.request) == 0)
        AWAIT(refused.n_done);
    assert_int_equal(refused.n_heads, 0);
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    spec.unix_path = too_long;
    assert_int_equal(httpc_start(base, &spec, &(struct httpc_callbacks){on_head, on_data, on_done, &a}, &a.request),
                     -ENAMETOOLONG);
}

static void test_what_is_sent(void **state)
{
    const struct httpc_header headers[] = {{"Authorization", "Bearer secret"},
                                           {"host", "evil"},
                                           {"Content-length", "3"},
                                           {"Transfer-Encoding", "chunked"}};
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;
    char want[256];

    (void)state;
    peer_start(&p, OK "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok", THEN_CLOSE);
    spec = get(&p);
    spec.method = "POST";
    spec.target = "/v1/x?y=z";
    spec.header = headers;
    spec.n_headers = 4;
    spec.body = "{}";
    spec.n_body_bytes = 2;
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    snprintf(want, sizeof(want),
             "POST /v1/x?y=z HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\nContent-Length: 2\r\n"
             "Authorization: Bearer secret\r\n\r\n{}",
             p.port);
    assert_string_equal(p.request, want);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.type, "text/plain");
    peer_end(&p);
}

static void test_what_would_break_the_head_is_refused(void **state)
{
    const struct httpc_header bad_value = {"A", "b\r\nC: d"}, bad_name = {"A b", "c"};
    const struct httpc_spec good = {.host = "127.0.0.1", .port = 1, .method = "GET", .target = "/"};
    struct httpc_spec bad[6];
    struct httpc_request *request = NULL;
    struct answer a = {0};
    const struct httpc_callbacks cb = {on_head, on_data, on_done, &a};

    (void)state;
    for (size_t i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].method = "GET /";
    bad[1].target = "/ HTTP/1.1\r\nA: b";
    bad[2].target = "";
    bad[3].header = &bad_value, bad[3].n_headers = 1;
    bad[4].header = &bad_name, bad[4].n_headers = 1;
    bad[5].host = "a b";
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(httpc_start(base, &bad[i], &cb, &request), -EINVAL);
    assert_null(request);
    assert_int_equal(a.n_done, 0);
}

static void test_nobody_listens(void **state)
{
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;
    struct httpc_request *request = NULL;
    const struct httpc_callbacks cb = {on_head, on_data, on_done, &a};

    (void)state;
    peer_start(&p, "", THEN_CLOSE);
    spec = get(&p);
    peer_end(&p);
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNREFUSED);
    assert_int_equal(a.n_heads, 0);
    spec.host = "no-such-host.invalid";
    assert_int_equal(httpc_start(base, &spec, &cb, &request), -ENXIO);
}

/* localhost may be ::1 first, where nobody listens. */
static void test_each_address_of_a_name_is_tried(void **state)
{
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;

    (void)state;
    peer_start(&p, OK "Content-Length: 2\r\n\r\nok", THEN_CLOSE);
    spec = get(&p);
    spec.host = "localhost";
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    peer_end(&p);
}

static void test_timeouts(void **state)
{
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;

    (void)state;
    peer_start(&p, CHUNKED "5\r\nhello\r\n", THEN_STAY); /* and then silence */
    spec = get(&p);
    spec.idle_timeout_ms = 50;
    spec.connect_timeout_ms = 600000; /* not what ends it */
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ETIMEDOUT);
    assert_string_equal(a.body, "hello");
    AWAIT(p.n_closed == 1);

    a = (struct answer){0};
    spec.host = "192.0.2.1"; /* a network that is nowhere: no answer, or at once unreachable */
    spec.connect_timeout_ms = 50;
    {
        const struct httpc_callbacks cb = {on_head, on_data, on_done, &a};

        if (httpc_start(base, &spec, &cb, &a.request) == 0) {
            AWAIT(a.n_done);
            assert_true(a.result < 0);
        }
    }
    peer_end(&p);
}

static void test_bounds(void **state)
{
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;

    (void)state;
    peer_start(&p, OK "Content-Length: 10\r\n\r\n0123456789", THEN_STAY);
    spec = get(&p);
    spec.max_body_bytes = 10;
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    peer_end(&p);

    a = (struct answer){0};
    peer_start(&p, OK "Content-Length: 11\r\n\r\n0123456789a", THEN_STAY);
    spec.port = p.port;
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -EMSGSIZE);
    peer_end(&p);

    a = (struct answer){0};
    peer_start(&p, "HTTP/1.1 200 OKOKOKOKOKOKOKOKOKOKOKOKOK", THEN_STAY);
    p.n_answer_times = 5000;
    spec.port = p.port;
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -EMSGSIZE);
    peer_end(&p);
}

static void test_cancel(void **state)
{
    static const enum act acts[] = {ACT_CANCEL_IN_HEAD, ACT_CANCEL_IN_DATA, ACT_NOTHING};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct peer p;
        struct answer a = {.act = acts[i]};
        struct httpc_spec spec;

        peer_start(&p, CHUNKED "1\r\na\r\n1\r\nb\r\n0\r\n\r\n", THEN_STAY);
        spec = get(&p);
        ask_with(&a, &spec);
        if (acts[i] == ACT_NOTHING) { /* from outside, before anything came */
            AWAIT(p.bev);
            httpc_cancel(&a.request);
        }
        AWAIT(p.n_closed == 1);
        assert_int_equal(a.n_done, 0);
        assert_null(a.request);
        assert_int_equal(a.n_data, acts[i] == ACT_CANCEL_IN_DATA);
        httpc_cancel(&a.request); /* again is fine */
        peer_end(&p);
    }
}

/* Paused at every callback, with all of the answer there already, however it ended. */
static void test_pause(void **state)
{
    static const struct {
        const char *answer;
        enum then then;
        int result;
    } cases[] = {
        {CHUNKED "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", THEN_STAY, 0},
        {CHUNKED "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", THEN_CLOSE, 0},
        {CHUNKED "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n", THEN_CLOSE, -ECONNRESET},
        {OK "Content-Length: 3\r\n\r\nabc", THEN_STAY, 0},
        {OK "\r\nabc", THEN_CLOSE, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (enum act act = ACT_PAUSE_IN_HEAD; act <= ACT_PAUSE_IN_DATA; act++) {
            struct peer p;
            struct answer a = {.act = act};
            struct httpc_spec spec;
            int n_resumed = 0;

            peer_start(&p, cases[i].answer, cases[i].then);
            spec = get(&p);
            spec.idle_timeout_ms = 20000;
            ask_with(&a, &spec);
            AWAIT(a.n_heads);
            while (!a.n_done) {
                int n_data = a.n_data;

                event_base_loop(base, EVLOOP_NONBLOCK);
                if (!a.request)
                    break;
                httpc_resume(a.request);
                assert_int_equal(a.n_data, n_data); /* not from within our call */
                AWAIT(a.n_done || a.n_data > n_data || act == ACT_PAUSE_IN_HEAD);
                assert_true(act == ACT_PAUSE_IN_HEAD || a.n_data <= n_data + 1);
                n_resumed++;
            }
            if (a.result != cases[i].result || strcmp(a.body, "abc") != 0)
                fail_msg("case %zu, act %d: %d \"%s\"", i, act, a.result, a.body);
            assert_true(n_resumed >= 1);
            peer_end(&p);
        }
    }
}

static void test_pause_before_it_is_connected(void **state)
{
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;

    (void)state;
    peer_start(&p, OK "Content-Length: 2\r\n\r\nok", THEN_STAY);
    spec = get(&p);
    ask_with(&a, &spec);
    httpc_pause(a.request);
    AWAIT(*p.request && !p.answer);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(a.n_heads, 0);
    httpc_resume(a.request);
    AWAIT(a.n_done);
    assert_string_equal(a.body, "ok");
    peer_end(&p);
}

/* While we do not read, the other end cannot send for ever. */
static void test_a_pause_holds_the_sender(void **state)
{
    enum { N = 40000 };
    static char block[1001];
    struct peer p;
    struct answer a = {.act = ACT_PAUSE_IN_HEAD};
    struct httpc_spec spec;
    size_t left, before;

    (void)state;
    memset(block, 'x', sizeof(block) - 1);
    peer_start(&p, OK "\r\n", THEN_STAY);
    spec = get(&p);
    ask_with(&a, &spec);
    AWAIT(a.n_heads);
    for (int i = 0; i < N; i++)
        bufferevent_write(p.bev, block, 1000);
    do { /* until the sockets are full */
        before = evbuffer_get_length(bufferevent_get_output(p.bev));
        event_base_loop(base, EVLOOP_NONBLOCK);
        left = evbuffer_get_length(bufferevent_get_output(p.bev));
    } while (left < before);
    assert_true(left > 0);
    assert_int_equal(a.n_body_bytes, 0);
    p.then = THEN_CLOSE;
    httpc_resume(a.request);
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    assert_int_equal(a.n_body_bytes, N * 1000);
    peer_end(&p);
}

/* It answers and closes before it has read our body. */
static void test_an_answer_to_half_a_request(void **state)
{
    static char body[20 * 1024 * 1024];
    struct peer p;
    struct answer a = {0};
    struct httpc_spec spec;

    (void)state;
    peer_start(&p, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", THEN_CLOSE);
    spec = get(&p);
    spec.method = "POST";
    spec.body = body;
    spec.n_body_bytes = sizeof(body);
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.status, 413);
    assert_int_equal(a.result, 0);
    peer_end(&p);
}

/* ---- through a dialler ---- */

static void test_a_dialled_connection_ends_in_every_way(void **state)
{
    static const struct {
        const char *answer;
        enum then then;
        int failure, result;
        const char *body;
    } cases[] = {
        {OK "Content-Length: 5\r\n\r\nhello", THEN_STAY, 0, 0, "hello"},
        {OK "Content-Length: 5\r\n\r\nhello", THEN_CLOSE, -ECONNRESET, 0, "hello"}, /* whole by itself */
        {CHUNKED "5\r\nhello\r\n", THEN_CLOSE, 0, -ECONNRESET, "hello"},
        {CHUNKED "5\r\nhello\r\n", THEN_CLOSE, -ETIMEDOUT, -ETIMEDOUT, "hello"},
        /* its end is all that says where it ends: the socket's is the same, whether it was cut or not */
        {OK "\r\nhello", THEN_CLOSE, 0, 0, "hello"},
        {OK "\r\nhello", THEN_CLOSE, -ECONNRESET, -ECONNRESET, "hello"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair d = {.failure = cases[i].failure};
        struct httpc_dialer dialer;
        struct answer a = {0};
        struct peer p;
        struct httpc_spec spec = get_dialled(&d, &dialer, &p, cases[i].answer, cases[i].then);

        ask_with(&a, &spec);
        dialer = (struct httpc_dialer){.dial = NULL}; /* it was borrowed no longer than that */
        AWAIT(a.n_done);
        if (a.result != cases[i].result || strcmp(a.body, cases[i].body) != 0)
            fail_msg("case %zu: %d \"%s\"", i, a.result, a.body);
        assert_non_null(strstr(p.request, "Host: 127.0.0.1:18080\r\n"));
        assert_int_equal(d.n_closed, 1);
        assert_false(d.asked_after_close);
        peer_end(&p);
    }
}

static void test_a_dial_that_fails(void **state)
{
    struct pair at_once = {.refusal = -ENETUNREACH}, later = {.verdict = -ECONNREFUSED}, never = {.waits = true};
    struct httpc_dialer dialer;
    struct answer a = {0};
    const struct httpc_callbacks cb = {on_head, on_data, on_done, &a};
    struct peer p;
    struct httpc_spec spec = get_dialled(&at_once, &dialer, &p, "", THEN_STAY);

    (void)state;
    assert_int_equal(httpc_start(base, &spec, &cb, &a.request), -ENETUNREACH);
    assert_int_equal(at_once.n_dials, 1);
    assert_int_equal(at_once.n_closed, 0);
    assert_int_equal(a.n_done, 0);

    spec = get_dialled(&later, &dialer, &p, "", THEN_STAY);
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNREFUSED);
    assert_int_equal(later.n_closed, 1);

    a = (struct answer){0};
    spec = get_dialled(&never, &dialer, &p, "", THEN_STAY);
    spec.connect_timeout_ms = 20;
    ask_with(&a, &spec);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ETIMEDOUT);
    assert_int_equal(never.n_closed, 1);
    assert_false(never.done_called);
}

/* In each stage: it is closed once, and its socket is closed by then. */
static void test_a_dialled_connection_is_given_up(void **state)
{
    enum { BEFORE_DONE, BEFORE_HEAD, IN_HEAD, IN_DATA, STAGES };

    (void)state;
    for (int stage = 0; stage < STAGES; stage++) {
        struct pair d = {.waits = stage == BEFORE_DONE};
        struct httpc_dialer dialer;
        struct answer a = {.act = stage == IN_HEAD ? ACT_CANCEL_IN_HEAD : stage == IN_DATA ? ACT_CANCEL_IN_DATA : 0};
        struct peer p;
        struct httpc_spec spec = get_dialled(&d, &dialer, &p, CHUNKED "1\r\na\r\n1\r\nb\r\n", THEN_STAY);

        if (stage == BEFORE_HEAD)
            p.answer = NULL;
        ask_with(&a, &spec);
        if (stage == BEFORE_HEAD)
            AWAIT(*p.request);
        if (stage <= BEFORE_HEAD)
            httpc_cancel(&a.request);
        else
            AWAIT(!a.request);
        assert_int_equal(d.n_closed, 1);
        if (stage != BEFORE_DONE)
            AWAIT(p.n_closed);
        assert_int_equal(a.n_done, 0);
        assert_int_equal(d.done_called, stage != BEFORE_DONE);
        peer_end(&p);
    }
}

/* Paused before it stands, and behind its end: what came before that is still handed on, then how it ended. */
static void test_a_dialled_connection_is_paused(void **state)
{
    struct pair d = {.waits = true, .failure = -ECONNRESET};
    struct httpc_dialer dialer;
    struct answer a = {.act = ACT_PAUSE_IN_HEAD};
    struct peer p;
    struct httpc_spec spec = get_dialled(&d, &dialer, &p, OK "\r\nabc", THEN_CLOSE);

    (void)state;
    ask_with(&a, &spec);
    httpc_pause(a.request);
    pair_done(&d);
    AWAIT(*p.request && !p.bev);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(a.n_heads, 0);
    httpc_resume(a.request);
    AWAIT(a.n_heads);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(a.n_data + a.n_done, 0);
    httpc_resume(a.request);
    AWAIT(a.n_done);
    assert_string_equal(a.body, "abc");
    assert_int_equal(a.result, -ECONNRESET);
    assert_int_equal(d.n_closed, 1);
    peer_end(&p);
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
    event_base_free(base);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_base, free_base)
    const struct CMUnitTest tests[] = {
        TEST(test_how_answers_end),
        TEST(test_unix_socket),
        TEST(test_what_is_sent),
        TEST(test_what_would_break_the_head_is_refused),
        TEST(test_nobody_listens),
        TEST(test_each_address_of_a_name_is_tried),
        TEST(test_timeouts),
        TEST(test_bounds),
        TEST(test_cancel),
        TEST(test_pause),
        TEST(test_pause_before_it_is_connected),
        TEST(test_a_pause_holds_the_sender),
        TEST(test_an_answer_to_half_a_request),
        TEST(test_a_dialled_connection_ends_in_every_way),
        TEST(test_a_dial_that_fails),
        TEST(test_a_dialled_connection_is_given_up),
        TEST(test_a_dialled_connection_is_paused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
