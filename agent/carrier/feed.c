#include "agent/carrier/feed.h"

#include <fcntl.h>
#include <string.h>

#include "agent/carrier/tensor_store.h"
#include "common/core/fnv.h"
#include "common/core/le.h"
#include "common/file.h"

enum { CMD_SET_TENSOR = 6, HEAD_BYTES = 9, OFFSET_BYTES = 8 };

static bool is_unchanged(const struct feed_file *file)
{
    struct tensor_file_id was = tensor_index_file(file->index), is;

    return !tensor_store_identify(file->fd, &is) && tensor_file_same(&is, &was);
}

/* Up to n bytes of the tensor from `at` on; a kernel that does not want to may leave it. */
static void ask_ahead(const struct feed *f, uint64_t at, uint64_t n)
{
    uint64_t left = f->span.n_bytes - at;

    posix_fadvise(f->file->fd, (off_t)(f->span.offset + at), (off_t)(n < left ? n : left), POSIX_FADV_WILLNEED);
}

int feed_begin(struct feed *f, const struct feed_file *file, const uint8_t frame[HASH_FRAME_BYTES])
{
    const struct tensor_span *span = tensor_index_find(file->index, le_get(frame + HASH_FRAME_BYTES - 8, 8));

    if (!span)
        return FEED_E_NOT_HERE;
    if (!is_unchanged(file))
        return FEED_E_CHANGED;
    *f = (struct feed){.file = file, .span = *span, .hash = FNV1A_BASIS};
    f->head[0] = CMD_SET_TENSOR;
    le_put(f->head + 1, 8, RPC_TENSOR_HEAD_BYTES + span->n_bytes);
    memcpy(f->head + HEAD_BYTES, frame + HEAD_BYTES, RPC_TENSOR_BYTES); /* a 0 follows, which the question has not */
    memcpy(f->head + FEED_HEAD_BYTES - OFFSET_BYTES, frame + HEAD_BYTES + RPC_TENSOR_BYTES, OFFSET_BYTES);
    ask_ahead(f, 0, FEED_AHEAD_BYTES);
    return 0;
}

uint64_t feed_left_bytes(const struct feed *f)
{
    return FEED_HEAD_BYTES + f->span.n_bytes - f->at;
}

static size_t read_head(struct feed *f, uint8_t *buf, size_t n)
{
    size_t left = FEED_HEAD_BYTES - (size_t)f->at;
    size_t n_took = n < left ? n : left;

    memcpy(buf, f->head + f->at, n_took);
    f->at += n_took;
    return n_took;
}

static size_t read_data(struct feed *f, uint8_t *buf, size_t n)
{
    uint64_t left = feed_left_bytes(f), from = f->at - FEED_HEAD_BYTES;
    size_t n_took = left < n ? (size_t)left : n;

    if (!f->failed && left > FEED_AHEAD_BYTES)
        ask_ahead(f, from + FEED_AHEAD_BYTES, n_took);
    if (!f->failed && file_read_at(f->file->fd, f->span.offset + from, buf, n_took) < 0)
        f->failed = true;
    if (f->failed)
        memset(buf, 0, n_took);
    else
        f->hash = fnv1a(f->hash, buf, n_took);
    f->at += n_took;
    return n_took;
}

size_t feed_read(struct feed *f, void *buf, size_t n)
{
    uint8_t *p = buf;
    size_t n_head = f->at < FEED_HEAD_BYTES ? read_head(f, p, n) : 0;

    return n_head + (n > n_head ? read_data(f, p + n_head, n - n_head) : 0);
}

bool feed_answer(const struct feed *f, uint8_t buf[FEED_ANSWER_BYTES])
{
    bool yes = !feed_left_bytes(f) && !f->failed && f->hash == f->span.hash;

    le_put(buf, 8, 1);
    buf[8] = yes;
    return yes;
}
