#include "common/core/tunnel_claim.h"

#include <string.h>

#include "common/core/protocol.h"

enum { AT_EPOCH = sizeof(struct id128), AT_RANK = AT_EPOCH + 8, AT_DIRECTION = AT_RANK + 4 };

static void put(uint8_t *at, size_t n, uint64_t value)
{
    while (n--) {
        at[n] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t get(const uint8_t *at, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value << 8 | at[i];
    return value;
}

void tunnel_claim_encode(const struct tunnel_claim *claim, uint8_t ret[TUNNEL_CLAIM_BYTES])
{
    memcpy(ret, claim->instance.b, sizeof(claim->instance.b));
    put(ret + AT_EPOCH, 8, claim->epoch);
    put(ret + AT_RANK, 4, claim->rank);
    ret[AT_DIRECTION] = (uint8_t)claim->direction;
}

int tunnel_claim_decode(const uint8_t bytes[TUNNEL_CLAIM_BYTES], struct tunnel_claim *ret)
{
    struct tunnel_claim claim = {.epoch = get(bytes + AT_EPOCH, 8), .rank = (uint32_t)get(bytes + AT_RANK, 4)};
    uint8_t direction = bytes[AT_DIRECTION];

    memcpy(claim.instance.b, bytes, sizeof(claim.instance.b));
    if (id128_is_zero(&claim.instance) || claim.rank >= PROTO_RANKS_MAX)
        return TUNNEL_CLAIM_E_MALFORMED;
    if (direction != TUNNEL_TO_RANK && direction != TUNNEL_TO_COORDINATOR)
        return TUNNEL_CLAIM_E_MALFORMED;
    claim.direction = (enum tunnel_direction)direction;
    if (claim.direction == TUNNEL_TO_COORDINATOR && claim.rank != 0)
        return TUNNEL_CLAIM_E_MALFORMED;
    *ret = claim;
    return 0;
}

const char *tunnel_verdict_name(enum tunnel_verdict verdict)
{
    static const char *const name[TUNNEL_VERDICT_N] = {
        [TUNNEL_GRANTED] = "granted",
        [TUNNEL_NO_GRANT] = "no_grant",
        [TUNNEL_OTHER_PEER] = "other_peer",
        [TUNNEL_OTHER_DIRECTION] = "other_direction",
        [TUNNEL_OTHER_EPOCH] = "other_epoch",
        [TUNNEL_OTHER_RANK] = "other_rank",
        [TUNNEL_ENDED] = "ended",
        [TUNNEL_NO_CIPHER] = "no_cipher",
        [TUNNEL_BUSY] = "busy",
    };

    return name[verdict];
}
