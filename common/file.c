#include "common/file.h"

#include <errno.h>
#include <unistd.h>

#include "common/core/err.h"

int file_read_at(int fd, uint64_t offset, void *buf, size_t n)
{
    char *p = buf;

    while (n) {
        ssize_t got = pread(fd, p, n, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_raise(got < 0 ? -errno : -EIO); /* shorter than it was a moment ago */
        p += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

int file_write(int fd, const void *buf, size_t n)
{
    const char *p = buf;

    while (n) {
        ssize_t put = write(fd, p, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return err_raise(-errno);
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static int read_source(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const int *fd = ctx;

    return err_fold(file_read_at(*fd, offset, buf, n));
}

struct gguf_source file_gguf_source(const int *fd, uint64_t size_bytes)
{
    return (struct gguf_source){.read = read_source, .ctx = (void *)(uintptr_t)fd, .size_bytes = size_bytes};
}
