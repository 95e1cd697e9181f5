/* An operator takes a node or its key out for good, and what is kept of an operator's word on nodes. */
#ifndef CARAVAN_CONTROLLER_CORE_RETIRE_H
#define CARAVAN_CONTROLLER_CORE_RETIRE_H

#include "controller/core/state.h"

/* All that take a step return 0 or -ENOMEM. */

/* A node that is retired gives back the key that is kept of it: it comes again with another one. */
int retire_begin(struct step *s, const struct cluster_ev *ev);
/* A key is let in no more, and its node is retired. The target may be a node, as below; a key or 8 or more of its first
 * digits; or the name under which a key was let in, where no node bears it. */
int retire_revoke(struct step *s, const struct cluster_ev *ev);
/* The word is durable, or could not be written: INTENT_RETIRE, INTENT_REVOKE. */
int retire_go_on(struct step *s, const struct pending *p, bool ok);
int retire_revoked(struct step *s, const struct pending *p, bool ok);

/* RECORD_NODE: known as draining or retired before it says hello. */
int retire_restore(struct step *s, const struct record *rec);

/* The node that a person means by its name, its id or the beginning of its id that is shown; a retired one only where no
 * other is meant as well. NULL: why is the sentence. */
struct node *retire_target(const struct cluster *c, const char *target, char *why, size_t why_size);

#endif
