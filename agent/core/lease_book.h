/* What this node has promised, one lease per (instance, epoch). The leader does the arithmetic per device; the node only
 * keeps the sum, and refuses what is over its own limit. A plain value: copied with the agent's state. */
#ifndef CARAVAN_AGENT_CORE_LEASE_BOOK_H
#define CARAVAN_AGENT_CORE_LEASE_BOOK_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { LEASE_MAX = PROTO_UNITS_MAX };
enum { LEASE_E_LIMIT = 1 /* the sum would be over the limit */, LEASE_E_FULL };

struct lease_book {
    size_t n;
    struct lease_facts lease[LEASE_MAX];
};

/* limit_bytes: 0 is none. One that is there already is kept as it is: 0. 0; LEASE_E_LIMIT; LEASE_E_FULL. */
int lease_book_grant(struct lease_book *b, const struct id128 *instance, uint64_t epoch, uint64_t bytes,
                     uint64_t limit_bytes);

/* Of the instance's leases those up to this epoch. */
void lease_book_release(struct lease_book *b, const struct id128 *instance, uint64_t up_to_epoch);

const struct lease_facts *lease_book_find(const struct lease_book *b, const struct id128 *instance, uint64_t epoch);

/* Stops at UINT64_MAX. */
uint64_t lease_book_sum(const struct lease_book *b);

#endif
