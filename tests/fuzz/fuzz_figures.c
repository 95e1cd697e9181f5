/* The file that a carrier writes and its agent reads: of another build, or damaged. First byte: 's', then steps of three bytes,
 * each of which puts a byte at a place of a sound file, whose sum is made right again; else all of it is the file. */
#include <fcntl.h>
#include <string.h>

#include "agent/carrier/figures.c"
#include "tests/fuzz/support.h"

static char path[4096];
static int fd = -1;

void fuzz_setup(void)
{
    snprintf(path, sizeof(path), "%s/figures", fuzz_dir());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        abort();
}

static void put(const void *bytes, size_t n)
{
    if (ftruncate(fd, 0) < 0 || pwrite(fd, bytes, n, 0) != (ssize_t)n)
        abort();
}

static void put_image(const uint8_t *steps, size_t n)
{
    struct image image = {.magic = FIGURES_MAGIC, .version = FIGURES_VERSION, .n_bytes = sizeof(image), .n_writes = 1};

    image.f.n_flows = PROTO_RANKS_MAX + 1;
    for (size_t i = 0; i < image.f.n_flows; i++)
        image.f.flow[i] = (struct rank_flow){.rank = (uint32_t)i % 16, .oldest = "GET_TENSOR"};
    for (size_t i = 0; i + 3 <= n; i += 3)
        ((uint8_t *)&image)[(steps[i] + 256u * steps[i + 1]) % sizeof(image)] = steps[i + 2];
    image.sum = sum(&image);
    put(&image, sizeof(image));
}

static void check(const struct figures *f)
{
    FUZZ_CHECK(f->n_flows <= PROTO_RANKS_MAX + 1);
    for (size_t i = 0; i < f->n_flows; i++) {
        FUZZ_CHECK(f->flow[i].rank < PROTO_RANKS_MAX && (f->flow[i].at_worker || !f->flow[i].at_worker));
        FUZZ_CHECK(strlen(f->flow[i].oldest) < PROTO_WORD_MAX && strlen(f->flow[i].blind) < PROTO_WORD_MAX);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(figures_reader_destroy) struct figures_reader *r = NULL;
    struct figures f;
    int res;

    if (size && data[0] == 's')
        put_image(data + 1, size - 1);
    else
        put(data, size);
    res = figures_open(path, &r);
    if (res == 0)
        res = figures_read(r, 1, &f);
    FUZZ_CHECK(res >= 0);
    if (res == 0 || res == FIGURES_E_LATE)
        check(&f);
}
