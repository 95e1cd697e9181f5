/* 64-bit arithmetic that stops at UINT64_MAX, for sizes made from figures that others sent: a sum that would wrap is
 * "more than there is", never small. */
#ifndef CARAVAN_COMMON_CORE_SAT_H
#define CARAVAN_COMMON_CORE_SAT_H

#include <stdint.h>

static inline uint64_t sat_add(uint64_t a, uint64_t b)
{
    uint64_t r;

    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static inline uint64_t sat_mul(uint64_t a, uint64_t b)
{
    uint64_t r;

    return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

/* a - b, at least 0. */
static inline uint64_t sat_sub(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static inline uint64_t sat_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Of two moments the sooner one, too: UINT64_MAX is "never". */
static inline uint64_t sat_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
