#include "agent/core/epoch_book.h"

struct epoch *epoch_book_find(struct epoch_book *b, const struct id128 *instance)
{
    for (size_t i = 0; i < b->n; i++) {
        if (id128_equal(&b->epoch[i].instance, instance))
            return &b->epoch[i];
    }
    return NULL;
}

static struct epoch *oldest_over(struct epoch_book *b)
{
    struct epoch *oldest = NULL;

    for (size_t i = 0; i < b->n; i++) {
        struct epoch *e = &b->epoch[i];

        if (e->state == EPOCH_OVER && (!oldest || e->used < oldest->used))
            oldest = e;
    }
    return oldest;
}

struct epoch *epoch_book_enter(struct epoch_book *b, const struct id128 *instance)
{
    struct epoch *e = epoch_book_find(b, instance);

    if (!e) {
        e = b->n < AGENT_EPOCHS_MAX ? &b->epoch[b->n++] : oldest_over(b);
        if (!e)
            return NULL;
        *e = (struct epoch){.instance = *instance, .state = EPOCH_OVER};
    }
    e->used = ++b->count;
    return e;
}
