/* A child in its sandbox and, as the control, one without: what each may still do, by its own word. This program is the
 * child, too: with the argument `probe` it tries everything of the table and prints what errno it met. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/process.h"
#include "agent/sandbox_rules.h"

enum { PORT = 20952, RANK_PORT = 20953, OTHER_PORT = 20954 };
enum { KILLED = 1000 /* in place of an errno */ };

/* ---- the tries: each returns 0 or an errno ------------------------------------------------------------------------- */

static int outcome(long r)
{
    return r < 0 ? errno : 0;
}

static int try_read(const char *path)
{
    return outcome(open(path, O_RDONLY | O_CLOEXEC));
}

static int try_write(const char *path)
{
    return outcome(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700));
}

static int try_remove(const char *path)
{
    return outcome(unlink(path));
}

static int try_truncate(const char *path)
{
    return outcome(truncate(path, 0));
}

static int try_chmod(const char *path)
{
    return outcome(chmod(path, 0644));
}

/* An access list that lets everybody in is such an attribute. Linux 6.13; what an older one says is no denial of ours. */
static int try_attribute(const char *path)
{
    struct {
        uint64_t value;
        uint32_t size, flags;
    } a = {.value = (uintptr_t) "x", .size = 1};

    return outcome(syscall(463 /* setxattrat */, AT_FDCWD, path, 0, "user.x", &a, sizeof(a))) == EPERM ? EPERM : 0;
}

static int in_child(int (*what)(const char *), const char *arg)
{
    pid_t pid = fork();
    int status = 0;

    if (pid < 0)
        return errno;
    if (pid == 0)
        _exit(what(arg));
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? KILLED + WTERMSIG(status) : WEXITSTATUS(status);
}

static int execute(const char *path)
{
    return outcome(execl(path, path, (char *)NULL));
}

static int try_execute(const char *path)
{
    return in_child(execute, path);
}

/* /bin/true, written where it may write. */
static int try_execute_own(const char *path)
{
    char command[512];

    snprintf(command, sizeof(command), "cp /bin/true %s", path);
    return system(command) ? EINVAL : try_execute(path);
}

static int try_comm(const char *arg)
{
    char path[64];

    (void)arg;
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", (int)gettid());
    return outcome(open(path, O_RDWR | O_CLOEXEC | O_TRUNC));
}

/* Root alone may read it in spite of all, by one of two capabilities that no unit of ours has. */
static void drop_perfmon(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &head, data) < 0)
        return;
    data[0].effective &= ~(1U << CAP_SYS_ADMIN);
    data[1].effective &= ~(1U << (CAP_PERFMON - 32));
    syscall(SYS_capset, &head, data);
}

static int read_environ(const char *pid)
{
    char path[64], byte;
    int fd;

    drop_perfmon();
    snprintf(path, sizeof(path), "/proc/%s/environ", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? errno : outcome(read(fd, &byte, 1));
}

static int try_environ(const char *pid)
{
    return in_child(read_environ, pid);
}

static int try_kill(const char *pid)
{
    return outcome(kill(atoi(pid), 0));
}

/* A limit of processor time would end it; this gives it the limit that it has. */
static int try_limit(const char *pid)
{
    struct rlimit cpu;

    getrlimit(RLIMIT_CPU, &cpu);
    return outcome(prlimit(atoi(pid), RLIMIT_CPU, &cpu, NULL));
}

static int own_limit(const char *arg)
{
    struct rlimit none = {0};

    (void)arg;
    return outcome(setrlimit(RLIMIT_CORE, &none));
}

static int try_own_limit(const char *arg)
{
    return in_child(own_limit, arg);
}

/* Who leaves the child's group is not ended with it. */
static int leave_session(const char *arg)
{
    (void)arg;
    return outcome(setsid());
}

static int leave_group(const char *arg)
{
    (void)arg;
    return outcome(setpgid(0, 0));
}

static int try_session(const char *arg)
{
    return in_child(leave_session, arg);
}

static int try_group(const char *arg)
{
    return in_child(leave_group, arg);
}

static int traceme(const char *arg)
{
    (void)arg;
    return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_ptrace(const char *arg)
{
    return in_child(traceme, arg);
}

static int try_vm_read(const char *arg)
{
    char from = 1, to;
    struct iovec local = {&to, 1}, remote = {&from, 1};

    (void)arg;
    return outcome(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static int unshare_net(const char *arg)
{
    (void)arg;
    return outcome(unshare(CLONE_NEWNET));
}

static int try_unshare(const char *arg)
{
    return in_child(unshare_net, arg);
}

static int try_clone(const char *arg)
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, NULL, NULL, NULL, NULL);

    (void)arg;
    if (pid < 0)
        return errno;
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return 0;
}

static int mount_tmpfs(const char *arg)
{
    (void)arg;
    return unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? errno : 0;
}

static int try_mount(const char *arg)
{
    return in_child(mount_tmpfs, arg);
}

/* Kernels differ in what they say to nonsense; that it is not EPERM shows that the call was let in. */
static int try_call(const char *nr)
{
    long r = syscall(atol(nr), -1L, -1L, -1L, -1L, -1L, -1L);

    return r < 0 && errno == EPERM ? EPERM : 0;
}

#ifdef __x86_64__
static int x32(const char *arg)
{
    (void)arg;
    syscall(0x40000000L | SYS_getpid);
    return 0;
}

static int try_x32(const char *arg)
{
    return in_child(x32, arg);
}
#endif

static int try_family(const char *family)
{
    int fd = socket(atoi(family), SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 && errno == EAFNOSUPPORT ? EAFNOSUPPORT : 0; /* otherwise it is for the kernel to say */
}

static struct sockaddr_in local(const char *port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int try_bind(const char *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in a = local(port);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    return outcome(bind(fd, (struct sockaddr *)&a, sizeof(a)));
}

static int try_connect(const char *port)
{
    struct sockaddr_in a = local(port);
    int r = outcome(connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&a, sizeof(a)));

    return r == ECONNREFUSED ? 0 : r; /* nobody is there, but it was let out */
}

/* Landlock knows the ports of TCP alone, and not of what falls back to it. */
static int try_mptcp(const char *port)
{
    struct sockaddr_in a = local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP), r;

    if (fd < 0 && errno == EPERM)
        return EPERM;
    r = outcome(connect(fd, (struct sockaddr *)&a, sizeof(a)));
    return r == ECONNREFUSED || fd < 0 ? 0 : r; /* a kernel without it denies nothing */
}

/* A connection without connect(). */
static int try_fast_open(const char *port)
{
    struct sockaddr_in a = local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = outcome(sendto(fd, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a, sizeof(a)));

    return r == ECONNREFUSED ? 0 : r;
}

static int try_fast_open_message(const char *port)
{
    struct sockaddr_in a = local(port);
    struct iovec data = {.iov_base = (char[]){'x'}, .iov_len = 1};
    struct msghdr m = {.msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = &data, .msg_iovlen = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = outcome(sendmsg(fd, &m, MSG_FASTOPEN | MSG_NOSIGNAL));

    return r == ECONNREFUSED ? 0 : r;
}

/* The kernel chooses a port then. */
static int try_listen_unbound(const char *arg)
{
    (void)arg;
    return outcome(listen(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 1));
}

static int try_memory(const char *arg)
{
    int fd = memfd_create("probe", MFD_CLOEXEC);

    (void)arg;
    if (fd < 0)
        return errno;
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? errno
               : 0;
}

static void *nothing(void *arg)
{
    return arg;
}

static int try_thread(const char *arg)
{
    cpu_set_t cpus;
    pthread_t thread;
    int r = pthread_create(&thread, NULL, nothing, NULL);

    (void)arg;
    if (r)
        return r;
    pthread_join(thread, NULL);
    return outcome(sched_getaffinity(0, sizeof(cpus), &cpus)) || outcome(sched_setaffinity(0, sizeof(cpus), &cpus));
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

/* kernel: the Landlock ABI without which it is not denied; 0: seccomp does it, or it is allowed. */
static const struct
try {
    const char *name;
    int (*what)(const char *arg);
    const char *arg; /* %s: the scratch directory */
    int shut_in, kernel;
}
table[] = {
    {"its own key is read", try_read, "%s/state/units/u1/api-key", 0, 0},
    {"a model is read", try_read, "%s/models/m.gguf", 0, 0},
    {"the cache is written", try_write, "%s/state/cache/a", 0, 0},
    {"the cache is tidied", try_remove, "%s/state/cache/a", 0, 0},
    {"a library is read", try_read, "/usr/bin/env", 0, 0},
    {"users are looked up", try_read, "/etc/passwd", 0, 0},
    {"null is written", try_write, "/dev/null", 0, 0},
    {"shared memory", try_write, "/dev/shm/test_sandbox", 0, 0},
    {"shared memory goes", try_remove, "/dev/shm/test_sandbox", 0, 0},
    {"a program is executed", try_execute, "/bin/true", 0, 0},
    {"threads are named, as libcuda does", try_comm, NULL, 0, 0},
    {"memory of all kinds", try_memory, NULL, 0, 0},
    {"threads", try_thread, NULL, 0, 0},
    {"its port is bound", try_bind, "20952", 0, 0},
    {"its rank is called", try_connect, "20953", 0, 0},
    {"unix sockets", try_family, "1", 0, 0},
    {"netlink", try_family, "16", 0, 0},
    {"the agent's key", try_read, "%s/state/identity", EACCES, 1},
    {"the agent's directory", try_read, "%s/state", EACCES, 1},
    {"a link to the agent's key", try_read, "%s/models/link.gguf", EACCES, 1},
    {"its own record", try_write, "%s/state/units/u1/record", EACCES, 1},
    {"another child's key", try_read, "%s/state/units/u2/api-key", EACCES, 1},
    {"a model is written", try_write, "%s/models/m.gguf", EACCES, 1},
    {"a model is deleted", try_remove, "%s/models/old.gguf", EACCES, 1},
    {"a file is left in the root", try_write, "%s/new", EACCES, 1},
    {"our configuration", try_read, "/etc/shells", EACCES, 1},
    {"what it wrote is executed", try_execute_own, "%s/state/cache/true", EACCES, 1},
    {"the agent's environment", try_environ, "agent", EACCES, 1},
    {"another port is bound", try_bind, "20954", EACCES, 4},
    {"a port of the kernel's choice is bound", try_bind, "0", EACCES, 4},
    {"somebody else is called", try_connect, "20954", EACCES, 4},
    {"a port of the kernel's choice is listened on", try_listen_unbound, NULL, 0, 0},
    {"its own limits are set", try_own_limit, NULL, 0, 0},
    {"somebody else is called by MPTCP", try_mptcp, "20954", EPERM, 0},
    {"somebody else is called by fast open", try_fast_open, "20954", EPERM, 0},
    {"the same in a message", try_fast_open_message, "20954", EPERM, 0},
    {"the agent is given limits", try_limit, "agent", EPERM, 0},
    {"another session", try_session, NULL, EPERM, 0},
    {"another group", try_group, NULL, EPERM, 0},
    {"the agent is signalled", try_kill, "agent", EPERM, 6},
    {"the agent's key is emptied", try_truncate, "%s/state/identity", EPERM, 0},
    {"the agent's key is shown to all", try_chmod, "%s/state/identity", EPERM, 0},
    {"the agent's key is given an attribute", try_attribute, "%s/state/identity", EPERM, 0},
    {"ptrace", try_ptrace, NULL, EPERM, 0},
    {"process_vm_readv", try_vm_read, NULL, EPERM, 0},
    {"unshare", try_unshare, NULL, EPERM, 0},
    {"clone with a namespace", try_clone, NULL, EPERM, 0},
    {"mount", try_mount, NULL, EPERM, 0},
    {"a packet socket", try_family, "17", EAFNOSUPPORT, 0},
    {"vsock", try_family, "40", EAFNOSUPPORT, 0},
#ifdef __x86_64__
    {"x32", try_x32, NULL, KILLED + SIGSYS, 0},
#endif
};

/* Calls that an unprivileged process, too, may try; numbers are not the same everywhere, so they are not in the table. */
static const int calls[] = {SYS_bpf,         SYS_io_uring_setup, SYS_userfaultfd, SYS_keyctl, SYS_perf_event_open,
                            SYS_pidfd_getfd, SYS_setns};

static void print(const char *name, int e)
{
    printf("%s: %d\n", name, e);
}

/* probe DIRECTORY AGENT. Ends by _exit: a leak check needs ptrace. */
static _Noreturn void probe(const char *dir, const char *agent)
{
    char path[512];

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct try *t = &table[i];

        if (t->arg && !strncmp(t->arg, "%s", 2)) {
            snprintf(path, sizeof(path), "%s%s", dir, t->arg + 2);
            print(t->name, t->what(path));
        } else {
            print(t->name, t->what(t->arg && !strcmp(t->arg, "agent") ? agent : t->arg));
        }
        fflush(stdout);
    }
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        snprintf(path, sizeof(path), "%d", calls[i]);
        printf("call %d: %d\n", calls[i], try_call(path));
    }
    fflush(stdout);
    _exit(0);
}

/* ---- running it ---------------------------------------------------------------------------------------------------- */

struct world {
    char dir[64], unit[128], self[512], log[16384];
};

static void make_file(const struct world *w, const char *name, mode_t mode)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    if (mode & S_IFDIR) {
        assert_int_equal(mkdir(path, 0700), 0);
        return;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x\n", 2), 2);
    close(fd);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[256];
    ssize_t n;

    assert_non_null(w);
    n = readlink("/proc/self/exe", w->self, sizeof(w->self) - 1);
    assert_true(n > 0);
    strcpy(w->dir, "/tmp/test_sandbox.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->unit, sizeof(w->unit), "%s/state/units/u1", w->dir);
    make_file(w, "state", S_IFDIR);
    make_file(w, "state/cache", S_IFDIR);
    make_file(w, "state/units", S_IFDIR);
    make_file(w, "state/units/u1", S_IFDIR);
    make_file(w, "state/units/u2", S_IFDIR);
    make_file(w, "models", S_IFDIR);
    make_file(w, "state/identity", 0600);
    make_file(w, "state/units/u1/api-key", 0600);
    make_file(w, "state/units/u2/api-key", 0600);
    make_file(w, "models/m.gguf", 0600);
    make_file(w, "models/old.gguf", 0600);
    snprintf(path, sizeof(path), "%s/models/link.gguf", w->dir);
    assert_int_equal(symlink("../state/identity", path), 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    free(w);
    return system(command) ? -1 : 0;
}

/* The rules that the agent makes for a coordinator whose model and key lie in w. */
static void make_rules(const struct world *w, struct sandbox_rules *ret)
{
    static struct llama llama;
    static struct unit_facts unit = {.port = PORT};
    static struct coordinator_spec spec = {.n_ranks = 1};
    char cache[128], key[256], models[128];
    const char *dirs[] = {models};
    struct sandbox_request req = {.llama = &llama,
                                  .cache_dir = cache,
                                  .unit = &unit,
                                  .spec = &spec,
                                  .key_file = key,
                                  .models = dirs,
                                  .n_models = 1};

    snprintf(llama.server, sizeof(llama.server), "%s", w->self);
    snprintf(spec.endpoint[0], sizeof(spec.endpoint[0]), "127.0.0.1:%d", RANK_PORT);
    snprintf(cache, sizeof(cache), "%s/state/cache", w->dir);
    snprintf(key, sizeof(key), "%s/api-key", w->unit);
    snprintf(models, sizeof(models), "%s/models", w->dir);
    assert_int_equal(sandbox_rules_make(&req, ret), 0);
}

static void read_log(struct world *w)
{
    char path[256];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/log", w->unit);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, w->log, sizeof(w->log) - 1);
    assert_true(n >= 0);
    w->log[n] = '\0';
    if (fd >= 0)
        close(fd);
}

/* Runs the probe under a shim, to its end. rules: NULL: without a sandbox. ret: what the shim reported. */
static void run(struct world *w, char *const *rules, char *ret, size_t size)
{
    char shim[600], agent[16];
    const char *argv[PROCESS_RULES_MAX + 10] = {shim, w->unit, rules ? "sandbox" : "no-sandbox"};
    size_t n = 3, used = 0;
    int report[2], status;
    ssize_t got;
    pid_t pid;

    snprintf(shim, sizeof(shim), "%s", w->self);
    for (int i = 0; i < 2; i++)
        *strrchr(shim, '/') = '\0';
    strcat(shim, "/caravan-shim");
    snprintf(agent, sizeof(agent), "%d", (int)getpid());
    for (size_t i = 0; rules && rules[i]; i++)
        argv[n++] = rules[i];
    argv[n++] = "--";
    argv[n++] = w->self;
    argv[n++] = "probe";
    argv[n++] = w->dir;
    argv[n++] = agent;
    assert_int_equal(pipe2(report, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (report[1] == 3)
            fcntl(3, F_SETFD, 0);
        else
            dup2(report[1], 3);
        execv(shim, (char *const *)(uintptr_t)argv);
        _exit(99);
    }
    close(report[1]);
    while ((got = read(report[0], ret + used, size - 1 - used)) > 0)
        used += (size_t)got;
    ret[used] = '\0';
    close(report[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    read_log(w);
}

static int said(const struct world *w, const char *name)
{
    size_t n = strlen(name);

    for (const char *line = w->log; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, n) && line[n] == ':')
            return atoi(line + n + 1);
    }
    fail_msg("the probe did not come to \"%s\":\n%s", name, w->log);
    return -1;
}

static void expect(const struct world *w, const char *name, int wanted)
{
    int got = said(w, name);

    if (got != wanted)
        fail_msg("\"%s\" ended with %d (%s) in place of %d", name, got, strerror(got), wanted);
}

static long landlock_abi(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static void test_shut_in(void **state)
{
    struct world *w = *state;
    long abi = landlock_abi();
    struct sandbox_rules rules;
    char report[128], name[32];

    make_rules(w, &rules);
    run(w, rules.rule, report, sizeof(report));
    assert_string_equal(report, "started\nok\n");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        expect(w, table[i].name, table[i].kernel > abi ? 0 : table[i].shut_in);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        snprintf(name, sizeof(name), "call %d", calls[i]);
        expect(w, name, EPERM);
    }
    assert_int_equal(strstr(w->log, "caravan-shim: this kernel has no Landlock") != NULL, abi < 1);
    sandbox_rules_clear(&rules);
}

/* The control: nothing of that is denied by anybody else (to root; to others the kernel denies some of it anyway). */
static void test_not_shut_in(void **state)
{
    struct world *w = *state;
    char report[128];

    run(w, NULL, report, sizeof(report));
    assert_string_equal(report, "started\nok\n");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (geteuid() == 0 || table[i].kernel || !table[i].shut_in)
            expect(w, table[i].name, 0);
}

/* A worker reads no model and calls nobody; a coordinator of one more rank may call that, too. */
static void test_rules(void **state)
{
    static const struct llama llama = {.server = "/opt/llama/bin/llama-server", .rpc_server = "/srv/x/rpc-server"};
    static const struct unit_facts unit = {.port = 20052};
    struct sandbox_request req = {
        .llama = &llama, .library_path = "/a:b::/c", .cache_dir = "/state/cache", .unit = &unit};
    static const char *const wanted[] = {"run=/opt/llama/bin",
                                         "run=/opt/llama/lib",
                                         "run=/opt/llama/lib64",
                                         "run=/opt/llama/libexec",
                                         "run=/opt/llama/share",
                                         "run=/opt/llama/root",
                                         "run=/srv/x",
                                         "run=/a",
                                         "run=/c",
                                         "write=/state/cache",
                                         "listen=20052"};
    struct sandbox_rules rules;

    (void)state;
    assert_int_equal(sandbox_rules_make(&req, &rules), 0);
    assert_int_equal(rules.n, sizeof(wanted) / sizeof(wanted[0]));
    for (size_t i = 0; i < rules.n; i++)
        assert_string_equal(rules.rule[i], wanted[i]);
    assert_null(rules.rule[rules.n]);
    sandbox_rules_clear(&rules);
}

/* A carrier reads its node's key and its model's files alone, and knows whom it may call; what is not in its conf has no
 * rule. */
static void test_rules_of_a_carrier(void **state)
{
    static char files[2][PROTO_PATH_MAX] = {"/m/a.gguf", "/m/b.gguf"};
    static const struct carrier_conf worker = {.identity = "/state/identity",
                                               .port = 7440,
                                               .rank = 1,
                                               .worker_port = 20052,
                                               .n_files = 2,
                                               .file = files,
                                               .index_dir = "/state/tensors"};
    static const struct carrier_conf coordinator = {.identity = "/state/identity",
                                                    .port = 7440,
                                                    .rank = -1,
                                                    .coordinator_port = 18080,
                                                    .n_routes = 2,
                                                    .route = {{.port = 20052}, {.port = 7441, .tunnel = true}}};
    static const struct {
        const struct carrier_conf *conf;
        const char *wanted[9];
    } rows[] = {
        {&worker,
         {"run=/lib/caravan", "read=/state/identity", "read=/m/a.gguf", "read=/m/b.gguf", "read=/state/tensors",
          "write=/state/units/t1", "listen=7440", "connect=20052"}},
        {&coordinator,
         {"run=/lib/caravan", "read=/state/identity", "write=/state/units/t1", "listen=7440", "listen=0",
          "connect=18080", "connect=20052", "connect=7441"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sandbox_rules rules;

        assert_int_equal(
            sandbox_rules_of_carrier("/lib/caravan/caravan-carrier", "/state/units/t1", rows[i].conf, &rules), 0);
        for (size_t k = 0; k < rules.n; k++)
            assert_string_equal(rules.rule[k], rows[i].wanted[k]);
        assert_null(rows[i].wanted[rules.n]);
        sandbox_rules_clear(&rules);
    }
}

/* A model of as many files as a carrier is told of still leaves room for the rest. */
static void test_rules_for_many_files(void **state)
{
    static char files[CARRIER_FILES_MAX][PROTO_PATH_MAX];
    struct carrier_conf conf = {.rank = 1, .n_files = CARRIER_FILES_MAX, .file = files, .n_routes = PROTO_RANKS_MAX};
    struct sandbox_rules rules;

    (void)state;
    for (size_t i = 0; i < PROTO_RANKS_MAX; i++)
        conf.route[i].port = 1;
    assert_int_equal(sandbox_rules_of_carrier("/usr/bin/caravan-carrier", "/u", &conf, &rules), 0);
    sandbox_rules_clear(&rules);
}

/* For one port of its own on loopback, for each rank elsewhere. */
static void test_a_port_of_the_kernels_choice(void **state)
{
    struct world *w = *state;
    struct sandbox_rules rules;
    char report[128], *with[PROCESS_RULES_MAX + 1] = {NULL};

    if (landlock_abi() < 4)
        skip();
    make_rules(w, &rules);
    memcpy(with, rules.rule, rules.n * sizeof(with[0]));
    with[rules.n] = "listen=0";
    run(w, with, report, sizeof(report));
    assert_string_equal(report, "started\nok\n");
    expect(w, "a port of the kernel's choice is bound", 0);
    expect(w, "another port is bound", EACCES);
    expect(w, "somebody else is called", EACCES);
    sandbox_rules_clear(&rules);
}

static void test_too_many_rules(void **state)
{
    static const struct llama llama;
    static const struct unit_facts unit = {.port = 20052};
    static const struct coordinator_spec spec;
    const char *models[PROCESS_RULES_MAX];
    struct sandbox_request req = {.llama = &llama,
                                  .cache_dir = "/c",
                                  .unit = &unit,
                                  .spec = &spec,
                                  .key_file = "/k",
                                  .models = models,
                                  .n_models = PROCESS_RULES_MAX};
    struct sandbox_rules rules;

    (void)state;
    for (size_t i = 0; i < PROCESS_RULES_MAX; i++)
        models[i] = "/m";
    assert_int_equal(sandbox_rules_make(&req, &rules), -E2BIG);
    sandbox_rules_clear(&rules);
}

/* What cannot be applied is no reason to go on without: the child has not run. */
static void test_refused(void **state)
{
    static char *const bad[] = {"connect=0", "listen=65536", "listen=", "listen=1x", "connect=", "forget=/", "/", ""};
    struct world *w = *state;
    char report[128];

    if (landlock_abi() < 1)
        return;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        run(w, (char *[]){bad[i], NULL}, report, sizeof(report));
        assert_string_equal(report, "started\nsandbox 22 files\n");
        assert_string_equal(w->log, "");
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shut_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_shut_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_rules_of_a_carrier),
        cmocka_unit_test(test_rules_for_many_files),
        cmocka_unit_test(test_too_many_rules),
        cmocka_unit_test_setup_teardown(test_a_port_of_the_kernels_choice, set_up, tear_down),
    };

    if (argc == 4 && !strcmp(argv[1], "probe"))
        probe(argv[2], argv[3]);
    unsetenv("TSAN_OPTIONS"); /* it names a file that the probe may not read */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
