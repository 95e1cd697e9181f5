/* FNV-1a, 64 bits: tells files, names and cut texts apart. It keeps nobody from making two that are equal: where that
 * matters, crypto_digest. */
#ifndef CARAVAN_COMMON_CORE_FNV_H
#define CARAVAN_COMMON_CORE_FNV_H

#include <stddef.h>
#include <stdint.h>

/* The hash of nothing. */
#define FNV1A_BASIS UINT64_C(0xcbf29ce484222325)

/* hash: FNV1A_BASIS, or what was returned for the bytes before these. */
uint64_t fnv1a(uint64_t hash, const void *buf, size_t n);

#endif
