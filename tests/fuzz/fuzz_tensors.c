/* What a carrier beside a worker is told of tensors: a coordinator's stream through the gate that finds questions by hash,
 * in pieces and byte by byte; and what was kept of an index. First byte: how long the pieces are. */
#include <string.h>

#include "agent/carrier/feed.h"
#include "tests/fuzz/support.h"
#include "tests/lib/gguf_image.h"

static struct tensor_index *kept; /* of a model with three large tensors, whose file is not there */

void fuzz_setup(void)
{
    static const struct llama_dims dims = {
        .n_layer = 1, .n_embd = 1024, .n_head = 8, .n_head_kv = 1, .n_ff = 5248, .n_vocab = 100, .type = 1};
    struct tensor_file_id id = {.inode = 1, .mtime_ns = 2};
    struct gguf_image im;
    struct gguf_source source;
    char why[GGUF_WHY_MAX];

    image_llama(&im, &dims);
    source = image_source(&im);
    id.size_bytes = im.size_bytes;
    if (tensor_index_new(&source, &id, &kept, why, sizeof(why)))
        abort();
    image_clear(&im);
}

struct way {
    struct hash_gate gate;
    size_t n_out, n_asked, n_released;
};

/* What comes out is what went in. */
static void take_out(struct way *w, const uint8_t *data, const uint8_t *p, size_t n)
{
    FUZZ_CHECK(memcmp(data + w->n_out, p, n) == 0);
    w->n_out += n;
}

static void through(struct way *w, const uint8_t *data, size_t at, size_t n)
{
    struct feed_file file = {-1, kept};
    struct feed f;

    while (n) {
        enum hash_gate_verdict v;
        size_t used = hash_gate_take(&w->gate, data + at, n, true, &v);

        FUZZ_CHECK(used && used <= n && w->gate.n_held <= HASH_FRAME_BYTES);
        if (v == HASH_GATE_PASS)
            take_out(w, data, data + at, used);
        else if (v != HASH_GATE_HELD)
            take_out(w, data, w->gate.held, w->gate.n_held);
        w->n_released += v == HASH_GATE_RELEASE;
        w->n_asked += v == HASH_GATE_ASK;
        FUZZ_CHECK(v != HASH_GATE_ASK || feed_begin(&f, &file, w->gate.held) == FEED_E_NOT_HERE);
        at += used;
        n -= used;
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct way whole = {0}, bytes = {0};
    size_t piece;

    if (!size)
        return;
    piece = data[0] + 1u;
    data++;
    size--;
    if (tensor_index_take(kept, data, size))
        FUZZ_CHECK(tensor_index_is_done(kept) && tensor_index_kept_bytes(kept) == size);
    for (size_t at = 0; at < size; at += piece)
        through(&whole, data, at, size - at < piece ? size - at : piece);
    for (size_t at = 0; at < size; at++)
        through(&bytes, data, at, 1);
    FUZZ_CHECK(whole.n_asked == bytes.n_asked && whole.n_released == bytes.n_released && whole.n_out == bytes.n_out);
}
