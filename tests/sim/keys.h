/* Whom the controller's link lets in, in stories with trust = keys: nodes join by tokens that somebody makes, keys are
 * revoked, and the link forgets all of it when the controller ends. */
#ifndef CARAVAN_TESTS_SIM_KEYS_H
#define CARAVAN_TESTS_SIM_KEYS_H

#include "controller/core/cluster.h"
#include "tests/sim/world.h"

enum { KEYS_REQUEST = 1 << 20 }; /* orders of ours: greater than any wish's */

void keys_begin(struct world *w);
void keys_end(struct world *w);

/* What the link does. */
void keys_allow(struct world *w, const char *key, enum key_scope scope);
void keys_forbid(struct world *w, const char *key);
/* Whether it passes on what a key says. */
bool keys_hear(struct world *w, const struct cluster_ev *ev);
void keys_leader_gone(struct world *w);
bool keys_is_out(const struct world *w, int host); /* its key was revoked */

/* Nothing is said to a key that is not let in. key: of the link's end, or of whom a neighbour carries for. */
void keys_check_send(struct world *w, const char *key);
/* After BEGIN, and when all is quiet: the link knows every key that was kept. */
void keys_check_kept(struct world *w);

#endif
