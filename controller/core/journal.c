#include "controller/core/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"

enum entry_kind { CHANGED, ADDED, REMOVED, REPLACED };

struct journal_entry {
    enum entry_kind kind;
    void *at;     /* CHANGED, REPLACED: where; ADDED, REMOVED: the item */
    void *before; /* CHANGED: the bytes; REPLACED: the old pointer */
    size_t size;  /* CHANGED */
    struct table *table;
    size_t index;
    journal_destroy_fn destroy;
};

static int journal_push(struct journal *j, const struct journal_entry *e)
{
    if (j->n == j->cap) {
        size_t cap = j->cap ? j->cap * 2 : 16;
        struct journal_entry *grown = realloc(j->entry, cap * sizeof(*grown));

        if (!grown)
            return err_raise(-ENOMEM);
        j->entry = grown;
        j->cap = cap;
    }
    j->entry[j->n++] = *e;
    return 0;
}

static void table_insert(struct table *t, size_t index, void *item)
{
    memmove(t->item + index + 1, t->item + index, (t->n - index) * sizeof(*t->item));
    t->item[index] = item;
    t->n++;
}

static void table_take(struct table *t, size_t index)
{
    t->n--;
    memmove(t->item + index, t->item + index + 1, (t->n - index) * sizeof(*t->item));
}

static size_t table_index(const struct table *t, const void *item)
{
    size_t i = 0;

    while (i < t->n && t->item[i] != item)
        i++;
    return i;
}

int journal_change(struct journal *j, void *at, size_t size)
{
    struct journal_entry e = {.kind = CHANGED, .at = at, .size = size};
    int r;

    for (size_t i = 0; i < j->n; i++) {
        if (j->entry[i].kind == CHANGED && j->entry[i].at == at && j->entry[i].size >= size)
            return 0;
    }
    e.before = malloc(size);
    if (!e.before)
        return err_raise(-ENOMEM);
    memcpy(e.before, at, size);
    r = journal_push(j, &e);
    if (r)
        free(e.before);
    return err_fold(r);
}

int journal_add(struct journal *j, struct table *t, size_t index, void *item, journal_destroy_fn destroy)
{
    int r;

    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 8;
        void **grown = realloc(t->item, cap * sizeof(*grown));

        if (!grown) {
            destroy(item);
            return err_raise(-ENOMEM);
        }
        t->item = grown;
        t->cap = cap;
    }
    r = journal_push(j, &(struct journal_entry){.kind = ADDED, .at = item, .table = t, .destroy = destroy});
    if (r) {
        destroy(item);
        return err_fold(r);
    }
    table_insert(t, index, item);
    return 0;
}

int journal_remove(struct journal *j, struct table *t, const void *item, journal_destroy_fn destroy)
{
    size_t index = table_index(t, item);
    int r;

    r = journal_push(j, &(struct journal_entry){
                            .kind = REMOVED, .at = t->item[index], .table = t, .index = index, .destroy = destroy});
    if (r)
        return err_fold(r);
    table_take(t, index);
    return 0;
}

int journal_replace(struct journal *j, void *at, void *value, journal_destroy_fn destroy)
{
    struct journal_entry e = {.kind = REPLACED, .at = at, .destroy = destroy};
    int r;

    /* by memcpy: the pointer stored there has a type of its own */
    memcpy(&e.before, at, sizeof(e.before));
    r = journal_push(j, &e);
    if (r) {
        if (destroy && value)
            destroy(value);
        return err_fold(r);
    }
    memcpy(at, &value, sizeof(value));
    return 0;
}

static void journal_clear(struct journal *j)
{
    free(j->entry);
    *j = (struct journal){0};
}

static void keep_entry(struct journal_entry *e)
{
    switch (e->kind) {
    case CHANGED:
        free(e->before);
        break;
    case ADDED:
        break;
    case REMOVED:
        e->destroy(e->at);
        break;
    case REPLACED:
        if (e->destroy && e->before)
            e->destroy(e->before);
        break;
    }
}

static void undo_entry(struct journal_entry *e)
{
    void *value;

    switch (e->kind) {
    case CHANGED:
        memcpy(e->at, e->before, e->size);
        free(e->before);
        break;
    case ADDED:
        table_take(e->table, table_index(e->table, e->at));
        e->destroy(e->at);
        break;
    case REMOVED:
        table_insert(e->table, e->index, e->at);
        break;
    case REPLACED:
        memcpy(&value, e->at, sizeof(value));
        memcpy(e->at, &e->before, sizeof(e->before));
        if (e->destroy && value)
            e->destroy(value);
        break;
    }
}

void journal_keep(struct journal *j)
{
    for (size_t i = 0; i < j->n; i++)
        keep_entry(&j->entry[i]);
    journal_clear(j);
}

void journal_undo(struct journal *j)
{
    while (j->n)
        undo_entry(&j->entry[--j->n]);
    journal_clear(j);
}

void table_destroy(struct table *t, journal_destroy_fn destroy)
{
    for (size_t i = 0; i < t->n; i++)
        destroy(t->item[i]);
    free(t->item);
    *t = (struct table){0};
}
