#include "agent/model_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/gguf.h"
#include "common/core/protocol.h"

/* Where the file is that fd has open, whatever links were on the way. */
static int real_path(int fd, char ret[PATH_MAX])
{
    char link[32];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, ret, PATH_MAX - 1);
    if (n < 0)
        return err_raise(-errno);
    ret[n] = '\0';
    return 0;
}

static bool lies_in(const char *path, const char *dir)
{
    CLEANUP(cleanup_free) char *real = realpath(dir, NULL);
    size_t n = real ? strlen(real) : 0;

    if (n == 1) /* the root itself */
        return true;
    return n && !strncmp(path, real, n) && path[n] == '/';
}

/* The flags: a fifo must not stop us, nor a terminal become ours. */
static int open_file(const char *path, int more)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | more);
}

static int check_link(int fd, const char *const *dir, size_t n_dirs)
{
    char real[PATH_MAX];
    int r = real_path(fd, real);

    if (r < 0)
        return err_pass(r);
    for (size_t i = 0; i < n_dirs; i++)
        if (lies_in(real, dir[i]))
            return 0;
    return MODEL_PATH_E_OUTSIDE;
}

int model_path_open(const char *path, const char *const *dir, size_t n_dirs, int *ret_fd)
{
    CLEANUP(cleanup_close) int fd = open_file(path, O_NOFOLLOW);
    bool link = fd < 0 && errno == ELOOP;
    struct stat st;
    int r;

    if (link)
        fd = open_file(path, 0);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ENXIO ? MODEL_PATH_E_NO_FILE : err_raise(-errno);
    r = link ? check_link(fd, dir, n_dirs) : 0;
    if (r)
        return r < 0 ? err_pass(r) : r;
    if (fstat(fd, &st) < 0)
        return err_raise(-errno);
    if (!S_ISREG(st.st_mode))
        return MODEL_PATH_E_NO_FILE;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* The files of a model, by the name of its first. */
struct shards {
    const char *path, *name;
    char stem[GGUF_FILE_MAX];
    uint32_t count;
};

static bool find_shards(const char *path, struct shards *ret)
{
    const char *slash = strrchr(path, '/');
    uint32_t no;

    ret->path = path;
    ret->name = slash ? slash + 1 : path;
    return gguf_parse_file_name(ret->name, ret->stem, &no, &ret->count);
}

/* Looks at one. As model_path_open; ret_file: its name, ret_path: and where it is. */
static int check_shard(const struct shards *s, uint32_t no, const char *const *dir, size_t n_dirs, char *ret_file,
                       char ret_path[PROTO_PATH_MAX])
{
    CLEANUP(cleanup_close) int fd = -1;
    int r;

    if (snprintf(ret_path, PROTO_PATH_MAX, "%.*s%s", (int)(s->name - s->path), s->path,
                 gguf_shard_file_name(s->stem, no, s->count, ret_file)) >= PROTO_PATH_MAX)
        return err_raise(-ENAMETOOLONG);
    r = model_path_open(ret_path, dir, n_dirs, &fd);
    return r < 0 ? err_pass(r) : r;
}

int model_path_check(const char *path, const char *const *dir, size_t n_dirs, char *ret_file)
{
    char file[PROTO_PATH_MAX];
    struct shards s;
    int r = find_shards(path, &s) ? 0 : MODEL_PATH_E_NO_FILE;

    snprintf(ret_file, GGUF_FILE_MAX, "%s", s.name);
    for (uint32_t i = 0; !r && i < s.count; i++)
        r = check_shard(&s, i, dir, n_dirs, ret_file, file);
    return r < 0 ? err_pass(r) : r;
}

int model_path_files(const char *path, const char *const *dir, size_t n_dirs, size_t max, char (**ret)[PROTO_PATH_MAX],
                     size_t *ret_n)
{
    CLEANUP(cleanup_free) char(*file)[PROTO_PATH_MAX] = NULL;
    char name[GGUF_FILE_MAX];
    struct shards s;
    int r = 0;

    if (!find_shards(path, &s))
        return MODEL_PATH_E_NO_FILE;
    if (s.count > max)
        return MODEL_PATH_E_TOO_MANY;
    file = calloc(s.count, sizeof(*file));
    if (!file)
        return err_raise(-ENOMEM);
    for (uint32_t i = 0; !r && i < s.count; i++)
        r = check_shard(&s, i, dir, n_dirs, name, file[i]);
    if (r)
        return r < 0 ? err_pass(r) : r;
    *ret = file;
    *ret_n = s.count;
    file = NULL;
    return 0;
}
