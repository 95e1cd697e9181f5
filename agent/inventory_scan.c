#include "agent/inventory_scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/model_path.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/gguf.h"
#include "common/core/text.h"
#include "common/file.h"

enum { FILES_MAX = 4096 /* over all directories; sets have up to GGUF_SHARDS_MAX */ };

/* One file. Whose it is: (directory, stem, count), number no. */
struct entry {
    char path[PROTO_PATH_MAX];
    char stem[GGUF_FILE_MAX];
    size_t dir;
    uint32_t no, count;
    uint64_t inode, device, size_bytes;
    int64_t mtime_ns;
    struct gguf *gguf;      /* NULL: why says why */
    char why[GGUF_WHY_MAX]; /* empty where gguf is there */
    bool seen;
};

struct inventory_cache {
    const char *const *dir;
    size_t n_dirs;
    size_t n, cap;
    struct entry **entry; /* sorted */
    bool told;            /* an inventory was made of it already */
    bool changed;
    uint64_t n_headers;
};

static void entry_destroy(struct entry **e)
{
    if (!*e)
        return;
    gguf_destroy(&(*e)->gguf);
    free(*e);
    *e = NULL;
}

int inventory_cache_new(const char *const *dir, size_t n_dirs, struct inventory_cache **ret)
{
    struct inventory_cache *c = calloc(1, sizeof(*c));

    if (!c)
        return err_raise(-ENOMEM);
    c->dir = dir;
    c->n_dirs = n_dirs;
    *ret = c;
    return 0;
}

void inventory_cache_destroy(struct inventory_cache **c)
{
    if (!*c)
        return;
    for (size_t i = 0; i < (*c)->n; i++)
        entry_destroy(&(*c)->entry[i]);
    free((*c)->entry);
    free(*c);
    *c = NULL;
}

void inventory_destroy(struct inventory **i)
{
    if (!*i)
        return;
    for (size_t m = 0; m < (*i)->n_models; m++)
        free((*i)->model[m].shape);
    free((*i)->model);
    free(*i);
    *i = NULL;
}

uint64_t inventory_headers_read(const struct inventory_cache *c)
{
    return c->n_headers;
}

/* ---- one file ---------------------------------------------------------------------------------------------------- */

/* What is wrong with a file is a sentence in the entry; only -ENOMEM is an error here. */
static int read_header(const struct inventory_cache *c, struct entry *e)
{
    CLEANUP(cleanup_close) int fd = -1;
    struct gguf_source source = file_gguf_source(&fd, e->size_bytes);
    int r = model_path_open(e->path, c->dir, c->n_dirs, &fd);

    gguf_destroy(&e->gguf);
    e->why[0] = '\0';
    if (r == MODEL_PATH_E_OUTSIDE)
        text_copy(e->why, sizeof(e->why),
                  "it is a link that leads out of this node's `models`: add the folder that it leads to");
    else if (r)
        snprintf(e->why, sizeof(e->why), "it cannot be opened: %s", strerrordesc_np(r < 0 ? -r : ENOENT));
    if (r)
        return 0;
    r = gguf_read(&source, &e->gguf, e->why, sizeof(e->why));
    if (r == -ENOMEM)
        return err_pass(r);
    if (r < 0)
        snprintf(e->why, sizeof(e->why), "it cannot be read: %s", strerrordesc_np(-r));
    if (!r)
        e->why[0] = '\0';
    return 0;
}

static struct entry *find(struct inventory_cache *c, const char *path)
{
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->entry[i]->path, path))
            return c->entry[i];
    return NULL;
}

static int append(struct inventory_cache *c, struct entry **e)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        struct entry **grown = realloc(c->entry, cap * sizeof(*grown));

        if (!grown)
            return err_raise(-ENOMEM);
        c->entry = grown;
        c->cap = cap;
    }
    c->entry[c->n++] = *e;
    *e = NULL;
    return 0;
}

/* A file as it is now: known and unchanged, or its header is read. */
static int take_file(struct inventory_cache *c, size_t dir, const char *name)
{
    CLEANUP(entry_destroy) struct entry *fresh = calloc(1, sizeof(*fresh));
    struct entry *known;
    struct stat st;
    int r;

    if (!fresh)
        return err_raise(-ENOMEM);
    if (!gguf_parse_file_name(name, fresh->stem, &fresh->no, &fresh->count) ||
        snprintf(fresh->path, sizeof(fresh->path), "%s/%s", c->dir[dir], name) >= (int)sizeof(fresh->path) ||
        stat(fresh->path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    fresh->dir = dir;
    fresh->inode = st.st_ino;
    fresh->device = st.st_dev;
    fresh->size_bytes = (uint64_t)st.st_size;
    fresh->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    fresh->seen = true;
    known = find(c, fresh->path);
    if (known && known->inode == fresh->inode && known->device == fresh->device &&
        known->size_bytes == fresh->size_bytes && known->mtime_ns == fresh->mtime_ns) {
        known->seen = true;
        return 0;
    }
    if (!known && c->n == FILES_MAX)
        return 0;
    c->n_headers++;
    r = read_header(c, fresh);
    if (r < 0)
        return err_pass(r);
    c->changed = true;
    if (!known)
        return append(c, &fresh);
    gguf_destroy(&known->gguf);
    *known = *fresh;
    fresh->gguf = NULL;
    return 0;
}

/* ---- all files --------------------------------------------------------------------------------------------------- */

static int look_into(struct inventory_cache *c, size_t dir)
{
    CLEANUP(cleanup_closedir) DIR *d = opendir(c->dir[dir]);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        int r = e->d_name[0] == '.' ? 0 : take_file(c, dir, e->d_name);

        if (r < 0)
            return err_pass(r);
    }
    return 0;
}

static void drop_unseen(struct inventory_cache *c)
{
    size_t kept = 0;

    for (size_t i = 0; i < c->n; i++)
        if (c->entry[i]->seen) {
            c->entry[kept++] = c->entry[i];
        } else {
            entry_destroy(&c->entry[i]);
            c->changed = true;
        }
    c->n = kept;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    int order = strcmp(x->stem, y->stem);

    if (!order)
        order = (x->dir > y->dir) - (x->dir < y->dir);
    if (!order)
        order = (x->count > y->count) - (x->count < y->count);
    return order ? order : (x->no > y->no) - (x->no < y->no);
}

static bool same_model(const struct entry *a, const struct entry *b)
{
    return !strcmp(a->stem, b->stem) && a->dir == b->dir && a->count == b->count;
}

/* The files entry[0..n) of one model, sorted by number, not all of which need be there. */
static int make_shape(struct entry *const *entry, size_t n, struct model_facts *m)
{
    CLEANUP(cleanup_free) const struct gguf **shard = NULL;
    CLEANUP(gguf_destroy) struct gguf *merged = NULL;
    const struct gguf *whole = entry[0]->gguf;
    char why[GGUF_WHY_MAX] = "";
    int r;

    for (size_t i = 0; i < n; i++)
        if (!entry[i]->gguf) {
            text_copy(m->problem, sizeof(m->problem), entry[i]->why);
            return 0;
        }
    if (entry[0]->count > 1 || whole->split_count > 1) {
        shard = calloc(entry[0]->count, sizeof(*shard));
        if (!shard)
            return err_raise(-ENOMEM);
        for (size_t i = 0; i < n; i++)
            shard[entry[i]->no] = entry[i]->gguf;
        r = gguf_merge(entry[0]->stem, shard, entry[0]->count, &merged, why, sizeof(why));
        if (r < 0)
            return err_pass(r);
        if (r) {
            text_copy(m->problem, sizeof(m->problem), why);
            return 0;
        }
        whole = merged;
    }
    if (whole->shape->has_projector) {
        text_copy(m->problem, sizeof(m->problem), "it is a projector (mmproj) for another model");
        return 0;
    }
    m->header_hash = whole->header_hash;
    m->shape = model_shape_copy(whole->shape);
    return m->shape ? 0 : err_raise(-ENOMEM);
}

static int make_model(struct entry *const *entry, size_t n, struct model_facts *m)
{
    memset(m, 0, sizeof(*m));
    text_copy(m->name, sizeof(m->name), entry[0]->stem);
    text_copy(m->path, sizeof(m->path), entry[0]->path);
    m->n_files = entry[0]->count;
    for (size_t i = 0; i < n; i++) {
        uint64_t mtime_ms = entry[i]->mtime_ns > 0 ? (uint64_t)entry[i]->mtime_ns / 1000000 : 0;

        m->size_bytes += entry[i]->size_bytes;
        if (mtime_ms > m->mtime_wall_ms)
            m->mtime_wall_ms = mtime_ms;
    }
    if (strcmp(m->name, entry[0]->stem) != 0 || strcmp(m->path, entry[0]->path) != 0) {
        text_copy(m->problem, sizeof(m->problem), "its name is too long or not UTF-8: rename it");
        return 0;
    }
    return make_shape(entry, n, m);
}

static int make_inventory(struct inventory_cache *c, struct inventory **ret)
{
    CLEANUP(inventory_destroy) struct inventory *i = calloc(1, sizeof(*i));
    const char *last = "";
    int r;

    if (!i)
        return err_raise(-ENOMEM);
    i->model = calloc(c->n < PROTO_MODELS_MAX ? c->n + 1 : PROTO_MODELS_MAX, sizeof(*i->model));
    if (!i->model)
        return err_raise(-ENOMEM);
    if (c->n)
        qsort(c->entry, c->n, sizeof(*c->entry), by_name);
    for (size_t first = 0, n; first < c->n; first += n) {
        for (n = 1; first + n < c->n && same_model(c->entry[first], c->entry[first + n]); n++)
            ;
        if (!strcmp(last, c->entry[first]->stem))
            continue; /* an earlier directory has it */
        last = c->entry[first]->stem;
        if (i->n_models == PROTO_MODELS_MAX) {
            i->n_left_out++;
            continue;
        }
        r = make_model(c->entry + first, n, &i->model[i->n_models]);
        if (r < 0)
            return err_pass(r);
        i->n_models++;
    }
    *ret = i;
    i = NULL;
    return 0;
}

int inventory_scan(struct inventory_cache *c, struct inventory **ret)
{
    struct inventory *made;
    int r;

    *ret = NULL;
    for (size_t i = 0; i < c->n; i++)
        c->entry[i]->seen = false;
    for (size_t i = 0; i < c->n_dirs; i++) {
        r = look_into(c, i);
        if (r < 0)
            return err_pass(r);
    }
    drop_unseen(c);
    if (c->told && !c->changed)
        return 0;
    r = make_inventory(c, &made);
    if (r < 0)
        return err_pass(r);
    c->told = true;
    c->changed = false;
    *ret = made;
    return 0;
}
