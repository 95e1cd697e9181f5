#include "agent/carrier/tensor_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/file.h"

int tensor_store_identify(int fd, struct tensor_file_id *ret)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_raise(-errno);
    *ret = (struct tensor_file_id){
        .inode = (uint64_t)st.st_ino,
        .size_bytes = (uint64_t)st.st_size,
        .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
    };
    return 0;
}

char *tensor_store_name(const struct tensor_file_id *id, char buf[TENSOR_STORE_NAME_MAX])
{
    snprintf(buf, TENSOR_STORE_NAME_MAX, "%" PRIx64 "-%" PRIx64 "-%" PRIx64 ".tensors", id->inode, id->size_bytes,
             (uint64_t)id->mtime_ns);
    return buf;
}

static int kept_path(char buf[PATH_MAX], const char *dir, const struct tensor_index *x, const char *suffix)
{
    struct tensor_file_id id = tensor_index_file(x);
    char name[TENSOR_STORE_NAME_MAX];
    int n = snprintf(buf, PATH_MAX, "%s/%s%s", dir, tensor_store_name(&id, name), suffix);

    return n < 0 || n >= PATH_MAX ? err_raise(-ENAMETOOLONG) : 0;
}

/* Whatever is wrong with what was kept, the answer is to hash again. */
static void take_kept(const char *dir, struct tensor_index *x)
{
    CLEANUP(cleanup_close) int fd = -1;
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n = tensor_index_kept_bytes(x);
    struct stat st;
    char path[PATH_MAX];

    if (kept_path(path, dir, x, "") < 0)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != n)
        return;
    buf = malloc(n);
    if (buf && !file_read_at(fd, 0, buf, n))
        tensor_index_take(x, buf, n);
}

int tensor_store_open(const char *dir, int fd, struct tensor_index **ret, char *why, size_t why_size)
{
    struct tensor_file_id id;
    struct gguf_source source;
    int r = tensor_store_identify(fd, &id);

    if (r)
        return err_fold(r);
    source = file_gguf_source(&fd, id.size_bytes);
    r = tensor_index_new(&source, &id, ret, why, why_size);
    if (r)
        return r == TENSOR_INDEX_E_NO_MODEL ? r : err_fold(r);
    take_kept(dir, *ret);
    return 0;
}

static int write_synced(const char *path, const uint8_t *buf, size_t n)
{
    CLEANUP(cleanup_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r;

    if (fd < 0)
        return err_raise(-errno);
    r = file_write(fd, buf, n);
    if (r)
        return err_fold(r);
    return fsync(fd) < 0 ? err_raise(-errno) : 0;
}

int tensor_store_keep(const char *dir, const struct tensor_index *x)
{
    size_t n = tensor_index_kept_bytes(x);
    CLEANUP(cleanup_free) uint8_t *buf = malloc(n);
    char path[PATH_MAX], new_path[PATH_MAX];
    int r;

    if (!buf)
        return err_raise(-ENOMEM);
    r = kept_path(path, dir, x, "");
    if (!r)
        r = kept_path(new_path, dir, x, ".new");
    if (r)
        return err_fold(r);
    tensor_index_write(x, buf);
    r = write_synced(new_path, buf, n);
    if (!r && rename(new_path, path) < 0)
        r = err_raise(-errno);
    if (r)
        unlink(new_path);
    return r ? err_fold(r) : 0;
}
