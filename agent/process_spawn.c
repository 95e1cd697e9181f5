#include "agent/process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/process.h"
#include "agent/process_unit.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"

extern char **environ;

enum { REPORT_FD = 3, START_MS = 5000, GIVE_UP_MS = 1000, REPORT_MAX = 128 };

static bool same_key(const char *a, const char *b)
{
    size_t n = strcspn(b, "=");

    return !strncmp(a, b, n) && a[n] == '=';
}

/* What is meant for the agent alone: its own options, and its ties to the service manager. */
static bool ours_alone(const char *entry)
{
    return !strncmp(entry, "CARAVAN_", 8) || !strncmp(entry, "LISTEN_", 7) || same_key(entry, "NOTIFY_SOCKET=");
}

/* Our environment with env over it. The array is the caller's, the strings are not. */
static char **make_environment(const char *const *env)
{
    size_t n = 1, used = 0;
    char **ret;

    for (char **e = environ; *e; e++)
        n++;
    for (const char *const *e = env; e && *e; e++)
        n++;
    ret = calloc(n, sizeof(*ret));
    if (!ret)
        return NULL;
    for (char **e = environ; *e; e++) {
        bool replaced = ours_alone(*e);

        for (const char *const *own = env; own && *own && !replaced; own++)
            replaced = same_key(*e, *own);
        if (!replaced)
            ret[used++] = *e;
    }
    for (const char *const *e = env; e && *e; e++)
        ret[used++] = (char *)(uintptr_t)*e;
    return ret;
}

/* Between fork and exec, with threads about: async-signal-safe calls alone, on what was made before. */
static _Noreturn void exec_shim(int report, char *const *argv, char *const *env)
{
    char text[] = "errno 000\n";
    int e;

    if (report == REPORT_FD)
        fcntl(report, F_SETFD, 0);
    else
        dup2(report, REPORT_FD);
    execve(argv[0], argv, env);
    e = errno;
    for (char *digit = text + 8; digit > text + 5; digit--, e /= 10)
        *digit = (char)('0' + e % 10);
    if (write(REPORT_FD, text, sizeof(text) - 1) < 0)
        _exit(126);
    _exit(127);
}

/* Signals are blocked across the fork: a handler of the agent's loop must not run in the child. */
static pid_t fork_shim(int report, char *const *argv, char *const *env)
{
    sigset_t all, old;
    pid_t pid;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid = fork();
    if (pid == 0)
        exec_shim(report, argv, env);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}

/* What the child has said of itself, after "started\n". */
static int read_word(const char *id, const char *text)
{
    char step[16];
    int e;

    if (!strcmp(text, "ok\n"))
        return 0;
    if (sscanf(text, "sandbox %d %15[a-z]", &e, step) == 2) {
        log_error("sandbox.failed",
                  "unit=%s step=%s text=\"%s: no child runs without its sandbox, unless sandbox = no\"", id, step,
                  strerrordesc_np(e));
        return SHIM_E_SANDBOX;
    }
    return strncmp(text, "errno ", 6) ? err_raise(-EPROTO) : SHIM_E_EXEC;
}

/* Reads the report to its end. 0, SHIM_E_..., the shim's errno, -ETIMEDOUT, -EPROTO. */
static int hear(int report, const char *id)
{
    int64_t end = (int64_t)clock_now_ms() + START_MS;
    char text[REPORT_MAX] = "";
    struct pollfd p = {.fd = report, .events = POLLIN};
    size_t used = 0;

    while (used < sizeof(text) - 1) {
        int64_t left = end - (int64_t)clock_now_ms();
        ssize_t n;

        if (left <= 0)
            return err_raise(-ETIMEDOUT);
        if (poll(&p, 1, (int)left) <= 0)
            continue; /* a signal, or the time: seen above */
        n = read(report, text + used, sizeof(text) - 1 - used);
        if (n == 0)
            break;
        if (n > 0)
            used += (size_t)n;
    }
    if (!strncmp(text, "started\n", 8))
        return read_word(id, text + 8);
    return !strncmp(text, "errno ", 6) && atoi(text + 6) > 0 ? err_raise(-atoi(text + 6)) : err_raise(-EPROTO);
}

/* Leaves neither shim nor child behind. */
static void clear_away(pid_t shim, int pidfd, const char *state_dir, const char *id)
{
    struct record record;

    if (!process_wait_gone(pidfd, GIVE_UP_MS)) {
        if (unit_read_record(state_dir, id, &record) == 0)
            kill(-record.child_pid, SIGKILL); /* its shim lives: nobody has reaped it */
        kill(shim, SIGKILL);
    }
    waitpid(shim, NULL, 0);
}

/* UNIT_DIR sandbox|no-sandbox [RULE...] -- PROGRAM [ARGUMENT...] behind the shim's own name. */
static int make_argv(const char *shim_path, const char *dir, const struct process_command *what, const char **ret)
{
    size_t n = 0;

    ret[n++] = shim_path;
    ret[n++] = dir;
    ret[n++] = what->rule ? "sandbox" : "no-sandbox";
    for (const char *const *rule = what->rule; rule && *rule; rule++) {
        if (n == PROCESS_RULES_MAX + 3)
            return err_raise(-E2BIG);
        ret[n++] = *rule;
    }
    ret[n++] = "--";
    for (size_t i = 0; what->argv[i]; i++) {
        if (i == PROCESS_ARGV_MAX)
            return err_raise(-E2BIG);
        ret[n++] = what->argv[i];
    }
    ret[n] = NULL;
    return 0;
}

int shim_start(const char *shim_path, const char *state_dir, const char *id, const struct process_command *what,
               int *ret_pidfd)
{
    CLEANUP(cleanup_free) char **environment = make_environment(what->env);
    CLEANUP(cleanup_close) int reader = -1, writer = -1, pidfd = -1;
    const char *shim_argv[PROCESS_ARGV_MAX + PROCESS_RULES_MAX + 5];
    char dir[UNIT_PATH_MAX];
    int report[2], r = unit_path(dir, state_dir, id, NULL);
    pid_t pid;

    if (r < 0)
        return err_pass(r);
    r = make_argv(shim_path, dir, what, shim_argv);
    if (r < 0)
        return err_pass(r);
    if (!environment)
        return err_raise(-ENOMEM);
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_raise(-errno);
    reader = report[0];
    writer = report[1];
    pid = fork_shim(writer, (char *const *)(uintptr_t)shim_argv, environment);
    if (pid < 0)
        return err_raise(-errno);
    cleanup_close(&writer);
    pidfd = pidfd_open(pid, 0); /* ours and not reaped: the number cannot mean another */
    if (pidfd < 0)
        r = err_raise(-errno);
    else
        r = hear(reader, id);
    if (r) {
        clear_away(pid, pidfd, state_dir, id);
        return r;
    }
    *ret_pidfd = pidfd;
    pidfd = -1;
    return 0;
}
