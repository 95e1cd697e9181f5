/* Whose time is over next: a heap, so that neither a thousand that wait nor one more that comes is a walk over all. */
#include <errno.h>
#include <stdlib.h>

#include "common/core/err.h"
#include "controller/core/admission_state.h"

int alarm_reserve(struct admission *a, size_t n)
{
    size_t cap = a->alarms_cap ? a->alarms_cap : 16;
    struct admission_ticket **grown;

    if (n <= a->alarms_cap)
        return 0;
    while (cap < n)
        cap *= 2;
    grown = realloc(a->alarm, cap * sizeof(grown[0]));
    if (!grown)
        return err_raise(-ENOMEM);
    a->alarm = grown;
    a->alarms_cap = cap;
    return 0;
}

static bool is_sooner(const struct admission_ticket *t, const struct admission_ticket *than)
{
    return t->alarm_ms != than->alarm_ms ? t->alarm_ms < than->alarm_ms : t->seq < than->seq;
}

static void put(struct admission *a, size_t at, struct admission_ticket *t)
{
    a->alarm[at - 1] = t;
    t->alarm = at;
}

/* Finds t its place, of which the one at `at` is free. */
static void settle(struct admission *a, size_t at, struct admission_ticket *t)
{
    while (at > 1 && is_sooner(t, a->alarm[at / 2 - 1])) {
        put(a, at, a->alarm[at / 2 - 1]);
        at /= 2;
    }
    for (size_t child; (child = 2 * at) <= a->n_alarms; at = child) {
        if (child < a->n_alarms && is_sooner(a->alarm[child], a->alarm[child - 1]))
            child++;
        if (!is_sooner(a->alarm[child - 1], t))
            break;
        put(a, at, a->alarm[child - 1]);
    }
    put(a, at, t);
}

static void clear(struct admission *a, struct admission_ticket *t)
{
    size_t at = t->alarm;
    struct admission_ticket *last;

    if (!at)
        return;
    t->alarm = 0;
    last = a->alarm[--a->n_alarms];
    if (last != t)
        settle(a, at, last);
}

void alarm_set(struct admission *a, struct admission_ticket *t, uint64_t at_ms)
{
    if (at_ms == UINT64_MAX) {
        clear(a, t);
        return;
    }
    t->alarm_ms = at_ms;
    settle(a, t->alarm ? t->alarm : ++a->n_alarms, t);
}

struct admission_ticket *alarm_next(const struct admission *a)
{
    return a->n_alarms ? a->alarm[0] : NULL;
}
