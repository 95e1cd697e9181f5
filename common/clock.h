/* Now, for the shells: cores are told the time. */
#ifndef CARAVAN_COMMON_CLOCK_H
#define CARAVAN_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ms(clockid_t which)
{
    struct timespec ts;

    clock_gettime(which, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline uint64_t clock_now_ms(void) /* only ever forward; stands still while the machine sleeps */
{
    return clock_ms(CLOCK_MONOTONIC);
}

static inline uint64_t clock_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline uint64_t clock_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

#endif
