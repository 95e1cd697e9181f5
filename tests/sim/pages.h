/* The state tables as people read them: the pages beside the tables (controller/core/tables.md, agent/core/tables.md).
 * What the cores do is held against these, not against the tables that they do it by. */
#ifndef CARAVAN_TESTS_SIM_PAGES_H
#define CARAVAN_TESTS_SIM_PAGES_H

#include "tests/sim/cells.h"

/* root: of the source tree. A page that is not there is made up from the table itself, and that is said. */
void pages_read(const char *root);

const struct cells_cell *pages_cell(enum cells_machine m, unsigned state, unsigned event);

/* One transition, as its words say it, of a machine that was seen in *state last: NULL, and *state is where it is now; or
 * what is wrong with it. */
struct pages_step {
    const char *from, *to, *event, *verdict;
};
const char *pages_follow(enum cells_machine m, const struct pages_step *t, unsigned *state);

#endif
