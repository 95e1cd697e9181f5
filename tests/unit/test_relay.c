/* One stream between two sockets: what goes in comes out, in its order, and so do its ends. Each end of a stream here is a
 * peer, which sends and takes bytes that follow from a seed, in pieces of any size. */
#include "tests/unit/relay_harness.h"

enum { PIECE_MAX = 100000 };
static const uint8_t keys[2][CRYPTO_KEY_BYTES] = {"out", "back"};

struct peer {
    int fd;
    uint64_t sizes;      /* seed of the sizes of its pieces */
    uint64_t put, taken; /* the stream of bytes: splitmix by position */
    size_t n_to_put, n_put, n_taken;
    bool stays; /* after its last byte it says no end */
    bool eof, reset, wrong;
    struct event *on_readable, *on_writable;
};

struct tap { /* what one relay has told */
    struct relay *relay;
    bool ended;
    enum relay_end how;
    int error;
    size_t n_came[RELAY_DIRECTIONS], n_sent[RELAY_DIRECTIONS];
    uint64_t seed[RELAY_DIRECTIONS];
    bool wrong;
};

/* ---- peers -------------------------------------------------------------------------------------------------------- */

static bool matches(uint64_t seed, size_t at, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (data[i] != byte_at(seed, at + i))
            return false;
    return true;
}

static void peer_readable(evutil_socket_t fd, short what, void *arg)
{
    static uint8_t buf[PIECE_MAX];
    struct peer *p = arg;
    ssize_t n = recv(fd, buf, random_in(&p->sizes, 1, PIECE_MAX), MSG_DONTWAIT);

    (void)what;
    if (n > 0) {
        p->wrong = p->wrong || !matches(p->taken, p->n_taken, buf, (size_t)n);
        p->n_taken += (size_t)n;
        return;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    p->eof = n == 0;
    p->reset = p->reset || n < 0;
    event_del(p->on_readable);
}

static void peer_writable(evutil_socket_t fd, short what, void *arg)
{
    static uint8_t buf[PIECE_MAX];
    struct peer *p = arg;
    size_t left = p->n_to_put - p->n_put, n = random_in(&p->sizes, 1, PIECE_MAX);
    ssize_t put = 0;

    (void)what;
    n = n < left ? n : left;
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(p->put, p->n_put + i);
    if (n)
        put = send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put > 0)
        p->n_put += (size_t)put;
    if (p->n_put < p->n_to_put && (put >= 0 || errno == EAGAIN))
        return;
    event_del(p->on_writable);
    p->reset = p->reset || put < 0; /* (the kernel tells it once, to whoever asks first) */
    if (put >= 0 && !p->stays)
        shutdown(fd, SHUT_WR);
}

static void peer_begin(struct peer *p, int fd, uint64_t put, uint64_t taken, size_t n_to_put)
{
    *p = (struct peer){.fd = fd, .sizes = put, .put = put, .taken = taken, .n_to_put = n_to_put};
    p->on_readable = event_new(base, fd, EV_READ | EV_PERSIST, peer_readable, p);
    p->on_writable = event_new(base, fd, EV_WRITE | EV_PERSIST, peer_writable, p);
    event_add(p->on_readable, NULL);
    event_add(p->on_writable, NULL);
}

static void peer_end(struct peer *p)
{
    event_free(p->on_readable);
    event_free(p->on_writable);
    close_socket(&p->fd, false);
}

static void peer_reset(struct peer *p)
{
    event_del(p->on_readable);
    event_del(p->on_writable);
    close_socket(&p->fd, true);
}

/* ---- relays ------------------------------------------------------------------------------------------------------- */

static void on_came(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n)
{
    struct tap *t = ctx;

    t->wrong = t->wrong || !matches(t->seed[direction], t->n_came[direction], data, n);
    t->n_came[direction] += n;
}

static void on_sent(void *ctx, enum relay_direction direction, size_t n)
{
    struct tap *t = ctx;

    t->n_sent[direction] += n;
    t->wrong = t->wrong || t->n_sent[direction] > t->n_came[direction];
}

static void on_ended(void *ctx, enum relay_end how, int error)
{
    struct tap *t = ctx;

    assert_false(t->ended);
    t->ended = true;
    t->how = how;
    t->error = error;
    relay_destroy(&t->relay);
}

/* cipher: 0: far is plain. flip: this is the end where what others call out comes back. */
static void tap_begin(struct tap *t, int near, int far, uint8_t cipher, bool flip, size_t data_max)
{
    struct relay_sockets with = {.near = near, .far = far, .data_max = data_max};
    struct relay_calls calls = {.came = on_came, .sent = on_sent, .ended = on_ended, .ctx = t};

    *t = (struct tap){.seed = {flip ? 2 : 1, flip ? 1 : 2}};
    if (cipher) {
        assert_int_equal(seal_new(cipher, keys[flip], data_max, &with.seal), 0);
        assert_int_equal(seal_new(cipher, keys[!flip], data_max, &with.open), 0);
    }
    assert_int_equal(relay_new(base, &with, &calls, &t->relay), 0);
}

/* a -- relay 0 == relay 1 -- b; or, plain, a -- relay 0 -- b. */
struct chain {
    struct peer a, b;
    struct tap tap[2];
    size_t n_taps;
};

static void chain_begin(struct chain *c, bool tcp, uint8_t cipher, size_t data_max, size_t n_a, size_t n_b)
{
    int left[2], middle[2], right[2];

    socket_pair(tcp, left);
    socket_pair(tcp, right);
    c->n_taps = cipher ? 2 : 1;
    if (cipher) {
        socket_pair(tcp, middle);
        tap_begin(&c->tap[0], left[1], middle[0], cipher, false, data_max);
        tap_begin(&c->tap[1], right[1], middle[1], cipher, true, data_max);
    } else {
        tap_begin(&c->tap[0], left[1], right[1], 0, false, data_max);
    }
    peer_begin(&c->a, left[0], 1, 2, n_a);
    peer_begin(&c->b, right[0], 2, 1, n_b);
}

static void chain_end(struct chain *c)
{
    for (size_t i = 0; i < c->n_taps; i++)
        relay_destroy(&c->tap[i].relay);
    peer_end(&c->a);
    peer_end(&c->b);
}

static bool all_ended(const void *arg)
{
    const struct chain *c = arg;

    return c->tap[0].ended && (c->n_taps == 1 || c->tap[1].ended) && (c->a.fd < 0 || c->a.eof || c->a.reset) &&
           (c->b.fd < 0 || c->b.eof || c->b.reset);
}

static void expect_whole(const struct chain *c)
{
    assert_false(c->a.wrong || c->b.wrong);
    assert_int_equal(c->b.n_taken, c->a.n_to_put);
    assert_int_equal(c->a.n_taken, c->b.n_to_put);
    for (size_t i = 0; i < c->n_taps; i++) {
        assert_int_equal(c->tap[i].how, RELAY_DONE);
        assert_false(c->tap[i].wrong);
        for (size_t d = 0; d < RELAY_DIRECTIONS; d++) {
            assert_int_equal(c->tap[i].n_came[d], d == i ? c->a.n_to_put : c->b.n_to_put);
            assert_int_equal(c->tap[i].n_sent[d], c->tap[i].n_came[d]);
        }
    }
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

static const struct {
    bool tcp;
    uint8_t cipher;
} kinds[] = {{false, 0}, {true, 0}, {false, 1}, {true, 1}, {false, 2}, {true, 2}};

enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void test_both_directions_at_once(void **state)
{
    static const size_t sizes[] = {1, 100, 65536, SEAL_DATA_MAX};

    (void)state;
    for (size_t i = 0; i < 2 * N_KINDS * 4; i++) {
        size_t size = sizes[i / N_KINDS % 4], n = size == 1 ? 500 : size * 40 < 1000000 ? size * 40 : 1000000;
        struct chain c;

        stingy = i / N_KINDS / 4 ? i : 0; /* each once as it comes, once in ill-fitting pieces */
        chain_begin(&c, kinds[i % N_KINDS].tcp, kinds[i % N_KINDS].cipher, size, n, n / 3);
        run_until(all_ended, &c);
        expect_whole(&c);
        chain_end(&c);
        stingy = 0;
    }
}

static bool b_has_end(const void *arg)
{
    return ((const struct chain *)arg)->b.eof;
}

static void test_one_direction_ends_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        struct chain c;

        chain_begin(&c, kinds[i].tcp, kinds[i].cipher, SEAL_DATA_MAX, 100000, 300000);
        event_del(c.b.on_writable);
        run_until(b_has_end, &c);
        assert_int_equal(c.b.n_taken, 100000);
        assert_false(c.a.eof || c.tap[0].ended);
        event_add(c.b.on_writable, NULL);
        run_until(all_ended, &c);
        expect_whole(&c);
        chain_end(&c);
    }
}

/* ---- back-pressure ------------------------------------------------------------------------------------------------ */

struct stillness {
    const struct chain *chain;
    size_t n_put;
    unsigned n_turns;
};

/* For so many turns nothing more was taken from a. */
enum { STILL_TURNS = 50 };

static bool is_still(const void *arg)
{
    struct stillness *s = *(struct stillness *const *)arg;

    s->n_turns = s->n_put == s->chain->a.n_put ? s->n_turns + 1 : 0;
    s->n_put = s->chain->a.n_put;
    return s->n_turns > STILL_TURNS;
}

static void nudge(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void test_slow_reader(void **state)
{
    static const struct timeval soon = {0, 1000};

    (void)state;
    for (size_t i = 0; i < N_KINDS; i++) {
        struct event *turns = event_new(base, -1, EV_PERSIST, nudge, NULL);
        struct chain c;
        struct stillness still = {.chain = &c}, *arg = &still;

        chain_begin(&c, kinds[i].tcp, kinds[i].cipher, 65536, 8 << 20, 0);
        event_del(c.b.on_readable);
        event_add(turns, &soon);
        run_until(is_still, &arg);
        assert_true(c.a.n_put < c.a.n_to_put);
        for (size_t t = 0; t < c.n_taps; t++) /* what a relay holds is one buffer, whatever the kernel has taken */
            assert_true(c.tap[t].n_came[t] - c.tap[t].n_sent[t] <= 65536);
        n_calls = 0;
        still.n_turns = 0;
        run_until(is_still, &arg);
        assert_true(n_calls < STILL_TURNS / 2); /* it does not try again at every turn */
        event_free(turns);
        event_add(c.b.on_readable, NULL);
        run_until(all_ended, &c);
        expect_whole(&c);
        chain_end(&c);
    }
}

/* ---- ends that are none ------------------------------------------------------------------------------------------- */

static void test_reset_passes(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_KINDS; i++) {
        bool from_b = i >= N_KINDS;
        struct chain c;

        if (!kinds[i % N_KINDS].tcp)
            continue;
        chain_begin(&c, true, kinds[i % N_KINDS].cipher, 65536, 1000, 1000);
        c.a.stays = c.b.stays = true;
        peer_reset(from_b ? &c.b : &c.a);
        run_until(all_ended, &c);
        assert_true(from_b ? c.a.reset : c.b.reset);
        for (size_t t = 0; t < c.n_taps; t++)
            assert_true(c.tap[t].how == RELAY_RESET && c.tap[t].error != 0);
        chain_end(&c);
    }
}

static bool both_reset(const void *arg)
{
    const struct chain *c = arg;

    return c->a.reset && c->b.reset;
}

static void test_destroyed_in_the_middle(void **state)
{
    struct chain c;

    (void)state;
    chain_begin(&c, true, 0, 65536, 0, 0); /* (a close with bytes unread would be a reset anyhow) */
    c.a.stays = c.b.stays = true;
    relay_destroy(&c.tap[0].relay);
    run_until(both_reset, &c);
    assert_false(c.tap[0].ended);
    chain_end(&c);
}

/* What relay 1 says to relay 0: four records, the last an end, whole in bytes. */
enum { FOREIGN_N = 30, FOREIGN_RECORDS = 3 };
enum { FOREIGN_BYTES = FOREIGN_RECORDS * (FOREIGN_N + SEAL_OVERHEAD_BYTES) + SEAL_OVERHEAD_BYTES };

static void foreign_make(uint8_t bytes[FOREIGN_BYTES])
{
    CLEANUP(seal_destroy) struct seal *s = NULL;
    size_t n = 0;

    assert_int_equal(seal_new(SEAL_AES_256_GCM, keys[1], 1024, &s), 0);
    for (size_t i = 0; i < FOREIGN_RECORDS; i++, n += FOREIGN_N + SEAL_OVERHEAD_BYTES) {
        for (size_t k = 0; k < FOREIGN_N; k++)
            bytes[n + SEAL_HEAD_BYTES + k] = byte_at(2, i * FOREIGN_N + k);
        assert_int_equal(seal_record(s, SEAL_DATA, bytes + n, FOREIGN_N), 0);
    }
    assert_int_equal(seal_record(s, SEAL_END, bytes + n, 0), 0);
}

static bool near_heard_end(const void *arg)
{
    const struct chain *c = arg;

    return c->a.eof || c->a.reset;
}

/* relay 0 hears n bytes from far, then FIN. */
static void hear(struct chain *c, const uint8_t *bytes, size_t n)
{
    int left[2], far[2];

    tcp_pair(left);
    tcp_pair(far);
    c->n_taps = 1;
    tap_begin(&c->tap[0], left[1], far[0], SEAL_AES_256_GCM, false, 1024);
    peer_begin(&c->a, left[0], 1, 2, 0);
    c->a.stays = true;
    peer_begin(&c->b, far[1], 0, 0, 0);
    c->b.stays = true;
    assert_int_equal(send(far[1], bytes, n, MSG_NOSIGNAL), (ssize_t)n);
    shutdown(far[1], SHUT_WR);
    run_until(near_heard_end, c);
    assert_false(c->a.wrong);
}

static void test_cut_everywhere(void **state)
{
    uint8_t bytes[FOREIGN_BYTES];

    (void)state;
    foreign_make(bytes);
    for (size_t n = 0; n <= FOREIGN_BYTES; n++) {
        struct chain c;

        hear(&c, bytes, n);
        if (n == FOREIGN_BYTES) { /* the control: an end that is one */
            assert_true(c.a.eof && !c.tap[0].ended);
            assert_int_equal(c.a.n_taken, FOREIGN_RECORDS * FOREIGN_N);
        } else {
            assert_true(c.a.reset && c.tap[0].ended);
            assert_int_equal(c.tap[0].how, RELAY_CUT);
            assert_true(c.tap[0].n_came[RELAY_BACK] <= n && c.tap[0].n_came[RELAY_BACK] % FOREIGN_N == 0);
        }
        chain_end(&c);
    }
}

static void test_flipped_everywhere(void **state)
{
    uint8_t bytes[FOREIGN_BYTES];

    (void)state;
    foreign_make(bytes);
    for (size_t n = 0; n < FOREIGN_BYTES; n++) {
        struct chain c;

        bytes[n] ^= (uint8_t)(1 << n % 8);
        hear(&c, bytes, FOREIGN_BYTES);
        assert_true(c.a.reset && c.tap[0].ended);
        assert_true(c.tap[0].how == RELAY_FORGED || c.tap[0].how == RELAY_CUT /* a longer length */);
        assert_true(c.tap[0].n_came[RELAY_BACK] <= n);
        chain_end(&c);
        bytes[n] ^= (uint8_t)(1 << n % 8);
    }
}

static void test_nothing_behind_the_end(void **state)
{
    uint8_t bytes[FOREIGN_BYTES + 1] = {0};
    struct chain c;

    (void)state;
    foreign_make(bytes);
    hear(&c, bytes, sizeof(bytes));
    assert_true(c.a.reset);
    assert_int_equal(c.tap[0].how, RELAY_FORGED);
    chain_end(&c);
}

/* ---- the rest ----------------------------------------------------------------------------------------------------- */

static void test_numbers_run_out(void **state)
{
    int left[2], far[2];
    struct chain c = {.n_taps = 1};

    (void)state;
    tcp_pair(left);
    tcp_pair(far);
    tap_begin(&c.tap[0], left[1], far[0], SEAL_AES_256_GCM, false, 1024);
    seal_set_limits(c.tap[0].relay->seal, (struct seal_limits){SEAL_REKEY_RECORDS, SEAL_REKEY_BYTES, 2});
    peer_begin(&c.a, left[0], 1, 2, 100000);
    peer_begin(&c.b, far[1], 0, 0, 0);
    event_del(c.b.on_readable);
    c.b.stays = true;
    run_until(near_heard_end, &c);
    assert_true(c.a.reset && c.tap[0].ended);
    assert_int_equal(c.tap[0].how, RELAY_SPENT);
    chain_end(&c);
}

static void test_no_memory(void **state)
{
    struct relay_sockets with = {.data_max = 1024};
    struct relay_calls calls = {.ended = on_ended};
    struct relay *r = NULL;
    int near[2], far[2];
    int res = -1;

    (void)state;
    tcp_pair(near);
    tcp_pair(far);
    with.near = near[0];
    with.far = far[0];
    for (long n = 0; res; n++) {
        allocs_until_failure = n;
        res = relay_new(base, &with, &calls, &r);
        allocs_until_failure = -1;
        assert_true(res == -ENOMEM || n == 3);
    }
    relay_destroy(&r); /* and these were the sockets': closed now, not before */
    assert_int_equal(close(near[0]), -1);
    assert_int_equal(close(far[0]), -1);
    close(near[1]);
    close(far[1]);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(relay_end_name(RELAY_DONE), "done");
    assert_string_equal(relay_end_name(RELAY_SPENT), "spent");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_directions_at_once),
        cmocka_unit_test(test_one_direction_ends_first),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_reset_passes),
        cmocka_unit_test(test_destroyed_in_the_middle),
        cmocka_unit_test(test_cut_everywhere),
        cmocka_unit_test(test_flipped_everywhere),
        cmocka_unit_test(test_nothing_behind_the_end),
        cmocka_unit_test(test_numbers_run_out),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, begin_loop, end_loop);
}
