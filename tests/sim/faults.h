/* What goes wrong, done to the world when its time comes, and undone when that is over; and the healing of it all. */
#ifndef CARAVAN_TESTS_SIM_FAULTS_H
#define CARAVAN_TESTS_SIM_FAULTS_H

#include "tests/sim/world.h"

/* Arranges every action of the scenario that is not left out. */
void faults_begin(struct world *w);
/* The controller's machine is put to sleep now, while it waits for an answer; in odd stories, now and then. */
void faults_sleep_now(struct world *w);
/* The node that is just told to start a coordinator is away for a while, or its agent is: it hears of that late, or what it
 * has started dials its ranks late, or was to be started; in odd stories, now and then. */
void faults_away_now(struct world *w, int host);
/* From now on nothing is wrong: power, cables, disks, processes; whoever ended runs again. */
void faults_heal(struct world *w);

#endif
