/* How an instance leaves a node that is being drained: by a successor, or by ending first. See drain.h. */
#ifndef CARAVAN_CONTROLLER_CORE_MOVING_H
#define CARAVAN_CONTROLLER_CORE_MOVING_H

#include "controller/core/state.h"

enum {
    MOVING_WAIT_MS = 60000, /* for requests that are under way */
    MOVING_AGAIN_MS = 1000, /* between two tries of what came to nothing */
    MOVING_QUIET_MS =
        2000 /* before "none is under way" is believed: the gateway learns of a move, and says so, later */
};

/* Whether it has, or may have, something on n. */
bool moving_is_on(const struct instance *i, const struct node *n);
/* The live one that is to take the place of i; NULL: none. */
struct instance *moving_successor(const struct cluster *c, const struct instance *i);

/* All that follow return 0 or -ENOMEM. */

/* What comes next for one that moving_is_on n, by the drain's task t. ret_busy: nothing else is begun before that is over. */
int moving_one(struct step *s, const struct node *n, struct task *t, struct instance *i, bool *ret_busy);
/* Adds to what the task says that it has done. */
int moving_say(struct step *s, struct task *t, const char *name, const char *what);
/* Ends one that another one stands in for, or that nobody needs any more; by no person's task. */
int moving_stop(struct step *s, struct instance *i);

/* Action of instance_machine's table: it gets no new request. */
int instance_on_drain(struct step *s, struct instance *i, const struct cause *cause);
/* At the end of each step: successors that are ready take over, and who has nothing more to do leaves. */
int moving_hand_over(struct step *s);
/* When somebody has waited long enough for his last requests; UINT64_MAX: nobody does. */
uint64_t moving_due_ms(const struct cluster *c);

#endif
