/* What the carriers of an epoch have seen of its ranks, as their nodes told it last: of each rank at the worker's end and
 * at the coordinator's. Where ranks are reached directly there is nothing of it. */
#ifndef CARAVAN_CONTROLLER_CORE_FLOWS_H
#define CARAVAN_CONTROLLER_CORE_FLOWS_H

#include "controller/core/state.h"

/* Keeps what a report of n says of epochs that are there; of an end that is not on n, and of an epoch that is over, nothing
 * is believed. 0, -ENOMEM. */
int flows_hear(struct step *s, const struct node *n, const struct report *report);

/* NULL: not told. A rank beside its coordinator has one carrier only, whose word is that of both ends. */
const struct rank_flow *flows_at_worker(const struct instance *i, size_t rank);
const struct rank_flow *flows_at_coordinator(const struct instance *i, size_t rank);
/* When it was told last at the worker's end; 0: never. */
uint64_t flows_told_ms(const struct instance *i, size_t rank);

/* How much of its weights this rank has got, over the network and from its node's own file. false: that is not known, since
 * nothing was told of it, or its stream is not understood. */
bool flows_loaded(const struct instance *i, size_t rank, uint64_t *ret_bytes);

/* When bytes to or from this node last moved, by the word of those at the other ends of its streams; 0: never. */
uint64_t flows_moved_ms(const struct cluster *c, const struct id128 *node);

#endif
