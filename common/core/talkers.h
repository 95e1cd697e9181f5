/* Who does it most: counts by address what strangers do as often as they please, in a table of fixed size, and tells what is
 * worth a line in the log. Pure.
 *
 * However many addresses somebody has, there are at most TALKERS_MAX lines in TALKERS_MS. */
#ifndef CARAVAN_COMMON_CORE_TALKERS_H
#define CARAVAN_COMMON_CORE_TALKERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { TALKERS_MAX = 32, TALKERS_MS = 60000 };

/* All zero at first. */
struct talkers {
    uint64_t n_others; /* of addresses that the table has, or had, no room for */
    size_t n;
    struct talker {
        char addr[PROTO_ADDR_MAX];
        uint64_t n;
        uint64_t n_unsaid, said_ms, last_ms;
    } talker[TALKERS_MAX]; /* in no order */
};

/* Once more from addr. 0: not to be said; else how often from there since it was said last. now_ms: monotonic. */
uint64_t talkers_count(struct talkers *t, const char *addr, uint64_t now_ms);

#endif
