/* What a carrier is started with comes back as it was written; what nobody wrote so is refused, with its line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/failing_alloc.h"

#include "agent/carrier/conf.c"
#include "agent/carrier/lines.c"

#define INSTANCE "05050505050505050505050505050505"
#define KEY      "0707070707070707070707070707070707070707070707070707070707070707"
#define HEAD     "version=1\ninstance=" INSTANCE "\nepoch=3\nidentity=/s/identity\nlisten=10.0.0.1 7440\n" /* 5 lines */

static struct carrier_conf parse(const char *text)
{
    struct carrier_conf c;
    size_t line = 0;
    int r = carrier_conf_parse(text, strlen(text), &c, &line);

    if (r)
        fail_msg("line %zu of:\n%s", line, text);
    return c;
}

static void test_what_an_agent_writes(void **state)
{
    struct carrier_conf c = parse(HEAD);

    (void)state;
    assert_int_equal(c.instance.b[15], 5);
    assert_int_equal(c.epoch, 3);
    assert_string_equal(c.identity, "/s/identity");
    assert_string_equal(c.addr, "10.0.0.1");
    assert_int_equal(c.port, 7440);
    assert_int_equal(c.rank, -1);
    assert_int_equal(c.n_files + c.n_gateways + c.n_routes + c.coordinator_port, 0);
    c = parse(HEAD "rank=15 50052 " KEY "\nfile=/m/a b=c.gguf\nfile=/m/2\nindex_dir=/s/index\n");
    assert_int_equal(c.rank, 15);
    assert_int_equal(c.worker_port, 50052);
    assert_int_equal(c.peer[31], 7);
    assert_int_equal(c.n_files, 2);
    assert_string_equal(c.file[0], "/m/a b=c.gguf");
    assert_string_equal(c.file[1], "/m/2");
    assert_string_equal(c.index_dir, "/s/index");
    carrier_conf_clear(&c);
    assert_null(c.file);
    c = parse(HEAD "coordinator=8081\ngateway=" KEY "\nroute=0 127.0.0.1 50052\nroute=1 fd00::2 7441 " KEY "\n");
    assert_int_equal(c.coordinator_port, 8081);
    assert_int_equal(c.n_gateways, 1);
    assert_int_equal(c.gateway[0][0], 7);
    assert_int_equal(c.n_routes, 2);
    assert_false(c.route[0].tunnel);
    assert_true(c.route[1].tunnel);
    assert_string_equal(c.route[1].addr, "fd00::2");
    assert_int_equal(c.route[1].port, 7441);
    assert_int_equal(c.route[1].peer[9], 7);
}

static void fill(struct carrier_conf *c)
{
    *c = (struct carrier_conf){.epoch = UINT64_MAX, .port = 65535, .rank = 15, .worker_port = 1, .coordinator_port = 2};
    memset(&c->instance, 0xab, sizeof(c->instance));
    memset(c->identity, 'i', PROTO_PATH_MAX - 1);
    strcpy(c->addr, "0123:4567:89ab:cdef:0123:4567:255.255.255.255");
    memset(c->peer, 9, sizeof(c->peer));
    memset(c->index_dir, ' ', PROTO_PATH_MAX - 1);
    c->n_files = CARRIER_FILES_MAX;
    c->file = calloc(c->n_files, sizeof(*c->file));
    for (size_t i = 0; i < c->n_files; i++)
        memset(c->file[i], '=', PROTO_PATH_MAX - 1);
    c->n_gateways = PROTO_GATEWAYS_MAX;
    memset(c->gateway, 8, sizeof(c->gateway));
    c->n_routes = PROTO_RANKS_MAX;
    for (int i = 0; i < PROTO_RANKS_MAX; i++) {
        c->route[i] = (struct conf_route){.rank = i, .port = 65535, .tunnel = i % 2};
        strcpy(c->route[i].addr, i % 2 ? c->addr : "127.255.255.255");
        memset(c->route[i].peer, i % 2 ? i : 0, sizeof(c->route[i].peer));
    }
}

static void test_the_longest_comes_back(void **state)
{
    struct carrier_conf c, back;
    char *text, *again;
    size_t n, n_again, line;

    (void)state;
    fill(&c);
    assert_int_equal(carrier_conf_format(&c, &text, &n), 0);
    assert_int_equal(strlen(text), n);
    assert_true(n <= CARRIER_CONF_TEXT_MAX);
    assert_int_equal(carrier_conf_parse(text, n, &back, &line), 0);
    assert_memory_equal(back.file, c.file, CARRIER_FILES_MAX * sizeof(*c.file));
    assert_memory_equal(back.route, c.route, sizeof(c.route));
    assert_int_equal(carrier_conf_format(&back, &again, &n_again), 0);
    assert_string_equal(again, text);
    for (size_t cut = 1; cut < n; cut += n - cut < 2000 ? 1 : 777) { /* what is cut off misses its end, or a route */
        struct carrier_conf part;

        if (carrier_conf_parse(text, cut, &part, &line) == 0)
            assert_true(text[cut - 1] == '\n' && part.n_routes < PROTO_RANKS_MAX);
        carrier_conf_clear(&part);
    }
    free(text);
    free(again);
    carrier_conf_clear(&c);
    carrier_conf_clear(&back);
}

static void test_paths_of_two_lines(void **state)
{
    char file[1][PROTO_PATH_MAX] = {"/m"};
    struct carrier_conf c = {.rank = 0, .n_files = 1, .file = file};
    char *text;
    size_t n;

    (void)state;
    strcpy(file[0], "/m\nroute=3 1.2.3.4 5");
    assert_int_equal(carrier_conf_format(&c, &text, &n), -EINVAL);
    strcpy(file[0], "/m");
    strcpy(c.identity, "/\n");
    assert_int_equal(carrier_conf_format(&c, &text, &n), -EINVAL);
    strcpy(c.identity, "/");
    strcpy(c.index_dir, "\n");
    assert_int_equal(carrier_conf_format(&c, &text, &n), -EINVAL);
}

#define GATEWAY "gateway=" KEY "\n"

static void test_refused(void **state)
{
    static const struct {
        size_t line;
        const char *text;
    } rows[] = {
        {1, ""},
        {1, "version=1"},
        {1, "version=2\n"},
        {1, "version=\n"},
        {1, "version=1 \n"},
        {2, "version=1\nversion=1\n"},
        {1, "hello\n"},
        {2, "version=1\ninstance=00000000000000000000000000000000\n"},
        {2, "version=1\ninstance=0505\n"},
        {5, "version=1\ninstance=" INSTANCE "\nepoch=3\nidentity=/s/identity\n"},
        {5, "version=1\ninstance=" INSTANCE "\nepoch=3\nidentity=/s\nlisten=10.0.0.1 0\n"},
        {5, "version=1\ninstance=" INSTANCE "\nepoch=3\nidentity=/s\nlisten=10.0.0.1\n"},
        {5, "version=1\ninstance=" INSTANCE "\nepoch=3\nidentity=/s\nlisten=host 7440\n"},
        {4, "version=1\ninstance=" INSTANCE "\nepoch=3\nidentity=\n"},
        {3, "version=1\ninstance=" INSTANCE "\nepoch=-1\n"},
        {3, "version=1\ninstance=" INSTANCE "\nepoch=18446744073709551616\n"},
        {6, HEAD "later=1\n"},
        {6, HEAD "\n"},
        {6, HEAD "rank=16 1 " KEY "\n"},
        {6, HEAD "rank=0 1 " KEY "0\n"},
        {6, HEAD "rank=0 1\n"},
        {6, HEAD "rank=0 1 \n"},
        {6, HEAD "rank=0  1 " KEY "\n"},
        {6, HEAD "rank=0 65536 " KEY "\n"},
        {7, HEAD "rank=0 1 " KEY "\nrank=0 1 " KEY "\n"},
        {7, HEAD "file=/m\n"},
        {8, HEAD "file=/m\nrank=0 1 " KEY "\n"},
        {8, HEAD "file=/m\nindex_dir=/i\n"},
        {6, HEAD "coordinator=0\n"},
        {6, HEAD "coordinator=8080 9\n"},
        {6, HEAD "gateway=07\n"},
        {14, HEAD GATEWAY GATEWAY GATEWAY GATEWAY GATEWAY GATEWAY GATEWAY GATEWAY GATEWAY},
        {6, HEAD "route=1 10.0.0.2 7440\n"}, /* plain, over the network */
        {6, HEAD "route=1 10.0.0.2 7440 07\n"},
        {6, HEAD "route=1 10.0.0.2 7440 " KEY " \n"},
        {6, HEAD "route=1 10.0.0.2.3 7440 " KEY "\n"},
        {7, HEAD "route=1 10.0.0.2 7440 " KEY "\nroute=1 10.0.0.3 7440 " KEY "\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct carrier_conf c;
        size_t line = 0;

        if (carrier_conf_parse(rows[i].text, strlen(rows[i].text), &c, &line) != CARRIER_CONF_E_MALFORMED ||
            line != rows[i].line)
            fail_msg("row %zu: line %zu of:\n%s", i, line, rows[i].text);
        assert_null(c.file);
        assert_int_equal(c.n_routes, 0);
    }
}

static void test_too_much(void **state)
{
    char *text = malloc(CARRIER_CONF_TEXT_MAX + 2);
    struct carrier_conf c;
    size_t line = 0, n;

    (void)state;
    n = (size_t)sprintf(text, "%srank=0 1 %s\nindex_dir=/i\n", HEAD, KEY);
    for (size_t i = 0; i < CARRIER_FILES_MAX + 1; i++)
        n += (size_t)sprintf(text + n, "file=/m\n");
    assert_int_equal(carrier_conf_parse(text, n, &c, &line), CARRIER_CONF_E_MALFORMED);
    assert_int_equal(line, 7 + CARRIER_FILES_MAX + 1);
    memset(text + n, 'x', CARRIER_CONF_TEXT_MAX + 1 - n);
    assert_int_equal(carrier_conf_parse(text, CARRIER_CONF_TEXT_MAX + 1, &c, &line), CARRIER_CONF_E_MALFORMED);
    assert_int_equal(line, 1);
    n = (size_t)sprintf(text, "%sindex_dir=%0*d\n", HEAD, PROTO_PATH_MAX, 1);
    assert_int_equal(carrier_conf_parse(text, n, &c, &line), CARRIER_CONF_E_MALFORMED);
    assert_int_equal(line, 6);
    assert_int_equal(carrier_conf_parse(HEAD "index_dir=/\0x\n", sizeof(HEAD "index_dir=/\0x\n") - 1, &c, &line),
                     CARRIER_CONF_E_MALFORMED);
    free(text);
}

static void test_no_memory(void **state)
{
    static const char text[] = HEAD "rank=0 1 " KEY "\nindex_dir=/i\nfile=/m\n";
    struct carrier_conf c;
    size_t line;

    (void)state;
    allocs_until_failure = 0;
    assert_int_equal(carrier_conf_parse(text, sizeof(text) - 1, &c, &line), -ENOMEM);
    assert_null(c.file);
    allocs_until_failure = -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_an_agent_writes),
        cmocka_unit_test(test_the_longest_comes_back),
        cmocka_unit_test(test_paths_of_two_lines),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
