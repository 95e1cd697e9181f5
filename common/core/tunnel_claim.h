/* What the initiator of a stream of the rank tunnel says it is for, and what it is answered. Pure. */
#ifndef CARAVAN_COMMON_CORE_TUNNEL_CLAIM_H
#define CARAVAN_COMMON_CORE_TUNNEL_CLAIM_H

#include <stdint.h>

#include "common/core/ids.h"

/* On the wire as they are: a number is never used again. */
enum tunnel_direction {
    TUNNEL_TO_RANK = 1,   /* from the coordinator's node to a rank's worker */
    TUNNEL_TO_COORDINATOR /* from a gateway to the coordinator; the rank is 0 */
};

enum tunnel_verdict {
    TUNNEL_GRANTED,
    TUNNEL_NO_GRANT,        /* nothing is known of that instance; what a peer without any grant is told in any case */
    TUNNEL_OTHER_PEER,      /* a grant of that instance names other keys only; never told */
    TUNNEL_OTHER_DIRECTION, /* from here on the peer has a grant of that instance */
    TUNNEL_OTHER_EPOCH,
    TUNNEL_OTHER_RANK,
    TUNNEL_ENDED,     /* it was granted once; said by one that outlives what it has granted, as no carrier does */
    TUNNEL_NO_CIPHER, /* none of those offered is known here */
    TUNNEL_BUSY,      /* granted, but there are too many streams */
    TUNNEL_VERDICT_N
};

struct tunnel_claim {
    struct id128 instance;
    uint64_t epoch;
    uint32_t rank;
    enum tunnel_direction direction;
};

enum { TUNNEL_CLAIM_BYTES = 16 + 8 + 4 + 1 };
enum { TUNNEL_CLAIM_E_MALFORMED = 1 };

void tunnel_claim_encode(const struct tunnel_claim *claim, uint8_t ret[TUNNEL_CLAIM_BYTES]);
/* 0; TUNNEL_CLAIM_E_MALFORMED: no instance, a direction that is not known, a rank that no model has. */
int tunnel_claim_decode(const uint8_t bytes[TUNNEL_CLAIM_BYTES], struct tunnel_claim *ret);

/* A word for logs and metrics. */
const char *tunnel_verdict_name(enum tunnel_verdict verdict);

#endif
