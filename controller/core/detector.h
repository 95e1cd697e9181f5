/* Evidence that an epoch is dead though its processes live: a node that was away too long, a coordinator that refuses or
 * breaks, and what hang.h finds. Source: design, "Noticing" and "The failure unit". */
#ifndef CARAVAN_CONTROLLER_CORE_DETECTOR_H
#define CARAVAN_CONTROLLER_CORE_DETECTOR_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */
int detector_traffic(struct step *s, const struct cluster_ev *ev);
int detector_upstream(struct step *s, const struct cluster_ev *ev);
/* The token of our own that a ready instance was asked for. The caller has said step_instance. */
int detector_warmed(struct step *s, struct instance *i, bool ok, const char *text);
int detector_tick(struct step *s);
uint64_t detector_due_ms(const struct cluster *c);
/* From the last sign of life until a unit with a member there is recovered elsewhere. */
uint64_t detector_evict_after_ms(const struct cluster *c, const struct instance *i);

#endif
