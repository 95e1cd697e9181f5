/* What a worker's and a coordinator's rank connections tell, sample by sample: tables of sockets, and real ones. */
#include <arpa/inet.h>
#include <errno.h>
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

#include "agent/rank_sockets.h"
#include "agent/sockets.h"
#include "common/core/text.h"

static struct procfs_end end_of(const char *addr, uint16_t port)
{
    struct procfs_end e = {.port = port};

    assert_int_equal(inet_pton(AF_INET, addr, e.addr), 1);
    return e;
}

/* ---- of a worker ------------------------------------------------------------------------------------------------- */

struct row {
    const char *addr;
    uint16_t port;
    uint8_t state;
    uint32_t unread, retransmits;
    uint64_t inode;
};

static struct rank_figures worker_sample(const struct row *rows, size_t n)
{
    struct rank_sockets r;
    struct rank_figures f;

    assert_true(rank_sockets_of_worker(&r, "10.77.0.12", 20052));
    rank_sockets_begin(&r);
    for (size_t i = 0; i < n; i++) {
        struct procfs_socket s = {.local = end_of(rows[i].addr, rows[i].port),
                                  .remote = end_of("10.77.0.11", (uint16_t)(50000 + i)),
                                  .state = rows[i].state,
                                  .unread_bytes = rows[i].unread,
                                  .retransmits = rows[i].retransmits,
                                  .inode = rows[i].inode};

        rank_sockets_take(&r, &s);
    }
    rank_sockets_end(&r, false, &f);
    return f;
}

static void test_worker(void **state)
{
    static const struct {
        struct row row[3];
        uint64_t unread;
        bool retransmits;
    } cases[] = {
        {{{"10.77.0.12", 20052, 1, 321, 0, 7}}, 321, false},
        {{{"10.77.0.12", 20052, 1, 321, 2, 7}}, 321, true},
        /* somebody else's connection waits in its queue: it says nothing about this one */
        {{{"10.77.0.12", 20052, 1, 0, 0, 7}, {"10.77.0.12", 20052, 1, 33, 4, 0}}, 0, false},
        /* it is stopped before it has accepted its coordinator */
        {{{"10.77.0.12", 20052, 1, 33, 0, 0}}, 33, false},
        {{{"10.77.0.12", 20052, 10, 1, 0, 5}, {"10.77.0.12", 20052, 8, 9, 0, 6}}, 0, false}, /* listening, closed */
        {{{"10.77.0.12", 20053, 1, 5, 1, 7}, {"10.77.0.13", 20052, 1, 6, 1, 8}}, 0, false},  /* others */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = 0;
        struct rank_figures f;

        while (n < 3 && cases[i].row[n].addr)
            n++;
        f = worker_sample(cases[i].row, n);
        assert_int_equal(f.unread_bytes, cases[i].unread);
        assert_int_equal(f.retransmits, cases[i].retransmits);
        assert_int_equal(f.closed_streams, 0);
    }
}

/* What is sent again on the network shows at the carrier's sockets, and nowhere else. */
static void test_far_ends(void **state)
{
    static const struct {
        const char *addr;
        uint16_t port;
        uint8_t state;
        uint32_t retransmits;
        uint64_t inode;
        bool seen;
    } rows[] = {
        {"10.77.0.12", 7440, PROCFS_TCP_ESTABLISHED, 1, 7, true},
        {"10.77.0.12", 7440, PROCFS_TCP_CLOSE_WAIT, 2, 7, true},
        {"10.77.0.12", 7440, PROCFS_TCP_ESTABLISHED, 0, 7, false},
        {"10.77.0.12", 7440, PROCFS_TCP_FIN_WAIT1, 3, 0, false}, /* nobody's any more */
        {"10.77.0.12", 7441, PROCFS_TCP_ESTABLISHED, 1, 7, false},
        {"10.77.0.13", 7440, PROCFS_TCP_ESTABLISHED, 1, 7, false},
    };
    static const char cmdline[] = "--rpc\000127.0.0.1:41111";

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct procfs_socket s = {.state = rows[i].state, .retransmits = rows[i].retransmits, .inode = rows[i].inode};
        struct procfs_end far = end_of(rows[i].addr, rows[i].port), other = end_of("10.77.0.11", 50000);
        struct rank_sockets worker, coordinator;
        struct rank_figures f;

        assert_true(rank_sockets_of_worker(&worker, "127.0.0.1", 20052));
        rank_sockets_begin(&worker);
        rank_sockets_add_far(&worker, "nonsense", 1);
        rank_sockets_add_far(&worker, "10.77.0.12", 7440);
        s.local = far;
        s.remote = other;
        s.unread_bytes = 99; /* the carrier's, not the worker's */
        rank_sockets_take(&worker, &s);
        rank_sockets_end(&worker, false, &f);
        assert_int_equal(f.retransmits, rows[i].seen);
        assert_int_equal(f.unread_bytes, 0);

        rank_sockets_of_coordinator(&coordinator, cmdline, sizeof(cmdline));
        rank_sockets_begin(&coordinator);
        rank_sockets_add_far(&coordinator, "10.77.0.12", 7440);
        s.local = other;
        s.remote = far;
        rank_sockets_take(&coordinator, &s);
        rank_sockets_end(&coordinator, true, &f);
        assert_int_equal(f.retransmits, rows[i].seen);
        assert_int_equal(f.closed_streams, 0);
        rank_sockets_begin(&coordinator); /* said anew for each sample */
        rank_sockets_take(&coordinator, &s);
        rank_sockets_end(&coordinator, true, &f);
        assert_false(f.retransmits);
    }
}

static void test_far_ends_of_v6(void **state)
{
    struct rank_sockets r;

    (void)state;
    assert_true(rank_sockets_of_worker(&r, "127.0.0.1", 20052));
    rank_sockets_begin(&r);
    assert_false(rank_sockets_need_v6(&r));
    rank_sockets_add_far(&r, "fd00::2", 7440);
    assert_true(rank_sockets_need_v6(&r));
    for (int i = 0; i < 2 * PROTO_RANKS_MAX; i++)
        rank_sockets_add_far(&r, "10.0.0.1", 7440);
    assert_int_equal(r.n_far, PROTO_RANKS_MAX);
}

/* ---- of a coordinator -------------------------------------------------------------------------------------------- */

enum { OPEN = PROCFS_TCP_ESTABLISHED, CLOSED = PROCFS_TCP_CLOSE_WAIT, LEFT = PROCFS_TCP_TIME_WAIT };

/* states: of connections to 10.77.0.12, one letter each, for local ports that count up: o open, c closed by the other
 * side, l left, - not there */
static uint32_t sample(struct rank_sockets *r, bool listening, const char *states)
{
    struct rank_figures f;

    rank_sockets_begin(r);
    for (size_t i = 0; states[i]; i++) {
        struct procfs_socket s = {.local = end_of("10.77.0.11", (uint16_t)(50000 + i)),
                                  .remote = end_of("10.77.0.12", 20052),
                                  .state = (uint8_t)(states[i] == 'o'   ? OPEN
                                                     : states[i] == 'c' ? CLOSED
                                                                        : LEFT),
                                  .inode = states[i] == 'l' ? 0 : 9};

        if (states[i] == '-')
            continue;
        rank_sockets_take(r, &s);
        s.remote.port++; /* somebody else's */
        rank_sockets_take(r, &s);
    }
    rank_sockets_end(r, listening, &f);
    return f.closed_streams;
}

static void test_coordinator(void **state)
{
    static const char cmdline[] =
        "llama-server\0--rpc\00010.77.0.12:20052,[fd00::2]:20053,nonsense,:1,10.0.0.1:\0--port\0001";
    static const struct {
        const char *states[6]; /* it listens from the second on */
        uint32_t closed[6];
    } cases[] = {
        {{"o", "o", "o", "o", "o"}, {0}},
        {{"o", "o", "o", "c"}, {0, 0, 0, 1}}, /* said by the other side: at once */
        {{"oo", "oo", "oo", "oo", "co"}, {0, 0, 0, 0, 1}},
        {{"c"}, {1}},                                 /* while it loads, too */
        {{"o", "o", "o", "-", "-"}, {0, 0, 0, 0, 1}}, /* reset: gone twice */
        {{"o", "o", "o", "-", "-", "-o"}, {0, 0, 0, 0, 1, 1}},
        {{"o", "o", "o", "-", "o", "-"}, {0}},    /* missed once, and once more */
        {{"ooo", "o", "o", "o", "o"}, {0}},       /* there were more while it loaded */
        {{"o", "-", "-", "-o", "-o", "-o"}, {0}}, /* it was not yet serving */
        {{"o", "o", "oo", "o", "o"}, {0}},        /* made for a moment */
        {{"o", "o", "oo", "oo", "o", "o"}, {0, 0, 0, 0, 0, 1}},
        {{"ol", "ol", "ol", "-l", "-l"}, {0, 0, 0, 0, 1}}, /* another one that it left excuses nothing */
        {{"o", "o", "o", "l", "l", "-"}, {0}},             /* left by itself, as one that sleeps does */
        {{"o", "o", "o", "-", "l", "-"}, {0}},             /* and that was asked for only then */
        {{"ooooooo", "ooooooo", "ooooooo", "-------", "-------"}, {0, 0, 0, 0, RANK_STREAMS_MAX}}, /* bounded */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rank_sockets r;

        rank_sockets_of_coordinator(&r, cmdline, sizeof(cmdline));
        assert_int_equal(r.n_endpoints, 2);
        assert_int_equal(r.endpoint[1].end.port, 20053);
        assert_true(r.endpoint[1].end.v6);
        for (size_t k = 0; k < 6 && cases[i].states[k]; k++) {
            uint32_t closed = sample(&r, k > 0, cases[i].states[k]);

            if (closed != cases[i].closed[k])
                fail_msg("case %zu, sample %zu: %u", i, k, (unsigned)closed);
        }
    }
}

/* Whatever the process has made of its command line. */
static void test_command_lines(void **state)
{
    static const char whole[] = "a\0--rpc\00010.0.0.1:1,10.0.0.2:2";
    char many[16 * 1024] = "--rpc";
    size_t used = sizeof("--rpc");
    struct rank_sockets r;

    (void)state;
    for (size_t n = 0; n < sizeof(whole); n++) {
        char *copy = malloc(n ? n : 1);

        assert_non_null(copy);
        memcpy(copy, whole, n);
        rank_sockets_of_coordinator(&r, copy, n);
        assert_int_equal(r.n_endpoints, 0); /* cut off */
        free(copy);
    }
    rank_sockets_of_coordinator(&r, whole, sizeof(whole));
    assert_int_equal(r.n_endpoints, 2);
    rank_sockets_of_coordinator(&r, "--rpc\0", 7);
    assert_int_equal(r.n_endpoints, 0);
    for (int i = 0; i < 500; i++)
        used += (size_t)snprintf(many + used, sizeof(many) - used, "10.0.0.1:%d,", i + 1);
    rank_sockets_of_coordinator(&r, many, used + 1);
    assert_int_equal(r.n_endpoints, PROTO_RANKS_MAX);
}

/* ---- the kernel's own words -------------------------------------------------------------------------------------- */

struct pair {
    int listener, client, server;
    uint16_t port;
};

static struct pair make_pair(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    struct pair p = {.listener = socket(AF_INET, SOCK_STREAM, 0), .client = socket(AF_INET, SOCK_STREAM, 0)};

    assert_int_equal(bind(p.listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(p.listener, 4), 0);
    assert_int_equal(getsockname(p.listener, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(p.client, (struct sockaddr *)&sa, len), 0);
    p.server = accept(p.listener, NULL, NULL);
    assert_true(p.server >= 0);
    p.port = ntohs(sa.sin_port);
    return p;
}

static void visit(void *ctx, const struct procfs_socket *s)
{
    rank_sockets_take(ctx, s);
}

struct found {
    uint16_t port;
    size_t n;
    struct procfs_socket last;
};

static void count(void *ctx, const struct procfs_socket *s)
{
    struct found *f = ctx;

    if (s->local.port != f->port)
        return;
    f->n++;
    f->last = *s;
}

static bool of_files; /* and not by netlink */

static struct rank_figures look(struct rank_sockets *r, bool listening)
{
    struct rank_figures f;

    rank_sockets_begin(r);
    assert_int_equal(sockets_each(of_files ? getpid() : 0,
                                  SOCKETS_CONNECTED | (rank_sockets_need_left(r) ? SOCKETS_LEFT : 0), false, visit, r),
                     0);
    rank_sockets_end(r, listening, &f);
    return f;
}

static void check_real_sockets(void)
{
    struct rank_sockets worker, coordinator;
    struct pair p = make_pair();
    char cmdline[64] = "--rpc";
    int n = snprintf(cmdline + 6, sizeof(cmdline) - 6, "127.0.0.1:%u", (unsigned)p.port);

    assert_true(rank_sockets_of_worker(&worker, "127.0.0.1", p.port));
    rank_sockets_of_coordinator(&coordinator, cmdline, 6 + (size_t)n + 1);
    assert_int_equal(coordinator.n_endpoints, 1);
    assert_int_equal(look(&worker, false).unread_bytes, 0);
    assert_int_equal(write(p.client, "0123456789", 10), 10);
    assert_int_equal(look(&worker, false).unread_bytes, 10);
    look(&coordinator, true);
    look(&coordinator, true);
    assert_int_equal(coordinator.endpoint[0].stream[0].n_served, 2);
    assert_int_equal(look(&coordinator, true).closed_streams, 0);
    close(p.server); /* with bytes unread: a reset */
    look(&coordinator, true);
    assert_int_equal(look(&coordinator, true).closed_streams, 1);
    close(p.client);
    close(p.listener);
    assert_int_equal(sockets_each(INT32_MAX, SOCKETS_CONNECTED, true, visit, &worker), -ENOENT);
}

static void check_real_end_of_file(void)
{
    struct pair p = make_pair();
    struct rank_sockets coordinator;
    char cmdline[64] = "--rpc";
    int n = snprintf(cmdline + 6, sizeof(cmdline) - 6, "127.0.0.1:%u", (unsigned)p.port);

    rank_sockets_of_coordinator(&coordinator, cmdline, 6 + (size_t)n + 1);
    close(p.server);
    assert_int_equal(look(&coordinator, false).closed_streams, 1);
    close(p.client);
    close(p.listener);
}

/* The coordinator closes it itself, as one that puts its model to sleep does. */
static void check_real_sleep(void)
{
    struct pair p = make_pair();
    struct rank_sockets coordinator;
    char cmdline[64] = "--rpc";
    int n = snprintf(cmdline + 6, sizeof(cmdline) - 6, "127.0.0.1:%u", (unsigned)p.port);

    rank_sockets_of_coordinator(&coordinator, cmdline, 6 + (size_t)n + 1);
    look(&coordinator, true);
    look(&coordinator, true);
    assert_int_equal(coordinator.endpoint[0].stream[0].n_served, 2);
    close(p.client);
    close(p.server);
    for (int i = 0; i < 3; i++)
        assert_int_equal(look(&coordinator, true).closed_streams, 0);
    close(p.listener);
}

/* One that listens, on v4, on v6, and on both. */
static void check_listeners(void)
{
    static const char *const addrs[] = {"127.0.0.1", "::1", "::"};

    for (size_t i = 0; i < 3; i++) {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr *sa = i ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
        socklen_t len = i ? sizeof(v6) : sizeof(v4);
        int fd = socket(sa->sa_family, SOCK_STREAM, 0);
        struct found found = {.n = 0};

        assert_int_equal(inet_pton(sa->sa_family, addrs[i], i ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr), 1);
        if (fd < 0 || bind(fd, sa, len) < 0) /* no IPv6 here */
            continue;
        assert_int_equal(listen(fd, 4), 0);
        assert_int_equal(getsockname(fd, sa, &len), 0);
        found.port = ntohs(i ? v6.sin6_port : v4.sin_port);
        assert_int_equal(sockets_each(of_files ? getpid() : 0, SOCKETS_LISTENING, true, count, &found), 0);
        assert_int_equal(found.n, 1);
        assert_int_equal(found.last.state, PROCFS_TCP_LISTEN);
        assert_int_equal(found.last.any, i == 2);
        assert_int_equal(found.last.local.v6, i > 0);
        assert_int_equal(found.last.local.addr[0], i ? 0 : 127);
        assert_int_equal(found.last.uid, getuid());
        assert_true(found.last.inode);
        close(fd);
    }
}

static void test_real_sockets(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        of_files = i;
        check_real_sockets();
        check_real_end_of_file();
        check_real_sleep();
        check_listeners();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker),      cmocka_unit_test(test_far_ends),      cmocka_unit_test(test_far_ends_of_v6),
        cmocka_unit_test(test_coordinator), cmocka_unit_test(test_command_lines), cmocka_unit_test(test_real_sockets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
