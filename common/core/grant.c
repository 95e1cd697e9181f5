#include "common/core/grant.h"

#include <string.h>

int grant_book_add(struct grant_book *b, const struct tunnel_claim *claim, const uint8_t peer[GRANT_KEY_BYTES])
{
    struct grant *g;

    if (grant_book_check(b, claim, peer) == TUNNEL_GRANTED)
        return 0;
    if (b->n == GRANTS_MAX)
        return GRANT_E_FULL;
    g = &b->grant[b->n++];
    *g = (struct grant){.claim = *claim};
    memcpy(g->peer, peer, sizeof(g->peer));
    return 0;
}

/* How far one grant goes with a claim. */
static enum tunnel_verdict judge(const struct grant *g, const struct tunnel_claim *claim, const uint8_t *peer)
{
    if (!id128_equal(&g->claim.instance, &claim->instance))
        return TUNNEL_NO_GRANT;
    if (memcmp(g->peer, peer, sizeof(g->peer)) != 0)
        return TUNNEL_OTHER_PEER;
    if (g->claim.direction != claim->direction)
        return TUNNEL_OTHER_DIRECTION;
    if (g->claim.epoch != claim->epoch)
        return TUNNEL_OTHER_EPOCH;
    return g->claim.rank == claim->rank ? TUNNEL_GRANTED : TUNNEL_OTHER_RANK;
}

enum tunnel_verdict grant_book_check(const struct grant_book *b, const struct tunnel_claim *claim,
                                     const uint8_t peer[GRANT_KEY_BYTES])
{
    enum tunnel_verdict nearest = TUNNEL_NO_GRANT;

    for (size_t i = 0; i < b->n; i++) {
        enum tunnel_verdict v = judge(&b->grant[i], claim, peer);

        if (v == TUNNEL_GRANTED)
            return v;
        if (v > nearest)
            nearest = v;
    }
    return nearest;
}
