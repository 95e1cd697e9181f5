/* Ports proven free, against real listeners. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/ports.h"

struct told {
    size_t n;
    uint16_t port;
    char text[PROTO_TEXT_MAX];
    uint16_t ours;
};

static void on_clash(void *ctx, uint16_t port, const char *text)
{
    struct told *t = ctx;

    t->n++;
    t->port = port;
    snprintf(t->text, sizeof(t->text), "%s", text);
}

static bool is_ours(void *ctx, uint16_t port)
{
    return ((struct told *)ctx)->ours == port;
}

static int listen_on(const char *addr, uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, addr, &a.sin_addr);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static int listen6_on_any(uint16_t *ret_port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) || listen(fd, 1) ||
        getsockname(fd, (struct sockaddr *)&a, &len)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *ret_port = ntohs(a.sin6_port);
    return fd;
}

/* A port as a range of one: whether it is free does not depend on its neighbours. */
static int pick_one(const char *addr, uint16_t port, struct told *t)
{
    struct port_request req = {
        .addr = addr, .first = port, .last = port, .clash = on_clash, .taken = is_ours, .ctx = t};
    uint16_t got = 0;
    int r = port_pick(&req, &got);

    if (!r)
        assert_int_equal(got, port);
    return r;
}

/* The holder is found whatever address it has and we want, and named. */
static void case_07_any_address_counts(void **state)
{
    static const char *const pairs[][2] = {
        {"127.0.0.1", "0.0.0.0"}, {"0.0.0.0", "127.0.0.1"}, {"127.0.0.2", "127.0.0.1"}, {"127.0.0.1", "127.0.0.1"}};

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct told t = {0};
        struct stat st;
        char wanted[96];
        uint16_t port;
        int fd = listen_on(pairs[i][0], 0, &port);

        assert_int_equal(pick_one(pairs[i][1], port, &t), PORTS_E_NONE);
        assert_int_equal(t.n, 1);
        assert_int_equal(t.port, port);
        assert_int_equal(fstat(fd, &st), 0);
        snprintf(wanted, sizeof(wanted), "port %u is taken on %s by uid %u, inode %llu, pid %d (", port, pairs[i][0],
                 (unsigned)getuid(), (unsigned long long)st.st_ino, (int)getpid());
        assert_memory_equal(t.text, wanted, strlen(wanted));
        assert_non_null(strstr(t.text, "test_ports"));
        close(fd);
        assert_int_equal(pick_one(pairs[i][1], port, &t), 0);
    }
}

static void case_07_a_v6_listener_counts(void **state)
{
    struct told t = {0};
    uint16_t port;
    int fd = listen6_on_any(&port);

    (void)state;
    if (fd < 0)
        return; /* a machine without IPv6 has no such listeners */
    assert_int_equal(pick_one("127.0.0.1", port, &t), PORTS_E_NONE);
    assert_non_null(strstr(t.text, "on :: by uid"));
    close(fd);
}

static void case_06_the_next_port_is_taken(void **state)
{
    struct told t = {0};
    struct port_request req = {.addr = "127.0.0.1", .clash = on_clash, .taken = is_ours, .ctx = &t};
    uint16_t port, got;
    int fd;

    (void)state;
    /* Three ports in a row that are free, as far as anybody can tell in advance. */
    for (port = 24100; port < 24400; port = (uint16_t)(port + 3))
        if (!pick_one("127.0.0.1", port, &t) && !pick_one("127.0.0.1", (uint16_t)(port + 1), &t) &&
            !pick_one("127.0.0.1", (uint16_t)(port + 2), &t))
            break;
    t = (struct told){0};
    req.first = port;
    req.last = (uint16_t)(port + 2);
    assert_int_equal(port_pick(&req, &got), 0);
    assert_int_equal(got, port);
    fd = listen_on("127.0.0.1", port, &got);
    assert_int_equal(port_pick(&req, &got), 0);
    assert_int_equal(got, port + 1);
    assert_int_equal(t.n, 1);
    t.ours = (uint16_t)(port + 1); /* promised to a child that has not bound it yet: passed over in silence */
    assert_int_equal(port_pick(&req, &got), 0);
    assert_int_equal(got, port + 2);
    req.hint = (uint16_t)(port + 1);
    assert_int_equal(port_pick(&req, &got), 0);
    assert_int_equal(got, port + 2);
    t.ours = (uint16_t)(port + 2);
    assert_int_equal(port_pick(&req, &got), 0);
    assert_int_equal(got, port + 1);
    req.hint = 1; /* not of the range */
    assert_int_equal(port_pick(&req, &got), 0);
    assert_int_equal(got, port + 1);
    close(fd);
}

/* Each clash that is told has cost a walk over all processes, while the loop waits. */
static void test_a_range_that_is_somebody_elses(void **state)
{
    struct told t = {0};
    struct port_request req = {.addr = "127.0.0.1", .clash = on_clash, .taken = is_ours, .ctx = &t};
    uint16_t port, got;
    int fd[8];
    size_t n = 0;

    (void)state;
    for (port = 24400; n < 8; port++) /* in a row */
        if (!pick_one("127.0.0.1", port, &t))
            fd[n++] = listen_on("127.0.0.1", port, &got);
        else
            while (n)
                close(fd[--n]);
    t = (struct told){0};
    req.first = (uint16_t)(port - 8);
    req.last = (uint16_t)(port - 1);
    assert_int_equal(port_pick(&req, &got), PORTS_E_NONE);
    assert_int_equal(t.n, PORTS_CLASHES_TOLD);
    while (n)
        close(fd[--n]);
}

static void test_addresses_that_are_not_ours(void **state)
{
    struct told t = {0};

    (void)state;
    assert_int_equal(pick_one("localhost", 24100, &t), PORTS_E_BAD_ADDR);
    assert_int_equal(pick_one("", 24100, &t), PORTS_E_BAD_ADDR);
    assert_int_equal(pick_one("203.0.113.7", 24100, &t), PORTS_E_BAD_ADDR);
    assert_int_equal(t.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_07_any_address_counts),       cmocka_unit_test(case_07_a_v6_listener_counts),
        cmocka_unit_test(case_06_the_next_port_is_taken),   cmocka_unit_test(test_a_range_that_is_somebody_elses),
        cmocka_unit_test(test_addresses_that_are_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
