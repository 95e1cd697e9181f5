#include "controller/store_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/core/err.h"
#include "controller/store.h"
#include "controller/store_file.h"

static int failed(void)
{
    return store_file_out_of_space(errno) ? STORE_E_FULL : err_raise(-errno);
}

static int read_mark(struct store_mark *m)
{
    char text[ID128_TEXT + 1];
    ssize_t n = pread(m->fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        return err_raise(-errno);
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    m->state = n == 0 ? STORE_MARK_NONE : id128_parse(text, &m->cluster) ? STORE_MARK_MADE : STORE_MARK_SPOILT;
    return 0;
}

int store_mark_take(const char *path, struct store_mark *ret)
{
    struct store_mark m = {.fd = -1};
    char name[STORE_PATH_MAX + 16];
    int r;

    if (snprintf(name, sizeof(name), "%s" STORE_MARK_SUFFIX, path) >= (int)sizeof(name))
        return err_raise(-ENAMETOOLONG);
    m.fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (m.fd < 0)
        return failed();
    if (flock(m.fd, LOCK_EX | LOCK_NB) < 0)
        r = errno == EWOULDBLOCK ? STORE_E_LOCKED : err_raise(-errno);
    else
        r = read_mark(&m);
    if (r == 0)
        r = store_file_give_to_owner(m.fd, path);
    if (r)
        store_mark_drop(&m);
    else
        *ret = m;
    return r;
}

/* Over what is there: a mark is never empty again, whatever happens meanwhile. */
int store_mark_write(struct store_mark *m, const struct id128 *cluster)
{
    char text[ID128_TEXT];

    id128_format(cluster, text);
    text[ID128_TEXT - 1] = '\n';
    if (pwrite(m->fd, text, sizeof(text), 0) != (ssize_t)sizeof(text) || ftruncate(m->fd, sizeof(text)) < 0 ||
        fsync(m->fd) < 0)
        return failed();
    m->state = STORE_MARK_MADE;
    m->cluster = *cluster;
    return 0;
}

void store_mark_drop(struct store_mark *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}
