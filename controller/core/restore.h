/* A controller that begins: what its store says, compared with what the nodes still run.
 *
 * An instance that was `ready` is adopted as it is once every node of it has reported and every unit of its epoch runs.
 * Any other that was alive has nobody who watched its start: its epoch is ended and it fails, saying so. Both are shown as
 * `recovering` until then, and decided at the latest when `settle` is over. */
#ifndef CARAVAN_CONTROLLER_CORE_RESTORE_H
#define CARAVAN_CONTROLLER_CORE_RESTORE_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
int restore_record(struct step *s, const struct record *rec);
int restore_begin(struct step *s);
/* A node of this restored instance has reported. */
int restore_observe(struct step *s, struct instance *i);
/* Now or never. */
int restore_decide(struct step *s, struct instance *i);

#endif
