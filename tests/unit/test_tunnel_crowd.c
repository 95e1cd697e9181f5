/* What strangers can keep a door from, by numbers or by slowness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "common/tunnel_handshake.h"
#include "tests/unit/tunnel_harness.h"

/* ---- many ---------------------------------------------------------------------------------------------------------- */

enum { STRANGERS = 1000 };

struct crowd {
    int fd[STRANGERS];
    size_t n;
};

static void expect_passes(struct lab *lab)
{
    struct tunnel_dial_spec spec = good_spec(lab->port);
    size_t n_opened = lab->n_opened;
    struct call c;

    call_begin(&c, &spec);
    run_until(is_done, &c);
    while (lab->n_opened == n_opened && lab_counts(lab)->n_half_open)
        turn();
    assert_int_equal(c.r, 0);
    assert_int_equal(lab->n_opened, n_opened + 1);
    call_end(&c);
}

/* One more, which says a part of something that could be a message 1. */
static void crowd_grows(struct crowd *c, struct lab *lab, const char *from)
{
    static const uint8_t hello[TUNNEL_HELLO_BYTES] = {TUNNEL_VERSION};
    size_t n = lab_counts(lab)->n_accepted;

    c->fd[c->n] = connect_from(from, lab->port);
    say(c->fd[c->n], hello, c->n % TUNNEL_HELLO_BYTES);
    c->n++;
    wait_accepted(lab, n + 1);
}

static void crowd_leaves(struct crowd *c)
{
    for (size_t i = 0; i < c->n; i++)
        close(c->fd[i]);
}

static void test_a_thousand_of_one_address(void **state)
{
    struct crowd crowd = {.n = 0};
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    while (crowd.n < STRANGERS) {
        crowd_grows(&crowd, &lab, NULL); /* (the good ones come from there, too) */
        if (crowd.n % 100 == 0)
            expect_passes(&lab);
    }
    assert_int_equal(lab_counts(&lab)->n_opened, STRANGERS / 100);
    assert_int_equal(lab.counts.n_accepted, STRANGERS + STRANGERS / 100);
    assert_true(lab.counts.n_half_open <= TUNNEL_HALF_OPEN_PER_ADDR);
    assert_int_equal(lab.counts.n_dropped + lab.counts.n_half_open + lab.counts.n_slow, STRANGERS);
    crowd_leaves(&crowd);
    run_until(none_half_open, &lab);
    lab_end(&lab);
}

/* All places are taken; and one who began before them, alone at his address, is none of those who go. */
static void test_a_thousand_of_many_addresses(void **state)
{
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
    struct crowd crowd = {.n = 0};
    struct lab lab;
    const uint8_t *hello;
    int lone;
    size_t n;

    (void)state;
    lab_begin(&lab);
    tunnel_door_set_deadline(lab.door, 60000);
    assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &good_claim, seal_offer(), &h), 0);
    hello = tunnel_handshake_take(h, &n);
    lone = connect_from("127.0.7.7", lab.port);
    say(lone, hello, n / 2);
    wait_accepted(&lab, 1);
    while (crowd.n < STRANGERS) {
        char from[16];

        snprintf(from, sizeof(from), "127.0.1.%zu", 1 + crowd.n % 40);
        crowd_grows(&crowd, &lab, from);
        if (crowd.n % 100 == 50)
            expect_passes(&lab);
    }
    assert_int_equal(lab_counts(&lab)->n_half_open, TUNNEL_HALF_OPEN_MAX);
    assert_int_equal(lab.counts.n_dropped, lab.counts.n_accepted - lab.counts.n_opened - TUNNEL_HALF_OPEN_MAX);
    assert_int_equal(lab.counts.n_opened, STRANGERS / 100);
    say(lone, hello + n / 2, n - n / 2);
    while (lab.n_asked == STRANGERS / 100)
        turn();
    crowd_leaves(&crowd);
    close(lone);
    run_until(none_half_open, &lab);
    lab_end(&lab);
}

static bool one_half_open(void *arg)
{
    return lab_counts(arg)->n_half_open == 1;
}

/* Hung up on was the oldest of these, and nobody else. */
static void expect_oldest_gone(const struct crowd *c, size_t n_gone)
{
    uint8_t byte;

    for (size_t i = 0; i < n_gone; i++)
        assert_int_equal(hear_all(c->fd[i], &byte, 1), 0);
    for (size_t i = n_gone; i < c->n; i++) {
        assert_int_equal(recv(c->fd[i], &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, EAGAIN);
    }
}

/* Who has as many as are allowed pays with the oldest of his own, also where others' are older, and whoever came and went. */
static void test_whose_turn_it_is_to_go(void **state)
{
    struct crowd gone = {.n = 0}, older = {.n = 0}, crowd = {.n = 0};
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    tunnel_door_set_deadline(lab.door, 60000);
    crowd_grows(&gone, &lab, "127.0.0.9");
    crowd_grows(&older, &lab, "127.0.0.2");
    crowd_leaves(&gone);
    run_until(one_half_open, &lab);
    while (older.n < TUNNEL_HALF_OPEN_PER_ADDR)
        crowd_grows(&older, &lab, "127.0.0.2");
    while (crowd.n < TUNNEL_HALF_OPEN_PER_ADDR)
        crowd_grows(&crowd, &lab, "127.0.0.3");
    assert_int_equal(lab_counts(&lab)->n_dropped, 0);
    crowd_grows(&crowd, &lab, "127.0.0.3");
    assert_int_equal(lab_counts(&lab)->n_dropped, 1);
    expect_oldest_gone(&crowd, 1);
    expect_oldest_gone(&older, 0);
    crowd_grows(&older, &lab, "127.0.0.2");
    assert_int_equal(lab_counts(&lab)->n_dropped, 2);
    expect_oldest_gone(&crowd, 1);
    expect_oldest_gone(&older, 1);
    crowd_leaves(&older);
    crowd_leaves(&crowd);
    run_until(none_half_open, &lab);
    lab_end(&lab);
}

/* ---- slow ---------------------------------------------------------------------------------------------------------- */

struct drip {
    int fd;
    struct event *on_time;
    const uint8_t *bytes;
    size_t n, n_out;
};

static void drip_falls(evutil_socket_t fd, short what, void *arg)
{
    struct drip *d = arg;

    (void)fd;
    (void)what;
    if (d->n_out < d->n && send(d->fd, d->bytes + d->n_out, 1, MSG_NOSIGNAL) == 1)
        d->n_out++;
}

/* One byte after the other of a good message 1. */
static void drip(struct lab *lab, uint32_t deadline_ms, uint32_t every_ms, bool (*done)(void *), struct drip *ret)
{
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
    const struct timeval every = {.tv_usec = every_ms * 1000};

    assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &good_claim, seal_offer(), &h), 0);
    tunnel_door_set_deadline(lab->door, deadline_ms);
    ret->fd = connect_from(NULL, lab->port);
    ret->n_out = 0;
    ret->bytes = tunnel_handshake_take(h, &ret->n);
    ret->on_time = event_new(base, -1, EV_PERSIST, drip_falls, ret);
    evtimer_add(ret->on_time, &every);
    run_until(done, lab);
    event_free(ret->on_time);
    close(ret->fd);
}

static bool was_slow(void *arg)
{
    return lab_counts(arg)->n_slow > 0;
}

/* No byte buys time. */
static void test_drops_one_by_one(void **state)
{
    struct drip d;
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    drip(&lab, 200, 10, was_slow, &d);
    assert_true(d.n_out < d.n);
    assert_int_equal(lab.n_asked, 0);
    drip(&lab, 60000, 1, was_asked, &d); /* nothing else was wrong with it */
    assert_int_equal(d.n_out, d.n);
    run_until(none_half_open, &lab);
    assert_int_equal(lab.counts.n_slow, 1);
    assert_int_equal(lab.counts.n_left, 1); /* (it did not go on) */
    lab_end(&lab);
}

static bool four_were_slow(void *arg)
{
    return lab_counts(arg)->n_slow == 4;
}

/* Silent from the start, within a message, and when it has the answer. */
static void test_falls_silent(void **state)
{
    static const size_t n_said[] = {0, 1, TUNNEL_HELLO_BYTES - 1, TUNNEL_HELLO_BYTES};
    struct lab lab;
    int fd[4];

    (void)state;
    lab_begin(&lab);
    tunnel_door_set_deadline(lab.door, 200);
    for (size_t i = 0; i < 4; i++) {
        CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
        size_t n;

        assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &good_claim, seal_offer(), &h), 0);
        fd[i] = connect_from(NULL, lab.port);
        say(fd[i], tunnel_handshake_take(h, &n), n_said[i]);
    }
    run_until(four_were_slow, &lab);
    for (size_t i = 0; i < 4; i++) {
        uint8_t heard[TUNNEL_ANSWER_BYTES + 1];

        assert_int_equal(hear_all(fd[i], heard, sizeof(heard)), i < 3 ? 0 : TUNNEL_ANSWER_BYTES);
        close(fd[i]);
    }
    tunnel_door_set_deadline(lab.door, TUNNEL_DEADLINE_MS);
    expect_opens(&lab);
    lab_end(&lab);
}

/* As many descriptors as we may have: the strangers are in this very process. */
static int begin_crowd(void **state)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -1 : begin_loop(state);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NOTHING_LEFT(test_a_thousand_of_one_address),
        NOTHING_LEFT(test_a_thousand_of_many_addresses),
        NOTHING_LEFT(test_whose_turn_it_is_to_go),
        NOTHING_LEFT(test_drops_one_by_one),
        NOTHING_LEFT(test_falls_silent),
    };

    return cmocka_run_group_tests(tests, begin_crowd, end_loop);
}
