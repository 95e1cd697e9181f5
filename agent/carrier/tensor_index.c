#include "agent/carrier/tensor_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/fnv.h"
#include "common/core/le.h"

enum { SLICE_BYTES = 64 * 1024, WORD = 8 };
/* As kept: magic, inode, size, mtime, hash of the header, count; a hash per tensor, in the file's order; the hash of all
 * before it. Where the tensors lie is the header's word, not the copy's. */
enum { HEAD_WORDS = 6 };
static const uint8_t magic[WORD] = {'C', 'V', 'T', 'E', 'N', 'S', '1', '\n'};

struct tensor_index {
    struct tensor_file_id id;
    uint64_t header_hash;
    size_t n, cap;
    struct tensor_span *span; /* in the file's order: a few hundred, looked through from the front */
    uint64_t n_bytes;         /* of all of them */
    size_t at;                /* the one being hashed */
    uint64_t at_bytes;        /* of it, and of all before it: */
    uint64_t n_hashed;
};

bool tensor_file_same(const struct tensor_file_id *a, const struct tensor_file_id *b)
{
    return a->inode == b->inode && a->size_bytes == b->size_bytes && a->mtime_ns == b->mtime_ns;
}

void tensor_index_destroy(struct tensor_index **x)
{
    if (!*x)
        return;
    free((*x)->span);
    free(*x);
    *x = NULL;
}

/* ---- the header ---- */

struct header {
    const struct gguf_source *source;
    struct tensor_index *index;
};

static int read_header(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const struct header *h = ctx;

    return h->source->read(h->source->ctx, offset, buf, n);
}

static int take_tensor(void *ctx, uint64_t offset, uint64_t n_bytes)
{
    struct tensor_index *x = ((struct header *)ctx)->index;

    if (n_bytes <= TENSOR_ASKED_OVER_BYTES)
        return 0;
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        struct tensor_span *bigger = reallocarray(x->span, cap, sizeof(*bigger));

        if (!bigger)
            return err_raise(-ENOMEM);
        x->span = bigger;
        x->cap = cap;
    }
    x->span[x->n++] = (struct tensor_span){.hash = FNV1A_BASIS, .offset = offset, .n_bytes = n_bytes};
    x->n_bytes += n_bytes; /* gguf_read bounds the sum of all */
    return 0;
}

int tensor_index_new(const struct gguf_source *source, const struct tensor_file_id *id, struct tensor_index **ret,
                     char *why, size_t why_size)
{
    CLEANUP(tensor_index_destroy) struct tensor_index *x = calloc(1, sizeof(*x));
    CLEANUP(gguf_destroy) struct gguf *g = NULL;
    struct header h = {source, x};
    struct gguf_source in = {read_header, &h, id->size_bytes, take_tensor};
    int r;

    if (!x)
        return err_raise(-ENOMEM);
    r = gguf_read(&in, &g, why, why_size);
    if (r)
        return r > 0 ? TENSOR_INDEX_E_NO_MODEL : err_pass(r);
    for (size_t i = 0; i < x->n; i++)
        x->span[i].offset += g->data_offset; /* within the file: gguf_read has compared that with its size */
    x->id = *id;
    x->header_hash = g->header_hash;
    *ret = x;
    x = NULL;
    return 0;
}

/* ---- hashing ---- */

bool tensor_index_is_done(const struct tensor_index *x)
{
    return x->n_hashed == x->n_bytes;
}

uint64_t tensor_index_bytes(const struct tensor_index *x)
{
    return x->n_bytes;
}

uint64_t tensor_index_left_bytes(const struct tensor_index *x)
{
    return x->n_bytes - x->n_hashed;
}

struct tensor_file_id tensor_index_file(const struct tensor_index *x)
{
    return x->id;
}

/* At most one slice, all in one tensor. */
static int hash_slice(struct tensor_index *x, const struct gguf_source *source, uint64_t n_max, uint64_t *ret_n)
{
    struct tensor_span *span = &x->span[x->at];
    uint64_t left = span->n_bytes - x->at_bytes;
    uint8_t slice[SLICE_BYTES];
    size_t n = SLICE_BYTES;
    int r;

    n = left < n ? (size_t)left : n;
    n = n_max < n ? (size_t)n_max : n;
    r = source->read(source->ctx, span->offset + x->at_bytes, slice, n);
    if (r)
        return err_fold(r);
    span->hash = fnv1a(span->hash, slice, n);
    x->at_bytes += n;
    x->n_hashed += n;
    if (x->at_bytes == span->n_bytes) {
        x->at++;
        x->at_bytes = 0;
    }
    *ret_n = n;
    return 0;
}

int tensor_index_step(struct tensor_index *x, const struct gguf_source *source, uint64_t n_bytes)
{
    while (n_bytes && !tensor_index_is_done(x)) {
        uint64_t n;
        int r = hash_slice(x, source, n_bytes, &n);

        if (r)
            return err_pass(r);
        n_bytes -= n;
    }
    return tensor_index_is_done(x) ? 0 : TENSOR_INDEX_E_MORE;
}

const struct tensor_span *tensor_index_find(const struct tensor_index *x, uint64_t hash)
{
    if (!tensor_index_is_done(x))
        return NULL;
    for (size_t i = 0; i < x->n; i++) {
        if (x->span[i].hash == hash)
            return &x->span[i];
    }
    return NULL;
}

/* ---- how it is kept ---- */

static void put(uint8_t *buf, size_t word, uint64_t value)
{
    le_put(buf + word * WORD, WORD, value);
}

static uint64_t get(const uint8_t *buf, size_t word)
{
    return le_get(buf + word * WORD, WORD);
}

static void write_head(const struct tensor_index *x, uint8_t *buf)
{
    memcpy(buf, magic, sizeof(magic));
    put(buf, 1, x->id.inode);
    put(buf, 2, x->id.size_bytes);
    put(buf, 3, (uint64_t)x->id.mtime_ns);
    put(buf, 4, x->header_hash);
    put(buf, 5, x->n);
}

size_t tensor_index_kept_bytes(const struct tensor_index *x)
{
    return (HEAD_WORDS + x->n + 1) * WORD;
}

void tensor_index_write(const struct tensor_index *x, uint8_t *buf)
{
    size_t n_words = HEAD_WORDS + x->n;

    assert(tensor_index_is_done(x));
    write_head(x, buf);
    for (size_t i = 0; i < x->n; i++)
        put(buf, HEAD_WORDS + i, x->span[i].hash);
    put(buf, n_words, fnv1a(FNV1A_BASIS, buf, n_words * WORD));
}

bool tensor_index_take(struct tensor_index *x, const void *buf, size_t n_bytes)
{
    uint8_t head[HEAD_WORDS * WORD];
    size_t n_words = HEAD_WORDS + x->n;

    write_head(x, head);
    if (n_bytes != tensor_index_kept_bytes(x) || memcmp(head, buf, sizeof(head)) != 0 ||
        get(buf, n_words) != fnv1a(FNV1A_BASIS, buf, n_words * WORD))
        return false;
    for (size_t i = 0; i < x->n; i++)
        x->span[i].hash = get(buf, HEAD_WORDS + i);
    x->at = x->n;
    x->at_bytes = 0;
    x->n_hashed = x->n_bytes;
    return true;
}
