/* A door with a book of grants, and dials to it, over loopback; for tests that include cmocka. */
#ifndef CARAVAN_TESTS_UNIT_TUNNEL_HARNESS_H
#define CARAVAN_TESTS_UNIT_TUNNEL_HARNESS_H

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/grant.h"
#include "common/host.h"
#include "common/tunnel_end.h"

static const struct tunnel_claim good_claim = {
    .instance = {{0xca}}, .epoch = 4, .rank = 3, .direction = TUNNEL_TO_RANK};

static struct event_base *base;
static struct identity ana, bob, eve; /* who dials, whose door it is, and a joined node without a grant */

struct lab {
    struct grant_book book;
    struct tunnel_door *door;
    uint16_t port;
    size_t n_asked, n_opened;
    void (*when_asked)(struct lab *lab);
    void (*when_opened)(struct lab *lab);
    struct tunnel_claim claim; /* of the last that was opened */
    uint8_t peer[CRYPTO_KEY_BYTES];
    struct tunnel_end end;
    struct tunnel_door_counts counts; /* as of the last look */
};

struct call { /* one dial */
    struct tunnel_dial *dial;
    bool done;
    int r;
    enum tunnel_verdict verdict;
    struct tunnel_end end;
};

static int begin_loop(void **state)
{
    (void)state;
    base = event_base_new();
    if (!base || crypto_init() < 0)
        return -1;
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){1}, &ana);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0, 2}, &bob);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0, 3}, &eve);
    return 0;
}

static int end_loop(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

static inline void too_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    *(bool *)arg = true;
}

/* (an assertion that failed in a callback has left the loop in the middle, and it never goes on) */
static inline void turn(void)
{
    assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
}

/* Turns the loop until done says so. */
static inline void run_until(bool (*done)(void *), void *arg)
{
    static const struct timeval limit = {60, 0};
    bool is_late = false;
    struct event *late = evtimer_new(base, too_late, &is_late);

    evtimer_add(late, &limit);
    while (!is_late && !done(arg))
        turn();
    event_free(late);
    assert_false(is_late);
}

static inline size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Each test ends with as many descriptors as it began with; memory is the sanitizers' business. */
#define NOTHING_LEFT(test) cmocka_unit_test_setup_teardown(test, fds_before, fds_after)
static size_t n_fds_before;

static int fds_before(void **state)
{
    (void)state;
    n_fds_before = count_fds();
    return 0;
}

static int fds_after(void **state)
{
    (void)state;
    return count_fds() == n_fds_before ? 0 : -1;
}

/* ---- the door ----------------------------------------------------------------------------------------------------- */

static inline enum tunnel_verdict lab_asked(void *ctx, const struct tunnel_claim *claim, const uint8_t *peer)
{
    struct lab *lab = ctx;

    lab->n_asked++;
    if (lab->when_asked)
        lab->when_asked(lab);
    return grant_book_check(&lab->book, claim, peer);
}

static inline void lab_opened(void *ctx, const struct tunnel_claim *claim, const uint8_t *peer, struct tunnel_end *end)
{
    struct lab *lab = ctx;

    lab->n_opened++;
    lab->claim = *claim;
    memcpy(lab->peer, peer, sizeof(lab->peer));
    tunnel_end_clear(&lab->end);
    lab->end = *end;
    if (lab->when_opened)
        lab->when_opened(lab);
}

static inline void lab_begin_at(struct lab *lab, const char *addr)
{
    const struct tunnel_door_calls calls = {.asked = lab_asked, .opened = lab_opened, .ctx = lab};

    *lab = (struct lab){.end = {.fd = -1}};
    assert_int_equal(grant_book_add(&lab->book, &good_claim, ana.public_key), 0);
    assert_int_equal(tunnel_door_new(base, &bob, addr, 0, &calls, &lab->port, &lab->door), 0);
    assert_int_not_equal(lab->port, 0);
}

static inline void lab_begin(struct lab *lab)
{
    lab_begin_at(lab, "127.0.0.1");
}

/* Looks, and checks that everybody who was accepted is in one of the other figures. */
static inline const struct tunnel_door_counts *lab_counts(struct lab *lab)
{
    struct tunnel_door_counts *c = &lab->counts;
    uint64_t sum;

    tunnel_door_counts(lab->door, c);
    sum = c->n_opened + c->n_half_open + c->n_bad + c->n_left + c->n_slow + c->n_dropped;
    for (size_t i = 0; i < TUNNEL_VERDICT_N; i++)
        sum += c->n_refused[i];
    assert_int_equal(c->n_accepted, sum);
    assert_int_equal(c->n_opened, lab->n_opened);
    return c;
}

static inline void lab_end(struct lab *lab)
{
    tunnel_door_destroy(&lab->door);
    tunnel_end_clear(&lab->end);
}

/* All whom the door has let in are done with, in this way or that. */
static inline bool none_half_open(void *arg)
{
    return lab_counts(arg)->n_half_open == 0;
}

static inline void wait_accepted(struct lab *lab, size_t n)
{
    while (lab_counts(lab)->n_accepted < n)
        turn();
}

static inline bool was_asked(void *arg)
{
    return ((struct lab *)arg)->n_asked > 0;
}

/* ---- dials -------------------------------------------------------------------------------------------------------- */

static inline void call_done(void *ctx, int r, struct tunnel_end *end, enum tunnel_verdict verdict)
{
    struct call *c = ctx;

    assert_false(c->done);
    assert_true(r <= 0 && !r == !!end);
    c->done = true;
    c->dial = NULL;
    c->r = r;
    c->verdict = verdict;
    if (end)
        c->end = *end;
}

static inline struct tunnel_dial_spec good_spec(uint16_t port)
{
    struct tunnel_dial_spec spec = {
        .own = &ana, .claim = good_claim, .addr = "127.0.0.1", .port = port, .timeout_ms = 30000};

    memcpy(spec.peer, bob.public_key, sizeof(spec.peer));
    return spec;
}

static inline void call_begin(struct call *c, const struct tunnel_dial_spec *spec)
{
    *c = (struct call){.end = {.fd = -1}};
    assert_int_equal(tunnel_dial_start(base, spec, call_done, c, &c->dial), 0);
    assert_false(c->done);
}

static inline void call_end(struct call *c)
{
    tunnel_dial_cancel(&c->dial);
    tunnel_end_clear(&c->end);
}

static inline bool is_done(void *arg)
{
    return ((struct call *)arg)->done;
}

/* One of them after the other, to its end at both sides; *c is its caller's to end. */
static inline void call_through(struct lab *lab, struct call *c, const struct tunnel_dial_spec *spec)
{
    call_begin(c, spec);
    run_until(is_done, c);
    run_until(none_half_open, lab);
}

/* ---- what stands -------------------------------------------------------------------------------------------------- */

static inline void read_whole(int fd, uint8_t *ret, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (size_t at = 0; at < n;) {
        ssize_t got;

        assert_int_equal(poll(&p, 1, 60000), 1);
        got = recv(fd, ret + at, n - at, 0);
        assert_true(got > 0);
        at += (size_t)got;
    }
}

/* What one end seals, the other opens, and nothing was left in the socket before it. */
static inline void expect_carries(struct tunnel_end *from, struct tunnel_end *to)
{
    uint8_t record[SEAL_OVERHEAD_BYTES + 5] = {0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    struct seal_opened o;

    assert_true(from->fd >= 0 && to->fd >= 0);
    assert_int_equal(seal_record(from->seal, SEAL_DATA, record, 5), 0);
    assert_int_equal(send(from->fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
    memset(record, 0, sizeof(record));
    read_whole(to->fd, record, sizeof(record));
    assert_int_equal(seal_open(to->open, record, sizeof(record), &o), 0);
    assert_int_equal(o.n_data, 5);
    assert_memory_equal(o.data, "hello", 5);
}

/* A good one gets through: what each refusal is held against. */
static inline void expect_opens_at(struct lab *lab, uint16_t port)
{
    size_t n_opened = lab->n_opened;
    struct tunnel_dial_spec spec = good_spec(port);
    struct call c;

    call_through(lab, &c, &spec);
    assert_int_equal(c.r, 0);
    assert_int_equal(lab->n_opened, n_opened + 1);
    assert_memory_equal(lab->peer, ana.public_key, sizeof(lab->peer));
    assert_true(id128_equal(&lab->claim.instance, &good_claim.instance));
    assert_true(lab->claim.epoch == 4 && lab->claim.rank == 3 && lab->claim.direction == TUNNEL_TO_RANK);
    expect_carries(&c.end, &lab->end);
    expect_carries(&lab->end, &c.end);
    call_end(&c);
    tunnel_end_clear(&lab->end);
}

static inline void expect_opens(struct lab *lab)
{
    expect_opens_at(lab, lab->port);
}

/* ---- strangers ---------------------------------------------------------------------------------------------------- */

/* A socket that stands, from any of loopback's addresses; NULL: whichever. */
static inline int connect_from(const char *from, uint16_t port)
{
    struct sockaddr_storage at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n;

    assert_true(fd >= 0);
    if (from) {
        n = host_sockaddr(from, 0, &at);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    }
    n = host_sockaddr("127.0.0.1", port, &at);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, n), 0);
    return fd;
}

static inline void say(int fd, const uint8_t *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static inline int listen_anywhere(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n = sizeof(at);

    assert_true(bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, 8) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* All that came until the other side ended: at most max. */
static inline size_t hear_all(int fd, uint8_t *ret, size_t max)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t at = 0;

    for (;;) {
        ssize_t n;

        assert_int_equal(poll(&p, 1, 60000), 1);
        n = recv(fd, ret + at, max - at, 0);
        if (n <= 0)
            return at;
        at += (size_t)n;
        assert_true(at < max);
    }
}

#endif
