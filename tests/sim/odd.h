/* What nobody should send, and somebody does. */
#ifndef CARAVAN_TESTS_SIM_ODD_H
#define CARAVAN_TESTS_SIM_ODD_H

#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

#define ODD_TEXT "out of turn"

void odd_do(struct world *w, const struct action *a);
/* odd_cells.c: every event that the leader's tables refuse or ignore, raised at each node, instance and task that there
 * is: nothing may come of it. */
void odd_raise_all(struct world *w);
/* Now and then: a hello that was long on its way, of a node that may be gone by now, and later half a report. */
void odd_late_words(struct world *w);
void odd_raise_at(struct world *w, int host);
void odd_raise_at_agents(struct world *w); /* the same of processes */

#endif
