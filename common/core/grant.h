/* Who may open which stream of the rank tunnel here: what the leader granted, by (instance, epoch, rank, direction, peer key).
 * Pure, bounded, a plain value; all zero at first.
 *
 * Commands come twice and late, so the book keeps what is over: of each instance the newest epoch that it has heard of
 * counts, older ones are never granted again, and what was ended is not granted again by the same command. Nothing expires
 * by the clock: a leader that is away must not cost a stream. */
#ifndef CARAVAN_COMMON_CORE_GRANT_H
#define CARAVAN_COMMON_CORE_GRANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/tunnel_claim.h"

/* Room for all 16 ranks of an instance and 48 gateways; of instances, one runs, and the rest are remembered. */
enum { GRANTS_MAX = 64, GRANT_INSTANCES_MAX = 16, GRANT_KEY_BYTES = 32 };
enum { GRANT_E_OLD = 1, GRANT_E_ENDED, GRANT_E_FULL };

struct grant {
    struct tunnel_claim claim;
    uint8_t peer[GRANT_KEY_BYTES];
    bool ended;
};

struct grant_book {
    size_t n, n_instances;
    uint64_t count; /* of changes; orders `used` below */
    struct grant grant[GRANTS_MAX];
    struct grant_instance {
        struct id128 instance;
        uint64_t epoch; /* the newest */
        bool over;      /* ended as a whole */
        uint64_t used;
    } instance[GRANT_INSTANCES_MAX];
    uint64_t matched[TUNNEL_VERDICT_N]; /* what grant_book_match has said, how often */
};

/* Grants claim to peer. An epoch newer than what is known drops the older ones' grants. 0, also if it is granted already;
 * GRANT_E_OLD: a newer epoch is known; GRANT_E_ENDED: this was ended; GRANT_E_FULL: no room. Else than 0 changes nothing. */
int grant_book_add(struct grant_book *b, const struct tunnel_claim *claim, const uint8_t peer[GRANT_KEY_BYTES]);

/* Ends all that was granted for epochs up to this one, now and for good, or for one rank of exactly this epoch, as far as it
 * was granted yet. Whoever calls then asks grant_book_check for each stream, and closes those that have no grant any more.
 * GRANT_E_FULL: an instance that is not known, and no room to remember that it is over; nothing of it is granted. */
int grant_book_end_epoch(struct grant_book *b, const struct id128 *instance, uint64_t epoch);
void grant_book_end_rank(struct grant_book *b, const struct id128 *instance, uint64_t epoch, uint32_t rank);

/* May peer have what it claims? TUNNEL_GRANTED to TUNNEL_ENDED: the first that is wrong, in the order of the enum. match
 * counts what it says: once per handshake. */
enum tunnel_verdict grant_book_check(const struct grant_book *b, const struct tunnel_claim *claim,
                                     const uint8_t peer[GRANT_KEY_BYTES]);
enum tunnel_verdict grant_book_match(struct grant_book *b, const struct tunnel_claim *claim,
                                     const uint8_t peer[GRANT_KEY_BYTES]);

#endif
