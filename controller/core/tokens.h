/* Join tokens: keys that may ask for a node's own key to be let in, a number of times, for a while.
 *
 * A token is a key like any other, whose secret half both the operator and the node can derive from the token's seed; the
 * seed itself never comes here. Its scope lets it say one thing, so that nothing else from a stranger is ever parsed. One
 * that is used up, expired or withdrawn is forgotten: from then on the link denies it. */
#ifndef CARAVAN_CONTROLLER_CORE_TOKENS_H
#define CARAVAN_CONTROLLER_CORE_TOKENS_H

#include "controller/core/state.h"

/* All that take a step return 0 or -ENOMEM. */

/* CLUSTER_EV_TOKEN, INTENT_TOKEN. */
int tokens_make(struct step *s, const struct cluster_ev *ev);
int tokens_made(struct step *s, const struct pending *p, bool ok);
/* CLUSTER_EV_UNTOKEN, INTENT_UNTOKEN. */
int tokens_withdraw(struct step *s, const struct cluster_ev *ev);
int tokens_withdrawn(struct step *s, const struct pending *p, bool ok);

/* CLUSTER_EV_JOIN. A node that asks twice, or is in already, costs no use. */
int tokens_join(struct step *s, const struct cluster_ev *ev);
/* INTENT_ALLOW by a token: the node's key counts now, or could not be kept. */
int tokens_used(struct step *s, const struct pending *p, bool ok);

/* Ends those whose time is over; after every step, since the time of day may jump. */
int tokens_expire(struct step *s);
/* When it is to be looked for next; UINT64_MAX: never. */
uint64_t tokens_due_ms(const struct cluster *c);
void tokens_set_end(const struct step *s, struct access_key *t);

#endif
