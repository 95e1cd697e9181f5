/* The text of /proc and of cgroup files: good, hostile, and cut off at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/cgroup.h"
#include "common/core/procfs.h"

#define TAIL \
    " S 7 4711 4700 0 -1 4194564 1 2 3 4 250 150 9 9 20 0 12 0 884422 99999744 512 18446744073709551615 1 2 3 0\n"

/* Each text in a heap block of exactly its size: the sanitizer sees every byte read too far. */
static bool parse_stat(const char *text, size_t n, struct procfs_stat *ret)
{
    char *copy = malloc(n ? n : 1);
    bool ok;

    assert_non_null(copy);
    memcpy(copy, text, n);
    ok = procfs_stat_parse(copy, n, ret);
    free(copy);
    return ok;
}

static void test_stat(void **state)
{
    static const char *const good[] = {"4711 (rpc-server)" TAIL, "4711 (a b)" TAIL, "4711 (x) R 1 1 (y))" TAIL,
                                       "4711 (())" TAIL, "4711 (\n) S)" TAIL};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct procfs_stat s;

        assert_true(parse_stat(good[i], strlen(good[i]), &s));
        assert_int_equal(s.pid, 4711);
        assert_int_equal(s.state, 'S');
        assert_int_equal(s.parent_pid, 7);
        assert_int_equal(s.group, 4711);
        assert_int_equal(s.session, 4700);
        assert_int_equal(s.ticks, 400);
        assert_int_equal(s.start_ticks, 884422);
        assert_int_equal(s.rss_pages, 512);
        assert_true(s.exiting); /* 4194564 = 0x400104 */
    }
}

static void test_stat_hostile(void **state)
{
    static const char *const bad[] = {
        "",
        "4711",
        "4711 (a",
        "4711 (a)",
        "4711 (a) ",
        "x (a)" TAIL,
        "99999999999 (a)" TAIL,
        "4711 (a) S x 1",
        "4711 (a) S 7 4711 4700 0 -1 4194560 1 2 3 4 -5 150 9 9 20 0 12 0 1 1 1 1\n",
        "4711 (a) S 7 99999999999999 4700 0 -1 4194560 1 2 3 4 5 150 9 9 20 0 12 0 1 1 1 1\n",
        "4711 (a) S 7 4711 4700 0 -1 4194560 1 2 3 4 5 99999999999999999999999 9 9 20 0 12 0 1 1 1 1\n",
        "4711 (a)" TAIL ")",
    };
    const char *whole = "4711 (a b)" TAIL;
    struct procfs_stat s = {.pid = 1};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(parse_stat(bad[i], strlen(bad[i]), &s));
    assert_int_equal(s.pid, 1);
    /* A prefix is refused, or it holds every number that is used, whole. */
    for (size_t n = 0; n < strlen(whole); n++)
        if (parse_stat(whole, n, &s))
            assert_int_equal(s.rss_pages, 512);
}

static bool parse_socket(const char *text, size_t n, struct procfs_socket *ret)
{
    char *copy = malloc(n ? n : 1);
    bool ok;

    assert_non_null(copy);
    memcpy(copy, text, n);
    ok = procfs_socket_parse(copy, n, ret);
    free(copy);
    return ok;
}

static void test_sockets(void **state)
{
    static const struct {
        const char *line;
        bool ok, v6, any, listening;
        uint8_t first, fourth;
        uint16_t port;
        uint32_t uid;
        uint64_t inode;
    } rows[] = {
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100",
         true, false, false, true, 127, 1, 20052, 1000, 12345},
        {" 913: 00000000:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0", true,
         false, true, true, 0, 0, 20052, 0, 9},
        {"   1: 0100007F:C350 0100007F:4E54 01 00000000:00000000 02:000004D2 00000000     0        0 77 2 0", true,
         false, false, false, 127, 1, 50000, 0, 77},
        {"   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 "
         "00:00000000 00000000    33        0 8 1",
         true, true, true, true, 0, 0, 8080, 33, 8},
        {"   0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF000000000000:0000 0A 00000000:00000000 "
         "00:00000000 00000000    33        0 8 1",
         true, false, false, true, 127, 1, 8080, 33, 8},
        {"   0: 0000000000000000FFFF000000000000:1F90 0000000000000000FFFF000000000000:0000 0A 00000000:00000000 "
         "00:00000000 00000000    33        0 8 1",
         true, false, true, true, 0, 0, 8080, 33, 8},
        {"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
         .ok = false},
        {"", .ok = false},
        {"   0: 0100007:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1",
         .ok = false},
        {"   0: 0100007g:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1",
         .ok = false},
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000  -1        0 12345 1",
         .ok = false},
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000  4294967296  0 12345 1",
         .ok = false},
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000:0000000 00:00000000 00000000     0        0 12345 1",
         .ok = false},
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000-00000000 00:00000000 00000000     0        0 12345 1",
         .ok = false},
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000:00000000 0000000000 00000000     0        0 12345 1",
         .ok = false},
        {"   0: 0100007F:4E54 00000000:0000 0A 00000000:00000000 00:00000000 0000000g     0        0 12345 1",
         .ok = false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct procfs_socket s = {.local.port = 1};

        assert_int_equal(parse_socket(rows[i].line, strlen(rows[i].line), &s), rows[i].ok);
        if (!rows[i].ok) {
            assert_int_equal(s.local.port, 1);
            continue;
        }
        assert_int_equal(s.local.v6, rows[i].v6);
        assert_int_equal(s.any, rows[i].any);
        assert_int_equal(s.state == PROCFS_TCP_LISTEN, rows[i].listening);
        assert_int_equal(s.local.addr[0], rows[i].first);
        assert_int_equal(s.local.addr[3], rows[i].fourth);
        assert_int_equal(s.local.port, rows[i].port);
        assert_int_equal(s.uid, rows[i].uid);
        assert_int_equal(s.inode, rows[i].inode);
        for (size_t n = 0; n < strlen(rows[i].line); n++) {
            if (parse_socket(rows[i].line, n, &s))
                assert_int_equal(s.inode, rows[i].inode);
        }
    }
}

/* A coordinator's end of a rank connection that sends again, and the worker's end that does not read. */
static void test_socket_queues(void **state)
{
    static const char sends[] =
        "   3: 0B004D0A:C350 0C004D0A:4E54 01 00002000:00000000 01:00000a0F 00000003  0  0 77 2 0";
    static const char longer[] =
        "   3: 0B004D0A:C350 0C004D0A:4E54 01 00002000:00000000 01:F00000A0F 00000003  0  0 77 2";
    static const char reads[] =
        "   4: 0000000000000000FFFF00000C004D0A:4E54 0000000000000000FFFF00000B004D0A:C350 08 00000000:00000141 "
        "00:00000000 00000000  0  0 78 2 0";
    struct procfs_socket a, b, c;

    (void)state;
    assert_true(parse_socket(sends, strlen(sends), &a));
    assert_int_equal(a.state, PROCFS_TCP_ESTABLISHED);
    assert_int_equal(a.retransmits, 3);
    assert_int_equal(a.unread_bytes, 0);
    assert_int_equal(a.remote.port, 20052);
    assert_int_equal(a.remote.addr[0], 10);
    assert_int_equal(a.remote.addr[3], 12);
    assert_true(parse_socket(longer, strlen(longer), &c));
    assert_int_equal(c.retransmits, 3);
    assert_true(parse_socket(reads, strlen(reads), &b));
    assert_int_equal(b.state, PROCFS_TCP_CLOSE_WAIT);
    assert_int_equal(b.unread_bytes, 321);
    assert_int_equal(b.retransmits, 0);
    assert_true(procfs_end_equal(&a.remote, &b.local));
    assert_true(procfs_end_equal(&a.local, &b.remote));
    assert_false(procfs_end_equal(&a.local, &b.local));
    b.local.port++;
    assert_false(procfs_end_equal(&a.remote, &b.local));
    b.local.port--;
    b.local.v6 = true;
    assert_false(procfs_end_equal(&a.remote, &b.local));
}

static void test_memory_load_uptime(void **state)
{
    const char *text =
        "MemTotal:       24684084 kB\nMemFree:        1 kB\nMemAvailable:   24342896 kB\nBuffers: 1 kB\n";
    static const char *const bad[] = {
        "",
        "MemTotal: 1 kB\n",
        "MemTotal: 1 kB\nMemAvailable: 1",
        "MemTotal: 1 MB\nMemAvailable: 1 kB\n",
        "MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\n",
        "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n",
        "MemTotal:\nMemAvailable: 1 kB\n",
    };
    struct procfs_memory m = {1, 1};
    uint32_t load;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(procfs_memory_parse(bad[i], strlen(bad[i]), &m));
    assert_true(procfs_memory_parse(text, strlen(text), &m));
    assert_int_equal(m.total_bytes, 24684084ull * 1024);
    assert_int_equal(m.available_bytes, 24342896ull * 1024);
    assert_true(procfs_load_parse("1.57 0.02 0.00 1/200 3\n", 23, &load));
    assert_int_equal(load, 1570);
    assert_false(procfs_load_parse("1.5", 3, &load));
    assert_false(procfs_load_parse("99999999999.0 ", 14, &load));
    assert_false(procfs_load_parse("18446744073709552.0 ", 20, &load));
    assert_false(procfs_load_parse("-1.0 ", 5, &load));
}

static void test_cgroup_paths(void **state)
{
    static const struct {
        const char *text, *v2, *v1;
    } rows[] = {
        {"0::/user.slice/x\n", "/user.slice/x", ""},
        {"9:name=systemd:/\n4:memory:/cv-lab/n2\n0::/\n", "/", "/cv-lab/n2"},
        {"4:cpu,memory,pids:/a:b\n", "", "/a:b"},
        {"4:memoryx,xmemory:/a\n", "", ""},
        {"0::/../../x\n", "/", ""},
        {"0::relative\n", "/", ""},
        {"0::\n", "/", ""},
        {"10::/no\n", "", ""},
        {"0::/cut", "", ""},
        {":::\n\n::\n0:\n", "", ""},
        {"", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cgroup_paths p;

        cgroup_paths_parse(rows[i].text, strlen(rows[i].text), &p);
        assert_string_equal(p.v2, rows[i].v2);
        assert_string_equal(p.v1_memory, rows[i].v1);
        for (size_t n = 0; n < strlen(rows[i].text); n++)
            cgroup_paths_parse(rows[i].text, n, &p);
    }
}

static void test_cgroup_figures(void **state)
{
    uint64_t n = 5;

    (void)state;
    assert_true(cgroup_limit_parse("max\n", 4, &n));
    assert_int_equal(n, UINT64_MAX);
    assert_true(cgroup_limit_parse("9223372036854771712\n", 20, &n));
    assert_int_equal(n, UINT64_MAX);
    assert_true(cgroup_limit_parse("419430400\n", 10, &n));
    assert_int_equal(n, 419430400);
    assert_false(cgroup_limit_parse("4194304", 7, &n));
    assert_false(cgroup_limit_parse("ma", 2, &n));
    assert_int_equal(cgroup_inactive_file_parse("anon 1\ninactive_file 4096\n", 26), 4096);
    assert_int_equal(cgroup_inactive_file_parse("inactive_file 1\ntotal_inactive_file 2\n", 38), 2);
    assert_int_equal(cgroup_inactive_file_parse("inactive_file 12", 16), 0);
    assert_int_equal(cgroup_free_bytes(100, 70, 20), 50);
    assert_int_equal(cgroup_free_bytes(100, 130, 20), 0);
    assert_int_equal(cgroup_free_bytes(100, 10, 20), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_stat_hostile),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_socket_queues),
        cmocka_unit_test(test_memory_load_uptime),
        cmocka_unit_test(test_cgroup_paths),
        cmocka_unit_test(test_cgroup_figures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
