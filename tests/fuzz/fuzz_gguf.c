/* Any bytes as a GGUF file: the first eight say how long the file claims to be, so that headers without their data are
 * found too. Where it is a file of a set, it is merged with itself in every place. */
#include <string.h>

#include "common/core/gguf.h"
#include "tests/fuzz/support.h"

enum { SHARDS = 3 };

struct bytes {
    const uint8_t *data;
    size_t n;
};

static int read_bytes(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const struct bytes *b = ctx;
    size_t have = offset < b->n ? b->n - (size_t)offset : 0;

    memset(buf, 0, n);
    if (have)
        memcpy(buf, b->data + offset, have < n ? have : n);
    return 0;
}

static int read_once(const uint8_t *data, size_t size, struct gguf **ret)
{
    struct bytes b = {data + sizeof(uint64_t), size - sizeof(uint64_t)};
    struct gguf_source source = {.read = read_bytes, .ctx = &b};
    char why[GGUF_WHY_MAX] = "";
    int r;

    memcpy(&source.size_bytes, data, sizeof(source.size_bytes));
    /* A claim far beyond the bytes is legal, but zeros make slow inputs that find nothing. */
    source.size_bytes = b.n + source.size_bytes % (UINT64_C(1) << 20);
    r = gguf_read(&source, ret, why, sizeof(why));
    FUZZ_CHECK(r >= 0 && r <= GGUF_E_OTHER_SHARD && (r == 0) == (*ret != NULL) && (r != 0) == (why[0] != '\0'));
    return r;
}

static void merge(const struct gguf *const *shard, size_t n)
{
    char why[GGUF_WHY_MAX] = "";
    struct gguf *merged = NULL;
    int r = gguf_merge("fuzz", shard, n, &merged, why, sizeof(why));

    FUZZ_CHECK(r >= 0 && (r == 0) == (merged != NULL));
    gguf_destroy(&merged);
}

static void check_name(const uint8_t *data, size_t size)
{
    char stem[GGUF_FILE_MAX], buf[GGUF_FILE_MAX], *name = fuzz_string(data, size);
    uint32_t no, count;

    if (gguf_parse_file_name(name, stem, &no, &count) && count > 1) /* a set of one is called like none */
        FUZZ_CHECK(strcmp(gguf_shard_file_name(stem, no, count, buf), name) == 0);
    free(name);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct gguf *g[SHARDS] = {NULL};

    check_name(data, size);
    if (size < sizeof(uint64_t) || read_once(data, size, &g[0]))
        return;
    merge((const struct gguf *const *)g, 1);
    if (g[0]->split_count > 1 && g[0]->split_count <= SHARDS) {
        for (uint32_t i = 0; i < g[0]->split_count; i++)
            if (i == 0 || read_once(data, size, &g[i]) == 0)
                g[i]->split_no = i;
        merge((const struct gguf *const *)g, g[0]->split_count);
    }
    for (size_t i = 0; i < SHARDS; i++)
        gguf_destroy(&g[i]);
}
