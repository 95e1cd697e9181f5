/* Requests to a coordinator through a carrier, all in one loop: a real door and real relays at the carrier's side, and a
 * coordinator that plays one part per test. */
#include <dirent.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <setjmp.h>
#include <signal.h>
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

#include "controller/tunnels.h"
#include "controller/upstream.h"
#include "tests/lib/carrier_lab.h"
#include "tests/lib/http_lab.h"
#include "tests/lib/view_lab.h"

#define OK      "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"

static struct event_base *base;
static const uint8_t secret[CRYPTO_KEY_BYTES] = {7};

/* What the coordinator does with a whole request. */
enum part { ECHO, SILENT, BEGINS_STREAM, BEGINS_ANSWER, RESETS, FLOODS };

struct lab {
    struct identity own;
    struct tunnels *tunnels;
    struct upstream up;
    struct upstream_target target;
    struct carrier_lab carrier;
    enum part part;
    struct evconnlistener *listener;
    struct bufferevent *newest; /* connection; NULL: it is over */
    size_t n_asked, n_closed;
    size_t n_fds;
};

/* ---- the coordinator ---------------------------------------------------------------------------------------------- */

static void reset(struct bufferevent *bev)
{
    setsockopt(bufferevent_getfd(bev), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    bufferevent_free(bev);
}

/* Head and body in one; 0: not whole yet. */
static size_t length_of_request(struct evbuffer *in, size_t *ret_body)
{
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    struct evbuffer_ptr field = evbuffer_search(in, "Content-Length: ", 16, NULL);
    char digits[16] = "";

    if (end.pos < 0)
        return 0;
    if (field.pos >= 0) {
        evbuffer_ptr_set(in, &field, 16, EVBUFFER_PTR_ADD);
        evbuffer_copyout_from(in, &field, digits, sizeof(digits) - 1);
    }
    *ret_body = strtoul(digits, NULL, 10);
    return evbuffer_get_length(in) < (size_t)end.pos + 4 + *ret_body ? 0 : (size_t)end.pos + 4 + *ret_body;
}

static void play(struct lab *lab, struct bufferevent *bev, struct evbuffer *in, size_t n_all, size_t n_body)
{
    struct evbuffer *out = bufferevent_get_output(bev);

    switch (lab->part) {
    case ECHO:
        evbuffer_add_printf(out, OK "Content-Length: %zu\r\n\r\n", n_body);
        evbuffer_drain(in, n_all - n_body);
        evbuffer_remove_buffer(in, out, n_body);
        return;
    case SILENT:
        return;
    case BEGINS_STREAM:
        evbuffer_add_printf(out, CHUNKED "5\r\nhello\r\n");
        return;
    case BEGINS_ANSWER: /* the end of the connection is all that ends it */
        evbuffer_add_printf(out, OK "\r\nhello");
        return;
    case RESETS:
        lab->newest = NULL;
        reset(bev);
        return;
    case FLOODS:
        evbuffer_add_printf(out, OK "\r\n");
        return;
    }
}

static void coordinator_readable(struct bufferevent *bev, void *ctx)
{
    struct evbuffer *in = bufferevent_get_input(bev);
    struct lab *lab = ctx;
    size_t n_body = 0, n = length_of_request(in, &n_body);

    if (!n)
        return;
    lab->n_asked++;
    play(lab, bev, in, n, n_body);
}

static void coordinator_event(struct bufferevent *bev, short what, void *ctx)
{
    struct lab *lab = ctx;

    (void)what;
    lab->n_closed++;
    if (lab->newest == bev)
        lab->newest = NULL;
    bufferevent_free(bev);
}

static void coordinator_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *ctx)
{
    struct lab *lab = ctx;

    (void)l, (void)sa, (void)n;
    lab->newest = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(lab->newest, coordinator_readable, NULL, coordinator_event, lab);
    bufferevent_enable(lab->newest, EV_READ | EV_WRITE);
}

/* ---- the lab ------------------------------------------------------------------------------------------------------ */

static size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void lab_open(struct lab *lab)
{
    const struct id128 instance = lab_id(0xaa);
    uint16_t port;

    *lab = (struct lab){.n_fds = count_fds()};
    base = event_base_new();
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0xc0}, &lab->own);
    lab->listener = evconnlistener_new(base, coordinator_accept, lab, LEV_OPT_CLOSE_ON_FREE, -1, lab_listen(&port));
    assert_non_null(lab->listener);
    lab->carrier = (struct carrier_lab){.instance = instance, .epoch = 3, .coordinator_port = port};
    memcpy(lab->carrier.gateway, lab->own.public_key, sizeof(lab->carrier.gateway));
    carrier_lab_open(&lab->carrier, base);
    assert_int_equal(tunnels_new(base, &lab->own, &lab->tunnels), 0);
    lab->up = (struct upstream){.base = base, .secret = secret, .tunnels = lab->tunnels};
    lab->target =
        (struct upstream_target){.addr = "127.0.0.1", .port = lab->carrier.port, .instance = instance, .epoch = 3};
    memcpy(lab->target.key, lab->carrier.key, sizeof(lab->target.key));
}

/* And nothing is left. */
static void lab_shut(struct lab *lab)
{
    tunnels_destroy(&lab->tunnels);
    carrier_lab_kill(&lab->carrier);
    if (lab->newest)
        bufferevent_free(lab->newest);
    evconnlistener_free(lab->listener);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
    assert_int_equal(count_fds(), lab->n_fds);
}

#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

/* ---- requests ----------------------------------------------------------------------------------------------------- */

struct ask {
    struct httpc_request *request;
    const char *body; /* of an echo */
    size_t n_body, n_got;
    char got[32];
    int n_heads, n_done, result;
    bool wrong, cancels, pauses;
};

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    struct ask *a = ctx;

    (void)header, (void)n_headers;
    a->n_heads++;
    a->wrong |= status != 200;
    if (a->pauses)
        httpc_pause(a->request);
}

static void on_data(void *ctx, const void *buf, size_t n)
{
    struct ask *a = ctx;

    if (a->body)
        a->wrong |= a->n_got + n > a->n_body || memcmp(a->body + a->n_got, buf, n) != 0;
    else if (a->n_got + n < sizeof(a->got))
        memcpy(a->got + a->n_got, buf, n);
    a->n_got += n;
    if (a->cancels)
        httpc_cancel(&a->request);
}

static void on_done(void *ctx, int r)
{
    struct ask *a = ctx;

    a->request = NULL;
    a->n_done++;
    a->result = r;
}

static int try_to_ask(struct lab *lab, struct ask *a, const char *body, size_t n_body)
{
    const struct httpc_callbacks cb = {on_head, on_data, on_done, a};
    const struct httpc_spec spec = {.method = "POST", .target = "/", .body = body, .n_body_bytes = n_body};

    *a = (struct ask){.body = lab->part == ECHO ? body : NULL, .n_body = n_body};
    return upstream_start(&lab->up, &lab->target, &spec, &cb, &a->request);
}

static void ask_for(struct lab *lab, struct ask *a, const char *body, size_t n_body)
{
    assert_int_equal(try_to_ask(lab, a, body, n_body), 0);
    assert_int_equal(a->n_done, 0); /* nothing comes before it returns */
}

static void ask(struct lab *lab, struct ask *a)
{
    ask_for(lab, a, "{}", 2);
}

static void expect_echo(const struct ask *a)
{
    assert_int_equal(a->result, 0);
    assert_false(a->wrong);
    assert_int_equal(a->n_heads, 1);
    assert_int_equal(a->n_got, a->n_body);
}

/* One more, through the same room: whatever was before. */
static void expect_serves(struct lab *lab)
{
    struct ask a;

    lab->part = ECHO;
    ask(lab, &a);
    AWAIT(a.n_done);
    expect_echo(&a);
}

/* ---- what passes -------------------------------------------------------------------------------------------------- */

static void test_many_at_once(void **state)
{
    enum { MANY = 300 };
    static char body[MANY][64];
    static struct ask a[MANY];
    struct tunnel_door_counts counts;
    size_t n_done = 0;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (int i = 0; i < MANY; i++) {
        snprintf(body[i], sizeof(body[i]), "{\"prompt\":\"%d\"}", i);
        ask_for(&lab, &a[i], body[i], strlen(body[i]));
    }
    while (n_done < MANY) {
        event_base_loop(base, EVLOOP_ONCE);
        n_done = 0;
        for (int i = 0; i < MANY; i++)
            n_done += (size_t)a[i].n_done;
    }
    for (int i = 0; i < MANY; i++)
        expect_echo(&a[i]);
    tunnel_door_counts(lab.carrier.door, &counts);
    assert_int_equal(counts.n_opened, MANY); /* none was dropped for another, which this many at once would be */
    assert_int_equal(counts.n_dropped, 0);
    assert_in_range(lab.carrier.most_half_open, 2, TUNNELS_DIALS_MAX);
    AWAIT(!lab.carrier.n_streams);
    lab_shut(&lab);
}

static void test_long_bodies(void **state)
{
    enum { BYTES = 5 * 1000 * 1000 + 1 };
    char *body = malloc(BYTES);
    struct ask a;
    struct lab lab;

    (void)state;
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    lab_open(&lab);
    ask_for(&lab, &a, body, BYTES);
    AWAIT(a.n_done);
    expect_echo(&a);
    lab_shut(&lab);
    free(body);
}

/* Piece by piece, as they come. */
static void test_stream(void **state)
{
    struct lab lab;
    struct ask a;

    (void)state;
    lab_open(&lab);
    lab.part = BEGINS_STREAM;
    ask(&lab, &a);
    AWAIT(a.n_got == 5);
    for (size_t i = 1; i <= 3; i++) {
        bufferevent_write(lab.newest, "2\r\n: \r\n", 7);
        AWAIT(a.n_got == 5 + 2 * i);
    }
    bufferevent_write(lab.newest, "0\r\n\r\n", 5);
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    assert_string_equal(a.got, "hello: : : ");
    lab_shut(&lab);
}

/* ---- how it ends -------------------------------------------------------------------------------------------------- */

/* In each stage, and the coordinator is rid of it. */
static void test_given_up(void **state)
{
    struct ask a, other, waiting[TUNNELS_DIALS_MAX + 1];
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab.part = SILENT;
    ask(&lab, &other); /* stands by */
    AWAIT(lab.n_asked);
    for (size_t i = 0; i <= TUNNELS_DIALS_MAX; i++) /* before the loop has turned, and the last one behind the others */
        ask(&lab, &waiting[i]);
    httpc_cancel(&waiting[0].request);
    event_base_loop(base, EVLOOP_ONCE);
    for (size_t i = TUNNELS_DIALS_MAX + 1; i-- > 1;)
        httpc_cancel(&waiting[i].request);
    expect_serves(&lab);

    lab.part = SILENT;
    lab.n_closed = lab.n_asked = 0;
    ask(&lab, &a);
    AWAIT(lab.n_asked);
    httpc_cancel(&a.request);
    AWAIT(lab.n_closed);
    assert_int_equal(a.n_done, 0);

    lab.part = BEGINS_STREAM;
    lab.n_closed = 0;
    ask(&lab, &a);
    a.cancels = true;
    AWAIT(!a.request);
    AWAIT(lab.n_closed);
    assert_int_equal(a.n_done, 0);
    httpc_cancel(&other.request);
    AWAIT(!lab.carrier.n_streams);
    expect_serves(&lab);
    lab_shut(&lab);
}

static void test_coordinator_resets(void **state)
{
    struct lab lab;
    struct ask a;

    (void)state;
    lab_open(&lab);
    lab.part = RESETS;
    ask(&lab, &a);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNRESET);
    assert_int_equal(a.n_heads, 0);

    lab.part = BEGINS_ANSWER;
    ask(&lab, &a);
    AWAIT(a.n_got == 5);
    reset(lab.newest);
    lab.newest = NULL;
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNRESET);

    ask(&lab, &a); /* the same answer, ended in good order */
    AWAIT(a.n_got == 5);
    bufferevent_free(lab.newest);
    lab.newest = NULL;
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    assert_string_equal(a.got, "hello");
    expect_serves(&lab);
    lab_shut(&lab);
}

/* Nobody listens at the coordinator's port any more: the carrier lets us in, and then hangs up. */
static void test_coordinator_is_gone(void **state)
{
    struct lab lab;
    struct ask a;
    uint16_t port;

    (void)state;
    lab_open(&lab);
    close(lab_listen(&port));
    lab.carrier.coordinator_port = port;
    ask(&lab, &a);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNRESET);
    lab_shut(&lab);
}

static void test_carrier_dies_in_an_answer(void **state)
{
    struct lab lab;
    struct ask a;

    (void)state;
    lab_open(&lab);
    lab.part = BEGINS_ANSWER;
    ask(&lab, &a);
    AWAIT(a.n_got == 5);
    carrier_lab_kill(&lab.carrier);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNRESET);
    ask(&lab, &a);
    AWAIT(a.n_done);
    assert_int_equal(a.result, -ECONNREFUSED);
    lab_shut(&lab);
}

/* A stream at the carrier's side that is no relay's. */
static void answer_and(struct tunnel_end *end, bool forged)
{
    uint8_t record[128] = {0};
    const char *answer = OK "\r\nhello";
    size_t n = strlen(answer);

    memcpy(record + SEAL_HEAD_BYTES, answer, n);
    assert_int_equal(seal_record(end->seal, SEAL_DATA, record, n), 0);
    assert_int_equal(send(end->fd, record, n + SEAL_OVERHEAD_BYTES, MSG_NOSIGNAL), (ssize_t)(n + SEAL_OVERHEAD_BYTES));
    if (forged) /* the same again: nobody else could make it, and it was taken already */
        assert_true(send(end->fd, record, n + SEAL_OVERHEAD_BYTES, MSG_NOSIGNAL) > 0);
    shutdown(end->fd, SHUT_WR);
}

static void opened_and_cut(struct carrier_lab *c, struct tunnel_end *end)
{
    answer_and(end, false);
    *(struct tunnel_end *)c->ctx = *end;
}

static void opened_and_forged(struct carrier_lab *c, struct tunnel_end *end)
{
    answer_and(end, true);
    *(struct tunnel_end *)c->ctx = *end;
}

/* Somebody on the way ends the connection for both, or repeats what was said. */
static void test_somebody_on_the_way(void **state)
{
    static const struct {
        void (*opened)(struct carrier_lab *c, struct tunnel_end *end);
        int result;
    } cases[] = {{opened_and_cut, -ECONNRESET}, {opened_and_forged, -EBADMSG}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tunnel_end end;
        struct lab lab;
        struct ask a;

        lab_open(&lab);
        lab.part = BEGINS_ANSWER;
        lab.carrier.opened = cases[i].opened;
        lab.carrier.ctx = &end;
        ask(&lab, &a);
        AWAIT(a.n_done);
        assert_int_equal(a.result, cases[i].result);
        tunnel_end_clear(&end);
        lab.carrier.opened = NULL;
        expect_serves(&lab);
        lab_shut(&lab);
    }
}

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static void expect_fails(struct lab *lab, int result)
{
    struct ask a;

    ask(lab, &a);
    AWAIT(a.n_done || lab->n_asked);
    if (a.result != result)
        fail_msg("%s, not %s", strerror(-a.result), strerror(-result));
    assert_int_equal(a.n_heads, 0);
    assert_int_equal(lab->n_asked, 0);
    assert_string_not_equal(upstream_failure_text(result), "unknown error");
}

static void test_verdicts(void **state)
{
    static const struct {
        enum tunnel_verdict verdict;
        int result;
    } cases[] = {
        {TUNNEL_NO_GRANT, -ESTALE},    {TUNNEL_OTHER_PEER, -ESTALE},    {TUNNEL_OTHER_DIRECTION, -ESTALE},
        {TUNNEL_OTHER_EPOCH, -ESTALE}, {TUNNEL_OTHER_RANK, -ESTALE},    {TUNNEL_ENDED, -ESTALE},
        {TUNNEL_BUSY, -EBUSY},         {TUNNEL_NO_CIPHER, -EOPNOTSUPP},
    };
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        lab.carrier.verdict = cases[i].verdict;
        expect_fails(&lab, cases[i].result);
    }
    lab.carrier.verdict = TUNNEL_GRANTED;
    lab.target.epoch = 4; /* what is asked for is what the target says */
    expect_fails(&lab, -ESTALE);
    lab.target.epoch = 3;
    lab.target.instance = lab_id(0xab);
    expect_fails(&lab, -ESTALE);
    lab.target.instance = lab_id(0xaa);
    lab.carrier.gateway[0] ^= 1;
    expect_fails(&lab, -ESTALE);
    lab.carrier.gateway[0] ^= 1;
    expect_serves(&lab);
    lab_shut(&lab);
}

static void garbage_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *ctx)
{
    static const uint8_t answer[256] = {TUNNEL_GRANTED, 1};

    (void)l, (void)sa, (void)n;
    assert_true(send(fd, answer, sizeof(answer), MSG_NOSIGNAL) > 0);
    *(int *)ctx = fd;
}

/* Whoever it is at that port, it is not the carrier; to which a stream stands meanwhile. */
static void test_others_at_its_port(void **state)
{
    struct ask standing;
    struct identity other;
    struct lab lab;
    uint16_t port;
    int fd = -1;
    struct evconnlistener *listener;

    (void)state;
    lab_open(&lab);
    lab.part = SILENT;
    ask(&lab, &standing);
    AWAIT(lab.n_asked);
    lab.n_asked = 0;
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0xee}, &other);
    crypto_key_format(other.public_key, lab.target.key); /* a carrier, of another node */
    expect_fails(&lab, -ENOLINK);
    memcpy(lab.target.key, lab.carrier.key, sizeof(lab.target.key));

    close(lab_listen(&port));
    lab.target.port = port;
    expect_fails(&lab, -ECONNREFUSED);

    listener = evconnlistener_new(base, garbage_accept, &fd, LEV_OPT_CLOSE_ON_FREE, -1, lab_listen(&port));
    lab.target.port = port;
    expect_fails(&lab, -EKEYREJECTED);
    close(fd);
    evconnlistener_free(listener);

    lab.target.port = lab.carrier.port;
    strcpy(lab.target.addr, "nowhere");
    expect_fails(&lab, -EINVAL);
    strcpy(lab.target.addr, "127.0.0.1");
    strcpy(lab.target.key, "no key");
    assert_int_equal(try_to_ask(&lab, &(struct ask){0}, "", 0), -EINVAL);
    memcpy(lab.target.key, lab.carrier.key, sizeof(lab.target.key));
    expect_serves(&lab);
    assert_int_equal(standing.n_done, 0);
    httpc_cancel(&standing.request);
    AWAIT(!lab.carrier.n_streams);
    lab_shut(&lab);
}

/* One that answers nothing has its connect's time, and costs others none. */
static void test_a_silent_carrier(void **state)
{
    static struct ask a[3 * TUNNELS_DIALS_MAX];
    struct upstream_target good;
    struct lab lab;
    uint16_t port;
    int fd = lab_listen(&port);

    (void)state;
    lab_open(&lab);
    good = lab.target;
    lab.target.port = port;
    for (size_t i = 0; i < 3 * TUNNELS_DIALS_MAX; i++)
        ask(&lab, &a[i]);
    lab.target = good;
    expect_serves(&lab);
    assert_int_equal(a[0].n_done, 0);
    for (size_t i = 0; i < 3 * TUNNELS_DIALS_MAX; i++) {
        AWAIT(a[i].n_done);
        assert_int_equal(a[i].result, -ETIMEDOUT);
    }
    lab_shut(&lab);
    close(fd);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------- */

/* While nobody reads, the coordinator cannot send for ever, and all of it comes in the end. */
static void test_slow_reader(void **state)
{
    enum { PIECE = 65536, FLOOD = 64 * 1024 * 1024, HELD_MAX = 16 * 1024 * 1024 };
    static const char piece[PIECE];
    size_t n_sent = 0, n_idle = 0;
    struct lab lab;
    struct ask a;

    (void)state;
    lab_open(&lab);
    lab.part = FLOODS;
    ask(&lab, &a);
    a.pauses = true;
    AWAIT(a.n_heads);
    while (n_idle < 100 && n_sent < FLOOD) { /* (what the kernel holds between the three of us has its own bounds) */
        ssize_t n = send(bufferevent_getfd(lab.newest), piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);

        n_idle = n > 0 ? 0 : n_idle + 1;
        n_sent += n > 0 ? (size_t)n : 0;
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_in_range(n_sent, PIECE, HELD_MAX);
    assert_int_equal(a.n_got, 0);
    a.pauses = false;
    httpc_resume(a.request);
    bufferevent_free(lab.newest);
    lab.newest = NULL;
    AWAIT(a.n_done);
    assert_int_equal(a.result, 0);
    assert_int_equal(a.n_got, n_sent);
    lab_shut(&lab);
}

static void test_so_many_and_no_more(void **state)
{
    static struct ask a[TUNNELS_MAX + 1];
    struct lab lab;

    (void)state;
    lab_open(&lab);
    for (size_t i = 0; i < TUNNELS_MAX; i++)
        ask(&lab, &a[i]);
    assert_int_equal(try_to_ask(&lab, &a[TUNNELS_MAX], "", 0), -EAGAIN);
    httpc_cancel(&a[0].request);
    ask(&lab, &a[0]);
    for (size_t i = 0; i < TUNNELS_MAX; i++)
        httpc_cancel(&a[i].request);
    expect_serves(&lab);
    lab_shut(&lab);
}

/* The room goes first: its streams are over, and their requests may be given up, or learn of it. */
static void test_the_room_ends(void **state)
{
    struct ask waiting[TUNNELS_DIALS_MAX + 1], standing, hears;
    struct lab lab;

    (void)state;
    lab_open(&lab);
    lab.part = SILENT;
    ask(&lab, &standing);
    ask(&lab, &hears);
    AWAIT(lab.n_asked == 2);
    for (size_t i = 0; i <= TUNNELS_DIALS_MAX; i++)
        ask(&lab, &waiting[i]);
    event_base_loop(base, EVLOOP_ONCE);
    tunnels_destroy(&lab.tunnels);
    AWAIT(lab.n_closed >= 2);
    AWAIT(hears.n_done);
    assert_int_equal(hears.result, -ECANCELED);
    httpc_cancel(&standing.request);
    for (size_t i = 0; i <= TUNNELS_DIALS_MAX; i++)
        httpc_cancel(&waiting[i].request);
    assert_null(lab.newest);
    lab_shut(&lab);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    return crypto_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_long_bodies),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_coordinator_resets),
        cmocka_unit_test(test_coordinator_is_gone),
        cmocka_unit_test(test_carrier_dies_in_an_answer),
        cmocka_unit_test(test_somebody_on_the_way),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_others_at_its_port),
        cmocka_unit_test(test_a_silent_carrier),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_so_many_and_no_more),
        cmocka_unit_test(test_the_room_ends),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
