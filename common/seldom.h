/* What happens as often as somebody else pleases is counted each time and said now and then. Pure. */
#ifndef CARAVAN_COMMON_SELDOM_H
#define CARAVAN_COMMON_SELDOM_H

#include <stdint.h>

enum { SELDOM_MS = 10000 };

struct seldom {
    uint64_t n, said_ms; /* since it was said last; 0: never */
};

/* Once more. 0: not to be said; else how often it was since it was said last. now_ms: monotonic. */
static inline uint64_t seldom_count(struct seldom *s, uint64_t now_ms)
{
    uint64_t n = ++s->n;

    if (s->said_ms && now_ms - s->said_ms < SELDOM_MS)
        return 0;
    *s = (struct seldom){.said_ms = now_ms};
    return n;
}

#endif
