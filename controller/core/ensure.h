/* What nobody has deployed, and is to run: a name that requests ask for, and what models.conf wants from the start on.
 * Both begin it as a deploy does, by the leader's one committed record, so that there is one start however many ask. */
#ifndef CARAVAN_CONTROLLER_CORE_ENSURE_H
#define CARAVAN_CONTROLLER_CORE_ENSURE_H

#include "controller/core/state.h"

enum {
    ENSURE_FAILED_MS = 30000, /* so long what has just failed is not tried again for a request */
    ENSURE_BOOT_MS = 30000    /* between two tries of what is to run from the start on, and was refused */
};

/* All return 0 or -ENOMEM. */

/* Ends in exactly one CLUSTER_FX_ANSWER, perhaps in a later step. */
int ensure_wish(struct step *s, const struct cluster_ev *ev);

/* At the end of each step, and when ensure_due_ms has come: begins what has appeared, and notes when no more need appear. */
int ensure_boots(struct step *s);
uint64_t ensure_due_ms(const struct cluster *c);

#endif
