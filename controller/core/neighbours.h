/* Who dials whom on the neighbour ports, and how a node is reached whose own link is cut. Source: design, "Noticing". */
#ifndef CARAVAN_CONTROLLER_CORE_NEIGHBOURS_H
#define CARAVAN_CONTROLLER_CORE_NEIGHBOURS_H

#include "controller/core/state.h"

/* All that take a step return 0 or -ENOMEM. */

/* Tells each node its neighbours where they have changed; at most once a second. */
int neighbours_tick(struct step *s);
/* The same at once. */
int neighbours_tell(struct step *s);
uint64_t neighbours_due_ms(const struct cluster *c);

/* n is found elsewhere than before: who dials it has to hear of that. */
int neighbours_moved(struct step *s, const struct node *n);

/* n was told to expect the other one: it answers its knocks. */
bool neighbours_are(const struct node *n, const struct node *other);

/* A message that a neighbour has carried: counts as the other node's. m: borrowed, but its reports are emptied. */
int neighbours_relayed(struct step *s, struct node *carrier, const struct message *m);

/* Who carries for the node with this key; NULL: nobody, its own link is used. */
const struct node *neighbours_carrier(const struct cluster *c, const char *key);

/* It carries for nobody any more. */
int neighbours_carrier_gone(struct step *s, const struct node *carrier);

#endif
