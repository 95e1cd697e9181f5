/* Which ranks of a plan get their large tensors out of their own node's file of the model, and not over the network. */
#ifndef CARAVAN_CONTROLLER_CORE_FEEDING_H
#define CARAVAN_CONTROLLER_CORE_FEEDING_H

#include "controller/core/state.h"

/* Notes it in p, as it stands now, in place of what an earlier plan has said of it. model: of which p is. */
void feeding_note(const struct cluster *c, const struct model_facts *model, struct plan *p);

#endif
