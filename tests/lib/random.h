/* Numbers from a seed: the same on every machine (splitmix64). */
#ifndef CARAVAN_TESTS_LIB_RANDOM_H
#define CARAVAN_TESTS_LIB_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* low..high, both included. */
static inline uint64_t random_in(uint64_t *seed, uint64_t low, uint64_t high)
{
    return low + random_next(seed) % (high - low + 1);
}

/* True once in n. */
static inline bool random_one_in(uint64_t *seed, uint64_t n)
{
    return random_next(seed) % n == 0;
}

#endif
