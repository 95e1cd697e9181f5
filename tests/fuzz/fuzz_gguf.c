/* Any bytes as a GGUF file: the first eight say how long the file claims to be, so that headers without their data are
 * found too. Built with clang and libFuzzer (preset fuzz); fuzz_gguf_seeds makes its first inputs. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/gguf.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct bytes b;
    struct gguf_source source = {.read = read_bytes, .ctx = &b};
    struct gguf *g = NULL;
    char why[GGUF_WHY_MAX] = "";
    int r;

    if (n < sizeof(source.size_bytes))
        return -1;
    memcpy(&source.size_bytes, data, sizeof(source.size_bytes));
    b = (struct bytes){data + sizeof(source.size_bytes), n - sizeof(source.size_bytes)};
    /* A claim far beyond the bytes is legal, but zeros make slow inputs that find nothing. */
    source.size_bytes = b.n + source.size_bytes % (UINT64_C(1) << 20);
    r = gguf_read(&source, &g, why, sizeof(why));
    if (r < 0 || r > GGUF_E_OTHER_SHARD || (r == 0) != (g != NULL) || (r != 0) != (why[0] != '\0'))
        abort();
    if (g) {
        struct gguf *merged = NULL;

        r = gguf_merge("fuzz", (const struct gguf *const *)&g, 1, &merged, why, sizeof(why));
        if (r < 0 || (r == 0) != (merged != NULL))
            abort();
        gguf_destroy(&merged);
    }
    gguf_destroy(&g);
    return 0;
}
