/* Is a silent node alive? Two knocks by the leader and by up to two witnesses, once more after 500 ms; what they found is
 * the only way to `lost` and `stuck`. Source: design, "Noticing"; detection, section 4. */
#ifndef CARAVAN_CONTROLLER_CORE_KNOCKS_H
#define CARAVAN_CONTROLLER_CORE_KNOCKS_H

#include "controller/core/state.h"

enum {
    KNOCK_WAIT_MS = 600, /* a knock takes 450: who has not said anything by then does not count */
    KNOCK_AGAIN_MS = 1000,
    KNOCK_STUCK_MS = 5000 /* a stuck agent's queue fills with knocks */
};

/* All that take a step return 0 or -ENOMEM; the caller has said step_node. */
/* A node has gone silent: everybody knocks at once; after a suspend of ours when something is decided again. */
int knocks_begin(struct step *s, struct node *n);
/* Nobody knocks there any more; what still comes of it is late. */
void knocks_end(struct node *n);
/* Every knock said that it is lost. */
bool knocks_unanswered(const struct node *n);
/* A link was closed: whoever it belonged to is silent from now on. */
int knocks_closed(struct step *s, const struct cluster_ev *ev);
/* What our own knock found. */
int knocks_own(struct step *s, const struct cluster_ev *ev);
/* What a witness found: the result of COMMAND_KNOCK. */
int knocks_witness(struct step *s, struct node *witness, const struct message *m);
int knocks_tick(struct step *s);
uint64_t knocks_due_ms(const struct cluster *c);

#endif
