#include "tests/sim/store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/leader.h"

void sim_store_begin(struct sim_store *s)
{
    *s = (struct sim_store){0};
    s->last = &s->first;
}

static void free_batch(struct store_batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        record_clear(&b->record[i]);
    free(b->record);
    free(b);
}

void sim_store_end(struct sim_store *s)
{
    while (s->first) {
        struct store_batch *b = s->first;

        s->first = b->next;
        free_batch(b);
    }
    s->last = &s->first;
    for (size_t i = 0; i < s->n; i++)
        record_clear(&s->record[i]);
    s->n = 0;
}

static void *copied(const void *from, size_t n_bytes)
{
    void *to = from && n_bytes ? malloc(n_bytes) : NULL;

    assert(to || !from || !n_bytes);
    return to ? memcpy(to, from, n_bytes) : NULL;
}

void sim_store_copy(const struct record *from, struct record *to)
{
    *to = *from;
    if (from->kind != RECORD_INSTANCE)
        return;
    to->i.request.arg = copied(from->i.request.arg, from->i.request.n_args * sizeof(*from->i.request.arg));
    to->i.plan = copied(from->i.plan, sizeof(*from->i.plan));
    to->i.pinned = copied(from->i.pinned, sizeof(*from->i.pinned));
    to->i.tried = copied(from->i.tried, from->i.n_tried * sizeof(*from->i.tried));
}

/* ---- durable ----------------------------------------------------------------------------------------------------- */

static bool same(const struct record *a, const struct record *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == RECORD_KEY)
        return strcmp(a->key.key, b->key.key) == 0;
    return a->kind == RECORD_TASK ? a->task.id == b->task.id : id128_equal(&a->instance, &b->instance);
}

static void keep(struct sim_store *s, struct record *r)
{
    size_t i = 0;

    if (r->kind == RECORD_AUDIT)
        return;
    while (i < s->n && !same(&s->record[i], r))
        i++;
    if (i < s->n)
        record_clear(&s->record[i]);
    if (r->gone) {
        if (i < s->n)
            memmove(&s->record[i], &s->record[i + 1], (--s->n - i) * sizeof(*r));
        return;
    }
    assert(i < STORE_RECORDS_MAX);
    s->n += i == s->n;
    s->record[i] = *r;
    memset(r, 0, sizeof(*r));
}

const struct record *sim_store_instance(const struct sim_store *s, const struct id128 *id)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->record[i].kind == RECORD_INSTANCE && id128_equal(&s->record[i].instance, id))
            return &s->record[i];
    }
    return NULL;
}

static struct store_batch *take(struct sim_store *s)
{
    struct store_batch *b = s->first;

    s->first = b->next;
    if (!s->first)
        s->last = &s->first;
    return b;
}

static void on_durable(struct world *w, const struct happening *h)
{
    struct sim_store *s = h->p;
    struct store_batch *b;
    uint64_t token;
    bool ok = !s->fails;

    if (h->life != leader_life(w) || !s->first)
        return;
    b = take(s);
    token = b->token;
    for (size_t i = 0; i < b->n && ok; i++)
        keep(s, &b->record[i]);
    free_batch(b);
    leader_committed(w, token, ok);
}

void sim_store_append(struct world *w, struct sim_store *s, struct cluster_fx *fx)
{
    struct store_batch *b = calloc(1, sizeof(*b));
    uint64_t at_ms = w->now_ms + world_chance(w, 1, 20) + (s->slow_ms ? world_chance(w, 0, s->slow_ms) : 0);

    assert(b);
    *b = (struct store_batch){.token = fx->token, .n = fx->n_records, .record = fx->record};
    fx->record = NULL;
    fx->n_records = 0;
    *s->last = b;
    s->last = &b->next;
    s->last_ms = at_ms > s->last_ms ? at_ms : s->last_ms;
    world_at(w, s->last_ms, (struct happening){.happen = on_durable, .life = leader_life(w), .p = s});
}

void sim_store_crash(struct world *w, struct sim_store *s)
{
    uint64_t kept = world_chance(w, 0, 3);

    while (s->first) {
        struct store_batch *b = take(s);

        for (size_t i = 0; i < b->n && kept && !s->fails; i++)
            keep(s, &b->record[i]);
        kept -= kept > 0;
        free_batch(b);
    }
    s->last_ms = 0;
}
