#include "agent/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/cgroup.h"
#include "common/core/err.h"
#include "common/core/procfs.h"

enum { TEXT_MAX = 16 * 1024, PATH_BYTES = 1024 };

/* Where a kind of hierarchy may be mounted, and what its files are called. */
struct hierarchy {
    const char *mount, *limit, *usage;
};

static const struct hierarchy v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"};
static const struct hierarchy v2 = {"/sys/fs/cgroup", "memory.max", "memory.current"};
static const struct hierarchy v2_hybrid = {"/sys/fs/cgroup/unified", "memory.max", "memory.current"};

/* root/file, at most size bytes; the length. 0, SYSTEM_E_ABSENT, negative errno. */
static int slurp(const char *root, const char *file, char *buf, size_t size, size_t *ret)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[PATH_BYTES];
    ssize_t n;

    if (snprintf(path, sizeof(path), "%s%s", root, file) >= (int)sizeof(path))
        return err_raise(-ENAMETOOLONG);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? SYSTEM_E_ABSENT : err_raise(-errno);
    n = read(fd, buf, size);
    if (n < 0)
        return err_raise(-errno);
    *ret = (size_t)n;
    return 0;
}

static bool read_cgroup(const char *root, const struct hierarchy *h, const char *path, const char *file, char *buf,
                        size_t *ret)
{
    char full[PATH_BYTES];

    if (snprintf(full, sizeof(full), "%s%s/%s", h->mount, path, file) >= (int)sizeof(full))
        return false;
    return slurp(root, full, buf, TEXT_MAX, ret) == 0;
}

/* One level of one hierarchy. memory.stat is asked only where there is a limit: in a large group it is expensive. */
static void narrow(const char *root, const struct hierarchy *h, const char *path, char *buf, struct system_memory *m)
{
    uint64_t limit, usage, inactive = 0, left;
    size_t n;

    if (!read_cgroup(root, h, path, h->limit, buf, &n) || !cgroup_limit_parse(buf, n, &limit) || limit == UINT64_MAX)
        return;
    if (!read_cgroup(root, h, path, h->usage, buf, &n) || !cgroup_usage_parse(buf, n, &usage))
        return;
    if (read_cgroup(root, h, path, "memory.stat", buf, &n))
        inactive = cgroup_inactive_file_parse(buf, n);
    left = cgroup_free_bytes(limit, usage, inactive);
    if (limit < m->total_bytes)
        m->total_bytes = limit;
    if (left < m->free_bytes)
        m->free_bytes = left;
}

/* The path and all above it: any of them may be the narrowest. A path that is not visible here (a container's, seen from
 * within) has no files; what is, the mount's root, is the container's own group. */
static void narrow_all(const char *root, const struct hierarchy *h, const char *cgroup_path, char *buf,
                       struct system_memory *m)
{
    char path[CGROUP_PATH_MAX];
    char *slash;

    if (!cgroup_path[0])
        return;
    strcpy(path, cgroup_path);
    while ((slash = strrchr(path, '/'))) {
        if (slash[1])
            narrow(root, h, path, buf, m);
        *slash = '\0';
    }
    narrow(root, h, "", buf, m);
}

int system_memory_read(const char *root, struct system_memory *ret)
{
    CLEANUP(cleanup_free) char *buf = malloc(TEXT_MAX);
    struct procfs_memory host;
    struct system_memory m;
    struct cgroup_paths paths;
    size_t n;
    int r;

    if (!buf)
        return err_raise(-ENOMEM);
    r = slurp(root, "/proc/meminfo", buf, TEXT_MAX, &n);
    if (r)
        return r < 0 ? err_pass(r) : err_raise(-ENOENT);
    if (!procfs_memory_parse(buf, n, &host))
        return err_raise(-EPROTO);
    m = (struct system_memory){host.total_bytes, host.available_bytes};
    if (slurp(root, "/proc/self/cgroup", buf, TEXT_MAX, &n) == 0) {
        cgroup_paths_parse(buf, n, &paths);
        narrow_all(root, &v1, paths.v1_memory, buf, &m);
        narrow_all(root, &v2, paths.v2, buf, &m);
        narrow_all(root, &v2_hybrid, paths.v2, buf, &m);
    }
    *ret = m;
    return 0;
}

int system_load_read(const char *root, uint32_t *ret_permille)
{
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    char buf[128];
    uint32_t load;
    size_t n;
    int r = slurp(root, "/proc/loadavg", buf, sizeof(buf), &n);

    if (r)
        return r < 0 ? err_pass(r) : err_raise(-ENOENT);
    if (!procfs_load_parse(buf, n, &load))
        return err_raise(-EPROTO);
    *ret_permille = load / (uint32_t)(n_cpus > 0 ? n_cpus : 1);
    return 0;
}

uint64_t system_uptime_ms(void)
{
    return clock_ms(CLOCK_BOOTTIME);
}

int system_machine_id(const char *root, char ret[SYSTEM_MACHINE_ID])
{
    char buf[64];
    struct id128 id;
    size_t n;
    int r = slurp(root, "/etc/machine-id", buf, sizeof(buf) - 1, &n);

    if (r)
        return r < 0 ? err_pass(r) : SYSTEM_E_ABSENT;
    buf[n] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (!id128_parse(buf, &id)) /* "uninitialized" is what some images carry */
        return SYSTEM_E_ABSENT;
    id128_format(&id, ret);
    return 0;
}

int system_boot_id(char ret[SYSTEM_BOOT_ID])
{
    size_t n;
    int r = slurp("", "/proc/sys/kernel/random/boot_id", ret, SYSTEM_BOOT_ID - 1, &n);

    if (r)
        return r < 0 ? err_pass(r) : err_raise(-ENOENT);
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return 0;
}
