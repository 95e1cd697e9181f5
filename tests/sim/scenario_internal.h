/* Shared by scenario.c and scenario_calm.c. */
#ifndef CARAVAN_TESTS_SIM_SCENARIO_INTERNAL_H
#define CARAVAN_TESTS_SIM_SCENARIO_INTERNAL_H

#include "tests/sim/scenario.h"

void scenario_add(struct scenario *s, struct action a); /* dropped where there are too many */
int scenario_some_host(const struct scenario *s, uint64_t *r);
/* In place of all that was chosen before. */
void scenario_make_calm(struct scenario *s, uint64_t *r);

#endif
