/* Who may join, and what the others are told. */
#ifndef CARAVAN_CONTROLLER_CORE_HELLO_H
#define CARAVAN_CONTROLLER_CORE_HELLO_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
/* carrier: who has carried it; NULL: it came by the node's own link. */
int hello_heard(struct step *s, const struct cluster_ev *ev, const struct node *carrier);

/* Something came by a link that does not speak for the node. Where its last boot spoke from there, it has not ended: two
 * machines live by one key, and that one is told. */
int hello_missed(struct step *s, struct node *n, const struct cluster_ev *ev);

/* Its welcome is taken back. */
int hello_dismiss(struct step *s, const struct node *n, const char *why);

#endif
