/* Knocks at real sockets: somebody answers, refuses, is stopped, is cut off. Each knock is made by a process of its own, so
 * that it can have a network of its own where the case needs one. */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/knock.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"
#include "common/zmq_watch.h"

enum { NOT_STARTED = 100, NO_NETWORK };

static struct identity ours, theirs;

/* ---- an agent of a few lines, in a process of its own ------------------------------------------------------------ */

struct agent {
    pid_t pid;
    uint16_t port;
};

static void answer_ping(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    CLEANUP(cleanup_free) uint8_t *out = NULL;
    struct wire_server **server = ctx;
    size_t n;

    (void)key, (void)peer_addr;
    if (message_unpack(buf, n_bytes, &m) || m->kind != MESSAGE_PING)
        abort();
    m->kind = MESSAGE_PONG;
    if (message_pack(m, &out, &n) || wire_server_answer(*server, out, n))
        abort();
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx, (void)key, (void)addr;
}

static void be_agent(const char *addr, bool knows_us, int told)
{
    struct event_base *base = event_base_new();
    struct wire_server *server;
    struct wire_server_callbacks cb = {answer_ping, on_refused, &server};
    uint16_t port;

    if (!base || wire_server_new(base, &theirs, addr, 0, false, &cb, &server))
        _exit(1);
    if (knows_us && wire_server_allow(server, ours.public_key))
        _exit(1);
    port = wire_server_port(server);
    if (write(told, &port, sizeof(port)) != sizeof(port))
        _exit(1);
    event_base_dispatch(base);
}

static struct agent agent_start(const char *addr, bool knows_us)
{
    struct agent a;
    int told[2];

    assert_int_equal(pipe(told), 0);
    a.pid = fork();
    if (!a.pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        be_agent(addr, knows_us, told[1]);
        _exit(1);
    }
    assert_int_equal(read(told[0], &a.port, sizeof(a.port)), sizeof(a.port));
    close(told[0]);
    close(told[1]);
    return a;
}

static void agent_end(struct agent *a)
{
    kill(a->pid, SIGKILL);
    waitpid(a->pid, NULL, 0);
}

/* ---- one knock --------------------------------------------------------------------------------------------------- */

struct asked {
    const char *network; /* made by these commands of ip(8), in a namespace of its own */
    bool no_descriptors;
};

static void on_done(void *ctx, enum knock_outcome outcome)
{
    *(enum knock_outcome *)ctx = outcome;
}

static bool make_network(const char *commands)
{
    static const char base_commands[] = "ip link set lo up && ip link add eth0 type veth peer name far0 && "
                                        "ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up && "
                                        "ip link set far0 up && ";
    char all[1024];

    if (unshare(CLONE_NEWNET) < 0)
        return false;
    snprintf(all, sizeof(all), "{ %s%s; } >/dev/null 2>&1", base_commands, commands);
    return system(all) == 0;
}

static int be_knocker(const struct peer_facts *peer, const struct asked *asked)
{
    enum knock_outcome outcome = 0;
    struct event_base *base;
    struct knock *k = NULL;
    int r;

    if (asked && asked->network && !make_network(asked->network))
        return NO_NETWORK;
    base = event_base_new();
    zmq_watch_context();
    if (asked && asked->no_descriptors) {
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, 64});
        while (dup(STDIN_FILENO) >= 0)
            ;
    }
    r = knock_start(base, &ours, peer, on_done, &outcome, &k);
    while (!outcome && r == 0)
        event_base_loop(base, EVLOOP_ONCE);
    event_base_free(base);
    return r ? NOT_STARTED : (int)outcome;
}

static int knock(const struct peer_facts *peer, const struct asked *asked)
{
    int status;
    pid_t pid = fork();

    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        exit(be_knocker(peer, asked)); /* and not _exit: leaks are looked for */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static struct peer_facts peer_at(uint16_t port, const char *addr, const char *other_addr)
{
    struct peer_facts peer = {.port = port, .n_addrs = other_addr ? 2 : 1};

    crypto_key_format(theirs.public_key, peer.key);
    snprintf(peer.addr[0], PROTO_ADDR_MAX, "%s", addr);
    if (other_addr)
        snprintf(peer.addr[1], PROTO_ADDR_MAX, "%s", other_addr);
    return peer;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_answered(void **state)
{
    struct agent a = agent_start("127.0.0.3", true);
    struct peer_facts peer = peer_at(a.port, "127.0.0.3", NULL);

    (void)state;
    assert_int_equal(knock(&peer, NULL), KNOCK_ANSWERED);
    agent_end(&a);
    assert_int_equal(knock(&peer, NULL), KNOCK_REFUSED);
}

/* After its restart an agent knows no neighbours until the leader names them: it lives all the same. */
static void test_who_does_not_know_us_lives(void **state)
{
    struct agent a = agent_start("127.0.0.3", false);
    struct peer_facts peer = peer_at(a.port, "127.0.0.3", NULL);

    (void)state;
    assert_int_equal(knock(&peer, NULL), KNOCK_ANSWERED);
    agent_end(&a);
}

static void test_stopped(void **state)
{
    struct agent a = agent_start("127.0.0.3", true);
    struct peer_facts peer = peer_at(a.port, "127.0.0.3", NULL);

    (void)state;
    kill(a.pid, SIGSTOP);
    assert_int_equal(knock(&peer, NULL), KNOCK_REFUSED);
    kill(a.pid, SIGCONT);
    assert_int_equal(knock(&peer, NULL), KNOCK_ANSWERED);
    agent_end(&a);
}

/* Somebody else has its address now. */
static void test_another_key(void **state)
{
    struct agent a = agent_start("127.0.0.3", true);
    struct peer_facts peer = peer_at(a.port, "127.0.0.3", NULL);

    (void)state;
    crypto_key_format(ours.public_key, peer.key);
    assert_int_equal(knock(&peer, NULL), KNOCK_REFUSED);
    agent_end(&a);
}

static void test_one_of_several_addresses(void **state)
{
    struct agent a = agent_start("127.0.0.3", true);
    struct peer_facts peer = peer_at(a.port, "127.0.0.2", "127.0.0.3");

    (void)state;
    assert_int_equal(knock(&peer, NULL), KNOCK_ANSWERED);
    agent_end(&a);
}

/* 127.0.0.1 is ours, so whoever is there is not the peer; the rest of 127/8 is on no interface. */
static void test_our_own_address_is_passed_over(void **state)
{
    struct agent a = agent_start("127.0.0.1", true);
    struct peer_facts both = peer_at(a.port, "127.0.0.1", "127.0.0.2"), only = peer_at(a.port, "127.0.0.1", NULL);

    (void)state;
    assert_int_equal(knock(&both, NULL), KNOCK_REFUSED);
    assert_int_equal(knock(&only, NULL), KNOCK_ANSWERED); /* two agents of one machine */
    agent_end(&a);
}

static size_t n_waiting(int listener)
{
    size_t n = 0;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        close(fd);
        n++;
    }
    return n;
}

/* A SYN that is lost must not be the end of it; and more connections would fill the queue of a stopped agent. */
static void test_knocks_twice_and_no_more(void **state)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000003)};
    socklen_t len = sizeof(sa);
    struct peer_facts peer;

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    peer = peer_at(ntohs(sa.sin_port), "127.0.0.3", NULL);
    assert_int_equal(knock(&peer, NULL), KNOCK_REFUSED);
    assert_int_equal(n_waiting(listener), 2);
    close(listener);
}

static void test_nowhere_to_knock(void **state)
{
    struct peer_facts peer = peer_at(0, "127.0.0.3", NULL);

    (void)state;
    assert_int_equal(knock(&peer, NULL), NOT_STARTED);
    peer.port = 7431;
    peer.n_addrs = 0;
    assert_int_equal(knock(&peer, NULL), NOT_STARTED);
    peer.n_addrs = 1;
    peer.key[0] = '\0';
    assert_int_equal(knock(&peer, NULL), NOT_STARTED);
}

static void test_no_descriptors_of_our_own(void **state)
{
    struct peer_facts peer = peer_at(7431, "127.0.0.3", NULL);

    (void)state;
    assert_int_equal(knock(&peer, &(struct asked){.no_descriptors = true}), KNOCK_NO_CARRIER);
}

/* In a network of its own: eth0 with 192.0.2.1, its other end is far0. */
static void test_networks(void **state)
{
    static const struct {
        const char *commands, *addr;
        enum knock_outcome outcome;
    } rows[] = {
        {"true", "192.0.2.2", KNOCK_UNANSWERED}, /* nobody has that address */
        {"ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0", "192.0.2.2", KNOCK_UNANSWERED}, /* or it is gone */
        {"ip route add unreachable 198.51.100.0/24", "198.51.100.1", KNOCK_UNANSWERED},
        {"ip addr add 192.0.2.9/24 dev eth0", "192.0.2.9", KNOCK_REFUSED},
        {"ip link set far0 down", "192.0.2.2", KNOCK_NO_CARRIER},
        {"ip link set eth0 down", "192.0.2.2", KNOCK_NO_CARRIER},
        {"ip link add veth9 type veth peer name veth8 && ip link set veth9 up && ip link set veth8 up && "
         "ip link set far0 down",
         "192.0.2.2", KNOCK_NO_CARRIER}, /* a container's own link says nothing */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer_facts peer = peer_at(7431, rows[i].addr, NULL);
        int outcome = knock(&peer, &(struct asked){.network = rows[i].commands});

        if (outcome == NO_NETWORK && i == 0)
            skip(); /* needs root, veth and ip(8) */
        if (outcome != (int)rows[i].outcome)
            fail_msg("%s: outcome %d", rows[i].commands, outcome);
    }
}

static bool make_identity(struct identity *ret)
{
    char dir[] = "/tmp/test_knock.XXXXXX", file[64];
    bool ok = mkdtemp(dir) && crypto_identity_load(dir, ret) == 0;

    snprintf(file, sizeof(file), "%s/identity", dir);
    unlink(file);
    rmdir(dir);
    return ok;
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    if (crypto_init() < 0)
        return -1;
    return make_identity(&ours) && make_identity(&theirs) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),
        cmocka_unit_test(test_who_does_not_know_us_lives),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_another_key),
        cmocka_unit_test(test_one_of_several_addresses),
        cmocka_unit_test(test_our_own_address_is_passed_over),
        cmocka_unit_test(test_knocks_twice_and_no_more),
        cmocka_unit_test(test_nowhere_to_knock),
        cmocka_unit_test(test_no_descriptors_of_our_own),
        cmocka_unit_test(test_networks),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
