/* Evidence that an epoch is dead though its processes live: a rank that hangs, a coordinator that does, a node that was
 * away too long. Source: design, "Noticing" and "The rank tunnel" (P1, P2); detection, section 2. */
#ifndef CARAVAN_CONTROLLER_CORE_DETECTOR_H
#define CARAVAN_CONTROLLER_CORE_DETECTOR_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
int detector_traffic(struct step *s, const struct cluster_ev *ev);
int detector_upstream(struct step *s, const struct cluster_ev *ev);
int detector_tick(struct step *s);
uint64_t detector_due_ms(const struct cluster *c);
/* From the last sign of life until a unit with a member there is recovered elsewhere. */
uint64_t detector_evict_after_ms(const struct cluster *c, const struct instance *i);

#endif
