#include "agent/shim/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Newer than Debian 12's headers; the kernel's numbers are for ever. */
enum {
    FS_TRUNCATE = 1 << 14, /* ABI 3 */
    FS_IOCTL_DEV = 1 << 15 /* ABI 5 */
};
enum { NET_BIND_TCP = 1, NET_CONNECT_TCP = 2 /* ABI 4 */, RULE_NET_PORT = 2 };
enum { SCOPE_ABSTRACT_UNIX_SOCKET = 1, SCOPE_SIGNAL = 2 /* ABI 6 */ };

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct port_attr {
    uint64_t allowed, port;
};

#define FS(right) ((uint64_t)LANDLOCK_ACCESS_FS_##right)

/* On a file that is no directory the others make no sense, and the kernel refuses them. */
#define OF_FILES (FS(EXECUTE) | FS(WRITE_FILE) | FS(READ_FILE) | FS_TRUNCATE | FS_IOCTL_DEV)
#define MAY_READ (FS(READ_FILE) | FS(READ_DIR))
#define MAY_RUN  (MAY_READ | FS(EXECUTE))
/* Everything but to make devices, and to execute: what it has written itself stays data. */
#define MAY_WRITE                                                                                                 \
    (MAY_READ | FS(WRITE_FILE) | FS(REMOVE_DIR) | FS(REMOVE_FILE) | FS(MAKE_DIR) | FS(MAKE_REG) | FS(MAKE_SOCK) | \
     FS(MAKE_FIFO) | FS(MAKE_SYM) | FS(REFER) | FS_TRUNCATE)
#define MAY_USE (MAY_READ | FS(WRITE_FILE) | FS_TRUNCATE | FS_IOCTL_DEV)
/* libcuda names its threads in /proc/self/task/TID/comm and gives up where it cannot. A rule for its own folder would be
 * lost when the kernel drops that from its cache, so it is all of /proc: what is not its own, its user cannot write. */
#define MAY_NAME_THREADS (MAY_READ | FS(WRITE_FILE) | FS_TRUNCATE)

static const struct place {
    const char *path;
    uint64_t rights;
} system_place[] = {
    {"/usr", MAY_RUN},
    {"/bin", MAY_RUN},
    {"/sbin", MAY_RUN},
    {"/lib", MAY_RUN},
    {"/lib32", MAY_RUN},
    {"/lib64", MAY_RUN},
    {"/opt", MAY_RUN},
    {"/nix/store", MAY_RUN},
    {"/gnu/store", MAY_RUN},
    {"/run/opengl-driver", MAY_RUN},
    {"/run/udev", MAY_READ},
    {"/sys", MAY_READ},
    {"/proc", MAY_NAME_THREADS},
    {"/dev/null", MAY_USE},
    {"/dev/zero", MAY_USE},
    {"/dev/full", MAY_USE},
    {"/dev/random", MAY_READ},
    {"/dev/urandom", MAY_READ},
    {"/dev/shm", MAY_WRITE},
    /* Not all of /etc: our own configuration lies there, and perhaps somebody's key for TLS. */
    {"/etc/OpenCL", MAY_READ},
    {"/etc/alternatives", MAY_READ},
    {"/etc/drirc", MAY_READ},
    {"/etc/gai.conf", MAY_READ},
    {"/etc/glvnd", MAY_READ},
    {"/etc/group", MAY_READ},
    {"/etc/host.conf", MAY_READ},
    {"/etc/hosts", MAY_READ},
    {"/etc/ld.so.cache", MAY_READ},
    {"/etc/ld.so.conf", MAY_READ},
    {"/etc/ld.so.conf.d", MAY_READ},
    {"/etc/ld.so.preload", MAY_READ},
    {"/etc/localtime", MAY_READ},
    {"/etc/nsswitch.conf", MAY_READ},
    {"/etc/nvidia", MAY_READ},
    {"/etc/passwd", MAY_READ},
    {"/etc/resolv.conf", MAY_READ},
    {"/etc/services", MAY_READ},
    {"/etc/vulkan", MAY_READ},
};

/* Beginnings of names in /dev: NVIDIA, its Jetson, AMD and Intel (dri, kfd), WSL, NPUs. */
static const char *const gpu_device[] = {"nvidia", "nvhost", "nvmap", "nvgpu", "dri", "kfd", "dxg", "accel"};

struct landlock {
    int fd; /* of the ruleset */
    struct ruleset_attr handled;
};

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* nobody to tell */
}

static bool add_path(const struct landlock *l, const char *path, uint64_t rights)
{
    CLEANUP(cleanup_close) int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights & l->handled.fs, .parent_fd = fd};
    struct stat st;

    if (fd < 0) /* what is not there, or not for us, needs no rule */
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP;
    if (fstat(fd, &st) < 0)
        return false;
    if (!S_ISDIR(st.st_mode))
        beneath.allowed_access &= OF_FILES;
    return syscall(SYS_landlock_add_rule, l->fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0;
}

/* Port 0 is nothing to connect to; to bind it is to be given one of the kernel's range. */
static bool add_port(const struct landlock *l, const char *text, uint64_t right)
{
    struct port_attr attr = {.allowed = right & l->handled.net};
    char *end;

    attr.port = strtoul(text, &end, 10);
    if (end == text || *end || attr.port > UINT16_MAX || (!attr.port && right != NET_BIND_TCP)) {
        errno = EINVAL;
        return false;
    }
    return !attr.allowed || syscall(SYS_landlock_add_rule, l->fd, RULE_NET_PORT, &attr, 0) == 0;
}

static const char *value_of(const char *rule, const char *key)
{
    size_t n = strlen(key);

    return !strncmp(rule, key, n) && rule[n] == '=' ? rule + n + 1 : NULL;
}

/* An unknown word is a failure: it may come from a newer agent, which counts on it. */
static bool add_rule(const struct landlock *l, const char *rule)
{
    const char *v;

    if ((v = value_of(rule, "read")))
        return add_path(l, v, MAY_READ);
    if ((v = value_of(rule, "run")))
        return add_path(l, v, MAY_RUN);
    if ((v = value_of(rule, "write")))
        return add_path(l, v, MAY_WRITE);
    if ((v = value_of(rule, "listen")))
        return add_port(l, v, NET_BIND_TCP);
    if ((v = value_of(rule, "connect")))
        return add_port(l, v, NET_CONNECT_TCP);
    errno = EINVAL;
    return false;
}

static bool add_gpus(const struct landlock *l)
{
    CLEANUP(cleanup_closedir) DIR *dev = opendir("/dev");
    struct dirent *e;
    char path[300];

    while (dev && (e = readdir(dev)))
        for (size_t i = 0; i < sizeof(gpu_device) / sizeof(gpu_device[0]); i++) {
            if (strncmp(e->d_name, gpu_device[i], strlen(gpu_device[i])) != 0)
                continue;
            snprintf(path, sizeof(path), "/dev/%s", e->d_name);
            if (!add_path(l, path, MAY_USE))
                return false;
        }
    return true;
}

static bool add_all(const struct landlock *l, char *const *rule, size_t n)
{
    for (size_t i = 0; i < sizeof(system_place) / sizeof(system_place[0]); i++)
        if (!add_path(l, system_place[i].path, system_place[i].rights))
            return false;
    for (size_t i = 0; i < n; i++)
        if (!add_rule(l, rule[i]))
            return false;
    return add_gpus(l);
}

/* All that an ABI knows is handled: what no rule allows is forbidden. Ports only where there are rules for them. */
static struct ruleset_attr handled_by(long abi, char *const *rule, size_t n)
{
    struct ruleset_attr a = {.fs = (FS(MAKE_SYM) << 1) - 1};

    if (abi >= 2)
        a.fs |= FS(REFER);
    if (abi >= 3)
        a.fs |= FS_TRUNCATE;
    if (abi >= 5)
        a.fs |= FS_IOCTL_DEV;
    for (size_t i = 0; i < n; i++)
        if (abi >= 4 && (value_of(rule[i], "listen") || value_of(rule[i], "connect")))
            a.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 6)
        a.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    return a;
}

static bool confine_files(char *const *rule, size_t n)
{
    CLEANUP(cleanup_close) int fd = -1;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct landlock l;

    if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
        say("caravan-shim: this kernel has no Landlock: this process can open all files of its user\n");
        return true;
    }
    if (abi < 0)
        return false;
    l.handled = handled_by(abi, rule, n);
    /* (a kernel that knows less takes the longer struct, as what it does not know is zero) */
    fd = (int)syscall(SYS_landlock_create_ruleset, &l.handled, sizeof(l.handled), 0);
    l.fd = fd;
    return fd >= 0 && add_all(&l, rule, n) && syscall(SYS_landlock_restrict_self, fd, 0) == 0;
}

bool sandbox_enter(char *const *rule, size_t n, const char **ret_step)
{
    *ret_step = "files";
    if (!confine_files(rule, n))
        return false;
    *ret_step = "calls";
    if (sandbox_filter_calls())
        return true;
    if (errno != ENOSYS)
        return false;
    say("caravan-shim: no seccomp filter on this kernel or processor: this process can make all system calls\n");
    return true;
}
