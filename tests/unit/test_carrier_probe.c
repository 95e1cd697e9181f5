/* Probes of scripted carriers, in a directory with a name that no socket's address could hold. */
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/carrier_probe.h"

enum { PATIENCE_MS = 30000, HASTE_MS = 300 };

struct world {
    char top[64], dir[256];
    struct event_base *base;
    pid_t server;
    bool done;
    struct carrier_probe_result result;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    strcpy(w->top, "/tmp/test_carrier_probe.XXXXXX");
    assert_non_null(mkdtemp(w->top));
    snprintf(w->dir, sizeof(w->dir), "%s/%0120d", w->top, 7);
    assert_int_equal(mkdir(w->dir, 0700), 0);
    w->base = event_base_new();
    *state = w;
    return 0;
}

static void end_server(struct world *w)
{
    if (w->server > 0)
        kill(w->server, SIGKILL);
    if (w->server > 0)
        waitpid(w->server, NULL, 0);
    w->server = 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];

    end_server(w);
    event_base_free(w->base);
    snprintf(command, sizeof(command), "rm -rf %s", w->top);
    free(w);
    return system(command) ? -1 : 0;
}

/* ---- the other side ---------------------------------------------------------------------------------------------- */

static int bind_in(const char *dir)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), at = open(dir, O_PATH | O_CLOEXEC);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/control", at);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        abort();
    close(at);
    return fd;
}

static int listen_in(const char *dir)
{
    int fd = bind_in(dir);

    if (listen(fd, 4) < 0)
        abort();
    return fd;
}

/* What it does with each client: an answer; "": hangs up; NULL: nothing, ever. */
static void serve(const struct world *w, unsigned after_ms, const char *const *answer, size_t n)
{
    char packet[CONTROL_PACKET_MAX];
    int fd;

    usleep(after_ms * 1000);
    fd = bind_in(w->dir);
    usleep(after_ms * 1000); /* bound is not yet listening */
    if (listen(fd, 4) < 0)
        abort();
    for (size_t i = 0; i < n; i++) {
        int client = accept(fd, NULL, NULL);
        struct control_question q;
        ssize_t got = recv(client, packet, sizeof(packet), 0);

        if (got < 0 || control_question_parse(packet, (size_t)got, &q) || q.kind != CONTROL_HELLO)
            _exit(96);
        if (!answer[i])
            for (;;)
                pause();
        if (answer[i][0])
            send(client, answer[i], strlen(answer[i]), MSG_NOSIGNAL);
        close(client);
    }
    for (;;)
        pause();
}

static void start(struct world *w, unsigned after_ms, const char *const *answer, size_t n)
{
    w->server = fork();
    if (w->server)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(w, after_ms, answer, n);
}

/* ---- this side --------------------------------------------------------------------------------------------------- */

static void on_done(void *ctx, const struct carrier_probe_result *result)
{
    struct world *w = ctx;

    assert_false(w->done);
    w->done = true;
    w->result = *result;
    event_base_loopbreak(w->base);
}

static void probe(struct world *w, uint64_t deadline_ms)
{
    struct carrier_probe *p;

    w->done = false;
    assert_int_equal(carrier_probe_start(w->base, w->dir, deadline_ms, on_done, w, &p), 0);
    event_base_dispatch(w->base);
    assert_true(w->done);
}

#define GOOD "ok=1\nversion=1\nroute=1 41111 10.0.0.2:7440\n"

static void test_one_that_runs(void **state)
{
    struct world *w = *state;

    start(w, 0, (const char *const[]){GOOD}, 1);
    probe(w, PATIENCE_MS);
    assert_true(w->result.ok);
    assert_int_equal(w->result.answer.n_routes, 1);
    assert_int_equal(w->result.answer.route[0].port, 41111);
    assert_string_equal(w->result.answer.route[0].endpoint, "10.0.0.2:7440");
}

/* It is not there, does not listen, is not ready, hangs up, says what is none: asked again each time. */
static void test_one_that_comes_late(void **state)
{
    char much[CONTROL_PACKET_MAX + 2];
    struct world *w = *state;

    memset(much, 'x', sizeof(much) - 1);
    much[sizeof(much) - 1] = '\0';
    start(w, 30, (const char *const[]){"", "ok=0\ntext=its ports do not listen\n", "nonsense", much, GOOD}, 5);
    probe(w, PATIENCE_MS);
    assert_true(w->result.ok);
    assert_int_equal(w->result.answer.n_routes, 1);
}

static void test_what_came_to_nothing_is_said(void **state)
{
    static const struct {
        const char *answer, *text;
    } rows[] = {
        {"ok=0\ntext=its ports do not listen\n", "its ports do not listen"},
        {"nonsense", "its answer is not understood"},
        {"", "it hung up without an answer"},
        {NULL, "it was asked and does not answer"},
    };
    struct world *w = *state;
    char path[300];

    probe(w, HASTE_MS);
    assert_false(w->result.ok);
    assert_string_equal(w->result.text, "its control socket cannot be reached: No such file or directory");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *answers[64];

        for (size_t k = 0; k < 64; k++)
            answers[k] = rows[i].answer;
        start(w, 0, answers, 64);
        probe(w, HASTE_MS);
        assert_false(w->result.ok);
        assert_string_equal(w->result.text, rows[i].text);
        end_server(w);
        snprintf(path, sizeof(path), "%s/control", w->dir);
        unlink(path);
    }
}

static void test_one_is_not_waited_for(void **state)
{
    struct world *w = *state;
    int listener = listen_in(w->dir);
    struct carrier_probe *p = NULL;

    carrier_probe_cancel(&p);
    assert_int_equal(carrier_probe_start(w->base, w->dir, PATIENCE_MS, on_done, w, &p), 0);
    event_base_loop(w->base, EVLOOP_ONCE); /* it has asked */
    carrier_probe_cancel(&p);
    assert_null(p);
    close(listener);
    assert_int_equal(event_base_loop(w->base, EVLOOP_NONBLOCK), 1); /* nothing is left in it */
    assert_false(w->done);
}

#define IN_WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_one_that_runs),
        IN_WORLD(test_one_that_comes_late),
        IN_WORLD(test_what_came_to_nothing_is_said),
        IN_WORLD(test_one_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
