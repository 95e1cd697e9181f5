/* Real caravan-carriers on loopback, between sockets of the test that stand for llama-server and its workers; for tests that
 * include cmocka. All waits are for events, with a limit that only a failure meets. */
#ifndef CARAVAN_TESTS_UNIT_CARRIER_HARNESS_H
#define CARAVAN_TESTS_UNIT_CARRIER_HARNESS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/carrier/conf.h"
#include "agent/carrier/control.h"
#include "agent/carrier/figures.h"
#include "common/clock.h"
#include "common/crypto.h"

enum { LIMIT_MS = 60000 };

static const struct id128 the_instance = {{0xca, 1}};

/* ---- processes ---------------------------------------------------------------------------------------------------- */

struct node { /* one carrier */
    char dir[64];
    struct identity own;
    struct carrier_conf conf;
    pid_t pid;
    int log; /* what it says */
    struct figures_reader *figures;
    struct control_answer hello;
};

/* It lies one folder above the tests in the build tree. */
static inline const char *carrier_path(char buf[1024])
{
    ssize_t n = readlink("/proc/self/exe", buf, 900);

    assert_true(n > 0);
    buf[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(buf, '/') = '\0';
    return strcat(buf, "/caravan-carrier");
}

static inline int listen_on(const char *addr, uint16_t port, uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(inet_pton(AF_INET, addr, &at.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    if (ret_port)
        *ret_port = ntohs(at.sin_port);
    return fd;
}

/* On an address that no other test of this machine uses at this time, so that a port that was free stays so. */
static inline void choose_place(struct node *n)
{
    snprintf(n->conf.addr, sizeof(n->conf.addr), "127.%d.%d.1", 64 + (getpid() >> 8 & 63), getpid() & 255);
    close(listen_on(n->conf.addr, 0, &n->conf.port));
}

static inline void node_init(struct node *n)
{
    *n = (struct node){.conf = {.instance = the_instance, .epoch = 4, .rank = -1}, .log = -1};
    strcpy(n->dir, "/tmp/caravan-carrier-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    assert_int_equal(crypto_init(), 0);
    assert_int_equal(crypto_identity_load(n->dir, &n->own), 0);
    snprintf(n->conf.identity, sizeof(n->conf.identity), "%s/identity", n->dir);
    choose_place(n);
}

static inline const char *path_in(const struct node *n, const char *name, char buf[128])
{
    snprintf(buf, 128, "%s/%s", n->dir, name);
    return buf;
}

static inline void write_conf_text(const struct node *n, const char *text, size_t n_bytes)
{
    char path[128];
    FILE *f = fopen(path_in(n, "conf", path), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n_bytes, f), n_bytes);
    assert_int_equal(fclose(f), 0);
}

static inline void spawn(struct node *n, const char *arg)
{
    char program[1024];
    int out[2];

    carrier_path(program);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    n->pid = fork();
    assert_true(n->pid >= 0);
    if (n->pid == 0) {
        dup2(out[1], STDERR_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl(program, program, arg, NULL);
        _exit(127);
    }
    close(out[1]);
    n->log = out[0];
}

static inline int reap(struct node *n)
{
    int status;

    assert_int_equal(waitpid(n->pid, &status, 0), n->pid);
    n->pid = 0;
    return status;
}

/* Reads what the program says up to a line with that in it. */
static inline void wait_for_word(struct node *n, const char *word, char *buf, size_t size)
{
    size_t at = 0;

    while (at + 1 < size) {
        struct pollfd p = {.fd = n->log, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
        got = read(n->log, buf + at, 1);
        buf[at + (got > 0)] = '\0';
        if (got <= 0)
            break;
        if (buf[at++] == '\n' && strstr(buf, word))
            return;
    }
    fail_msg("\"%s\" is not in: %s", word, buf);
}

static inline int control_connect(const struct node *n)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int dir = open(n->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/control", dir);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        close(fd);
        fd = -1;
    }
    close(dir);
    return fd;
}

static inline void ask(const struct node *n, const struct control_question *q, struct control_answer *ret)
{
    char buf[CONTROL_PACKET_MAX];
    int fd = control_connect(n);
    size_t n_bytes = control_question_format(q, buf);
    ssize_t got;

    assert_true(fd >= 0);
    assert_int_equal(send(fd, buf, n_bytes, 0), n_bytes);
    got = recv(fd, buf, sizeof(buf), 0);
    assert_true(got > 0);
    assert_int_equal(control_answer_parse(buf, (size_t)got, ret), 0);
    close(fd);
}

static inline void node_start(struct node *n)
{
    char *text, said[4096], path[128];
    size_t n_bytes;

    assert_int_equal(carrier_conf_format(&n->conf, &text, &n_bytes), 0);
    write_conf_text(n, text, n_bytes);
    free(text);
    spawn(n, n->dir);
    wait_for_word(n, "carrier.started", said, sizeof(said));
    ask(n, &(struct control_question){.kind = CONTROL_HELLO}, &n->hello);
    assert_true(n->hello.ok);
    assert_int_equal(figures_open(path_in(n, "figures", path), &n->figures), 0);
}

/* Ended as an agent ends it; and it has lost no memory. */
static inline void node_stop(struct node *n)
{
    static const char *const names[] = {"conf", "control", "figures", "identity"};
    char path[128], said[4096];
    ssize_t got;
    int status;

    if (n->pid > 0) {
        kill(n->pid, SIGTERM);
        status = reap(n);
        while (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            got = read(n->log, said, sizeof(said) - 1);
            said[got > 0 ? got : 0] = '\0';
            print_error("%s", said);
            if (got <= 0)
                fail_msg("carrier: wait status %#x", (unsigned)status);
        }
    }
    if (n->log >= 0)
        close(n->log);
    figures_reader_destroy(&n->figures);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_in(n, names[i], path));
    assert_int_equal(rmdir(n->dir), 0);
}

/* The figures as they are now: whole, as a writer needs no time. */
static inline struct figures look(const struct node *n)
{
    struct figures f;

    for (int i = 0; i < LIMIT_MS; i++) {
        int r = figures_read(n->figures, clock_now_ms(), &f);

        if (r == 0 || r == FIGURES_E_LATE)
            return f;
        usleep(1000);
    }
    fail_msg("no figures");
    return f;
}

static inline const struct rank_flow *flow_of_rank(const struct figures *f, uint32_t rank)
{
    for (size_t i = 0; i < f->n_flows; i++)
        if (f->flow[i].rank == rank)
            return &f->flow[i];
    fail_msg("no flow of rank %u", rank);
    return NULL;
}

/* Waits until they are so. */
static inline struct figures look_until(const struct node *n, bool (*is)(const struct figures *, const void *),
                                        const void *arg)
{
    for (int i = 0; i < LIMIT_MS / 10; i++) {
        struct figures f = look(n);

        if (is(&f, arg))
            return f;
        usleep(10000);
    }
    fail_msg("the figures never were so");
    return look(n);
}

/* ---- sockets ------------------------------------------------------------------------------------------------------ */

static inline int dial(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static inline int take(int listener)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    int fd;

    assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static inline uint16_t port_of(const struct node *n, int32_t rank)
{
    for (size_t i = 0; i < n->hello.n_routes; i++)
        if (n->hello.route[i].rank == rank)
            return n->hello.route[i].port;
    fail_msg("no route to rank %d", rank);
    return 0;
}

static inline void put(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

/* Exactly n bytes; and they are these. */
static inline void expect(int fd, const void *bytes, size_t n)
{
    uint8_t buf[4096];

    assert_true(n <= sizeof(buf));
    for (size_t at = 0; at < n;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
        got = recv(fd, buf + at, n - at, 0);
        assert_true(got > 0);
        at += (size_t)got;
    }
    assert_memory_equal(buf, bytes, n);
}

/* What comes next, bytes passed over: 0 the end, or an errno. */
static inline int next_end(int fd)
{
    uint8_t buf[65536];

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
        got = recv(fd, buf, sizeof(buf), 0);
        if (got <= 0)
            return got < 0 ? errno : 0;
    }
}

static inline void reset(int fd)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}

#endif
