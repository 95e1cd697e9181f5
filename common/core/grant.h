/* Who may open which stream of the rank tunnel here: what was granted, by (instance, epoch, rank, direction, peer key). Pure,
 * bounded, a plain value; all zero at first.
 *
 * Nothing is ever taken out of it: who keeps one, a carrier, is started with all that it will ever grant, for one epoch, and is
 * killed with that. Nothing expires by the clock either: a leader that is away must not cost a stream. */
#ifndef CARAVAN_COMMON_CORE_GRANT_H
#define CARAVAN_COMMON_CORE_GRANT_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/tunnel_claim.h"

/* Room for all 16 ranks of an instance and 48 gateways. */
enum { GRANTS_MAX = 64, GRANT_KEY_BYTES = 32 };
enum { GRANT_E_FULL = 1 };

struct grant_book {
    size_t n;
    struct grant {
        struct tunnel_claim claim;
        uint8_t peer[GRANT_KEY_BYTES];
    } grant[GRANTS_MAX];
};

/* Grants claim to peer. 0, also if it is granted already; GRANT_E_FULL: no room, nothing has changed. */
int grant_book_add(struct grant_book *b, const struct tunnel_claim *claim, const uint8_t peer[GRANT_KEY_BYTES]);

/* May peer have what it claims? TUNNEL_GRANTED to TUNNEL_OTHER_RANK: of the grant that comes nearest, the first that is wrong, in
 * the order of the enum. */
enum tunnel_verdict grant_book_check(const struct grant_book *b, const struct tunnel_claim *claim,
                                     const uint8_t peer[GRANT_KEY_BYTES]);

#endif
