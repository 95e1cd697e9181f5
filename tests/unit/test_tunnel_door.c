/* The two ends of a stream where the kernel says no, memory is out, or one of them ends in the middle. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cmocka.h>

#undef fail /* cmocka's; common/seal.c has a function of that name */

#include "tests/lib/failing_alloc.h"

/* The kernel's answers to the two ends: from now on `fails` of them are `error` in place of what they would be. */
static struct fault {
    unsigned n_good; /* before it */
    unsigned fails;
    int error; /* 0: half of what was asked for */
} on_accept, on_send;
static int no_option; /* the kernel does not know it */

static bool strikes(struct fault *f)
{
    if (f->n_good) {
        f->n_good--;
        return false;
    }
    if (!f->fails)
        return false;
    f->fails--;
    errno = f->error;
    return true;
}

static int faulty_accept(int fd, struct sockaddr *from, socklen_t *n, int flags)
{
    return strikes(&on_accept) ? -1 : accept4(fd, from, n, flags);
}

static ssize_t faulty_send(int fd, const void *buf, size_t n, int flags)
{
    if (!strikes(&on_send))
        return send(fd, buf, n, flags);
    return on_send.error ? -1 : send(fd, buf, n / 2, flags);
}

static int faulty_setsockopt(int fd, int level, int option, const void *value, socklen_t n)
{
    if (level == IPPROTO_TCP && option == no_option) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return setsockopt(fd, level, option, value, n);
}

#include "common/seal.c"
#define accept4    faulty_accept
#define send       faulty_send
#define setsockopt faulty_setsockopt
#include "common/acceptor.c"
#include "common/tunnel_dial.c"
#include "common/tunnel_door.c"
#include "common/tunnel_end.c"
#include "common/tunnel_handshake.c"
#undef accept4
#undef send
#undef setsockopt

#include "tests/unit/tunnel_harness.h"
#include "tests/unit/tunnel_man.h"

/* ---- nothing left to accept with ----------------------------------------------------------------------------------- */

static bool was_starved(void *arg)
{
    return lab_counts(arg)->n_starved > 0;
}

static void test_starved(void **state)
{
    static const struct {
        int error;
        bool starves;
    } table[] = {{EMFILE, true}, {ENFILE, true}, {ENOBUFS, true},       {ENOMEM, true},
                 {EINVAL, true}, {EINTR, false}, {ECONNABORTED, false}, {EAGAIN, false}};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tunnel_dial_spec spec;
        struct lab lab;
        struct call c;

        lab_begin(&lab);
        spec = good_spec(lab.port);
        on_accept = (struct fault){.fails = 2, .error = table[i].error};
        call_begin(&c, &spec);
        if (table[i].starves) {
            run_until(was_starved, &lab);
            assert_false(
                event_pending(lab.door->acceptor->on_knock, EV_READ, NULL)); /* or it would be asked in each turn */
            assert_true(event_pending(lab.door->acceptor->on_fed, EV_TIMEOUT, NULL));
        }
        run_until(is_done, &c);
        run_until(none_half_open, &lab);
        assert_int_equal(c.r, 0);
        assert_int_equal(lab_counts(&lab)->n_starved, table[i].starves ? 2 : 0);
        assert_int_equal(lab.counts.n_opened, 1);
        call_end(&c);
        lab_end(&lab);
    }
}

/* As the kernel itself does it. */
static void test_out_of_descriptors(void **state)
{
    struct rlimit before, none;
    struct tunnel_dial_spec spec;
    struct lab lab;
    struct call c;

    (void)state;
    lab_begin(&lab);
    spec = good_spec(lab.port);
    call_begin(&c, &spec);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    run_until(was_starved, &lab);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    run_until(is_done, &c);
    run_until(none_half_open, &lab);
    assert_int_equal(c.r, 0);
    call_end(&c);
    lab_end(&lab);
}

static void test_destroyed_while_starved(void **state)
{
    struct lab lab;
    int fd;

    (void)state;
    lab_begin(&lab);
    on_accept = (struct fault){.fails = 1, .error = EMFILE};
    fd = connect_from(NULL, lab.port);
    run_until(was_starved, &lab);
    lab_end(&lab);
    close(fd);
}

/* ---- no memory ----------------------------------------------------------------------------------------------------- */

static void *failing_malloc(size_t n)
{
    return malloc(n);
}

static void *failing_realloc(void *p, size_t n)
{
    return realloc(p, n);
}

/* Which of the allocations fails makes no difference but to how far it comes: an end is told, nobody waits, nothing stays. */
static void test_no_memory(void **state)
{
    const struct tunnel_door_calls calls = {.asked = lab_asked, .opened = lab_opened};
    struct tunnel_door *d = NULL;
    bool all_well = false;
    struct lab lab;
    uint16_t port;
    int r = -1;

    (void)state;
    for (long n = 0; r; n++) {
        allocs_until_failure = n;
        r = tunnel_door_new(base, &bob, "127.0.0.1", 0, &calls, &port, &d);
        allocs_until_failure = -1;
        assert_true(r == -ENOMEM || (r == 0 && n >= 3));
    }
    tunnel_door_destroy(&d);
    lab_begin(&lab);
    for (long n = 0; !all_well; n++) {
        struct tunnel_dial_spec spec = good_spec(lab.port);
        struct call c = {.end = {.fd = -1}};
        size_t n_opened = lab.n_opened;

        spec.timeout_ms = 500; /* (where nobody could accept it) */
        allocs_until_failure = n;
        r = tunnel_dial_start(base, &spec, call_done, &c, &c.dial);
        while (r == 0 && (!c.done || !none_half_open(&lab))) /* (run_until would need memory, too) */
            turn();
        all_well = allocs_until_failure >= 0 && r == 0;
        allocs_until_failure = -1;
        if (r == 0)
            assert_int_equal(c.r == 0 && lab.n_opened > n_opened, all_well);
        call_end(&c);
        tunnel_end_clear(&lab.end);
        event_base_loop(base, EVLOOP_NONBLOCK); /* of a dial that could not start a connection may be left */
        run_until(none_half_open, &lab);
    }
    assert_true(lab_counts(&lab)->n_dropped >= 4);
    lab_end(&lab);
}

/* ---- the kernel takes nothing, or less ----------------------------------------------------------------------------- */

static void test_cannot_send(void **state)
{
    static const struct {
        int error, r; /* r: of the dial where its own send fails */
    } table[] = {{EAGAIN, -ENOBUFS}, {0, -ENOBUFS}, {EPIPE, -EPIPE}};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        for (unsigned message = 0; message < 3; message++) {
            struct tunnel_dial_spec spec;
            struct lab lab;
            struct call c;

            lab_begin(&lab);
            spec = good_spec(lab.port);
            on_send = (struct fault){.n_good = message, .fails = 1, .error = table[i].error};
            call_through(&lab, &c, &spec);
            assert_int_equal(c.r, message == 1 ? -ECONNRESET : table[i].r);
            wait_accepted(&lab, 1); /* it may have come and gone before it was seen */
            run_until(none_half_open, &lab);
            assert_int_equal(lab_counts(&lab)->n_left, 1);
            on_send = (struct fault){.fails = 3, .error = EINTR};
            expect_opens(&lab);
            call_end(&c);
            lab_end(&lab);
        }
}

/* ---- ends in the middle -------------------------------------------------------------------------------------------- */

static struct call *in_the_middle;

static void cancel_dial(struct lab *lab)
{
    (void)lab;
    tunnel_dial_cancel(&in_the_middle->dial);
}

static void destroy_door(struct lab *lab)
{
    lab_counts(lab);
    tunnel_door_destroy(&lab->door);
}

static bool man_has_hello(void *arg)
{
    return ((struct man *)arg)->n_came[FROM_DIAL] == TUNNEL_HELLO_BYTES;
}

static void test_dial_cancelled(void **state)
{
    struct tunnel_dial_spec spec;
    struct lab lab;
    struct call c;
    struct man m;

    (void)state;
    tunnel_dial_cancel(&(struct tunnel_dial *){NULL});
    lab_begin(&lab);
    spec = good_spec(lab.port);
    call_begin(&c, &spec); /* at once */
    tunnel_dial_cancel(&c.dial);
    assert_null(c.dial);
    wait_accepted(&lab, 1);
    run_until(none_half_open, &lab);
    assert_int_equal(lab_counts(&lab)->n_left, 1);

    man_begin(&m, 0); /* with message 1 out */
    spec = good_spec(m.port);
    call_begin(&c, &spec);
    run_until(man_has_hello, &m);
    tunnel_dial_cancel(&c.dial);
    run_until(man_is_free, &m);
    man_end(&m);

    in_the_middle = &c; /* with the answer on its way */
    lab.when_asked = cancel_dial;
    spec = good_spec(lab.port);
    call_begin(&c, &spec);
    run_until(was_asked, &lab);
    run_until(none_half_open, &lab);
    assert_false(c.done);
    assert_int_equal(lab_counts(&lab)->n_left, 2);
    lab.when_asked = NULL;
    expect_opens(&lab);
    lab_end(&lab);
}

/* With handshakes at each of their stages; and when one has just been opened. */
static void test_door_destroyed(void **state)
{
    static const size_t n_said[] = {0, 1, TUNNEL_HELLO_BYTES - 1, TUNNEL_HELLO_BYTES};
    struct tunnel_dial_spec spec;
    struct call c;
    struct lab lab;
    int fd[4];

    (void)state;
    tunnel_door_destroy(&(struct tunnel_door *){NULL});
    lab_begin(&lab);
    for (size_t i = 0; i < 4; i++) {
        CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
        size_t n;

        assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &good_claim, seal_offer(), &h), 0);
        fd[i] = connect_from(NULL, lab.port);
        say(fd[i], tunnel_handshake_take(h, &n), n_said[i]);
    }
    run_until(was_asked, &lab);
    wait_accepted(&lab, 4);
    assert_int_equal(lab.counts.n_half_open, 4);
    lab_end(&lab);
    for (size_t i = 0; i < 4; i++) {
        uint8_t heard[TUNNEL_ANSWER_BYTES + 1];

        assert_int_equal(hear_all(fd[i], heard, sizeof(heard)), i < 3 ? 0 : TUNNEL_ANSWER_BYTES);
        close(fd[i]);
    }

    lab_begin(&lab);
    lab.when_opened = destroy_door;
    spec = good_spec(lab.port);
    call_begin(&c, &spec);
    run_until(is_done, &c);
    while (lab.door)
        turn();
    assert_int_equal(lab.counts.n_opened, 1);
    expect_carries(&c.end, &lab.end); /* the stream stands all the same */
    call_end(&c);
    lab_end(&lab);
}

/* ---- sockets ------------------------------------------------------------------------------------------------------- */

static int option(int fd, int level, int name)
{
    int ret = -1;
    socklen_t n = sizeof(ret);

    return getsockopt(fd, level, name, &ret, &n) < 0 ? -errno : ret;
}

static void expect_prepared(int fd)
{
    int rto = option(fd, IPPROTO_TCP, TCP_RTO_MAX_MS);

    assert_true(option(fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), TUNNEL_USER_TIMEOUT_MS);
    assert_true(rto == TUNNEL_RTO_MAX_MS || rto == -ENOPROTOOPT);
    assert_true(option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), TUNNEL_KEEPALIVE_S);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_sockets_are_prepared(void **state)
{
    struct tunnel_dial_spec spec;
    struct lab lab;
    struct call c;
    int fd;

    (void)state;
    lab_begin(&lab);
    spec = good_spec(lab.port);
    call_through(&lab, &c, &spec);
    expect_prepared(c.end.fd);
    expect_prepared(lab.end.fd);
    call_end(&c);
    lab_end(&lab);

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    no_option = TCP_RTO_MAX_MS; /* an older kernel */
    tunnel_socket_prepare(fd);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), TUNNEL_USER_TIMEOUT_MS);
    assert_true(option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    no_option = TCP_USER_TIMEOUT; /* no quicker retransmissions, and no keepalive, without the bound */
    tunnel_socket_prepare(fd);
    assert_int_not_equal(option(fd, IPPROTO_TCP, TCP_RTO_MAX_MS), TUNNEL_RTO_MAX_MS);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    no_option = 0;
    close(fd);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NOTHING_LEFT(test_starved),
        NOTHING_LEFT(test_out_of_descriptors),
        NOTHING_LEFT(test_destroyed_while_starved),
        NOTHING_LEFT(test_no_memory),
        NOTHING_LEFT(test_cannot_send),
        NOTHING_LEFT(test_dial_cancelled),
        NOTHING_LEFT(test_door_destroyed),
        NOTHING_LEFT(test_sockets_are_prepared),
    };

    event_set_mem_functions(failing_malloc, failing_realloc, free);
    return cmocka_run_group_tests(tests, begin_loop, end_loop);
}
