/* What people ask for: deploy and stop. */
#ifndef CARAVAN_CONTROLLER_CORE_WISHES_H
#define CARAVAN_CONTROLLER_CORE_WISHES_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM; each ends in exactly one CLUSTER_FX_ANSWER, perhaps in a later step. */
int wish_deploy(struct step *s, const struct cluster_ev *ev);
int wish_stop(struct step *s, const struct cluster_ev *ev);

/* Deploys that are held: those whose way is free now are carried out, those whose time is over refused. */
int wishes_retry(struct step *s);
uint64_t wishes_due_ms(const struct cluster *c);

#endif
