/* Two ends of a stream over loopback: what was granted opens, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tunnel_harness.h"
#include "tests/unit/tunnel_man.h"

static void test_granted(void **state)
{
    static const struct {
        const char *door, *dial;
    } addrs[] = {{"127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "127.0.0.1"}, {"::1", "::1"}, {"::", "127.0.0.1"}};

    (void)state;
    for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
        struct lab lab;
        struct call c;
        struct tunnel_dial_spec spec;

        lab_begin_at(&lab, addrs[i].door);
        spec = good_spec(lab.port);
        strcpy(spec.addr, addrs[i].dial);
        call_through(&lab, &c, &spec);
        assert_int_equal(c.r, 0);
        assert_int_equal(lab.n_asked, 1);
        assert_int_equal(lab_counts(&lab)->n_opened, 1);
        expect_carries(&c.end, &lab.end);
        expect_carries(&lab.end, &c.end);
        call_end(&c);
        lab_end(&lab);
    }
}

/* ---- what was not granted ----------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct {
        const struct identity *who;
        struct tunnel_claim claim;
        enum tunnel_verdict verdict, told;
    } table[] = {
        {&ana, {{{0xcb}}, 4, 3, TUNNEL_TO_RANK}, TUNNEL_NO_GRANT, TUNNEL_NO_GRANT},
        {&eve, {{{0xca}}, 4, 3, TUNNEL_TO_RANK}, TUNNEL_OTHER_PEER, TUNNEL_NO_GRANT},
        {&ana, {{{0xca}}, 4, 0, TUNNEL_TO_COORDINATOR}, TUNNEL_OTHER_DIRECTION, TUNNEL_OTHER_DIRECTION},
        {&ana, {{{0xca}}, 5, 3, TUNNEL_TO_RANK}, TUNNEL_OTHER_EPOCH, TUNNEL_OTHER_EPOCH},
        {&ana, {{{0xca}}, 3, 3, TUNNEL_TO_RANK}, TUNNEL_OTHER_EPOCH, TUNNEL_OTHER_EPOCH},
        {&ana, {{{0xca}}, 4, 2, TUNNEL_TO_RANK}, TUNNEL_OTHER_RANK, TUNNEL_OTHER_RANK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tunnel_dial_spec spec;
        struct call c;
        struct lab lab;

        lab_begin(&lab);
        expect_opens(&lab);
        spec = good_spec(lab.port);
        spec.own = table[i].who;
        spec.claim = table[i].claim;
        call_through(&lab, &c, &spec);
        assert_int_equal(c.r, -EACCES);
        assert_int_equal(c.verdict, table[i].told);
        assert_int_equal(lab.n_opened, 1);
        assert_int_equal(lab_counts(&lab)->n_refused[table[i].verdict], 1);
        assert_int_equal(lab.counts.n_accepted, 2);
        expect_opens(&lab);
        lab_end(&lab);
    }
}

/* A stranger that speaks the handshake himself. */
static void stranger_begins(int fd, uint8_t ciphers, struct tunnel_handshake **ret)
{
    const uint8_t *bytes;
    size_t n;

    assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &good_claim, ciphers, ret), 0);
    bytes = tunnel_handshake_take(*ret, &n);
    assert_int_equal(n, TUNNEL_HELLO_BYTES);
    say(fd, bytes, n);
}

static int stranger_hears(int fd, struct tunnel_handshake *h)
{
    uint8_t answer[TUNNEL_ANSWER_BYTES];
    size_t n;

    read_whole(fd, answer, sizeof(answer));
    return tunnel_handshake_feed(h, answer, sizeof(answer), &n);
}

static void test_no_cipher_in_common(void **state)
{
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
    struct lab lab;
    int fd;

    (void)state;
    lab_begin(&lab);
    fd = connect_from(NULL, lab.port);
    stranger_begins(fd, 0x80, &h);
    run_until(was_asked, &lab);
    assert_int_equal(stranger_hears(fd, h), TUNNEL_REFUSED);
    assert_int_equal(tunnel_handshake_verdict(h), TUNNEL_NO_CIPHER);
    assert_int_equal(lab_counts(&lab)->n_refused[TUNNEL_NO_CIPHER], 1);
    expect_opens(&lab);
    close(fd);
    lab_end(&lab);
}

static bool has_opened(void *arg)
{
    return ((struct lab *)arg)->n_opened > 0;
}

/* The first record comes in one piece with the rest of message 3, and is still in the socket when the stream stands. */
static void test_takes_no_byte_too_many(void **state)
{
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
    uint8_t bytes[TUNNEL_CONFIRM_BYTES + SEAL_OVERHEAD_BYTES + 3], got[SEAL_OVERHEAD_BYTES + 3];
    struct seal_opened o;
    struct tunnel_keys keys;
    struct seal *seal;
    struct lab lab;
    size_t n;
    int fd;

    (void)state;
    lab_begin(&lab);
    fd = connect_from(NULL, lab.port);
    stranger_begins(fd, SEAL_CHACHA20_POLY1305, &h);
    run_until(was_asked, &lab);
    assert_int_equal(stranger_hears(fd, h), TUNNEL_DONE);
    tunnel_handshake_keys(h, &keys);
    assert_int_equal(seal_new(SEAL_CHACHA20_POLY1305, keys.send, TUNNEL_RANK_DATA_MAX, &seal), 0);
    memcpy(bytes, tunnel_handshake_take(h, &n), TUNNEL_CONFIRM_BYTES);
    memcpy(bytes + TUNNEL_CONFIRM_BYTES + SEAL_HEAD_BYTES, "abc", 3);
    assert_int_equal(seal_record(seal, SEAL_DATA, bytes + TUNNEL_CONFIRM_BYTES, 3), 0);
    say(fd, bytes, 5);
    event_base_loop(base, EVLOOP_NONBLOCK);
    say(fd, bytes + 5, sizeof(bytes) - 5);
    run_until(has_opened, &lab);
    read_whole(lab.end.fd, got, sizeof(got));
    assert_int_equal(seal_open(lab.end.open, got, sizeof(got), &o), 0);
    assert_memory_equal(o.data, "abc", 3);
    seal_destroy(&seal);
    tunnel_keys_clear(&keys);
    close(fd);
    lab_end(&lab);
}

/* ---- what changes on the way -------------------------------------------------------------------------------------- */

enum { ALL_OF_DIAL = TUNNEL_HELLO_BYTES + TUNNEL_CONFIRM_BYTES };

/* A dial through him, and what comes of it, once all three are done. */
static void call_through_man(struct lab *lab, struct man *m, struct call *c)
{
    struct tunnel_dial_spec spec = good_spec(m->port);
    size_t n_streams = m->n_streams;

    call_through(lab, c, &spec);
    if (c->r == 0 && lab->end.fd < 0) { /* our end cannot know yet that it was not let in: it hears so */
        struct pollfd p = {.fd = c->end.fd, .events = POLLIN};
        uint8_t byte;

        run_until(man_is_free, m);
        assert_int_equal(poll(&p, 1, 60000), 1);
        assert_true(recv(c->end.fd, &byte, 1, 0) <= 0);
    }
    call_end(c);
    tunnel_end_clear(&lab->end);
    run_until(man_is_free, m);
    assert_int_equal(m->n_streams, n_streams + 1);
}

/* Each byte of the three messages, in their order: does m's work to it, and says what the dial has been told. */
static void try_each_byte(int what, int r_of_answer)
{
    struct lab lab;
    struct man m;

    lab_begin(&lab);
    man_begin(&m, lab.port);
    for (size_t i = 0; i <= ALL_OF_DIAL + TUNNEL_ANSWER_BYTES; i++) {
        bool control = i == ALL_OF_DIAL + TUNNEL_ANSWER_BYTES, in_hello = i < TUNNEL_HELLO_BYTES;
        size_t n = control ? i : i + 1, n_bad = what != FLIP ? 0 : n < ALL_OF_DIAL ? n : ALL_OF_DIAL;
        struct call c;

        m.what = control ? PASS : what;
        m.side = i < ALL_OF_DIAL ? FROM_DIAL : FROM_DOOR;
        m.where = i < ALL_OF_DIAL ? i : i - ALL_OF_DIAL;
        call_through_man(&lab, &m, &c);
        assert_int_equal(c.r, in_hello ? -ECONNRESET : m.side == FROM_DIAL || control ? 0 : r_of_answer);
        assert_int_equal(lab_counts(&lab)->n_bad, n_bad);
        assert_int_equal(lab.counts.n_left, n - n_bad); /* also a dial that will not have what it was answered */
        assert_int_equal(lab.n_opened, control);
        assert_int_equal(lab.n_asked, in_hello ? 0 : i + 1 - TUNNEL_HELLO_BYTES);
        assert_int_equal(m.n_came[FROM_DOOR], in_hello ? 0 : TUNNEL_ANSWER_BYTES);
    }
    man_end(&m);
    lab_end(&lab);
}

static void test_each_byte_changed(void **state)
{
    (void)state;
    try_each_byte(FLIP, -EPROTO);
}

static void test_cut_at_each_byte(void **state)
{
    (void)state;
    try_each_byte(CUT, -ECONNRESET);
    try_each_byte(RESET, -ECONNRESET);
}

/* ---- what was recorded -------------------------------------------------------------------------------------------- */

/* What a dial has sent up to its first record, and, in m, what it was answered. */
static size_t record(struct lab *lab, struct man *m)
{
    uint8_t bytes[SEAL_OVERHEAD_BYTES] = {0};
    struct tunnel_dial_spec spec = good_spec(m->port);
    struct call c;

    call_through(lab, &c, &spec);
    assert_int_equal(c.r, 0);
    assert_int_equal(seal_record(c.end.seal, SEAL_DATA, bytes, 0), 0);
    say(c.end.fd, bytes, sizeof(bytes));
    shutdown(c.end.fd, SHUT_WR);
    run_until(man_is_free, m);
    call_end(&c);
    assert_int_equal(m->n_came[FROM_DIAL], ALL_OF_DIAL + sizeof(bytes));
    return m->n_came[FROM_DIAL];
}

static bool none_stands(void *arg)
{
    struct lab *lab = arg;

    size_t n = lab_counts(lab)->n_bad + lab->counts.n_left;

    return n && n + lab->n_opened == lab->counts.n_accepted;
}

/* Whole, and each beginning of it: it is answered, with what only the one who made it could go on with. */
static void test_replayed_to_the_door(void **state)
{
    struct lab lab;
    struct man m;
    size_t n_all;

    (void)state;
    lab_begin(&lab);
    man_begin(&m, lab.port);
    n_all = record(&lab, &m);
    for (size_t n = 0; n <= n_all; n++) {
        uint8_t heard[TUNNEL_ANSWER_BYTES + 1];
        int fd = connect_from(NULL, lab.port);
        size_t n_heard;

        say(fd, m.kept[FROM_DIAL], n);
        shutdown(fd, SHUT_WR);
        do
            turn();
        while (lab_counts(&lab)->n_accepted < n + 2);
        run_until(none_stands, &lab);
        assert_int_equal(lab.counts.n_bad + lab.counts.n_left, n + 1);
        assert_int_equal(lab.n_opened, 1);
        n_heard = hear_all(fd, heard, sizeof(heard));
        assert_int_equal(n_heard, n < TUNNEL_HELLO_BYTES ? 0 : TUNNEL_ANSWER_BYTES);
        if (n_heard)
            assert_memory_not_equal(heard + 1, m.kept[FROM_DOOR] + 1, CRYPTO_KEY_BYTES);
        close(fd);
    }
    expect_opens(&lab);
    man_end(&m);
    lab_end(&lab);
}

static int dial_to_liar(const uint8_t *play, size_t n_play)
{
    struct tunnel_dial_spec spec;
    struct call c;
    struct man m;

    man_begin(&m, 0);
    m.play = play;
    m.n_play = n_play;
    spec = good_spec(m.port);
    call_begin(&c, &spec);
    run_until(is_done, &c);
    assert_true(c.end.fd < 0 && c.verdict == TUNNEL_GRANTED);
    man_end(&m);
    return c.r;
}

static void test_replayed_to_a_dial(void **state)
{
    uint8_t other_version[TUNNEL_ANSWER_BYTES];
    struct lab lab;
    struct man m;

    (void)state;
    lab_begin(&lab);
    man_begin(&m, lab.port);
    record(&lab, &m);
    assert_int_equal(dial_to_liar(m.kept[FROM_DOOR], TUNNEL_ANSWER_BYTES), -EPROTO);
    assert_int_equal(dial_to_liar(NULL, TUNNEL_HELLO_BYTES), -EPROTO); /* its own, thrown back */
    memcpy(other_version, m.kept[FROM_DOOR], sizeof(other_version));
    other_version[0] = TUNNEL_VERSION + 1;
    assert_int_equal(dial_to_liar(other_version, sizeof(other_version)), -EPROTO);
    assert_int_equal(dial_to_liar((const uint8_t *)"HTTP/1.1 400 Bad Request\r\n", 26), -EPROTO);
    man_end(&m);
    lab_end(&lab);
}

/* ---- who is not who, and what is not there ------------------------------------------------------------------------ */

static void test_other_versions(void **state)
{
    struct lab lab;
    struct man m;

    (void)state;
    lab_begin(&lab);
    man_begin(&m, lab.port);
    record(&lab, &m);
    for (unsigned v = 0; v < 256; v++) {
        uint8_t hello[TUNNEL_HELLO_BYTES], heard[1];
        int fd;

        if (v == TUNNEL_VERSION)
            continue;
        memcpy(hello, m.kept[FROM_DIAL], sizeof(hello));
        hello[0] = (uint8_t)v;
        fd = connect_from(NULL, lab.port);
        say(fd, hello, sizeof(hello));
        do
            turn();
        while (lab_counts(&lab)->n_bad < (v < TUNNEL_VERSION ? v + 1 : v));
        assert_int_equal(hear_all(fd, heard, sizeof(heard)), 0);
        close(fd);
    }
    assert_int_equal(lab.n_asked, 1);
    expect_opens(&lab);
    man_end(&m);
    lab_end(&lab);
}

/* At the address of the one who is meant stands another one. */
static void test_another_key(void **state)
{
    struct tunnel_dial_spec spec;
    struct call c;
    struct lab lab;
    struct man m;

    (void)state;
    lab_begin(&lab);
    man_begin(&m, lab.port);
    spec = good_spec(m.port);
    memcpy(spec.peer, eve.public_key, sizeof(spec.peer));
    call_through(&lab, &c, &spec);
    assert_int_equal(c.r, -ECONNRESET);
    run_until(man_is_free, &m);
    assert_int_equal(m.n_came[FROM_DOOR], 0);
    assert_int_equal(lab.n_asked, 0);
    assert_int_equal(lab_counts(&lab)->n_bad, 1);
    expect_opens(&lab);
    man_end(&m);
    lab_end(&lab);
}

static void test_nobody_there(void **state)
{
    struct tunnel_dial_spec spec;
    struct call c;
    struct man m;
    struct lab lab;

    (void)state;
    lab_begin(&lab);
    spec = good_spec(lab.port);
    lab_end(&lab);
    call_begin(&c, &spec);
    run_until(is_done, &c);
    assert_int_equal(c.r, -ECONNREFUSED);

    man_begin(&m, 0); /* he has nothing to say */
    spec = good_spec(m.port);
    spec.timeout_ms = 100;
    call_begin(&c, &spec);
    run_until(is_done, &c);
    assert_int_equal(c.r, -ETIMEDOUT);
    man_end(&m);
}

static void expect_no_start(const struct tunnel_dial_spec *spec, int r)
{
    struct tunnel_dial *d = NULL;
    struct call c = {.end = {.fd = -1}};
    int got = tunnel_dial_start(base, spec, call_done, &c, &d);

    assert_true(r ? got == r : got < 0);
    assert_null(d);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_false(c.done);
}

static void test_cannot_begin(void **state)
{
    static const char *const no_literals[] = {"", "localhost", "127.0.0.1:80", "fe80::1%nowhere", "1.2.3"};
    struct tunnel_dial_spec spec = good_spec(1);
    struct tunnel_door *d = NULL;
    struct lab lab;
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof(no_literals) / sizeof(no_literals[0]); i++) {
        strcpy(spec.addr, no_literals[i]);
        expect_no_start(&spec, -EINVAL);
        assert_int_equal(tunnel_door_new(base, &bob, spec.addr, 0, &(struct tunnel_door_calls){0}, &port, &d), -EINVAL);
    }
    spec = good_spec(1);
    strcpy(spec.addr, "255.255.255.255");
    expect_no_start(&spec, 0);
    spec = good_spec(1);
    memset(spec.peer, 0, sizeof(spec.peer));
    expect_no_start(&spec, -EINVAL);
    lab_begin(&lab); /* (and its port is taken) */
    assert_int_equal(tunnel_door_new(base, &bob, "127.0.0.1", lab.port, &(struct tunnel_door_calls){0}, &port, &d),
                     -EADDRINUSE);
    assert_null(d);
    lab_end(&lab);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NOTHING_LEFT(test_granted),
        NOTHING_LEFT(test_refused),
        NOTHING_LEFT(test_no_cipher_in_common),
        NOTHING_LEFT(test_takes_no_byte_too_many),
        NOTHING_LEFT(test_each_byte_changed),
        NOTHING_LEFT(test_cut_at_each_byte),
        NOTHING_LEFT(test_replayed_to_the_door),
        NOTHING_LEFT(test_replayed_to_a_dial),
        NOTHING_LEFT(test_other_versions),
        NOTHING_LEFT(test_another_key),
        NOTHING_LEFT(test_nobody_there),
        NOTHING_LEFT(test_cannot_begin),
    };

    return cmocka_run_group_tests(tests, begin_loop, end_loop);
}
