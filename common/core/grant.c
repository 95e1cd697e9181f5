#include "common/core/grant.h"

#include <string.h>

static struct grant_instance *find_instance(struct grant_book *b, const struct id128 *instance)
{
    for (size_t i = 0; i < b->n_instances; i++) {
        if (id128_equal(&b->instance[i].instance, instance))
            return &b->instance[i];
    }
    return NULL;
}

static bool is_of(const struct grant *g, const struct id128 *instance)
{
    return id128_equal(&g->claim.instance, instance);
}

static size_t count_of(const struct grant_book *b, const struct id128 *instance)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++)
        n += is_of(&b->grant[i], instance);
    return n;
}

static void drop_all_of(struct grant_book *b, const struct id128 *instance)
{
    size_t kept = 0;

    for (size_t i = 0; i < b->n; i++) {
        if (!is_of(&b->grant[i], instance))
            b->grant[kept++] = b->grant[i];
    }
    b->n = kept;
}

/* The instance that nobody spoke of for the longest time, of those that are over. */
static struct grant_instance *oldest_over(struct grant_book *b)
{
    struct grant_instance *oldest = NULL;

    for (size_t i = 0; i < b->n_instances; i++) {
        struct grant_instance *x = &b->instance[i];

        if (x->over && (!oldest || x->used < oldest->used))
            oldest = x;
    }
    return oldest;
}

/* A place for one more instance: a new one, or that of one that is over, which is forgotten. NULL: there is none. */
static struct grant_instance *enter_instance(struct grant_book *b, const struct id128 *instance, uint64_t epoch)
{
    struct grant_instance *x = b->n_instances < GRANT_INSTANCES_MAX ? &b->instance[b->n_instances] : oldest_over(b);

    if (!x)
        return NULL;
    if (x == &b->instance[b->n_instances])
        b->n_instances++;
    else
        drop_all_of(b, &x->instance);
    *x = (struct grant_instance){.instance = *instance, .epoch = epoch};
    return x;
}

static bool is_same_claim(const struct tunnel_claim *a, const struct tunnel_claim *b)
{
    return id128_equal(&a->instance, &b->instance) && a->epoch == b->epoch && a->rank == b->rank &&
           a->direction == b->direction;
}

static struct grant *find_grant(struct grant_book *b, const struct tunnel_claim *claim, const uint8_t *peer)
{
    for (size_t i = 0; i < b->n; i++) {
        struct grant *g = &b->grant[i];

        if (is_same_claim(&g->claim, claim) && memcmp(g->peer, peer, sizeof(g->peer)) == 0)
            return g;
    }
    return NULL;
}

static void append(struct grant_book *b, const struct tunnel_claim *claim, const uint8_t *peer)
{
    struct grant *g = &b->grant[b->n++];

    *g = (struct grant){.claim = *claim};
    memcpy(g->peer, peer, sizeof(g->peer));
}

/* The first of an epoch that is newer than all that was known, be it of no instance at all. */
static int add_epoch(struct grant_book *b, struct grant_instance *x, const struct tunnel_claim *claim,
                     const uint8_t *peer)
{
    size_t n_freed = x ? count_of(b, &claim->instance) : 0;

    /* (an instance that is over frees its grants with its place) */
    if (!x && b->n_instances == GRANT_INSTANCES_MAX && oldest_over(b))
        n_freed = count_of(b, &oldest_over(b)->instance);
    if (b->n - n_freed >= GRANTS_MAX)
        return GRANT_E_FULL;
    if (!x && !(x = enter_instance(b, &claim->instance, claim->epoch)))
        return GRANT_E_FULL;
    drop_all_of(b, &claim->instance);
    x->epoch = claim->epoch;
    x->over = false;
    x->used = ++b->count;
    append(b, claim, peer);
    return 0;
}

int grant_book_add(struct grant_book *b, const struct tunnel_claim *claim, const uint8_t peer[GRANT_KEY_BYTES])
{
    struct grant_instance *x = find_instance(b, &claim->instance);
    const struct grant *known;

    if (!x || claim->epoch > x->epoch)
        return add_epoch(b, x, claim, peer);
    if (claim->epoch < x->epoch)
        return GRANT_E_OLD;
    known = find_grant(b, claim, peer);
    if (x->over || (known && known->ended))
        return GRANT_E_ENDED;
    if (!known && b->n == GRANTS_MAX)
        return GRANT_E_FULL;
    x->used = ++b->count;
    if (!known)
        append(b, claim, peer);
    return 0;
}

int grant_book_end_epoch(struct grant_book *b, const struct id128 *instance, uint64_t epoch)
{
    struct grant_instance *x = find_instance(b, instance);

    if (x && x->epoch > epoch)
        return 0;
    if (!x && !(x = enter_instance(b, instance, epoch)))
        return GRANT_E_FULL;
    if (epoch > x->epoch)
        drop_all_of(b, instance); /* a later epoch is over that never was granted here */
    x->epoch = epoch;
    x->over = true;
    x->used = ++b->count;
    for (size_t i = 0; i < b->n; i++)
        b->grant[i].ended |= is_of(&b->grant[i], instance);
    return 0;
}

void grant_book_end_rank(struct grant_book *b, const struct id128 *instance, uint64_t epoch, uint32_t rank)
{
    for (size_t i = 0; i < b->n; i++) {
        struct grant *g = &b->grant[i];

        if (is_of(g, instance) && g->claim.epoch == epoch && g->claim.rank == rank &&
            g->claim.direction == TUNNEL_TO_RANK)
            g->ended = true;
    }
}

/* How far one grant goes with a claim. */
static enum tunnel_verdict judge(const struct grant *g, const struct tunnel_claim *claim, const uint8_t *peer)
{
    if (!is_of(g, &claim->instance))
        return TUNNEL_NO_GRANT;
    if (memcmp(g->peer, peer, sizeof(g->peer)) != 0)
        return TUNNEL_OTHER_PEER;
    if (g->claim.direction != claim->direction)
        return TUNNEL_OTHER_DIRECTION;
    if (g->claim.epoch != claim->epoch)
        return TUNNEL_OTHER_EPOCH;
    if (g->claim.rank != claim->rank)
        return TUNNEL_OTHER_RANK;
    return g->ended ? TUNNEL_ENDED : TUNNEL_GRANTED;
}

enum tunnel_verdict grant_book_check(const struct grant_book *b, const struct tunnel_claim *claim,
                                     const uint8_t peer[GRANT_KEY_BYTES])
{
    enum tunnel_verdict best = TUNNEL_NO_GRANT;

    for (size_t i = 0; i < b->n; i++) {
        enum tunnel_verdict v = judge(&b->grant[i], claim, peer);

        if (v == TUNNEL_GRANTED)
            return v;
        if (v > best)
            best = v;
    }
    return best;
}

enum tunnel_verdict grant_book_match(struct grant_book *b, const struct tunnel_claim *claim,
                                     const uint8_t peer[GRANT_KEY_BYTES])
{
    enum tunnel_verdict v = grant_book_check(b, claim, peer);

    b->matched[v]++;
    return v;
}
