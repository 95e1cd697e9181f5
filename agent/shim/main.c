/* caravan-shim UNIT_DIR sandbox|no-sandbox [RULE...] -- PROGRAM [ARGUMENT...]: the parent of one worker or coordinator.
 *
 * It outlives the agent, so that the wait status of its child is never lost, and does nothing else. The child's output
 * goes to UNIT_DIR/log; UNIT_DIR/record says who both are and, in the end, how the child ended.
 *
 * With `sandbox` the child is shut in first: sandbox.h has the rules. Its keeper is not: it hears nobody.
 *
 * The agent listens on descriptor 3: "started\n" once the record stands, then "ok\n" when the program was executed,
 * "errno N\n" when it could not be, "sandbox N STEP\n" when it could not be shut in. The child waits at a gate until
 * "started" was written: where nobody listens any more, nothing is started. So every child that ever runs has a record
 * that was there while its agent lived.
 *
 * No stdio streams, no libraries: a node may have dozens of these, and each should cost a few hundred KiB. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/shim/record.h"
#include "agent/shim/sandbox.h"
#include "common/core/procfs.h"

enum { REPORT_FD = 3 };
enum { EXIT_USAGE = 2, EXIT_START = 3, EXIT_EXEC = 127 };

struct command {
    bool sandbox;
    char **rule;
    size_t n_rules;
    char **argv; /* NULL-terminated */
};

/* From the child, which could not execute its program. */
struct word {
    int e;
    char step[16]; /* of the sandbox; empty: exec itself */
};

struct shim {
    int dir;
    struct record record;
    pid_t child;
    int gate; /* a byte lets the child go on */
    int word; /* a struct word from the child, or its end when exec closed it */
};

static bool write_whole(int fd, const void *buf, size_t n_bytes)
{
    ssize_t n;

    do
        n = write(fd, buf, n_bytes);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)n_bytes;
}

/* Reads a small file. Returns its length, or -1. */
static ssize_t slurp(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = read(fd, buf, size);
    close(fd);
    return n;
}

static bool start_ticks(pid_t pid, uint64_t *ret)
{
    char path[64], buf[PROCFS_STAT_MAX];
    struct procfs_stat stat;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    n = slurp(path, buf, sizeof(buf));
    if (n < 0)
        return false;
    if (!procfs_stat_parse(buf, (size_t)n, &stat)) {
        errno = EPROTO;
        return false;
    }
    *ret = stat.start_ticks;
    return true;
}

static bool boot_id(char ret[RECORD_BOOT_ID_MAX])
{
    ssize_t n = slurp("/proc/sys/kernel/random/boot_id", ret, RECORD_BOOT_ID_MAX - 1);

    if (n < 0)
        return false;
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return true;
}

/* Not synced: a record is worth nothing after a power cut, when the boot id is another one. */
static bool write_record(const struct shim *s)
{
    char text[RECORD_TEXT_MAX];
    size_t n = record_format(&s->record, text);
    int fd = openat(s->dir, "record.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok;

    if (fd < 0)
        return false;
    ok = write_whole(fd, text, n);
    if (close(fd) < 0 || !ok)
        return false;
    return renameat(s->dir, "record.new", s->dir, "record") == 0;
}

static void report(const char *text)
{
    write_whole(REPORT_FD, text, strlen(text));
}

static void report_failure(const struct word *w)
{
    char text[64];

    if (w->step[0])
        snprintf(text, sizeof(text), "sandbox %d %s\n", w->e, w->step);
    else
        snprintf(text, sizeof(text), "errno %d\n", w->e);
    report(text);
}

/* Its own session: a stopped member of an orphaned group would be killed with SIGHUP when the shim ends. SIGPIPE stays
 * ignored over exec: rpc-server dies of it when a client leaves early. */
static void become_clean(int dir)
{
    sigset_t none;
    int log, fd;

    setsid();
    for (int i = 1; i < NSIG; i++)
        signal(i, i == SIGPIPE ? SIG_IGN : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    log = openat(dir, "log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log >= 0) {
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
    }
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) /* where memory ends, who holds the model is to go, and not who would notice it */
        write_whole(fd, "200\n", 4);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
}

static _Noreturn void run_child(int dir, int gate, int word, const struct command *c)
{
    const char *step = "";
    struct word w = {0};
    char go;

    if (read(gate, &go, 1) != 1)
        _exit(EXIT_EXEC);
    become_clean(dir);
    if (!c->sandbox || sandbox_enter(c->rule, c->n_rules, &step)) {
        step = "";
        execv(c->argv[0], c->argv);
    }
    w.e = errno;
    snprintf(w.step, sizeof(w.step), "%s", step);
    write_whole(word, &w, sizeof(w));
    _exit(EXIT_EXEC);
}

static bool fork_child(struct shim *s, const struct command *c)
{
    int gate[2], word[2];

    if (pipe2(gate, O_CLOEXEC) < 0 || pipe2(word, O_CLOEXEC) < 0)
        return false;
    s->child = fork();
    if (s->child < 0)
        return false;
    if (s->child == 0) {
        close(gate[1]);
        close(word[0]);
        run_child(s->dir, gate[0], word[1], c);
    }
    close(gate[0]);
    close(word[1]);
    s->gate = gate[1];
    s->word = word[0];
    return true;
}

static bool write_first_record(struct shim *s)
{
    s->record.shim_pid = (int32_t)getpid();
    s->record.child_pid = (int32_t)s->child;
    return boot_id(s->record.boot_id) && start_ticks(getpid(), &s->record.shim_start_ticks) &&
           start_ticks(s->child, &s->record.child_start_ticks) && write_record(s);
}

static _Noreturn void give_up(const struct shim *s, int e)
{
    unlinkat(s->dir, "record", 0);
    if (s->child > 0) {
        kill(s->child, SIGKILL);
        waitpid(s->child, NULL, 0);
    }
    report_failure(&(struct word){.e = e});
    _exit(EXIT_START);
}

/* Lets the child execute its program and tells the agent how that went. */
static void release(struct shim *s)
{
    struct word w;
    ssize_t n;

    write_whole(s->gate, "g", 1);
    close(s->gate);
    do
        n = read(s->word, &w, sizeof(w));
    while (n < 0 && errno == EINTR);
    close(s->word);
    if (n == (ssize_t)sizeof(w)) {
        s->record.exec_errno = w.e;
        report_failure(&w);
    } else {
        report("ok\n");
    }
    close(REPORT_FD);
}

/* The child's whole group ends with it: what it started has no other keeper. The zombie is kept until the record is
 * written, so that neither its pid nor its group can belong to anybody else. */
static void wait_and_record(struct shim *s)
{
    siginfo_t info = {0};

    while (waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    kill(-s->child, SIGKILL);
    s->record.ended = true;
    if (info.si_code == CLD_EXITED)
        s->record.exit_code = info.si_status;
    else
        s->record.exit_signal = info.si_status;
    write_record(s);
    waitpid(s->child, NULL, 0);
}

/* Descriptors: 0, 1, 2 on /dev/null, the report; nothing else. All signals wait for ever: a service manager that stops
 * the agent's whole group must not cost us a wait status. */
static bool detach(struct shim *s, const char *unit_dir)
{
    sigset_t all;
    int null;

    if (fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC) < 0)
        return false;
    setsid(); /* fails where we lead a group already: then the agent has done it */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGCHLD, SIG_DFL); /* ignored, it would swallow the status */
    null = open("/dev/null", O_RDWR);
    if (null < 0)
        return false;
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    close_range(REPORT_FD + 1, ~0U, 0);
    s->dir = open(unit_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->dir >= 0 && chdir("/") == 0;
}

/* Nothing is taken for granted: who does not say that there is to be no sandbox gets no child. */
static bool read_command(char **argv, struct command *ret)
{
    size_t n = 0;

    if (!argv[1] || !argv[2] || (strcmp(argv[2], "sandbox") != 0 && strcmp(argv[2], "no-sandbox") != 0))
        return false;
    ret->sandbox = !strcmp(argv[2], "sandbox");
    ret->rule = argv + 3;
    while (ret->rule[n] && strcmp(ret->rule[n], "--") != 0)
        n++;
    if (!ret->rule[n] || !ret->rule[n + 1])
        return false;
    ret->n_rules = n;
    ret->argv = ret->rule + n + 1;
    return true;
}

int main(int argc, char **argv)
{
    struct shim s = {.dir = -1};
    struct command c;

    if (argc < 5 || !read_command(argv, &c))
        return EXIT_USAGE;
    if (!detach(&s, argv[1]) || !fork_child(&s, &c) || !write_first_record(&s))
        give_up(&s, errno);
    /* From here on the child runs as our user, and what lies in our folder of /proc is root's: it could say there that we
     * are to go first when memory is short. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!write_whole(REPORT_FD, "started\n", 8))
        give_up(&s, errno);
    release(&s);
    wait_and_record(&s);
    _exit(0); /* no handlers, no streams: nothing to tidy */
}
