/* Whole numbers in bytes, the lowest first: how llama.cpp writes them, on the wire and in files, and so do we. */
#ifndef CARAVAN_COMMON_CORE_LE_H
#define CARAVAN_COMMON_CORE_LE_H

#include <stddef.h>
#include <stdint.h>

/* n_bytes: at most 8. */
uint64_t le_get(const void *from, size_t n_bytes);
void le_put(void *to, size_t n_bytes, uint64_t value); /* what does not fit is cut */

#endif
