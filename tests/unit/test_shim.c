/* caravan-shim with real children: what they inherit, what is written down, and who survives whom. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/shim/record.h"

struct run {
    char dir[64];
    bool deaf; /* nobody reads the report */
    pid_t shim;
    int report;
};

/* caravan-shim lies one folder above the tests in the build tree. */
static const char *shim_path(char buf[1024])
{
    ssize_t n = readlink("/proc/self/exe", buf, 900);

    assert_true(n > 0);
    buf[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(buf, '/') = '\0';
    return strcat(buf, "/caravan-shim");
}

static void start(struct run *r, char *const argv[])
{
    char path[1024];
    char *shim_argv[16] = {(char *)(uintptr_t)shim_path(path), r->dir, "no-sandbox", "--"};
    int report[2];

    strcpy(r->dir, "/tmp/test_shim.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    for (size_t i = 0; argv[i]; i++)
        shim_argv[i + 4] = argv[i];
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    if (r->deaf)
        close(report[0]);
    r->shim = fork();
    if (r->shim == 0) {
        signal(SIGCHLD, SIG_IGN); /* as a careless service manager may hand it down */
        if (report[1] == 3)
            fcntl(3, F_SETFD, 0);
        else
            dup2(report[1], 3);
        execv(path, shim_argv);
        _exit(99);
    }
    close(report[1]);
    r->report = report[0];
}

/* Everything that the shim reports, to the end. */
static void heard(struct run *r, const char *expected)
{
    char buf[128] = "";
    size_t used = 0;
    ssize_t n;

    while ((n = read(r->report, buf + used, sizeof(buf) - 1 - used)) > 0)
        used += (size_t)n;
    buf[used] = '\0';
    assert_string_equal(buf, expected);
    close(r->report);
}

static char *slurp(const char *dir, const char *name)
{
    char path[128];
    static char buf[16384];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "re");
    if (!f)
        return NULL;
    buf[fread(buf, 1, sizeof(buf) - 1, f)] = '\0';
    fclose(f);
    return buf;
}

static void read_record(const struct run *r, struct record *ret)
{
    char *text = slurp(r->dir, "record");

    assert_non_null(text);
    assert_true(record_parse(text, strlen(text), ret));
}

static void finish(struct run *r, int expected_status)
{
    char command[128];
    int status;

    assert_int_equal(waitpid(r->shim, &status, 0), r->shim);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected_status);
    snprintf(command, sizeof(command), "rm -r %s", r->dir);
    assert_int_equal(system(command), 0);
}

static void wait_end(pid_t shim)
{
    struct pollfd p = {.fd = pidfd_open(shim, 0), .events = POLLIN};

    assert_true(p.fd >= 0);
    assert_int_equal(poll(&p, 1, 20000), 1);
    close(p.fd);
}

static void test_exit_code(void **state)
{
    struct record rec;
    struct run r = {0};

    (void)state;
    start(&r, (char *[]){"/bin/sh", "-c", "echo one; echo two >&2; exit 3", NULL});
    heard(&r, "started\nok\n");
    wait_end(r.shim);
    read_record(&r, &rec);
    assert_int_equal(rec.shim_pid, r.shim);
    assert_true(rec.shim_start_ticks > 0 && rec.child_start_ticks >= rec.shim_start_ticks);
    assert_true(rec.ended);
    assert_int_equal(rec.exit_code, 3);
    assert_int_equal(rec.exit_signal, 0);
    assert_int_equal(rec.exec_errno, 0);
    assert_string_equal(slurp(r.dir, "log"), "one\ntwo\n");
    finish(&r, 0);
}

static void test_signal(void **state)
{
    struct record rec;
    struct run r = {0};

    (void)state;
    start(&r, (char *[]){"/bin/sleep", "1000", NULL});
    heard(&r, "started\nok\n");
    read_record(&r, &rec);
    assert_false(rec.ended);
    assert_int_equal(getpgid(rec.child_pid), rec.child_pid);
    assert_int_equal(getsid(rec.child_pid), rec.child_pid);
    assert_int_equal(getsid(r.shim), r.shim);
    kill(rec.child_pid, SIGKILL);
    wait_end(r.shim);
    read_record(&r, &rec);
    assert_true(rec.ended);
    assert_int_equal(rec.exit_signal, SIGKILL);
    finish(&r, 0);
}

static void test_exec_failure(void **state)
{
    struct record rec;
    struct run r = {0};

    (void)state;
    start(&r, (char *[]){"/nonexistent/rpc-server", NULL});
    heard(&r, "started\nerrno 2\n");
    wait_end(r.shim);
    read_record(&r, &rec);
    assert_int_equal(rec.exec_errno, ENOENT);
    assert_true(rec.ended);
    assert_int_equal(rec.exit_code, 127);
    finish(&r, 0);
}

static void test_nobody_listens(void **state)
{
    struct run r = {.deaf = true};

    (void)state;
    start(&r, (char *[]){"/bin/sh", "-c", "echo ran", NULL});
    wait_end(r.shim);
    assert_null(slurp(r.dir, "record"));
    assert_null(slurp(r.dir, "log"));
    finish(&r, 3);
}

static void test_no_directory(void **state)
{
    char path[1024], text[32] = "";
    int report[2], status;
    pid_t pid;

    (void)state;
    shim_path(path);
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        dup2(report[1], 3);
        fcntl(3, F_SETFD, 0);
        execl(path, path, "/nonexistent", "no-sandbox", "--", "/bin/true", (char *)NULL);
        _exit(99);
    }
    close(report[1]);
    assert_int_equal(read(report[0], text, sizeof(text) - 1), 8);
    assert_string_equal(text, "errno 2\n");
    close(report[0]);
    waitpid(pid, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 3);
}

/* Who says neither `sandbox` nor `no-sandbox`, or no program, gets no child. */
static void test_usage(void **state)
{
    static char *const bad[][6] = {
        {"shim", "/tmp"},
        {"shim", "/tmp", "/bin/true"},
        {"shim", "/tmp", "--", "/bin/true"},
        {"shim", "/tmp", "sandbox", "/bin/true"},
        {"shim", "/tmp", "sandbox", "--"},
        {"shim", "/tmp", "perhaps", "--", "/bin/true"},
    };
    char path[1024];

    (void)state;
    shim_path(path);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *argv[7] = {0};
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            memcpy(argv, bad[i], sizeof(bad[i]));
            execv(path, argv);
            _exit(99);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 2);
    }
}

/* What the child inherits, by its own word. */
static void test_child_is_clean(void **state)
{
    const char *log;
    struct run r = {0};

    (void)state;
    start(&r, (char *[]){"/bin/sh", "-c",
                         "cat /proc/self/status; ls -l /proc/self/fd; cat /proc/self/oom_score_adj; pwd", NULL});
    heard(&r, "started\nok\n");
    wait_end(r.shim);
    log = slurp(r.dir, "log");
    assert_non_null(strstr(log, "NoNewPrivs:\t1"));
    assert_non_null(strstr(log, "SigBlk:\t0000000000000000"));
    assert_non_null(strstr(log, "SigIgn:\t0000000000001000")); /* SIGPIPE alone */
    assert_non_null(strstr(log, "0 -> /dev/null"));
    assert_non_null(strstr(log, "\n200\n/\n"));
    assert_null(strstr(log, "pipe:"));
    finish(&r, 0);
}

static void test_survives_signals(void **state)
{
    static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGUSR1};
    struct record rec;
    struct run r = {0};

    (void)state;
    start(&r, (char *[]){"/bin/sh", "-c", "exec sleep 1000", NULL});
    heard(&r, "started\nok\n");
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        kill(r.shim, signals[i]);
    read_record(&r, &rec);
    kill(rec.child_pid, SIGTERM);
    wait_end(r.shim);
    read_record(&r, &rec);
    assert_int_equal(rec.exit_signal, SIGTERM);
    finish(&r, 0);
}

/* What the child has started goes with it. */
static void case_09_group_ends_with_its_child(void **state)
{
    char *line;
    struct run r = {0};
    pid_t left;
    int fd;

    (void)state;
    start(&r, (char *[]){"/bin/sh", "-c", "sleep 1000 & echo $!", NULL});
    heard(&r, "started\nok\n");
    wait_end(r.shim);
    line = slurp(r.dir, "log");
    assert_non_null(line);
    left = (pid_t)atoi(line);
    assert_true(left > 1);
    fd = pidfd_open(left, 0);
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, 20000), 1);
        close(fd);
    } else {
        assert_int_equal(errno, ESRCH);
    }
    finish(&r, 0);
}

static void test_record_text(void **state)
{
    static const char *const bad[] = {
        "",
        "version=1\n",
        "version=2\nboot_id=a\nshim_pid=2\nshim_start=1\nchild_pid=3\nchild_start=1\nexec_errno=0\n",
        "version=1\nboot_id=a\nshim_pid=1\nshim_start=1\nchild_pid=3\nchild_start=1\nexec_errno=0\n",
        "version=1\nboot_id=a\nshim_pid=2\nshim_start=1\nchild_pid=-3\nchild_start=1\nexec_errno=0\n",
        "version=1\nboot_id=a\nshim_pid=2\nshim_start=1\nchild_pid=0\nchild_start=1\nexec_errno=0\n",
        "version=1\nboot_id=a\nshim_pid=2\nshim_start=1\nchild_pid=99999999999\nchild_start=1\nexec_errno=0\n",
        "version=1\nboot_id=a\nshim_pid=2\nshim_start=1\nchild_pid=3\nchild_start=1\nexec_errno=0\nexit_code=1\n",
        ("version=1\nboot_id=0123456789012345678901234567890123456789\nshim_pid=2\nshim_start=1\nchild_pid=3\n"
         "child_start=1\nexec_errno=0\n"),
    };
    struct record r = {.boot_id = "8979d792-c1a3-4730-84b8-d0f82d7c3abc",
                       .shim_pid = INT32_MAX,
                       .shim_start_ticks = UINT64_MAX,
                       .child_pid = INT32_MAX,
                       .child_start_ticks = UINT64_MAX,
                       .exec_errno = INT32_MAX,
                       .ended = true,
                       .exit_code = 255,
                       .exit_signal = 64};
    struct record back;
    char text[RECORD_TEXT_MAX];
    size_t n = record_format(&r, text);

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(record_parse(bad[i], strlen(bad[i]), &back));
    assert_true(n < RECORD_TEXT_MAX);
    for (size_t i = 0; i < n; i++) {
        char *cut = malloc(i ? i : 1);

        assert_non_null(cut);
        memcpy(cut, text, i);
        if (record_parse(cut, i, &back)) /* all but the end was there */
            assert_false(back.ended);
        free(cut);
    }
    assert_true(record_parse(text, n, &back));
    assert_string_equal(back.boot_id, r.boot_id);
    assert_int_equal(back.child_start_ticks, UINT64_MAX);
    assert_int_equal(back.exit_signal, 64);
    assert_true(back.ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_text),
        cmocka_unit_test(test_exit_code),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_exec_failure),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_no_directory),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_child_is_clean),
        cmocka_unit_test(test_survives_signals),
        cmocka_unit_test(case_09_group_ends_with_its_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
