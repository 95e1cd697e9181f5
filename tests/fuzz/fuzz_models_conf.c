/* models.conf from anybody: what is taken of it is within bounds. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "controller/models_conf.h"
#include "tests/fuzz/support.h"

static void check(const struct models_conf *c)
{
    FUZZ_CHECK(c->n <= SERVED_MAX);
    for (size_t i = 0; i < c->n; i++) {
        const struct served *s = &c->entry[i];

        FUZZ_CHECK(s->section[0] && s->name[0] && s->request.model[0] && s->request.n_args <= PROTO_ARGS_MAX);
        FUZZ_CHECK(s->request.replicas <= SERVED_REPLICAS_MAX && s->start >= SERVED_MANUAL && s->start <= SERVED_BOOT);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(models_conf_destroy) struct models_conf *c = NULL, *again = NULL;
    CLEANUP(cleanup_close) int fd = -1;
    char why[256] = "", path[64];
    int r = models_conf_parse("f", (const char *)data, size, &c, why, sizeof(why));

    FUZZ_CHECK(r >= 0 && (r == 0) == (c != NULL) && (r != 0) == (why[0] != '\0'));
    if (c)
        check(c);
    if (size % 64) /* a file costs more than its parsing */
        return;
    fd = memfd_create("models.conf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return;
    snprintf(path, sizeof(path), size ? "/proc/self/fd/%d" : "/nonexistent/%d", fd);
    r = models_conf_read(path, size, &again, why, sizeof(why));
    FUZZ_CHECK(r >= 0);
}
