/* Which nodes, and in which order as ranks. Used by placement alone.
 *
 * With N nodes there are far too many sets to try. What makes it tractable: a node with more memory holds at least as
 * many layers, so whether any N nodes hold a model is answered by the N largest (with a node that can be rank 0 among
 * them). Links, files and fragmentation are then served greedily: a node is taken where the largest of the others can
 * still complete the set. For equal layers and one device per node that is exact; where layers differ a lot, an order
 * that nobody tried might hold one layer more. */
#ifndef CARAVAN_CONTROLLER_CORE_PLACEMENT_CHOOSE_H
#define CARAVAN_CONTROLLER_CORE_PLACEMENT_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/core/placement_fit.h"

/* The nodes that passed the filters, in two orders; the arrays are the owner's. */
struct choose_pool {
    size_t n;
    const struct fit_node **by_size; /* largest first */
    const struct fit_node *
        *by_taste; /* no sister there, holds the file, then smallest (least fragmentation), then id */
};

/* Sorts both arrays, which hold the same n nodes. */
void choose_pool_sort(struct choose_pool *pool);

/* The best n nodes in rank order, into ret[n]: fastest slowest link, then taste. False: no n nodes hold it. */
bool choose_nodes(const struct fit_problem *p, const struct choose_pool *pool, size_t n, const struct fit_node **ret);

/* The n largest nodes, one that can lead in front: what a failure is measured by. False: there are not n, or none can
 * lead. */
bool choose_largest(const struct choose_pool *pool, size_t n, const struct fit_node **ret);

#endif
