#include "controller/core/suspects.h"

#include <errno.h>
#include <stdlib.h>

#include "common/core/err.h"

struct suspects {
    size_t n, max;
    uint64_t keep_ms, version;
    struct suspect item[];
};

int suspects_new(size_t max, uint64_t keep_ms, struct suspects **ret)
{
    struct suspects *s = calloc(1, sizeof(*s) + max * sizeof(s->item[0]));

    if (!s)
        return err_raise(-ENOMEM);
    s->max = max;
    s->keep_ms = keep_ms;
    *ret = s;
    return 0;
}

void suspects_destroy(struct suspects **s)
{
    free(*s);
    *s = NULL;
}

static struct suspect *look_up(const struct suspects *s, const struct id128 *body)
{
    for (size_t k = 0; k < s->n; k++)
        if (id128_equal(&s->item[k].body, body))
            return (struct suspect *)&s->item[k];
    return NULL;
}

static void forget(struct suspects *s, struct suspect *gone)
{
    *gone = s->item[--s->n];
    s->version++;
}

const struct suspect *suspects_find(const struct suspects *s, const struct id128 *body, uint64_t now_ms)
{
    const struct suspect *found = look_up(s, body);

    return found && found->until_ms > now_ms ? found : NULL;
}

/* A place for one more: a free one, else that of the one which would be forgotten first. */
static struct suspect *make_room(struct suspects *s)
{
    struct suspect *oldest = &s->item[0];

    if (s->n < s->max)
        return &s->item[s->n++];
    for (size_t k = 1; k < s->n; k++)
        if (s->item[k].until_ms < oldest->until_ms)
            oldest = &s->item[k];
    return oldest;
}

const struct suspect *suspects_add(struct suspects *s, const struct id128 *body, const struct id128 *instance,
                                   uint64_t epoch, uint64_t reached_bytes, uint64_t now_ms)
{
    struct suspect *it = look_up(s, body);

    if (!it || it->until_ms <= now_ms) {
        it = it ? it : make_room(s);
        *it = (struct suspect){.body = *body, .first_epoch = epoch};
        s->version++;
    }
    if (it->epoch != epoch || !id128_equal(&it->instance, instance))
        it->aborts++;
    it->instance = *instance;
    it->epoch = epoch;
    it->reached_bytes = reached_bytes > it->reached_bytes ? reached_bytes : it->reached_bytes;
    it->until_ms = now_ms + s->keep_ms;
    return it;
}

void suspects_clear(struct suspects *s, const struct id128 *body)
{
    struct suspect *it = look_up(s, body);

    if (it && !it->refused)
        forget(s, it);
}

void suspects_convict(struct suspects *s, const struct id128 *body, uint64_t now_ms)
{
    struct suspect *it = look_up(s, body);
    struct id128 instance;
    uint64_t epoch;

    if (!it)
        return;
    it->refused = true;
    it->until_ms = now_ms + s->keep_ms;
    instance = it->instance;
    epoch = it->first_epoch;
    for (size_t k = s->n; k--;)
        if (!s->item[k].refused && s->item[k].first_epoch == epoch && id128_equal(&s->item[k].instance, &instance))
            forget(s, &s->item[k]);
}

void suspects_forgive(struct suspects *s, const struct id128 *instance, uint64_t epoch)
{
    for (size_t k = s->n; k--;)
        if (s->item[k].epoch == epoch && id128_equal(&s->item[k].instance, instance))
            forget(s, &s->item[k]);
}

bool suspects_none(const struct suspects *s)
{
    return s->n == 0;
}

uint64_t suspects_version(const struct suspects *s)
{
    return s->version;
}
