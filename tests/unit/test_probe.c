/* Probes of real servers (LLAMA_DIR or PATH has one) and of scripted ones that answer otherwise. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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

#include "agent/probe.h"

struct turn {
    size_t read_bytes; /* from the client, before answering; 0 ends the session */
    const char *answer;
    size_t n;
};

struct session {
    struct turn turn[6];
    bool hold; /* does not close: the client is left waiting */
};

struct server {
    pid_t pid;
    uint16_t port;
};

static void serve(int listener, const struct session *session, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = accept(listener, NULL, NULL);

        for (const struct turn *t = session[i].turn; t->read_bytes; t++) {
            char buf[256];

            if (recv(fd, buf, t->read_bytes, MSG_WAITALL) != (ssize_t)t->read_bytes)
                break;
            for (size_t at = 0; at < t->n; at++) /* in the smallest pieces that TCP may make of it */
                if (send(fd, t->answer + at, 1, MSG_NOSIGNAL) != 1)
                    break;
        }
        if (session[i].hold)
            for (;;)
                pause();
        close(fd);
    }
    _exit(0);
}

static struct server start(const struct session *session, size_t n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct server s;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    s.port = ntohs(a.sin_port);
    s.pid = fork();
    if (s.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(fd, session, n);
    }
    close(fd);
    return s;
}

static void stop(const struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

struct answer {
    struct event_base *base;
    size_t n;
    struct probe_result result;
};

static void on_done(void *ctx, const struct probe_result *result)
{
    struct answer *a = ctx;

    a->n++;
    a->result = *result;
    event_base_loopbreak(a->base);
}

static struct probe_result ask(const char *addr, uint16_t port, uint64_t deadline_ms)
{
    struct answer a = {.base = event_base_new()};
    struct probe *p;

    assert_int_equal(probe_start(a.base, addr, port, deadline_ms, on_done, &a, &p), 0);
    event_base_dispatch(a.base);
    assert_int_equal(a.n, 1);
    event_base_free(a.base);
    return a.result;
}

#define HELLO_8  "\x1c\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define COUNT_1  "\x04\0\0\0\0\0\0\0\x01\0\0\0"
#define COUNT_2  "\x04\0\0\0\0\0\0\0\x02\0\0\0"
#define MEMORY_A "\x10\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0"
#define MEMORY_B "\x10\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0"
#define BYTES(s) s, sizeof(s) - 1

static void test_two_devices(void **state)
{
    struct session session[] = {
        {.turn = {{33, BYTES(HELLO_8)}, {9, BYTES(COUNT_2)}, {13, BYTES(MEMORY_A)}, {13, BYTES(MEMORY_B)}}}};
    struct server s = start(session, 1);
    struct probe_result r = ask("127.0.0.1", s.port, 10000);

    (void)state;
    assert_true(r.ok);
    assert_int_equal(r.rpc.major, 8);
    assert_int_equal(r.n_devices, 2);
    assert_int_equal(r.free_bytes[0], 0x100);
    assert_int_equal(r.total_bytes[0], 0x200);
    assert_int_equal(r.total_bytes[1], 0x400);
    stop(&s);
}

/* Closes at a HELLO with data, answers one without: the fork's 3.5.2. */
static void test_other_dialect(void **state)
{
    struct session session[] = {{.turn = {{33, "", 0}}}, {.turn = {{9, BYTES("\x03\0\0\0\0\0\0\0\x03\x05\x02")}}}};
    struct server s = start(session, 2);
    struct probe_result r = ask("127.0.0.1", s.port, 10000);

    (void)state;
    assert_true(r.ok);
    assert_int_equal(r.rpc.major, 3);
    assert_int_equal(r.rpc.minor, 5);
    assert_int_equal(r.rpc.patch, 2);
    assert_int_equal(r.n_devices, 0);
    stop(&s);
}

struct limited {
    struct rlimit before;
    struct event *lifted;
};

static void lift(evutil_socket_t fd, short what, void *ctx)
{
    const struct limited *l = ctx;

    (void)fd;
    (void)what;
    setrlimit(RLIMIT_NOFILE, &l->before);
}

/* That we have none left says nothing about the server: a worker that starts meanwhile is not to be ended for it. */
static void test_no_descriptors(void **state)
{
    struct session session[] = {{.turn = {{33, BYTES(HELLO_8)}, {9, BYTES(COUNT_1)}, {13, BYTES(MEMORY_A)}}}};
    static const struct timeval later = {.tv_usec = 50000};
    struct answer a = {.base = event_base_new()};
    struct server s = start(session, 1);
    struct limited l;
    struct probe *p;

    (void)state;
    l.lifted = evtimer_new(a.base, lift, &l);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l.before), 0);
    for (int attempt = 0; attempt < 2; attempt++) {
        a.n = 0;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_max = l.before.rlim_max}), 0);
        if (attempt)
            evtimer_add(l.lifted, &later);
        assert_int_equal(probe_start(a.base, "127.0.0.1", s.port, attempt ? 10000 : 20, on_done, &a, &p), 0);
        event_base_dispatch(a.base);
        assert_int_equal(a.n, 1);
        assert_int_equal(a.result.ok, attempt);
        if (!attempt)
            assert_string_equal(a.result.text, "it could not be asked: Too many open files");
    }
    event_free(l.lifted);
    event_base_free(a.base);
    stop(&s);
}

static void test_bad_servers(void **state)
{
    struct {
        struct session session[2];
        const char *says;
    } rows[] = {
        {{{.turn = {{33, "", 0}}}, {.turn = {{9, "", 0}}}}, "no rpc-server of a known protocol"},
        {{{.turn = {{33, BYTES("HTTP/1.1 400 Bad Request\r\n\r\n")}}}}, "is not one of an rpc-server"},
        {{{.turn = {{33, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff")}}}}, "is not one of an rpc-server"},
        {{{.turn = {{33, BYTES("\x04\0\0\0\0\0\0\0\x08\0\0\0")}}}}, "answer to HELLO"},
        {{{.turn = {{33, BYTES(HELLO_8)}, {9, BYTES("\x04\0\0\0\0\0\0\0\xff\xff\xff\xff")}}}}, "device count"},
        {{{.turn = {{33, BYTES(HELLO_8)}, {9, BYTES(COUNT_2)}, {13, BYTES(COUNT_2)}}}}, "device memory"},
        {{{.turn = {{33, BYTES(HELLO_8)}, {9, BYTES(COUNT_2)}, {13, BYTES("\x10\0\0")}}}}, "closed the connection"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct server s = start(rows[i].session, 2);
        struct probe_result r = ask("127.0.0.1", s.port, 10000);

        assert_false(r.ok);
        if (!strstr(r.text, rows[i].says))
            fail_msg("row %zu says: %s", i, r.text);
        stop(&s);
    }
}

static void test_silence(void **state)
{
    struct session session[] = {{.turn = {{33, BYTES("\x1c\0\0")}}, .hold = true}};
    struct server s = start(session, 1);
    struct probe_result r = ask("127.0.0.1", s.port, 100);

    (void)state;
    assert_false(r.ok);
    assert_non_null(strstr(r.text, "does not answer"));
    stop(&s);
    r = ask("127.0.0.1", s.port, 50);
    assert_false(r.ok);
    assert_non_null(strstr(r.text, "nothing listens"));
}

static void test_cancel(void **state)
{
    struct answer a = {.base = event_base_new()};
    struct probe *p = NULL;

    (void)state;
    probe_cancel(&p);
    assert_int_equal(probe_start(a.base, "127.0.0.1", 1, 1000, on_done, &a, &p), 0);
    event_base_loop(a.base, EVLOOP_ONCE);
    probe_cancel(&p);
    assert_null(p);
    assert_int_equal(event_base_dispatch(a.base), 1); /* nothing is left in the loop */
    assert_int_equal(a.n, 0);
    assert_int_equal(probe_start(a.base, "localhost", 1, 1000, on_done, &a, &p), -EINVAL);
    event_base_free(a.base);
}

static bool find_rpc_server(char path[1024])
{
    const char *dir = getenv("LLAMA_DIR");

    if (!dir)
        return false;
    snprintf(path, 1024, "%s/rpc-server", dir);
    return access(path, X_OK) == 0;
}

/* The probe begins before the server listens. devices: as for -d, or NULL. */
static void against_real(const char *path, const char *devices, size_t n_expected)
{
    uint16_t port = (uint16_t)(21000 + getpid() % 4000);
    struct probe_result r;
    char port_text[8];
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(port_text, sizeof(port_text), "%u", port);
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(1);
        execl(path, path, "-H", "127.0.0.1", "-p", port_text, devices ? "-d" : NULL, devices, NULL);
        _exit(127);
    }
    for (int i = 0; i < 10; i++) { /* the next client is served as the first was, and SIGPIPE kills nobody */
        r = ask("127.0.0.1", port, 20000);
        assert_true(r.ok);
        assert_int_equal(r.rpc.major, 8);
        assert_int_equal(r.n_devices, n_expected);
        for (size_t d = 0; d < n_expected; d++)
            assert_true(r.total_bytes[d] > 0);
    }
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void test_real_rpc_server(void **state)
{
    char path[1024];

    (void)state;
    if (!find_rpc_server(path))
        skip();
    against_real(path, NULL, 1);
    against_real(path, "CPU,CPU", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_devices),     cmocka_unit_test(test_other_dialect),
        cmocka_unit_test(test_bad_servers),     cmocka_unit_test(test_silence),
        cmocka_unit_test(test_no_descriptors),  cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_real_rpc_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
