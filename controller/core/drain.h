/* Empties a node: what is served there moves elsewhere first, where memory allows. Source: design, "State machines".
 *
 * `draining` is a durable word on the node: nothing new is placed there, whatever becomes of it, until UNDRAIN. The moves
 * are the task's work, one instance after the other, since what the first one leaves may be what the second one needs:
 *
 *   ready, and a place beside it: a successor (an instance of its own that `follows` it) is placed and loads; when that is
 *       ready the name's requests are its, and the old one is stopped when its last request is over, or after a minute
 *   ready, and no place beside it, or a plan that a person has pinned: it is ended first, in the same gentle way, and then
 *       placed elsewhere or waits; the task says so
 *   on its way to ready: its epoch ends at once, and it is placed elsewhere
 *
 * A successor that fails leaves the old one serving; the task fails, saying why, and the node stays as it is, draining: the
 * operator may drain it again, stop the instance, or undrain. So nobody loses a service to a drain that cannot be done. */
#ifndef CARAVAN_CONTROLLER_CORE_DRAIN_H
#define CARAVAN_CONTROLLER_CORE_DRAIN_H

#include "controller/core/state.h"

/* All that take a step return 0 or -ENOMEM. */
int drain_begin(struct step *s, const struct cluster_ev *ev);
int drain_end(struct step *s, const struct cluster_ev *ev);
/* The word is durable, or could not be written. */
int drain_go_on(struct step *s, enum intent intent, const struct id128 *node, bool ok);

/* At the end of each step, and when drain_due_ms has come: whatever is next on any draining node. */
int drain_advance(struct step *s);
uint64_t drain_due_ms(const struct cluster *c);

#endif
