#include "controller/core/placement_choose.h"

#include <stdlib.h>
#include <string.h>

#include "common/core/sat.h"

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_size(const void *a, const void *b)
{
    const struct fit_node *x = *(const struct fit_node *const *)a, *y = *(const struct fit_node *const *)b;
    int c = compare_u64(y->total_offer_bytes, x->total_offer_bytes);

    return c ? c : id128_compare(&x->node->id, &y->node->id);
}

/* Whole GiB, so that a few pages more or less from one report to the next do not move a model. */
static int by_taste(const void *a, const void *b)
{
    const struct fit_node *x = *(const struct fit_node *const *)a, *y = *(const struct fit_node *const *)b;
    int c = (int)x->node->sister - (int)y->node->sister;

    if (!c)
        c = (int)y->node->has_model - (int)x->node->has_model;
    if (!c)
        c = compare_u64(x->total_offer_bytes >> 30, y->total_offer_bytes >> 30);
    return c ? c : id128_compare(&x->node->id, &y->node->id);
}

void choose_pool_sort(struct choose_pool *pool)
{
    if (pool->n == 0)
        return;
    qsort(pool->by_size, pool->n, sizeof(pool->by_size[0]), by_size);
    qsort(pool->by_taste, pool->n, sizeof(pool->by_taste[0]), by_taste);
}

/* ---- links ---- */

static uint32_t log2_floor(uint32_t n)
{
    uint32_t l = 0;

    while (n >>= 1)
        l++;
    return l;
}

/* Bandwidth in powers of two, then round trip likewise: measurements vary, plans should not. 0: not measured. */
static uint32_t link_class(const struct fit_node *f)
{
    const struct place_node *node = f->node;
    uint32_t bandwidth = node->link_mbit ? 1 + log2_floor(node->link_mbit) : 0;

    return bandwidth * 64 + (node->link_rtt_us ? 63 - log2_floor(node->link_rtt_us) : 0);
}

/* The next slower class that some node has; UINT32_MAX begins. False: there is none. */
static bool next_class(const struct choose_pool *pool, uint32_t *class)
{
    uint32_t above = *class, best = 0;
    bool found = false;

    for (size_t i = 0; i < pool->n; i++) {
        uint32_t c = link_class(pool->by_size[i]);

        if (c < above && (!found || c > best)) {
            best = c;
            found = true;
        }
    }
    *class = best;
    return found;
}

/* ---- sets ---- */

static bool contains(const struct fit_node *const *set, size_t n, const struct fit_node *f)
{
    for (size_t i = 0; i < n; i++) {
        if (set[i] == f)
            return true;
    }
    return false;
}

/* Completes set[have..n) with the largest nodes of the class that are not in it. */
static bool complete(const struct choose_pool *pool, uint32_t class, const struct fit_node **set, size_t have, size_t n)
{
    size_t to = have;

    for (size_t i = 0; i < pool->n && to < n; i++) {
        if (link_class(pool->by_size[i]) >= class && !contains(set, have, pool->by_size[i]))
            set[to++] = pool->by_size[i];
    }
    return to == n;
}

static bool holds(const struct fit_problem *p, const struct fit_node *const *set, size_t n)
{
    return fit_holds(p, set, n, (struct fit_scale){.part = FIT_WHOLE});
}

/* The last rank has the output to hold: each node but the first is tried there, the given order first. */
static bool holds_with_some_last(const struct fit_problem *p, const struct fit_node **set, size_t n)
{
    if (holds(p, set, n))
        return true;
    for (size_t i = n - 1; i-- > 1;) {
        const struct fit_node *moved = set[i], *order[PROTO_RANKS_MAX];

        memcpy(order, set, n * sizeof(set[0]));
        memmove(&order[i], &order[i + 1], (n - 1 - i) * sizeof(order[0]));
        order[n - 1] = moved;
        if (holds(p, order, n)) {
            memcpy(set, order, n * sizeof(set[0]));
            return true;
        }
    }
    return false;
}

/* Do any n nodes of the class hold it? Rank 0 may be any of the n largest that can lead, or the largest one beyond. */
static bool choose_any(const struct fit_problem *p, const struct choose_pool *pool, uint32_t class, size_t n,
                       const struct fit_node **ret)
{
    size_t place = 0;

    for (size_t i = 0; i < pool->n; i++) {
        const struct fit_node *lead = pool->by_size[i];

        if (link_class(lead) < class)
            continue;
        place++;
        if (!lead->can_lead)
            continue;
        ret[0] = lead;
        if (!complete(pool, class, ret, 1, n))
            return false;
        if (holds_with_some_last(p, ret, n))
            return true;
        if (place > n)
            return false;
    }
    return false;
}

/* A floor under what any set must offer: saves most of the attempts. */
static bool is_hopeless(const struct fit_problem *p, const struct fit_node *const *set, size_t n)
{
    uint64_t need = p->shape->output_bytes, offer = 0;

    for (uint32_t i = 0; i < p->shape->n_layer; i++)
        need = sat_add(need, p->shape->layer[i].weight_bytes);
    for (size_t i = 0; i < n; i++)
        offer = sat_add(offer, set[i]->total_offer_bytes);
    return offer < need;
}

/* Rank by rank the node that tastes best with which the set can still be completed. False: taste leads nowhere. */
static bool choose_by_taste(const struct fit_problem *p, const struct choose_pool *pool, uint32_t class, size_t n,
                            const struct fit_node **ret)
{
    for (size_t rank = 0; rank < n; rank++) {
        bool found = false;

        for (size_t i = 0; i < pool->n && !found; i++) {
            const struct fit_node *f = pool->by_taste[i];

            if (link_class(f) < class || contains(ret, rank, f) || (rank == 0 && !f->can_lead))
                continue;
            ret[rank] = f;
            found = complete(pool, class, ret, rank + 1, n) && !is_hopeless(p, ret, n) && holds(p, ret, n);
        }
        if (!found)
            return false;
    }
    return true;
}

bool choose_nodes(const struct fit_problem *p, const struct choose_pool *pool, size_t n, const struct fit_node **ret)
{
    const struct fit_node *any[PROTO_RANKS_MAX];
    uint32_t class = UINT32_MAX;

    if (n == 0 || n > PROTO_RANKS_MAX)
        return false;
    while (next_class(pool, &class)) {
        uint32_t least = n == 1 ? 0 : class; /* a rank alone has no link */

        if (!choose_any(p, pool, least, n, any))
            continue;
        if (!choose_by_taste(p, pool, least, n, ret))
            memcpy(ret, any, n * sizeof(any[0]));
        return true;
    }
    return false;
}

bool choose_largest(const struct choose_pool *pool, size_t n, const struct fit_node **ret)
{
    for (size_t i = 0; i < pool->n; i++) {
        if (pool->by_size[i]->can_lead) {
            ret[0] = pool->by_size[i];
            return complete(pool, 0, ret, 1, n);
        }
    }
    return false;
}
