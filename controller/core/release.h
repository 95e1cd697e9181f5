/* The way down of an epoch: its coordinator ends first, then its workers, and every lease goes before anybody sees
 * `failed` or `stopped`. Source: design, "The failure unit". */
#ifndef CARAVAN_CONTROLLER_CORE_RELEASE_H
#define CARAVAN_CONTROLLER_CORE_RELEASE_H

#include "controller/core/state.h"

enum {
    RELEASE_FIRST_MS = 8000,   /* rank 0's node; then the others are told all the same */
    RELEASE_RETIRED_MS = 2500, /* the same, where it has just been retired: it obeys, and its answer is not heard */
    RELEASE_MS = 60000         /* a node that answers but cannot end its processes; release_sweep goes on asking */
};

/* All return 0 or -ENOMEM; the caller has said step_instance. */

/* The epoch is over. Ends with INSTANCE_EV_RELEASED, perhaps at once. */
int release_begin(struct step *s, struct instance *i);
/* Something may have changed: an answer, a lost node, a deadline. */
int release_advance(struct step *s, struct instance *i);
/* The node of this member has nothing of the epoch left. */
int release_member(struct step *s, struct instance *i, size_t m);

/* That it is to be stopped is durable, or could not be written. */
int release_wanted(struct step *s, struct instance *i, bool ok);
/* Whoever waits for it to be ready is told that it will not be. */
int release_cancel_deploy(struct step *s, struct instance *i);
/* Ends a task of stopping, unless another one is still being stopped by it. */
int release_ended(struct step *s, uint64_t task, const struct cause *cause);

/* Before the next epoch takes the place of this one: its members that were told and have not answered are remembered. */
void release_carry_over(struct instance *i);

/* A node that was away while its epochs ended is told now. n has just reported; whole: everything. 0, -ENOMEM. */
int release_sweep(struct step *s, struct node *n, bool whole);

/* Whether something of it may still run somewhere. */
bool release_owed(const struct cluster *c, const struct instance *i);

#endif
