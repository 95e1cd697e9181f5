/* May this node serve at all? Used by placement alone. */
#ifndef CARAVAN_CONTROLLER_CORE_PLACEMENT_FILTER_H
#define CARAVAN_CONTROLLER_CORE_PLACEMENT_FILTER_H

#include <stddef.h>

#include "controller/core/placement_fit.h"

/* The first reason to leave a node out whatever is placed ("lost", "draining", ...); NULL: none. Borrowed of n. */
const char *filter_node(const struct place_node *n);

/* As filter_node, and why it cannot serve beside nodes of this build and RPC version. Writes "" where it can. */
void filter_beside(const struct place_node *n, const char *build, const struct rpc_version *rpc, char *why,
                   size_t size);

#endif
