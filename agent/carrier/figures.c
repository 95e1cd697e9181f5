#include "agent/carrier/figures.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"

enum { FIGURES_VERSION = 2, TRIES = 8 };
#define FIGURES_MAGIC UINT32_C(0x67667663) /* "cvfg" */

struct image {
    uint32_t magic, version;
    uint64_t n_bytes; /* of all this: another build may have other fields */
    uint64_t sum;     /* of what follows */
    uint64_t n_writes;
    struct figures f;
};
_Static_assert(sizeof(struct image) % sizeof(uint64_t) == 0, "it is summed up in words");

struct figures_writer {
    int fd;
    struct image image;
};

struct figures_reader {
    int fd;
};

/* FNV-1a by words: it tells a torn image from a whole one, no more. Not 0 for an image of zeros. */
static uint64_t sum(const struct image *image)
{
    const unsigned char *p = (const unsigned char *)&image->n_writes;
    const unsigned char *end = (const unsigned char *)(image + 1);
    uint64_t hash = UINT64_C(0xcbf29ce484222325), word;

    for (; p < end; p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t figures_refused(const struct figures *f)
{
    uint64_t n = sat_add(f->n_bad_handshakes, f->n_half_open_dropped);

    for (size_t i = 0; i < TUNNEL_VERDICT_N; i++)
        n = sat_add(n, f->n_refused[i]);
    return sat_add(n, sat_add(f->n_strangers, f->n_without_room));
}

/* ---- writing ---- */

static int write_image(const struct figures_writer *w)
{
    ssize_t n = pwrite(w->fd, &w->image, sizeof(w->image), 0);

    if (n < 0)
        return err_raise(-errno);
    return n == sizeof(w->image) ? 0 : err_raise(-ENOSPC);
}

static int open_new(const char *path, struct figures_writer *w)
{
    int r;

    w->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return err_raise(-errno);
    r = posix_fallocate(w->fd, 0, sizeof(w->image)); /* a disk that is full shows now, on most file systems */
    if (r)
        return err_raise(-r);
    w->image = (struct image){.magic = FIGURES_MAGIC, .version = FIGURES_VERSION, .n_bytes = sizeof(w->image)};
    r = write_image(w);
    return r < 0 ? err_pass(r) : 0;
}

int figures_create(const char *path, struct figures_writer **ret)
{
    CLEANUP(figures_writer_destroy) struct figures_writer *w = calloc(1, sizeof(*w));
    char fresh[PROTO_PATH_MAX];
    int r;

    if (!w)
        return err_raise(-ENOMEM);
    w->fd = -1;
    if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
        return err_raise(-ENAMETOOLONG);
    unlink(fresh);
    r = open_new(fresh, w);
    if (r < 0)
        return err_pass(r);
    if (rename(fresh, path) < 0)
        return err_raise(-errno);
    *ret = w;
    w = NULL;
    return 0;
}

int figures_write(struct figures_writer *w, const struct figures *f)
{
    int r;

    w->image.n_writes++;
    w->image.f = *f;
    w->image.sum = sum(&w->image);
    r = write_image(w);
    return r < 0 ? err_pass(r) : 0;
}

void figures_writer_destroy(struct figures_writer **w)
{
    if (!*w)
        return;
    cleanup_close(&(*w)->fd);
    free(*w);
    *w = NULL;
}

/* ---- reading ---- */

static bool is_word(const char s[PROTO_WORD_MAX])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

    return memchr(s, '\0', PROTO_WORD_MAX) && s[strspn(s, allowed)] == '\0';
}

static bool is_sound(const struct image *image)
{
    const struct figures *f = &image->f;

    if (f->n_flows > sizeof(f->flow) / sizeof(f->flow[0]))
        return false;
    for (size_t i = 0; i < f->n_flows; i++) {
        unsigned char at_worker; /* any other byte is no bool, and must not be read as one */

        memcpy(&at_worker, &f->flow[i].at_worker, sizeof(at_worker));
        if (at_worker > 1 || f->flow[i].rank >= PROTO_RANKS_MAX || !is_word(f->flow[i].oldest) ||
            !is_word(f->flow[i].blind))
            return false;
    }
    return true;
}

/* 0; FIGURES_E_NONE: no such sum; FIGURES_E_FOREIGN; negative errno. */
static int read_image(int fd, struct image *ret)
{
    ssize_t n = pread(fd, ret, sizeof(*ret), 0);

    if (n < 0)
        return errno == EINTR ? FIGURES_E_NONE : err_raise(-errno);
    if (n != sizeof(*ret) || ret->magic != FIGURES_MAGIC || ret->version != FIGURES_VERSION ||
        ret->n_bytes != sizeof(*ret))
        return FIGURES_E_FOREIGN;
    return ret->sum == sum(ret) ? 0 : FIGURES_E_NONE;
}

int figures_open(const char *path, struct figures_reader **ret)
{
    CLEANUP(figures_reader_destroy) struct figures_reader *r = calloc(1, sizeof(*r));
    struct image image;
    int res;

    if (!r)
        return err_raise(-ENOMEM);
    r->fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (r->fd < 0)
        return err_raise(-errno);
    res = read_image(r->fd, &image);
    if (res < 0 || res == FIGURES_E_FOREIGN)
        return res < 0 ? err_pass(res) : res;
    *ret = r;
    r = NULL;
    return 0;
}

/* A writer needs microseconds: who meets it twice waits for nobody, and has the next report. */
int figures_read(struct figures_reader *r, uint64_t now_ms, struct figures *ret)
{
    struct image image;
    int res = FIGURES_E_NONE;

    for (int i = 0; i < TRIES && res == FIGURES_E_NONE; i++)
        res = read_image(r->fd, &image);
    if (res)
        return res < 0 ? err_pass(res) : res;
    if (!image.n_writes)
        return FIGURES_E_NONE;
    if (!is_sound(&image))
        return FIGURES_E_FOREIGN;
    *ret = image.f;
    return ret->due_ms && now_ms > ret->due_ms ? FIGURES_E_LATE : 0;
}

void figures_reader_destroy(struct figures_reader **r)
{
    if (!*r)
        return;
    if ((*r)->fd >= 0)
        close((*r)->fd);
    free(*r);
    *r = NULL;
}
