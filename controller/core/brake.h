/* The brake on mass loss: when most nodes go silent at once, or our own link is down, silence alone is not acted on.
 * Source: design, "Noticing". */
#ifndef CARAVAN_CONTROLLER_CORE_BRAKE_H
#define CARAVAN_CONTROLLER_CORE_BRAKE_H

#include "controller/core/state.h"

/* All that take a step return 0 or -ENOMEM. */

/* What is known of our own machine. */
int brake_host(struct step *s, const struct cluster_ev *ev);
/* An operator says that it is over. */
int brake_lift(struct step *s, const struct cluster_ev *ev);
/* A node has just gone silent: is that one too many? */
int brake_silent(struct step *s);
/* A node has changed: is it over? */
int brake_review(struct step *s);
int brake_tick(struct step *s);
uint64_t brake_due_ms(const struct cluster *c);

bool brake_is_on(const struct cluster *c);
/* An operator has lifted it though our own link is down: then no answer is no answer. */
bool brake_overruled(const struct cluster *c);
/* One of our own links is up, or nobody has said. */
bool brake_carrier(const struct cluster *c);
/* None is up, and no operator has overruled that: that somebody has not been heard says nothing of him. */
bool brake_deaf(const struct cluster *c);
/* It runs on the leader's machine. */
bool brake_own_host(const struct cluster *c, const struct node *n);

#endif
