#include "agent/tensor_work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/carrier/conf.h"
#include "agent/carrier/tensor_store.h"
#include "agent/model_path.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/gguf.h"
#include "common/core/text.h"
#include "common/file.h"
#include "common/log.h"

enum job_state { JOB_NEW, JOB_TODO /* its header was read, and not all of it is indexed */, JOB_DONE, JOB_FAILED };

struct job {
    char path[PROTO_PATH_MAX];
    size_t model; /* whose file it is */
    enum job_state state;
    struct tensor_file_id id; /* as it was when it was taken, or opened */
    uint64_t n_bytes;
};

struct tensor_work {
    const char *index_dir;
    const char *const *dir;
    size_t n_dirs;
    uint64_t take;
    size_t n_models;
    size_t n;
    struct job *job;
    bool swept; /* since the files were taken */
    /* The one that is being hashed: job[at]; index NULL: none. */
    struct tensor_index *index;
    int fd;
    size_t at;
    uint64_t began_ms;
};

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

int tensor_models_of(const struct inventory *models, struct tensor_models **ret)
{
    struct tensor_models *m = calloc(1, sizeof(*m) + models->n_models * sizeof(m->path[0]));

    if (!m)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < models->n_models; i++)
        if (!models->model[i].problem[0])
            text_copy(m->path[m->n++], PROTO_PATH_MAX, models->model[i].path);
    *ret = m;
    return 0;
}

int tensor_work_new(const char *index_dir, const char *const *dir, size_t n_dirs, struct tensor_work **ret)
{
    struct tensor_work *w = calloc(1, sizeof(*w));

    if (!w)
        return err_raise(-ENOMEM);
    w->index_dir = index_dir;
    w->dir = dir;
    w->n_dirs = n_dirs;
    w->fd = -1;
    *ret = w;
    return 0;
}

static void stop_hashing(struct tensor_work *w)
{
    tensor_index_destroy(&w->index);
    cleanup_close(&w->fd);
}

void tensor_work_destroy(struct tensor_work **w)
{
    if (!*w)
        return;
    stop_hashing(*w);
    free((*w)->job);
    free(*w);
    *w = NULL;
}

/* ---- which files -------------------------------------------------------------------------------------------------- */

struct job_list {
    size_t n, cap;
    struct job *job; /* owned */
};

static void job_list_clear(struct job_list *l)
{
    free(l->job);
    *l = (struct job_list){0};
}

static int append(struct job_list *l, const char *path, size_t model)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 16;
        struct job *bigger = reallocarray(l->job, cap, sizeof(*bigger));

        if (!bigger)
            return err_raise(-ENOMEM);
        l->job = bigger;
        l->cap = cap;
    }
    l->job[l->n] = (struct job){.state = JOB_NEW, .model = model};
    text_copy(l->job[l->n++].path, sizeof(l->job[0].path), path);
    return 0;
}

/* One that is not as it should be is left out: the inventory says so, and tells again when that changes. So is one of more
 * files than a carrier opens, which nobody else would say before it is too late. */
static int append_model(const struct tensor_work *w, struct job_list *l, const char *path, size_t model)
{
    CLEANUP(cleanup_free) char(*file)[PROTO_PATH_MAX] = NULL;
    size_t n = 0;
    int r = model_path_files(path, w->dir, w->n_dirs, CARRIER_FILES_MAX, &file, &n);

    if (r == -ENOMEM)
        return err_pass(r);
    if (r == MODEL_PATH_E_TOO_MANY)
        log_warn("tensors.too_many", "file=%s text=\"of more than %d files: its tensors come over the network\"",
                 LOG_STR(path), CARRIER_FILES_MAX);
    for (size_t i = 0; !r && i < n; i++)
        if (append(l, file[i], model) < 0)
            return err_raise(-ENOMEM);
    return 0;
}

/* Where the same file stands in what was known until now; SIZE_MAX: nowhere, or it failed and may be tried again. */
static size_t find_known(const struct tensor_work *w, const char *path)
{
    CLEANUP(cleanup_close) int fd = open(path, O_PATH | O_CLOEXEC);
    struct tensor_file_id id;

    if (fd < 0 || tensor_store_identify(fd, &id) < 0)
        return SIZE_MAX;
    for (size_t i = 0; i < w->n; i++)
        if (w->job[i].state != JOB_FAILED && tensor_file_same(&w->job[i].id, &id) && !strcmp(w->job[i].path, path))
            return i;
    return SIZE_MAX;
}

int tensor_work_take(struct tensor_work *w, const struct tensor_models *models)
{
    CLEANUP(job_list_clear) struct job_list l = {0};
    size_t at = SIZE_MAX;

    for (size_t i = 0; i < models->n; i++) {
        int r = append_model(w, &l, models->path[i], i);

        if (r < 0)
            return err_pass(r);
    }
    for (size_t i = 0; i < l.n; i++) {
        size_t known = find_known(w, l.job[i].path), model = l.job[i].model;

        if (known != SIZE_MAX)
            l.job[i] = w->job[known];
        l.job[i].model = model;
        if (w->index && known == w->at)
            at = i;
    }
    if (at == SIZE_MAX)
        stop_hashing(w);
    free(w->job);
    w->job = l.job;
    w->n = l.n;
    w->at = at;
    w->swept = false;
    w->take = models->take;
    w->n_models = models->n;
    l = (struct job_list){0};
    return 0;
}

/* ---- one file ----------------------------------------------------------------------------------------------------- */

static void give_up(struct job *job, int r, const char *text)
{
    job->state = JOB_FAILED;
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "tensors.failed", r, "file=%s text=\"%s\"", LOG_STR(job->path), text);
    else
        log_warn("tensors.failed", "file=%s text=%s", LOG_STR(job->path), LOG_STR(text));
}

/* Reads its header, and what is kept of it. It is read once, and its pages are not to drive out those that work with them:
 * kernels from 6.3 on heed that. Where it cannot, that is said. */
static void open_job(struct tensor_work *w, struct job *job)
{
    char why[GGUF_WHY_MAX] = "it is not there any more";
    int r = model_path_open(job->path, w->dir, w->n_dirs, &w->fd);

    if (r == 0) {
        posix_fadvise(w->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        posix_fadvise(w->fd, 0, 0, POSIX_FADV_NOREUSE);
        r = tensor_store_open(w->index_dir, w->fd, &w->index, why, sizeof(why));
    }
    if (r) {
        give_up(job, r, r < 0 ? "it cannot be read" : why);
        stop_hashing(w);
        return;
    }
    job->id = tensor_index_file(w->index);
    job->n_bytes = tensor_index_bytes(w->index);
    job->state = tensor_index_is_done(w->index) ? JOB_DONE : JOB_TODO;
}

static void look(struct tensor_work *w, struct job *job)
{
    open_job(w, job);
    stop_hashing(w);
}

static void begin(struct tensor_work *w, struct job *job)
{
    w->at = (size_t)(job - w->job);
    w->began_ms = clock_now_ms();
    open_job(w, job);
}

/* Hashed to the end: kept, if it is still the file that it was. */
static void finish(struct tensor_work *w, struct job *job)
{
    struct tensor_file_id is;
    int r = tensor_store_identify(w->fd, &is);

    if (r == 0 && !tensor_file_same(&is, &job->id)) {
        give_up(job, 0, "it was written to while it was read");
        return;
    }
    if (r == 0)
        r = tensor_store_keep(w->index_dir, w->index);
    if (r < 0) {
        give_up(job, r, "its index could not be kept");
        return;
    }
    job->state = JOB_DONE;
    log_info("tensors.indexed", "file=%s bytes=%" PRIu64 " ms=%" PRIu64, LOG_STR(job->path), job->n_bytes,
             clock_now_ms() - w->began_ms);
}

static void hash_some(struct tensor_work *w, uint64_t n_bytes)
{
    struct job *job = &w->job[w->at];
    struct gguf_source source = file_gguf_source(&w->fd, job->id.size_bytes);
    int r = tensor_index_step(w->index, &source, n_bytes);

    if (r == TENSOR_INDEX_E_MORE)
        return;
    if (r < 0)
        give_up(job, r, "it cannot be read");
    else
        finish(w, job);
    stop_hashing(w);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static bool is_index(const char *name)
{
    const char *end = strstr(name, ".tensors");

    return end && (!strcmp(end, ".tensors") || !strcmp(end, ".tensors.new"));
}

/* What is wanted is touched: what has not been for long is of a file that is gone for good. */
static void sweep(const struct tensor_work *w)
{
    CLEANUP(close_dir) DIR *d = opendir(w->index_dir);
    char name[TENSOR_STORE_NAME_MAX];
    const uint64_t keep_ms = (uint64_t)TENSOR_WORK_KEEP_DAYS * 24 * 3600 * 1000, now_ms = clock_wall_ms();
    const uint64_t oldest_ms = now_ms > keep_ms ? now_ms - keep_ms : 0; /* a machine may begin in 1970 */
    struct dirent *e;
    struct stat st;

    for (size_t i = 0; d && i < w->n; i++)
        if (w->job[i].state == JOB_DONE) /* one without large tensors has no index */
            utimensat(dirfd(d), tensor_store_name(&w->job[i].id, name), NULL, AT_SYMLINK_NOFOLLOW);
    while (d && (e = readdir(d)))
        if (is_index(e->d_name) && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_mtim.tv_sec < (time_t)(oldest_ms / 1000))
            unlinkat(dirfd(d), e->d_name, 0);
}

static struct job *find(const struct tensor_work *w, enum job_state state)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->job[i].state == state)
            return &w->job[i];
    return NULL;
}

/* All headers first, so that what is left is known; then the sweep, which needs to know what is wanted. */
int tensor_work_step(struct tensor_work *w, uint64_t n_bytes)
{
    struct job *job = find(w, JOB_NEW);

    if (w->index) {
        hash_some(w, n_bytes);
    } else if (job) {
        look(w, job);
    } else if (!w->swept) {
        sweep(w);
        w->swept = true;
    } else {
        job = find(w, JOB_TODO);
        if (!job)
            return 0;
        begin(w, job);
    }
    return TENSOR_WORK_E_MORE;
}

static uint64_t left_of(const struct tensor_work *w, size_t at)
{
    if (w->job[at].state != JOB_TODO)
        return 0;
    return w->index && at == w->at ? tensor_index_left_bytes(w->index) : w->job[at].n_bytes;
}

/* Its files follow one another, from *at on; *at: where the next one's begin. */
static uint16_t permille_of(const struct tensor_work *w, size_t model, size_t *at)
{
    size_t n = 0, n_done = 0, n_failed = 0;
    uint64_t all = 0, left = 0;

    for (; *at < w->n && w->job[*at].model == model; ++*at) {
        const struct job *job = &w->job[*at];

        n++;
        n_done += job->state == JOB_DONE;
        n_failed += job->state == JOB_FAILED;
        all += job->n_bytes;
        left += left_of(w, *at);
    }
    if (n && n_done == n)
        return 1000;
    if (!n || n_failed)
        return 0;
    return (uint16_t)(1.0 + (all ? (double)(all - left) / (double)all * 998.0 : 0));
}

void tensor_work_progress(const struct tensor_work *w, struct tensor_progress *ret)
{
    size_t at = 0;

    *ret = (struct tensor_progress){.n_files = w->n, .take = w->take};
    for (size_t i = 0; i < w->n; i++) {
        ret->n_indexed += w->job[i].state == JOB_DONE;
        ret->n_failed += w->job[i].state == JOB_FAILED;
        ret->n_bytes += w->job[i].n_bytes;
        ret->left_bytes += left_of(w, i);
    }
    ret->n_models = w->n_models < PROTO_MODELS_MAX ? w->n_models : PROTO_MODELS_MAX;
    for (size_t m = 0; m < ret->n_models; m++)
        ret->index_permille[m] = permille_of(w, m, &at);
}
