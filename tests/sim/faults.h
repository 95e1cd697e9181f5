/* What goes wrong, done to the world when its time comes, and undone when that is over; and the healing of it all. */
#ifndef CARAVAN_TESTS_SIM_FAULTS_H
#define CARAVAN_TESTS_SIM_FAULTS_H

#include "tests/sim/world.h"

/* Arranges every action of the scenario that is not left out. */
void faults_begin(struct world *w);
/* From now on nothing is wrong: power, cables, disks, processes; whoever ended runs again. */
void faults_heal(struct world *w);

#endif
