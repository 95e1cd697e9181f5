#include "agent/process_unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "agent/process_spec.h"
#include "common/cleanup.h"
#include "common/core/err.h"

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1U << 2) /* Linux 6.9 */
#endif

int unit_path(char buf[UNIT_PATH_MAX], const char *state_dir, const char *id, const char *name)
{
    int n = snprintf(buf, UNIT_PATH_MAX, "%s/units/%s%s%s", state_dir, id, name ? "/" : "", name ? name : "");

    return n < 0 || n >= UNIT_PATH_MAX ? err_raise(-ENAMETOOLONG) : 0;
}

static int read_small(const char *state_dir, const char *id, const char *name, char *buf, size_t size, size_t *ret)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[UNIT_PATH_MAX];
    ssize_t n;
    int r = unit_path(path, state_dir, id, name);

    if (r < 0)
        return err_pass(r);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? UNIT_E_ABSENT : err_raise(-errno);
    n = read(fd, buf, size);
    if (n < 0)
        return err_raise(-errno);
    if ((size_t)n == size)
        return UNIT_E_MALFORMED;
    *ret = (size_t)n;
    return 0;
}

int unit_read_record(const char *state_dir, const char *id, struct record *ret)
{
    char text[RECORD_TEXT_MAX * 2];
    size_t n;
    int r = read_small(state_dir, id, "record", text, sizeof(text), &n);

    if (r)
        return r < 0 ? err_pass(r) : r;
    return record_parse(text, n, ret) ? 0 : UNIT_E_MALFORMED;
}

int unit_read_spec(const char *state_dir, const char *id, struct unit_facts *ret)
{
    char text[PROCESS_SPEC_TEXT_MAX];
    size_t n;
    int r = read_small(state_dir, id, "spec", text, sizeof(text), &n);

    if (r)
        return r < 0 ? err_pass(r) : r;
    return process_spec_parse(text, n, ret) && !strcmp(ret->id, id) ? 0 : UNIT_E_MALFORMED;
}

/* Makes the directories as needed. Not synced: like the record, worth nothing after a power cut. */
int unit_write_file(const char *state_dir, const char *id, const char *name, const void *buf, size_t n_bytes)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[UNIT_PATH_MAX];
    ssize_t n;
    int r = unit_path(path, state_dir, "", NULL);

    if (r < 0)
        return err_pass(r);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_raise(-errno);
    r = unit_path(path, state_dir, id, NULL);
    if (r < 0)
        return err_pass(r);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_raise(-errno);
    r = unit_path(path, state_dir, id, name);
    if (r < 0)
        return err_pass(r);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_raise(-errno);
    n = write(fd, buf, n_bytes);
    if (n < 0)
        return err_raise(-errno);
    return (size_t)n == n_bytes ? 0 : err_raise(-ENOSPC);
}

int unit_remove(const char *state_dir, const char *id)
{
    CLEANUP(cleanup_closedir) DIR *dir = NULL;
    char path[UNIT_PATH_MAX];
    struct dirent *e;
    int r = unit_path(path, state_dir, id, NULL);

    if (r < 0)
        return err_pass(r);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? 0 : err_raise(-errno);
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(dirfd(dir), e->d_name, 0) < 0)
            return err_raise(-errno);
    return rmdir(path) < 0 ? err_raise(-errno) : 0;
}

int unit_each(const char *state_dir, void (*visit)(void *ctx, const char *id), void *ctx)
{
    CLEANUP(cleanup_closedir) DIR *dir = NULL;
    char path[UNIT_PATH_MAX];
    struct dirent *e;
    int r = unit_path(path, state_dir, "", NULL);

    if (r < 0)
        return err_pass(r);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? 0 : err_raise(-errno);
    while ((e = readdir(dir)))
        if (process_id_valid(e->d_name))
            visit(ctx, e->d_name);
    return 0;
}

int boot_id_read(char ret[RECORD_BOOT_ID_MAX])
{
    CLEANUP(cleanup_close) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, RECORD_BOOT_ID_MAX - 1);

    if (n < 0)
        return err_raise(-errno);
    ret[n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    return 0;
}

/* 0, UNIT_E_ABSENT, negative errno. */
static int read_stat(int32_t pid, struct procfs_stat *ret)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[64], text[PROCFS_STAT_MAX];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (n < 0)
        return errno == ENOENT || errno == ESRCH ? UNIT_E_ABSENT : err_raise(-errno);
    return procfs_stat_parse(text, (size_t)n, ret) ? 0 : err_raise(-EPROTO);
}

bool process_stat_read(int32_t pid, struct procfs_stat *ret)
{
    return read_stat(pid, ret) == 0;
}

int process_open(int32_t pid, uint64_t start_ticks, int *ret)
{
    CLEANUP(cleanup_close) int fd = pidfd_open(pid, 0);
    struct procfs_stat stat;
    int r;

    *ret = -1;
    if (fd < 0) /* EINVAL: no pid at all; ENOENT, by newer kernels: a thread has the number now */
        return errno == ESRCH || errno == EINVAL || errno == ENOENT ? 0 : err_raise(-errno);
    /* In this order: from here on the number cannot come to mean another process without our noticing. */
    r = read_stat(pid, &stat);
    if (r < 0)
        return err_pass(r);
    if (r == 0 && stat.start_ticks == start_ticks) {
        *ret = fd;
        fd = -1;
    }
    return 0;
}

bool process_wait_gone(int pidfd, int timeout_ms)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r;

    do
        r = poll(&p, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r > 0;
}

bool process_gone(int pidfd)
{
    return process_wait_gone(pidfd, 0);
}

bool process_signal_group(int pidfd, int32_t pid, int signal)
{
    if (pidfd_send_signal(pidfd, signal, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
        return true;
    if (errno != EINVAL || process_gone(pidfd))
        return false;
    /* An older kernel: by number, which is ours as long as the shim has not reaped it. */
    return kill(-pid, signal) == 0;
}
