#include "common/core/le.h"

#include <assert.h>

uint64_t le_get(const void *from, size_t n_bytes)
{
    const uint8_t *p = from;
    uint64_t value = 0;

    assert(n_bytes <= sizeof(value));
    for (size_t i = 0; i < n_bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

void le_put(void *to, size_t n_bytes, uint64_t value)
{
    uint8_t *p = to;

    assert(n_bytes <= sizeof(value));
    for (size_t i = 0; i < n_bytes; i++)
        p[i] = (uint8_t)(value >> (8 * i));
}
