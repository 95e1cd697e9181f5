/* A stream as a whole: dial, relay, door, relay, and behind it somebody who says back what he hears. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/util.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/relay.h"
#include "tests/lib/random.h"
#include "tests/unit/tunnel_harness.h"

enum { SEED = 7 }; /* of all that is said */

/* near -- relay -- dial == door -- relay -- echo */
struct stream {
    struct lab *lab;
    struct call call;
    struct side {
        struct relay *relay;
        bool ended;
        enum relay_end how;
        size_t n_came[RELAY_DIRECTIONS];
    } side[2]; /* the dial's, the door's */
    struct bufferevent *near, *echo;
    uint64_t sizes; /* seed of the sizes of its pieces */
    size_t n_to_say, n_said, n_heard;
    bool wrong;
    short near_end, echo_end; /* as bufferevents say it; 0: not yet */
};

/* ---- both sides ---------------------------------------------------------------------------------------------------- */

static void came(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n)
{
    struct side *s = ctx;

    (void)data;
    s->n_came[direction] += n;
}

static void ended(void *ctx, enum relay_end how, int error)
{
    struct side *s = ctx;

    (void)error;
    assert_false(s->ended);
    s->ended = true;
    s->how = how;
    relay_destroy(&s->relay);
}

static void tcp_pair(int fd[2])
{
    uint16_t port;
    CLEANUP(cleanup_close) int listener = listen_anywhere(&port);

    fd[0] = connect_from(NULL, port);
    fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd[1] >= 0);
}

/* A relay at an end that stands; ret: at the near side's other socket. */
static void carry(struct side *s, struct tunnel_end *end, bool tcp, struct bufferevent **ret)
{
    const struct relay_calls calls = {.came = came, .ended = ended, .ctx = s};
    struct relay_sockets with = {.far = end->fd, .seal = end->seal, .open = end->open, .data_max = end->data_max};
    int fd[2];

    if (tcp)
        tcp_pair(fd);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    with.near = fd[0];
    assert_int_equal(relay_new(base, &with, &calls, &s->relay), 0);
    *end = (struct tunnel_end){.fd = -1};
    evutil_make_socket_nonblocking(fd[1]);
    *ret = bufferevent_socket_new(base, fd[1], BEV_OPT_CLOSE_ON_FREE);
    assert_non_null(*ret);
}

/* ---- the two at its ends ------------------------------------------------------------------------------------------- */

static uint8_t byte_at(uint64_t seed, size_t at)
{
    uint64_t s = seed + at / 8;

    return (uint8_t)(random_next(&s) >> 8 * (at % 8));
}

static void say_end(struct bufferevent *bev)
{
    if (!evbuffer_get_length(bufferevent_get_output(bev)))
        shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void near_speaks(struct bufferevent *bev, void *ctx)
{
    struct stream *s = ctx;
    uint8_t piece[8192];
    size_t n = random_in(&s->sizes, 1, sizeof(piece)), left = s->n_to_say - s->n_said;

    n = n < left ? n : left;
    for (size_t i = 0; i < n; i++)
        piece[i] = byte_at(SEED, s->n_said + i);
    s->n_said += n;
    if (n)
        bufferevent_write(bev, piece, n);
    else
        say_end(bev);
}

static void near_hears(struct bufferevent *bev, void *ctx)
{
    struct stream *s = ctx;
    uint8_t piece[8192];
    size_t n = bufferevent_read(bev, piece, sizeof(piece));

    for (size_t i = 0; i < n; i++)
        s->wrong = s->wrong || piece[i] != byte_at(SEED, s->n_heard + i);
    s->n_heard += n;
    if (evbuffer_get_length(bufferevent_get_input(bev)))
        bufferevent_trigger(bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

static void near_ended(struct bufferevent *bev, short what, void *ctx)
{
    struct stream *s = ctx;

    while (evbuffer_get_length(bufferevent_get_input(bev)))
        near_hears(bev, ctx);
    s->near_end |= what; /* (an error of writing may be followed by an end of reading) */
}

static void echo_hears(struct bufferevent *bev, void *ctx)
{
    (void)ctx;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
}

static void echo_has_spoken(struct bufferevent *bev, void *ctx)
{
    if (((struct stream *)ctx)->echo_end)
        say_end(bev);
}

static void echo_ended(struct bufferevent *bev, short what, void *ctx)
{
    ((struct stream *)ctx)->echo_end |= what;
    bufferevent_write_buffer(bev, bufferevent_get_input(bev));
    if (what & BEV_EVENT_EOF)
        say_end(bev);
}

/* ---- a stream ------------------------------------------------------------------------------------------------------ */

static bool both_stand(void *arg)
{
    struct stream *s = arg;

    return s->call.done && s->lab->end.fd >= 0;
}

/* n bytes will go there and back. */
static void stream_begin(struct stream *s, struct lab *lab, const struct tunnel_claim *claim, size_t n, bool tcp)
{
    struct tunnel_dial_spec spec = good_spec(lab->port);

    spec.claim = *claim;
    *s = (struct stream){.lab = lab, .sizes = n, .n_to_say = n};
    call_begin(&s->call, &spec);
    run_until(both_stand, s);
    assert_int_equal(s->call.r, 0);
    assert_int_equal(s->call.end.data_max, s->lab->end.data_max);
    carry(&s->side[0], &s->call.end, tcp, &s->near);
    carry(&s->side[1], &lab->end, tcp, &s->echo);
    bufferevent_setcb(s->near, near_hears, near_speaks, near_ended, s);
    bufferevent_setcb(s->echo, echo_hears, echo_has_spoken, echo_ended, s);
    bufferevent_enable(s->near, EV_READ | EV_WRITE);
    bufferevent_enable(s->echo, EV_READ | EV_WRITE);
    near_speaks(s->near, s);
}

static void leave(struct bufferevent **bev)
{
    if (*bev)
        bufferevent_free(*bev);
    *bev = NULL;
}

static void leave_with_reset(struct bufferevent **bev)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    setsockopt(bufferevent_getfd(*bev), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    leave(bev);
}

static void stream_end(struct stream *s)
{
    relay_destroy(&s->side[0].relay);
    relay_destroy(&s->side[1].relay);
    leave(&s->near);
    leave(&s->echo);
    event_base_loop(base, EVLOOP_NONBLOCK); /* they go with the loop's next turn */
}

/* Both relays, and whoever is still there behind them. */
static bool all_ended(void *arg)
{
    struct stream *s = arg;

    return !s->side[0].relay && !s->side[1].relay && (!s->near || s->near_end) && (!s->echo || s->echo_end);
}

static void pass_whole(struct lab *lab, const struct tunnel_claim *claim, size_t n, bool tcp)
{
    struct stream s;

    stream_begin(&s, lab, claim, n, tcp);
    run_until(all_ended, &s);
    assert_false(s.wrong);
    assert_int_equal(s.n_heard, n);
    assert_true(s.near_end & BEV_EVENT_EOF && s.echo_end & BEV_EVENT_EOF);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(s.side[i].how, RELAY_DONE);
        for (size_t d = 0; d < RELAY_DIRECTIONS; d++)
            assert_int_equal(s.side[i].n_came[d], n);
    }
    stream_end(&s);
}

/* There and back at once, and the ends pass behind the last byte; to a rank and, in smaller records, to a coordinator. */
static void test_bytes_and_ends(void **state)
{
    static const struct tunnel_claim to_coordinator = {
        .instance = {{0xca}}, .epoch = 4, .direction = TUNNEL_TO_COORDINATOR};
    static const size_t sizes[] = {0, 1, 4096, 3000000};
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    assert_int_equal(grant_book_add(&lab.book, &to_coordinator, ana.public_key), 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        pass_whole(&lab, &good_claim, sizes[i], true);
        pass_whole(&lab, &to_coordinator, sizes[i], true);
    }
    lab_end(&lab);
}

static bool is_under_way(void *arg)
{
    return ((struct stream *)arg)->n_heard > 100000;
}

/* In the middle one of the two goes, or what stands between them is ended: the others hear of no end but a reset. */
static void test_resets_pass(void **state)
{
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    for (int who = 0; who < 4; who++) {
        struct stream s;

        stream_begin(&s, &lab, &good_claim, 100000000, true);
        run_until(is_under_way, &s);
        if (who == 0)
            leave_with_reset(&s.near);
        else if (who == 1)
            leave_with_reset(&s.echo);
        else
            relay_destroy(&s.side[who - 2].relay);
        run_until(all_ended, &s);
        assert_true(!s.near || s.near_end & BEV_EVENT_ERROR);
        assert_true(!s.echo || s.echo_end & BEV_EVENT_ERROR);
        for (int i = 0; i < 2; i++)
            assert_true(i == who - 2 || s.side[i].how == RELAY_RESET);
        assert_false(s.wrong);
        stream_end(&s);
    }
    pass_whole(&lab, &good_claim, 1000, true);
    lab_end(&lab);
}

/* One after the other, each with keys and sockets of its own: nothing of them stays. */
static void test_two_thousand_streams(void **state)
{
    int n_events;
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    n_events = event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED);
    for (size_t i = 0; i < 2000; i++)
        pass_whole(&lab, &good_claim, i, false);
    assert_int_equal(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), n_events);
    assert_int_equal(lab_counts(&lab)->n_opened, 2000);
    assert_int_equal(lab.counts.n_accepted, 2000);
    lab_end(&lab);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NOTHING_LEFT(test_bytes_and_ends),
        NOTHING_LEFT(test_resets_pass),
        NOTHING_LEFT(test_two_thousand_streams),
    };

    return cmocka_run_group_tests(tests, begin_loop, end_loop);
}
