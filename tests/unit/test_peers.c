/* Neighbour ports and the links between them, on real sockets of the loopback: several agents in one process. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/options.h"
#include "agent/peers.h"
#include "common/cleanup.h"
#include "common/knock.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

static struct event_base *base;

struct node {
    struct identity id;
    char key[PROTO_KEY_MAX];
    struct peers *peers;
    size_t n_up, n_down, n_messages;
    char up[PROTO_KEY_MAX], down[PROTO_KEY_MAX], from[PROTO_KEY_MAX];
    uint64_t uptime_ms, seq;
    struct neighbours *set_when_up; /* what the core does in answer */
};

static struct node a, b, controller;

static void on_up(void *ctx, const char *key)
{
    struct node *n = ctx;

    n->n_up++;
    strcpy(n->up, key);
    if (n->set_when_up)
        peers_set(n->peers, n->set_when_up);
}

static void on_down(void *ctx, const char *key)
{
    struct node *n = ctx;

    n->n_down++;
    strcpy(n->down, key);
}

static void on_message(void *ctx, const char *key, const struct message *m)
{
    struct node *n = ctx;

    assert_int_equal(m->kind, MESSAGE_HEALTH);
    n->n_messages++;
    strcpy(n->from, key);
    n->uptime_ms = m->health.uptime_ms;
    n->seq = m->seq;
}

#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

/* A port that was free a moment ago, far from those of real agents. */
static uint16_t some_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000003)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static struct port_range kept;

static bool is_kept(void *ctx, uint16_t port)
{
    (void)ctx;
    return port_range_has(&kept, port);
}

static void node_open(struct node *n, const char *addr, uint16_t port)
{
    const struct peers_callbacks cb = {on_up, on_down, on_message, n, is_kept};

    assert_int_equal(peers_new(base, &n->id, addr, port, &cb, &n->peers), 0);
}

static void dials(struct neighbours *list, const struct node *who, const char *addr)
{
    struct peer_facts *p = &list->peer[list->n_peers++];

    memcpy(p->key, who->key, sizeof(p->key));
    p->port = peers_port(who->peers);
    p->n_addrs = 1;
    snprintf(p->addr[0], PROTO_ADDR_MAX, "%s", addr);
}

static void hears(struct neighbours *list, const struct node *who)
{
    memcpy(list->guest[list->n_guests++], who->key, PROTO_KEY_MAX);
}

static void say(struct node *n, const struct node *to, uint64_t uptime_ms)
{
    struct message m = {.kind = MESSAGE_HEALTH, .health = {.linked = true, .uptime_ms = uptime_ms}};

    peers_send(n->peers, to->key, &m);
}

/* a dials b; both have heard each other. */
static void join(void)
{
    struct neighbours of_a = {0}, of_b = {0};

    dials(&of_a, &b, "127.0.0.3");
    hears(&of_b, &a);
    peers_set(b.peers, &of_b);
    peers_set(a.peers, &of_a);
    AWAIT(a.n_up == 1);
    assert_string_equal(a.up, b.key);
    assert_int_equal(b.n_up, 0); /* it has said nothing yet */
    say(&a, &b, 11);
    AWAIT(b.n_messages == 1);
    assert_int_equal(b.n_up, 1);
    assert_string_equal(b.up, a.key);
    say(&b, &a, 12);
    AWAIT(a.n_messages == 1);
}

static void test_both_ways(void **state)
{
    (void)state;
    join();
    assert_string_equal(a.from, b.key);
    assert_int_equal(a.uptime_ms, 12);
    assert_string_equal(b.from, a.key);
    assert_int_equal(b.uptime_ms, 11);
    say(&a, &b, 13);
    AWAIT(b.n_messages == 2);
    assert_int_equal(b.seq, 2);
}

/* A node names itself. */
static void test_a_name_stays_within_its_line(void **state)
{
    CLEANUP(cleanup_close) int real_stderr = dup(STDERR_FILENO), caught = memfd_create("log", MFD_CLOEXEC);
    struct neighbours of_a = {0}, of_b = {0};
    char said[1024] = "";

    (void)state;
    dials(&of_a, &b, "127.0.0.3");
    hears(&of_b, &a);
    strcpy(of_a.peer[0].name, "n1\nts=2026-01-01 level=error");
    dup2(caught, STDERR_FILENO);
    log_set_level(LOG_LEVEL_INFO);
    peers_set(b.peers, &of_b);
    peers_set(a.peers, &of_a);
    AWAIT(a.n_up == 1);
    dup2(real_stderr, STDERR_FILENO);
    assert_true(pread(caught, said, sizeof(said) - 1, 0) > 0);
    assert_non_null(strstr(said, " node=\"n1\\x0ats=2026-01-01 level=error\"\n"));
}

/* An agent that went is missed by both kinds of neighbour, and found again. */
static void test_gone_and_back(void **state)
{
    struct neighbours of_b = {0};
    uint16_t port;

    (void)state;
    join();
    port = peers_port(b.peers);
    peers_destroy(&b.peers);
    AWAIT(a.n_down == 1);
    assert_string_equal(a.down, b.key);
    say(&a, &b, 1); /* dropped */
    node_open(&b, "127.0.0.3", port);
    assert_int_equal(peers_port(b.peers), port);
    hears(&of_b, &a);
    peers_set(b.peers, &of_b);
    AWAIT(a.n_up == 2);
    say(&a, &b, 2);
    AWAIT(b.n_messages == 2 && b.uptime_ms == 2);
    peers_destroy(&a.peers);
    AWAIT(b.n_down == 1); /* it has fallen silent */
    assert_string_equal(b.down, a.key);
}

/* For what must not happen. */
static void give_it_time(void)
{
    event_base_loopexit(base, &(struct timeval){.tv_usec = 200000});
    event_base_dispatch(base);
}

/* Off both lists: the link is closed, nothing is told, and what it still says is not heard. */
static void test_off_the_list(void **state)
{
    static const struct neighbours nobody;
    struct neighbours again = {0};

    (void)state;
    join();
    peers_set(b.peers, &nobody);
    say(&a, &b, 1);
    give_it_time();
    assert_int_equal(b.n_messages, 1);
    assert_int_equal(a.n_down, 0);
    peers_set(a.peers, &nobody);
    say(&a, &b, 2);
    assert_int_equal(a.n_down + b.n_down, 0);
    dials(&again, &b, "127.0.0.3");
    peers_set(a.peers, &again); /* and it does not get in */
    give_it_time();
    assert_int_equal(a.n_up, 1);
}

/* What it had said already, and was not read yet, goes nowhere. */
static void test_off_the_list_with_messages_queued(void **state)
{
    static const struct neighbours nobody;

    (void)state;
    join();
    for (int i = 0; i < 100; i++)
        say(&a, &b, 1000);
    peers_set(b.peers, &nobody);
    give_it_time();
    assert_int_equal(b.n_messages, 1);
    assert_int_equal(b.uptime_ms, 11);
}

/* ---- who is let in ----------------------------------------------------------------------------------------------- */

struct dial {
    bool in, out;
};

static void on_in(void *ctx)
{
    ((struct dial *)ctx)->in = true;
}

static void on_out(void *ctx)
{
    ((struct dial *)ctx)->out = true;
}

static void on_line_message(void *ctx, const void *buf, size_t n_bytes)
{
    (void)ctx, (void)buf, (void)n_bytes;
}

static bool is_let_in(const struct node *who, const struct node *at)
{
    struct dial d = {false, false};
    const struct wire_client_callbacks cb = {
        .message = on_line_message, .connected = on_in, .disconnected = on_out, .denied = on_out, .ctx = &d};
    struct wire_client *client;

    assert_int_equal(
        wire_client_new(base, &who->id, "127.0.0.3", peers_port(at->peers), at->id.public_key, &cb, &client), 0);
    AWAIT(d.in || d.out);
    wire_client_destroy(&client);
    return d.in;
}

/* Controllers, and who stands in the newest list; there is no setting that opens this port to others. */
static void test_who_is_let_in(void **state)
{
    struct neighbours of_b = {0}, newer = {0};

    (void)state;
    assert_false(is_let_in(&a, &b));
    assert_false(is_let_in(&controller, &b));
    peers_allow_controller(b.peers, controller.id.public_key);
    assert_true(is_let_in(&controller, &b));
    hears(&of_b, &a);
    peers_set(b.peers, &of_b);
    assert_true(is_let_in(&a, &b));
    hears(&newer, &controller); /* on a list and off it, a controller stays one */
    peers_set(b.peers, &newer);
    assert_false(is_let_in(&a, &b));
    dials(&newer, &a, "127.0.0.2");
    peers_set(b.peers, &newer);
    assert_true(is_let_in(&a, &b));
    peers_set(b.peers, &(struct neighbours){0});
    assert_false(is_let_in(&a, &b));
    assert_true(is_let_in(&controller, &b));
}

/* The same list again disturbs nobody; another address is dialled, and that the link was lost meanwhile is told. */
static void test_another_address(void **state)
{
    struct neighbours of_a = {0}, moved = {0};

    (void)state;
    join();
    dials(&of_a, &b, "127.0.0.3");
    peers_set(a.peers, &of_a);
    say(&a, &b, 5);
    AWAIT(b.uptime_ms == 5);
    dials(&moved, &b, "127.0.0.4"); /* nobody is there */
    peers_set(a.peers, &moved);
    AWAIT(a.n_down == 1);
    assert_int_equal(a.n_up, 1);
    peers_set(a.peers, &of_a);
    AWAIT(a.n_up == 2);
}

/* What the core does in answer to `up` may take the link away that has told it. */
static void test_list_from_within(void **state)
{
    static struct neighbours nobody;
    struct neighbours of_a = {0}, of_b = {0};

    (void)state;
    a.set_when_up = b.set_when_up = &nobody;
    dials(&of_a, &b, "127.0.0.3");
    hears(&of_b, &a);
    peers_set(b.peers, &of_b);
    peers_set(a.peers, &of_a);
    AWAIT(a.n_up == 1);
    a.set_when_up = NULL;
    peers_set(a.peers, &of_a);
    AWAIT(a.n_up == 2);
    say(&a, &b, 1);
    AWAIT(b.n_up == 1);
    assert_int_equal(b.n_messages, 0);
}

static void on_knocked(void *ctx, enum knock_outcome outcome)
{
    *(enum knock_outcome *)ctx = outcome;
}

static enum knock_outcome knock(struct node *from, const struct node *at)
{
    struct neighbours list = {0};
    enum knock_outcome outcome = 0;
    struct knock *k;

    dials(&list, at, "127.0.0.3");
    assert_int_equal(knock_start(base, &from->id, &list.peer[0], on_knocked, &outcome, &k), 0);
    AWAIT(outcome);
    return outcome;
}

/* The leader asks witnesses that the one knocked at need not have been told of: it has proven its key all the same. */
static void test_a_knock_by_a_witness_that_it_does_not_know(void **state)
{
    (void)state;
    assert_int_equal(knock(&a, &b), KNOCK_ANSWERED);
    assert_int_equal(b.n_up, 0);
    peers_destroy(&b.peers);
    node_open(&b, "127.0.0.3", some_port());
    assert_int_equal(knock(&controller, &b), KNOCK_ANSWERED);
}

/* A controller and a neighbour may knock; that makes nobody a neighbour, and a link's way back stays where it is. */
static void test_knocks_are_answered(void **state)
{
    (void)state;
    peers_allow_controller(b.peers, controller.id.public_key);
    assert_int_equal(knock(&controller, &b), KNOCK_ANSWERED);
    assert_int_equal(b.n_up, 0);
    join();
    assert_int_equal(knock(&a, &b), KNOCK_ANSWERED);
    assert_int_equal(b.n_up, 1);
    say(&b, &a, 77);
    AWAIT(a.uptime_ms == 77);
    assert_int_equal(b.n_down, 0);
}

/* The next free port; and where none is, the rest works. */
static void test_ports(void **state)
{
    struct node c[2] = {{.peers = NULL}, {.peers = NULL}};
    uint16_t port = peers_port(b.peers);

    (void)state;
    node_open(&c[0], "127.0.0.3", port);
    assert_in_range(peers_port(c[0].peers), port + 1, port + PEERS_PORTS - 1);
    node_open(&c[1], "192.0.2.77", port); /* not ours */
    assert_int_equal(peers_port(c[1].peers), 0);
    peers_allow_controller(c[1].peers, controller.id.public_key);
    peers_destroy(&c[0].peers);
    peers_destroy(&c[1].peers);
}

/* What is kept for others is passed by, but for the one that was asked for by name. */
static void test_kept_ports(void **state)
{
    struct node c = {.peers = NULL};
    uint16_t port = peers_port(b.peers);

    (void)state;
    kept = (struct port_range){(uint16_t)(port + 1), (uint16_t)(port + 20)};
    node_open(&c, "127.0.0.3", port);
    assert_in_range(peers_port(c.peers), port + 21, port + PEERS_PORTS - 1);
    peers_destroy(&c.peers);
    kept.last = (uint16_t)(port + PEERS_PORTS);
    node_open(&c, "127.0.0.3", port);
    assert_int_equal(peers_port(c.peers), 0);
    peers_destroy(&c.peers);
    peers_destroy(&b.peers);
    kept.first = port;
    node_open(&b, "127.0.0.3", port);
    assert_int_equal(peers_port(b.peers), port);
    kept = (struct port_range){0, 0};
}

static bool make_node(struct node *n)
{
    char dir[] = "/tmp/test_peers.XXXXXX", file[64];
    bool ok;

    *n = (struct node){.peers = NULL};
    ok = mkdtemp(dir) && crypto_identity_load(dir, &n->id) == 0;
    snprintf(file, sizeof(file), "%s/identity", dir);
    unlink(file);
    rmdir(dir);
    crypto_key_format(n->id.public_key, n->key);
    return ok;
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    base = event_base_new();
    if (!base || crypto_init() < 0 || !make_node(&a) || !make_node(&b) || !make_node(&controller))
        return -1;
    node_open(&a, "127.0.0.2", some_port());
    node_open(&b, "127.0.0.3", some_port());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peers_destroy(&a.peers);
    peers_destroy(&b.peers);
    event_base_free(base);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_both_ways),
        TEST(test_a_name_stays_within_its_line),
        TEST(test_gone_and_back),
        TEST(test_off_the_list),
        TEST(test_off_the_list_with_messages_queued),
        TEST(test_who_is_let_in),
        TEST(test_a_knock_by_a_witness_that_it_does_not_know),
        TEST(test_another_address),
        TEST(test_list_from_within),
        TEST(test_knocks_are_answered),
        TEST(test_ports),
        TEST(test_kept_ports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
