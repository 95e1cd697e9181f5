/* What each node can offer: what it measured, less what is promised. Source: design, "Sizing and ranks", Memory. */
#ifndef CARAVAN_CONTROLLER_CORE_OFFERS_H
#define CARAVAN_CONTROLLER_CORE_OFFERS_H

#include "controller/core/state.h"

/* Instances whose memory is given away already, in thought. */
struct gone {
    size_t n;
    const struct instance *instance[CLUSTER_INSTANCES_MAX];
};

/* Every node that has joined, sorted by id, as placement sees it for this model. gone: NULL: nobody. ret: owned (free).
 * 0, -ENOMEM. */
int offers_make(const struct cluster *c, const struct model_facts *model, const struct gone *gone,
                struct place_node **ret, size_t *ret_n);

/* All that is promised on this node, over devices and host memory together. */
uint64_t offers_leased_bytes(const struct cluster *c, const struct node *n);

/* Another figure than before where some node may offer more than it did; never 0. Memory that others give back is not
 * seen in it: too small a change to place anew for, at every report. */
uint64_t offers_room(const struct cluster *c);

/* The lease of i on n ends. Until n reports it offers the lower of two figures: its last free memory may still count
 * what the epoch's processes have taken since. The caller has said step_node. */
void offers_lease_ended(struct node *n, const struct instance *i);

#endif
