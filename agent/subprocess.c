#include "agent/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/gpu.h"
#include "agent/system.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"

extern char **environ;

enum { EXIT_EXEC = 127, ENVIRONMENT_MAX = 512 };

/* Async-signal-safe calls alone. */
static _Noreturn void exec_child(int out, const char *const *argv, char *const *env)
{
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* so that what it starts is killed with it */
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execve(argv[0], (char *const *)(uintptr_t)argv, env);
    _exit(EXIT_EXEC);
}

static pid_t start(int out, const char *const *argv, char *const *env)
{
    sigset_t all, old;
    pid_t pid;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid = fork();
    if (pid == 0)
        exec_child(out, argv, env);
    if (pid > 0)
        setpgid(pid, pid); /* it may not get to its own before its time is over; whoever is second changes nothing */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}

/* Reads to the end of the pipe. false: the time was over first. */
static bool read_all(int fd, uint64_t end_ms, char *ret, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char rest[4096];
    size_t used = 0;

    for (;;) {
        uint64_t now = clock_now_ms();
        bool full = used == size - 1;
        ssize_t n;

        if (now >= end_ms)
            return false;
        if (poll(&p, 1, (int)(end_ms - now)) <= 0)
            continue;
        n = read(fd, full ? rest : ret + used, full ? sizeof(rest) : size - 1 - used);
        if (n == 0)
            return true;
        if (n > 0 && !full) {
            used += (size_t)n;
            ret[used] = '\0';
        }
    }
}

int subprocess_run(const char *const *argv, uint32_t timeout_ms, char *ret, size_t size)
{
    CLEANUP(cleanup_close) int reader = -1, writer = -1;
    char *env[ENVIRONMENT_MAX];
    size_t n_env = 0;
    int fd[2], status;
    bool whole;
    pid_t pid;

    ret[0] = '\0';
    for (char **e = environ; *e && n_env < ENVIRONMENT_MAX - 2; e++)
        env[n_env++] = *e;
    env[n_env++] = (char *)(uintptr_t)GPU_ENVIRONMENT; /* devices are counted as the workers will count them */
    env[n_env] = NULL;
    if (pipe2(fd, O_CLOEXEC) < 0)
        return err_raise(-errno);
    reader = fd[0];
    writer = fd[1];
    pid = start(writer, argv, env);
    if (pid < 0)
        return err_raise(-errno);
    cleanup_close(&writer);
    whole = read_all(reader, clock_now_ms() + timeout_ms, ret, size);
    if (!whole)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!whole)
        return SUBPROCESS_E_TIMEOUT;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_EXEC)
        return SUBPROCESS_E_EXEC;
    return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : SUBPROCESS_E_FAILED;
}
