/* The brake on mass loss: when most nodes go silent at once, or our own link is down, silence alone is not acted on.
 * Source: design, "Noticing". */
#ifndef CARAVAN_CONTROLLER_CORE_BRAKE_H
#define CARAVAN_CONTROLLER_CORE_BRAKE_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
int brake_host(struct step *s, const struct cluster_ev *ev);
/* An operator says that it is over. */
int brake_lift(struct step *s, const struct cluster_ev *ev);
bool brake_is_on(const struct cluster *c);
int brake_tick(struct step *s);
uint64_t brake_due_ms(const struct cluster *c);

#endif
