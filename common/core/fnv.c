#include "common/core/fnv.h"

uint64_t fnv1a(uint64_t hash, const void *buf, size_t n)
{
    const unsigned char *p = buf;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}
