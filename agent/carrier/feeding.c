#include "agent/carrier/feeding.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier/feed.h"
#include "agent/carrier/hash_gate.h"
#include "agent/carrier/tensor_store.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/log.h"

_Static_assert((int)FEED_ANSWER_BYTES <= (int)RELAY_ANSWER_MAX, "an answer fits");

/* ---- the files ---------------------------------------------------------------------------------------------------- */

struct model_file {
    const char *path;
    struct tensor_index *index; /* NULL: there is none */
    struct feed_file of;        /* what feeds read, to their end, also of a file that is given up meanwhile */
    bool is_good;
};

struct feeding_files {
    const char *index_dir;
    bool opened;
    size_t n;
    struct model_file file[];
};

int feeding_files_new(char (*path)[PROTO_PATH_MAX], size_t n_files, const char *index_dir, struct feeding_files **ret)
{
    struct feeding_files *f = calloc(1, sizeof(*f) + n_files * sizeof(f->file[0]));

    if (!f)
        return err_raise(-ENOMEM);
    f->index_dir = index_dir;
    f->n = n_files;
    for (size_t i = 0; i < n_files; i++) {
        f->file[i].path = path[i];
        f->file[i].of.fd = -1;
    }
    *ret = f;
    return 0;
}

void feeding_files_destroy(struct feeding_files **f)
{
    if (!*f)
        return;
    for (size_t i = 0; i < (*f)->n; i++) {
        tensor_index_destroy(&(*f)->file[i].index);
        cleanup_close(&(*f)->file[i].of.fd);
    }
    free(*f);
    *f = NULL;
}

/* The flags: a fifo must not stop us, nor a terminal become ours. */
static int open_file(const char *path, const char *index_dir, int *ret_fd, struct tensor_index **ret, char *why)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int r;

    if (fd < 0)
        return err_raise(-errno);
    r = tensor_store_open(index_dir, fd, ret, why, GGUF_WHY_MAX);
    if (r)
        return r == TENSOR_INDEX_E_NO_MODEL ? r : err_fold(r);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static void open_one(struct model_file *file, const char *index_dir)
{
    char why[GGUF_WHY_MAX] = "";
    int r = open_file(file->path, index_dir, &file->of.fd, &file->index, why);

    if (r < 0) {
        log_failure(LOG_LEVEL_WARN, "feed.open", r, "file=%s", LOG_STR(file->path));
    } else if (r) {
        log_warn("feed.open", "file=%s text=%s", LOG_STR(file->path), LOG_STR(why));
    } else if (!tensor_index_is_done(file->index)) {
        log_info("feed.open", "file=%s text=\"not indexed yet: its tensors come over the network\"",
                 LOG_STR(file->path));
    } else {
        log_info("feed.open", "file=%s bytes=%" PRIu64, LOG_STR(file->path), tensor_index_bytes(file->index));
        file->of.index = file->index;
        file->is_good = true;
    }
}

static void open_all(struct feeding_files *f)
{
    for (size_t i = 0; !f->opened && i < f->n; i++)
        open_one(&f->file[i], f->index_dir);
    f->opened = true;
}

static bool any_use(const struct feeding_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->file[i].is_good || !f->opened)
            return true;
    return false;
}

static void give_up(struct model_file *file, const char *why)
{
    if (!file->is_good)
        return;
    file->is_good = false;
    log_warn("feed.wrong", "file=%s text=\"%s: not used any more, its tensors come over the network\"",
             LOG_STR(file->path), why);
}

/* ---- a stream ----------------------------------------------------------------------------------------------------- */

struct feeding {
    struct feeding_files *files;
    const struct rpc_frames *sensor;
    struct hash_gate gate;
    struct model_file *file; /* whose tensor the worker is given; NULL: what the gate holds, as it came */
    struct feed feed;
    size_t n_released;
    struct feeding_counts counts;
    /* Questions that did not go on to the worker, how many of them are answered, and what it was given for them. */
    uint64_t n_kept, n_answered, given_bytes;
};

int feeding_new(struct feeding_files *files, const struct rpc_frames *sensor, struct feeding **ret)
{
    struct feeding *f = calloc(1, sizeof(*f));

    if (!f)
        return err_raise(-ENOMEM);
    f->files = files;
    f->sensor = sensor;
    *ret = f;
    return 0;
}

void feeding_destroy(struct feeding **f)
{
    free(*f);
    *f = NULL;
}

/* From the first file that has it; else the worker is asked. */
static void begin_feed(struct feeding *f)
{
    open_all(f->files);
    for (size_t i = 0; i < f->files->n; i++) {
        struct model_file *file = &f->files->file[i];
        int r = file->is_good ? feed_begin(&f->feed, &file->of, f->gate.held) : FEED_E_NOT_HERE;

        if (r == FEED_E_CHANGED)
            give_up(file, "it was changed since it was indexed");
        if (r == 0) {
            f->file = file;
            f->n_kept++;
            return;
        }
    }
    f->counts.n_not_here++;
}

static size_t on_judge(void *ctx, const uint8_t *data, size_t n_bytes, enum relay_verdict *ret)
{
    struct feeding *f = ctx;
    enum hash_gate_verdict verdict = HASH_GATE_RELEASE;
    bool ask = any_use(f->files) && rpc_frames_may_answer(f->sensor);
    size_t n_used = 0;

    f->file = NULL;
    f->n_released = 0;
    if (n_bytes)
        n_used = hash_gate_take(&f->gate, data, n_bytes, ask, &verdict);
    else if (!f->gate.holding || f->gate.spent)
        verdict = HASH_GATE_PASS; /* nothing is held that the end would cut off */
    switch (verdict) {
    case HASH_GATE_PASS:
        *ret = RELAY_PASS;
        break;
    case HASH_GATE_HELD:
        *ret = RELAY_SWALLOW;
        break;
    case HASH_GATE_ASK:
        begin_feed(f);
        *ret = RELAY_INSERT;
        break;
    case HASH_GATE_RELEASE:
        *ret = RELAY_INSERT;
        break;
    }
    return n_used;
}

static size_t release(struct feeding *f, uint8_t *buf, size_t n_bytes)
{
    size_t left = f->gate.n_held - f->n_released, n = n_bytes < left ? n_bytes : left;

    memcpy(buf, f->gate.held + f->n_released, n);
    f->n_released += n;
    return n;
}

static uint64_t data_left(const struct feeding *f)
{
    return sat_min(feed_left_bytes(&f->feed), f->feed.span.n_bytes);
}

static size_t on_read(void *ctx, uint8_t *buf, size_t n_bytes)
{
    struct feeding *f = ctx;
    uint64_t before;
    size_t n;

    if (!f->file)
        return release(f, buf, n_bytes);
    before = data_left(f);
    n = feed_read(&f->feed, buf, n_bytes);
    f->counts.fed_bytes += before - data_left(f);
    f->given_bytes += n;
    return n;
}

static size_t on_answer(void *ctx, uint8_t buf[RELAY_ANSWER_MAX])
{
    struct feeding *f = ctx;
    struct model_file *file = f->file;

    if (!file)
        return 0;
    f->file = NULL;
    f->n_answered++;
    if (feed_answer(&f->feed, buf)) {
        f->counts.n_fed++;
    } else {
        f->counts.n_wrong++;
        give_up(file, f->feed.failed ? "it could not be read to its end" : "its bytes are not those that were indexed");
    }
    return FEED_ANSWER_BYTES;
}

struct relay_filter feeding_filter(struct feeding *f)
{
    return (struct relay_filter){.judge = on_judge, .read = on_read, .answer = on_answer, .ctx = f};
}

/* ---- the picture -------------------------------------------------------------------------------------------------- */

struct feeding_counts feeding_counts(const struct feeding *f)
{
    return f->counts;
}

void feeding_as_carried(const struct feeding *f, struct rpc_figures *v)
{
    v->request.n_bytes = sat_sub(v->request.n_bytes + f->n_kept * HASH_FRAME_BYTES, f->given_bytes);
    v->n_tensor_bytes =
        sat_sub(v->n_tensor_bytes, f->counts.fed_bytes); /* a stream not understood any more counts none */
    v->n_fed_bytes = f->counts.fed_bytes;
    v->n_hash_asked += f->n_kept;
    v->n_hash_known += f->counts.n_fed;
    v->answer.n_bytes += f->n_answered * FEED_ANSWER_BYTES;
    v->answer.n_frames += f->n_answered;
    v->n_round_trips += f->n_answered;
}
