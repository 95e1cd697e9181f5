/* Children under real shims: spawned, lost, adopted, bounded, ended. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/process.h"
#include "agent/process_log.h"
#include "agent/process_spec.h"
#include "agent/process_unit.h"
#include "common/log.h"

struct fixture {
    struct event_base *base;
    struct process_table *table;
    char dir[64];
    /* what the table said */
    size_t n_exited, n_dying, n_found;
    char last_id[PROTO_NAME_MAX];
    struct exit_facts exit;
    char tail[PROTO_TEXT_MAX];
    struct unit_facts found;
    bool forget;
};

/* libevent's own, so that each may fail; -1: none does. */
static long event_allocs_until_failure = -1;

static void *event_malloc(size_t n)
{
    return event_allocs_until_failure >= 0 && event_allocs_until_failure-- == 0 ? NULL : malloc(n);
}

/* The system's, which may have no descriptor left at the call after the next so many; -1: always has. */
static long pidfds_until_failure = -1;

int pidfd_open(pid_t pid, unsigned int flags)
{
    if (pidfds_until_failure >= 0 && pidfds_until_failure-- == 0) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static void on_exited(void *ctx, const char *id, const struct exit_facts *exit, const char *tail)
{
    struct fixture *f = ctx;

    f->n_exited++;
    snprintf(f->last_id, sizeof(f->last_id), "%s", id);
    f->exit = *exit;
    snprintf(f->tail, sizeof(f->tail), "%s", tail);
    if (f->forget)
        assert_int_equal(process_forget(f->table, id), 0);
}

static void on_dying(void *ctx, const char *id)
{
    struct fixture *f = ctx;

    (void)id;
    f->n_dying++;
}

static void on_found(void *ctx, const struct unit_facts *unit)
{
    struct fixture *f = ctx;

    f->n_found++;
    f->found = *unit;
}

static const char *shim_path(void)
{
    static char buf[1024];
    ssize_t n = readlink("/proc/self/exe", buf, 900);

    assert_true(n > 0);
    buf[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(buf, '/') = '\0';
    return strcat(buf, "/caravan-shim");
}

static void open_table(struct fixture *f)
{
    struct process_callbacks cb = {on_exited, on_dying, f};

    assert_int_equal(process_table_new(f->base, f->dir, shim_path(), &cb, &f->table), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    strcpy(f->dir, "/tmp/test_process.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->base = event_base_new();
    open_table(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    process_table_destroy(&f->table);
    process_purge(f->dir, 0);
    event_base_free(f->base);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    if (system(command))
        return -1;
    free(f);
    return 0;
}

static void give_up(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    (void)ctx;
    fail_msg("waited 20 s in vain");
}

/* Runs the loop until *counter has reached n. */
static void await(struct fixture *f, const size_t *counter, size_t n)
{
    struct timeval limit = {.tv_sec = 20};
    struct event *watchdog = evtimer_new(f->base, give_up, NULL);

    evtimer_add(watchdog, &limit);
    while (*counter < n)
        event_base_loop(f->base, EVLOOP_ONCE);
    event_free(watchdog);
}

static int spawn(struct fixture *f, const char *id, const char *script, int32_t *pid)
{
    struct unit_facts unit = {.role = UNIT_WORKER,
                              .epoch = 7,
                              .rank = 3,
                              .addr = "127.0.0.1",
                              .port = 20052,
                              .n_devices = 2,
                              .device = {"CUDA0", "CUDA1"},
                              .standing = true,
                              .instance = {{0xab}}};

    snprintf(unit.id, sizeof(unit.id), "%s", id);
    return process_spawn(f->table, &unit,
                         &(struct process_command){.argv = (const char *[]){"/bin/sh", "-c", script, NULL},
                                                   .env = (const char *[]){"GGML_NO_BACKTRACE=1", NULL}},
                         pid);
}

static void await_gone(int32_t pid)
{
    struct procfs_stat stat;
    int fd;

    if (!process_stat_read(pid, &stat))
        return;
    assert_int_equal(process_open(pid, stat.start_ticks, &fd), 0);
    if (fd < 0)
        return;
    assert_true(process_wait_gone(fd, 20000));
    close(fd);
}

static void *stay(void *ctx)
{
    _Atomic int32_t *tid = ctx;

    *tid = (int32_t)gettid();
    pause();
    return NULL;
}

/* Numbers go round: that of a child which is gone may be a thread's by now, of which there is no pidfd. */
static void test_number_is_a_threads(void **state)
{
    _Atomic int32_t tid = 0;
    pthread_t thread;
    int fd = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, stay, (void *)&tid), 0);
    while (!tid)
        sched_yield();
    assert_int_equal(process_open(tid, 1, &fd), 0);
    assert_int_equal(fd, -1);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

static void test_exit_code_and_tail(void **state)
{
    struct fixture *f = *state;
    struct process_sample sample;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "echo $GGML_NO_BACKTRACE; printf '0.1 E load: bad \\033[1mmagic\\n'; exit 3", &pid),
                     0);
    assert_int_equal(f->n_exited, 0);
    assert_int_equal(process_forget(f->table, "w1"), PROCESS_E_EXISTS);
    await(f, &f->n_exited, 1);
    assert_string_equal(f->last_id, "w1");
    assert_true(f->exit.known);
    assert_int_equal(f->exit.code, 3);
    assert_int_equal(f->exit.signal, 0);
    assert_string_equal(f->tail, "0.1 E load: bad ?[1mmagic");
    assert_false(process_sample(f->table, "w1", &sample));
    assert_int_equal(process_signal(f->table, "w1", SIGKILL), PROCESS_E_UNKNOWN);
    assert_int_equal(spawn(f, "w1", "exit 0", &pid), PROCESS_E_EXISTS);
    assert_int_equal(process_forget(f->table, "w1"), 0);
    assert_int_equal(process_forget(f->table, "w1"), 0);
    assert_int_equal(spawn(f, "w1", "exit 0", &pid), 0);
    f->forget = true;
    await(f, &f->n_exited, 2);
}

/* The kernel takes a child for want of memory before its agent and its shim. */
static void test_a_child_goes_first_where_memory_ends(void **state)
{
    struct fixture *f = *state;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "[ $(cat /proc/self/oom_score_adj) -gt $(cat /proc/$PPID/oom_score_adj) ]", &pid),
                     0);
    await(f, &f->n_exited, 1);
    assert_true(f->exit.known);
    assert_int_equal(f->exit.code, 0);
}

static void test_signal_to_the_group(void **state)
{
    struct fixture *f = *state;
    struct process_sample sample;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "sleep 1000 & wait", &pid), 0);
    assert_true(process_sample(f->table, "w1", &sample));
    assert_false(sample.dying);
    assert_int_equal(process_signal(f->table, "w1", SIGTERM), 0);
    await(f, &f->n_exited, 1);
    assert_true(f->exit.known);
    assert_int_equal(f->exit.signal, SIGTERM);
}

static void test_exec_failure(void **state)
{
    struct fixture *f = *state;
    struct unit_facts unit = {.id = "w1", .role = UNIT_WORKER, .rank = -1};
    const struct process_command missing = {.argv = (const char *[]){"/nonexistent", NULL}};
    char path[UNIT_PATH_MAX];
    int32_t pid;

    assert_int_equal(process_spawn(f->table, &unit, &missing, &pid), PROCESS_E_EXEC);
    assert_int_equal(unit_path(path, f->dir, "w1", NULL), 0);
    assert_int_equal(access(path, F_OK), -1);
    strcpy(unit.id, "../w");
    assert_int_equal(process_spawn(f->table, &unit, &missing, &pid), -EINVAL);
}

/* A sandbox that cannot be had is told apart from a program that cannot be executed, and neither leaves anything. */
static void test_sandbox(void **state)
{
    struct fixture *f = *state;
    struct unit_facts unit = {.id = "w1", .role = UNIT_WORKER, .rank = -1};
    struct process_command what = {.argv = (const char *[]){"/bin/sleep", "1000", NULL},
                                   .rule = (const char *[]){"forget=/", NULL}};
    char path[UNIT_PATH_MAX];
    int32_t pid;

    log_set_level(LOG_LEVEL_ERROR);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0) {
        assert_int_equal(process_spawn(f->table, &unit, &what, &pid), PROCESS_E_SANDBOX);
        assert_int_equal(unit_path(path, f->dir, "w1", NULL), 0);
        assert_int_equal(access(path, F_OK), -1);
    }
    what.rule = (const char *[]){NULL};
    assert_int_equal(process_spawn(f->table, &unit, &what, &pid), 0);
    assert_int_equal(process_signal(f->table, "w1", SIGKILL), 0);
    await(f, &f->n_exited, 1);
    log_set_level(LOG_LEVEL_INFO);
}

static void test_shim_missing(void **state)
{
    struct fixture *f = *state;
    struct process_callbacks cb = {on_exited, on_dying, f};
    int32_t pid;

    process_table_destroy(&f->table);
    assert_int_equal(process_table_new(f->base, f->dir, "/nonexistent/caravan-shim", &cb, &f->table), 0);
    assert_int_equal(spawn(f, "w1", "exit 0", &pid), -ENOENT);
}

static void test_key_file(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct stat st;
    int32_t pid;

    assert_int_equal(process_write_file(f->table, "c1", "api-key", "k\n", 2, path, sizeof(path)), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(process_write_file(f->table, "c1", "../x", "k", 1, path, sizeof(path)), -EINVAL);
    assert_int_equal(spawn(f, "c1", "exit 0", &pid), 0);
    await(f, &f->n_exited, 1);
    assert_int_equal(process_forget(f->table, "c1"), 0);
    assert_int_equal(access(path, F_OK), -1);
}

/* A forked helper is the agent that spawns and is killed; we are the next one. */
static int32_t spawned_by_one_that_died(struct fixture *f, const char *id, const char *script)
{
    int32_t pid = 0;
    int fd[2], status;
    pid_t helper;

    assert_int_equal(pipe(fd), 0);
    helper = fork();
    if (helper == 0) {
        struct event_base *base = event_base_new();
        struct process_callbacks cb = {on_exited, on_dying, f};

        if (process_table_new(base, f->dir, shim_path(), &cb, &f->table) || spawn(f, id, script, &pid) ||
            write(fd[1], &pid, sizeof(pid)) != sizeof(pid))
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(fd[0], &pid, sizeof(pid)), sizeof(pid));
    close(fd[0]);
    close(fd[1]);
    kill(helper, SIGKILL);
    assert_int_equal(waitpid(helper, &status, 0), helper);
    return pid;
}

static void case_03_adopts_a_running_child(void **state)
{
    struct fixture *f = *state;
    int32_t pid = spawned_by_one_that_died(f, "w1", "exec sleep 1000");
    int32_t other;

    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
    assert_string_equal(f->found.id, "w1");
    assert_int_equal(f->found.state, UNIT_RUNNING);
    assert_int_equal(f->found.pid, pid);
    assert_true(f->found.adopted && f->found.standing);
    assert_int_equal(f->found.role, UNIT_WORKER);
    assert_int_equal(f->found.epoch, 7);
    assert_int_equal(f->found.rank, 3);
    assert_int_equal(f->found.port, 20052);
    assert_int_equal(f->found.n_devices, 2);
    assert_string_equal(f->found.device[1], "CUDA1");
    assert_int_equal(f->found.instance.b[0], 0xab);
    assert_int_equal(spawn(f, "w1", "exit 0", &other), PROCESS_E_EXISTS);
    assert_int_equal(process_adopt(f->table, on_found, f), 0); /* known already */
    assert_int_equal(f->n_found, 1);
    assert_int_equal(process_signal(f->table, "w1", SIGKILL), 0);
    await(f, &f->n_exited, 1);
    assert_true(f->exit.known); /* by the shim that has outlived its agent */
    assert_int_equal(f->exit.signal, SIGKILL);
}

static void case_03_adopts_for_whom_it_served_last(void **state)
{
    struct fixture *f = *state;
    struct unit_facts unit = {.id = "w1", .role = UNIT_WORKER, .rank = -1};

    assert_int_equal(process_assign(f->table, &unit), PROCESS_E_UNKNOWN);
    spawned_by_one_that_died(f, "w1", "exec sleep 1000");
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    unit = f->found;
    unit.epoch = 9;
    unit.rank = -1;
    assert_int_equal(process_assign(f->table, &unit), 0);
    process_table_destroy(&f->table);
    open_table(f);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->found.state, UNIT_RUNNING);
    assert_int_equal(f->found.epoch, 9);
    assert_int_equal(f->found.rank, -1);
}

static void case_03_adopts_one_that_died_meanwhile(void **state)
{
    struct fixture *f = *state;
    int32_t pid = spawned_by_one_that_died(f, "w1", "exec sleep 1000");

    kill(pid, SIGSEGV);
    await_gone(pid);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
    assert_int_equal(f->found.state, UNIT_EXITED);
    assert_true(f->found.exit.known);
    assert_int_equal(f->found.exit.signal, SIGSEGV);
    assert_int_equal(process_forget(f->table, "w1"), 0);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
}

static bool runs(int32_t pid)
{
    struct procfs_stat stat;

    return process_stat_read(pid, &stat) && stat.state != 'Z';
}

/* The processes of an instance that nobody can name would run for ever, unseen and unleased. */
static void test_child_with_a_lost_spec_is_ended(void **state)
{
    struct fixture *f = *state;
    int32_t pid = spawned_by_one_that_died(f, "w1", "exec sleep 1000");

    assert_int_equal(unit_write_file(f->dir, "w1", "spec", "version=9\n", 10), 0);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(f->n_found, 0);
    assert_false(runs(pid));
}

static void test_shim_stopped(void **state)
{
    struct fixture *f = *state;
    struct record record;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "exec sleep 1000", &pid), 0);
    assert_int_equal(unit_read_record(f->dir, "w1", &record), 0);
    kill(record.shim_pid, SIGSTOP);
    kill(pid, SIGKILL);
    await(f, &f->n_exited, 1);
    assert_false(f->exit.known);
    assert_int_equal(kill(record.shim_pid, 0), -1); /* neither stopped for ever nor a zombie */
}

/* Out of memory after the program runs: it must not run on without a keeper. */
static void test_spawn_without_memory(void **state)
{
    struct fixture *f = *state;
    char id[32];
    int32_t pid;
    int r = -ENOMEM;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (long n = 0; r == -ENOMEM; n++) {
        snprintf(id, sizeof(id), "w%ld", n);
        event_allocs_until_failure = n;
        r = spawn(f, id, "exec sleep 1000", &pid);
        event_allocs_until_failure = -1;
        while (r && waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (r)
            assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    assert_int_equal(r, 0);
    assert_string_not_equal(id, "w0");
}

static void test_shim_killed(void **state)
{
    struct fixture *f = *state;
    struct record record;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "exec sleep 1000", &pid), 0);
    assert_int_equal(unit_read_record(f->dir, "w1", &record), 0);
    kill(record.shim_pid, SIGKILL);
    await_gone(record.shim_pid);
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    assert_int_equal(f->n_exited, 0);
    kill(pid, SIGKILL);
    await(f, &f->n_exited, 1);
    assert_false(f->exit.known);
}

/* A stopped child with a dead shim is no orphaned group: it is in a session of its own. */
static void test_stopped_child_survives_its_shim(void **state)
{
    struct fixture *f = *state;
    struct process_sample sample;
    struct record record;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "exec sleep 1000", &pid), 0);
    assert_int_equal(process_signal(f->table, "w1", SIGSTOP), 0);
    do
        assert_true(process_sample(f->table, "w1", &sample));
    while (sample.state != 'T');
    assert_int_equal(unit_read_record(f->dir, "w1", &record), 0);
    kill(record.shim_pid, SIGKILL);
    await_gone(record.shim_pid);
    assert_true(process_sample(f->table, "w1", &sample));
    assert_int_equal(sample.state, 'T');
}

static void forge(struct fixture *f, const char *id, const struct record *record)
{
    struct unit_facts unit = {.role = UNIT_WORKER, .rank = -1};
    char text[PROCESS_SPEC_TEXT_MAX];

    snprintf(unit.id, sizeof(unit.id), "%s", id);
    assert_int_equal(unit_write_file(f->dir, id, "spec", text, process_spec_format(&unit, text)), 0);
    assert_int_equal(unit_write_file(f->dir, id, "record", text, record_format(record, text)), 0);
}

static void truth(pid_t pid, struct record *ret)
{
    struct procfs_stat stat;

    assert_true(process_stat_read(pid, &stat));
    *ret = (struct record){.shim_pid = INT32_MAX, .child_pid = pid, .child_start_ticks = stat.start_ticks};
    assert_int_equal(boot_id_read(ret->boot_id), 0);
}

static void test_adopts_nobody_else(void **state)
{
    struct fixture *f = *state;
    struct record record;

    truth(getpid(), &record);
    record.child_start_ticks++; /* our pid, once another's */
    forge(f, "reused", &record);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
    assert_int_equal(f->found.state, UNIT_EXITED);
    assert_false(f->found.exit.known);

    truth(getpid(), &record);
    record.boot_id[0] ^= 1; /* of a boot before this one */
    forge(f, "oldboot", &record);
    assert_int_equal(process_forget(f->table, "reused"), 0);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
    assert_int_equal(process_forget(f->table, "oldboot"), 0);
}

/* A zombie keeps its pid and start time: only its pidfd says that it is gone. */
/* What cannot be looked at for want of a descriptor is not dead: neither taken for ended nor forgotten. */
static void test_no_descriptors(void **state)
{
    struct fixture *f = *state;
    struct procfs_stat stat;
    struct record record;
    int32_t pid;

    assert_int_equal(spawn(f, "w1", "exec sleep 1000", &pid), 0);
    assert_int_equal(unit_read_record(f->dir, "w1", &record), 0);
    process_table_destroy(&f->table);
    for (long n = 0; n < 2; n++) { /* of the shim, of the child */
        open_table(f);
        pidfds_until_failure = n;
        assert_int_equal(process_adopt(f->table, on_found, f), -EMFILE);
        assert_int_equal(f->n_found, 0);
        process_table_destroy(&f->table);
        pidfds_until_failure = n;
        assert_int_equal(process_purge(f->dir, 0), -EMFILE);
        assert_true(process_stat_read(pid, &stat));
    }
    pidfds_until_failure = -1;
    open_table(f);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
    assert_int_equal(f->found.state, UNIT_RUNNING);
    assert_int_equal(f->found.pid, pid);
}

/* Nothing is left of what could not be watched. */
static void test_spawn_without_descriptors(void **state)
{
    struct fixture *f = *state;
    char script[160], path[128], text[16] = "";
    int32_t pid;

    snprintf(path, sizeof(path), "%s/pid", f->dir);
    snprintf(script, sizeof(script), "echo $$ >%s; exec sleep 1000", path);
    for (long n = 0; n < 2; n++) {
        int fd;

        pidfds_until_failure = n;
        assert_int_equal(spawn(f, "w1", script, &pid), -EMFILE);
        pidfds_until_failure = -1;
        fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
            await_gone((int32_t)strtol(text, NULL, 10));
        if (fd >= 0)
            close(fd);
    }
    assert_int_equal(spawn(f, "w1", "exit 0", &pid), 0);
    await(f, &f->n_exited, 1);
}

static void test_adopts_no_zombie(void **state)
{
    struct fixture *f = *state;
    struct record record;
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    truth(pid, &record);
    forge(f, "zombie", &record);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    assert_int_equal(f->n_found, 1);
    assert_int_equal(f->found.state, UNIT_EXITED);
    waitpid(pid, NULL, 0);
}

static void test_records_that_cannot_be_read(void **state)
{
    struct fixture *f = *state;
    char path[256];

    assert_int_equal(unit_write_file(f->dir, "half", "spec", "x", 1), 0); /* never started */
    assert_int_equal(unit_write_file(f->dir, "junk", "record", "x\n", 2), 0);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(process_adopt(f->table, on_found, f), 0);
    log_set_level(LOG_LEVEL_INFO);
    assert_int_equal(f->n_found, 0);
    snprintf(path, sizeof(path), "%s/units/half", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/units/junk", f->dir);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/units/.junk.unreadable/record", f->dir);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unit_write_file(f->dir, "junk", "record", "x\n", 2), 0);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(process_purge(f->dir, 0), 0);
    log_set_level(LOG_LEVEL_INFO);
    snprintf(path, sizeof(path), "%s/units/junk/record", f->dir); /* the only trace of a process that may run */
    assert_int_equal(access(path, F_OK), 0);
}

static void case_09_purge_ends_everything(void **state)
{
    struct fixture *f = *state;
    int32_t stubborn, stopped;

    stubborn = spawned_by_one_that_died(f, "w1", "trap '' TERM; while :; do sleep 1000; done");
    assert_int_equal(spawn(f, "w2", "exec sleep 1000", &stopped), 0);
    assert_int_equal(process_signal(f->table, "w2", SIGSTOP), 0);
    assert_int_equal(process_purge(f->dir, 100), 2);
    assert_int_equal(process_purge(f->dir, 100), 0);
    await(f, &f->n_exited, 1);
    (void)stubborn;
}

static void test_log_is_bounded(void **state)
{
    struct fixture *f = *state;
    char path[256], last[8];
    struct stat st;
    int fd;

    snprintf(path, sizeof(path), "%s/log", f->dir);
    assert_int_equal(process_log_bound(path, 65536), 0); /* none yet */
    fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    for (int i = 0; i < 3 * 1024; i++) {
        char block[1024];

        memset(block, 'a' + i % 26, sizeof(block));
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    }
    assert_int_equal(write(fd, "the end", 7), 7);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(process_log_bound(path, 1024 * 1024), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3 * 1024 * 1024 + 7);
    assert_true(st.st_blocks * 512 <= 1024 * 1024 + 128 * 1024);
    assert_int_equal(pread(fd, last, 7, st.st_size - 7), 7);
    assert_memory_equal(last, "the end", 7);
    assert_int_equal(pread(fd, last, 1, 0), 1);
    assert_int_equal(last[0], 0);
    close(fd);
}

static void test_tail(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        const char *expected;
    } rows[] = {
        {"", 64, ""},
        {"\n\n \n", 64, ""},
        {"one\ntwo\n", 64, "one | two"},
        {"one\ntwo", 64, "one | two"},
        {"a\nb\nc\nd\ne\n", 64, "b | c | d | e"},
        {"0.1 I ok\n0.2 E bad\n0.3 I ok\n", 64, "0.2 E bad"},
        {"ok\nFailed to create server socket\nbye\n", 64, "Failed to create server socket"},
        {"load_best: failed to enumerate /usr/lib/x/backends0: No such file\nready\n", 128,
         "load_best: failed to enumerate /usr/lib/x/backends0: No such file | ready"},
        {"Devices:\n  CPU: x (24 MiB, 24 MiB free)\nAccepted client connection\nrecv returned 0 (peer closed?)\n"
         "Client connection closed\n",
         128, ""},
        {"Accepted client connection\nTerminate: bad tensor\n", 64, "Terminate: bad tensor"},
        {"0.1 E bad\nrecv failed (bytes_recv=0, size_to_recv=1)\nClient connection closed\n", 64, "0.1 E bad"},
        {"an error that is long\nerror 2\n", 12, "error 2"},
        {"error 123456789\n", 8, "error 1"},
        {"a\tb\x01\x7f\xff\xc3\xa9\xc3\n", 64, "a b???\xc3\xa9?"},
        {"\xc3\xa9\xc3\xa9\n", 4, "\xc3\xa9"},
        {"\xed\xa0\x80\xf5\xc0\xaf\n", 64, "??????"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char buf[128];

        process_log_tail(rows[i].text, strlen(rows[i].text), buf, rows[i].size);
        assert_string_equal(buf, rows[i].expected);
    }
}

static void test_spec_text(void **state)
{
    static const char *const bad[] = {
        "",
        "version=1\n",
        "version=2\nid=a\nrole=1\ninstance=00000000000000000000000000000000\nepoch=1\nrank=0\n",
        "version=1\nid=../a\nrole=1\ninstance=00000000000000000000000000000000\nepoch=1\nrank=0\n",
        "version=1\nid=a\nrole=4\ninstance=00000000000000000000000000000000\nepoch=1\nrank=0\n",
        "version=1\nid=a\nrole=1\ninstance=0\nepoch=1\nrank=0\n",
        "version=1\nid=a\nrole=1\ninstance=00000000000000000000000000000000\nepoch=-1\nrank=0\n",
        "version=1\nid=a\nrole=1\ninstance=00000000000000000000000000000000\nepoch=1\nrank=17\n",
        "version=1\nid=a\nrole=1\ninstance=00000000000000000000000000000000\nepoch=1\nrank=0\nport=65536\n",
        "version=1\nid=a\nrole=1\ninstance=00000000000000000000000000000000\nepoch=1\nrank=0\nnonsense\n",
    };
    struct unit_facts u = {.id = "w-1.a_b",
                           .role = UNIT_COORDINATOR,
                           .rank = -1,
                           .epoch = UINT64_MAX,
                           .port = 65535,
                           .n_devices = PROTO_DEVICES_MAX};
    char text[PROCESS_SPEC_TEXT_MAX];
    struct unit_facts back;
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(process_spec_parse(bad[i], strlen(bad[i]), &back));
    for (size_t i = 0; i < PROTO_DEVICES_MAX; i++)
        memset(u.device[i], 'd', PROTO_DEVICE_MAX - 1);
    memset(u.addr, 'a', sizeof(u.addr) - 1);
    memset(u.id, 'i', sizeof(u.id) - 1);
    n = process_spec_format(&u, text);
    assert_true(n < sizeof(text));
    assert_true(process_spec_parse(text, n, &back));
    assert_int_equal(back.rank, -1);
    assert_int_equal(back.n_devices, PROTO_DEVICES_MAX);
    assert_string_equal(back.addr, u.addr);
    for (size_t i = 0; i < n; i++) {
        char *cut = malloc(i ? i : 1);

        assert_non_null(cut);
        memcpy(cut, text, i);
        (void)process_spec_parse(cut, i, &back);
        free(cut);
    }
    memcpy(text + n, "later=1\n", 8);
    assert_true(process_spec_parse(text, n + 8, &back));
    memcpy(text + n, "device=\n", 8);
    assert_false(process_spec_parse(text, n + 8, &back)); /* one too many */
}

#define WITH_TABLE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(test_no_descriptors),
        WITH_TABLE(test_spawn_without_descriptors),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_number_is_a_threads),
        cmocka_unit_test(test_spec_text),
        WITH_TABLE(test_exit_code_and_tail),
        WITH_TABLE(test_a_child_goes_first_where_memory_ends),
        WITH_TABLE(test_signal_to_the_group),
        WITH_TABLE(test_exec_failure),
        WITH_TABLE(test_sandbox),
        WITH_TABLE(test_shim_missing),
        WITH_TABLE(test_key_file),
        WITH_TABLE(case_03_adopts_a_running_child),
        WITH_TABLE(case_03_adopts_for_whom_it_served_last),
        WITH_TABLE(case_03_adopts_one_that_died_meanwhile),
        WITH_TABLE(test_child_with_a_lost_spec_is_ended),
        WITH_TABLE(test_shim_stopped),
        WITH_TABLE(test_spawn_without_memory),
        WITH_TABLE(test_shim_killed),
        WITH_TABLE(test_stopped_child_survives_its_shim),
        WITH_TABLE(test_adopts_nobody_else),
        WITH_TABLE(test_adopts_no_zombie),
        WITH_TABLE(test_records_that_cannot_be_read),
        WITH_TABLE(case_09_purge_ends_everything),
        WITH_TABLE(test_log_is_bounded),
    };

    event_set_mem_functions(event_malloc, realloc, free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
