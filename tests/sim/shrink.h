/* Makes the story of a broken seed short: leaves out what it breaks without. */
#ifndef CARAVAN_TESTS_SIM_SHRINK_H
#define CARAVAN_TESTS_SIM_SHRINK_H

#include <stdbool.h>
#include <stdio.h>

#include "tests/sim/scenario.h"

struct verdict_of_run {
    bool broken, crashed;
    uint64_t hash;
    char failure[512];
};

/* Plays it in a process of its own, so that an assertion in a core is a result too. story: NULL, or where it is told. */
struct verdict_of_run shrink_play(const struct scenario *s, FILE *story);
/* s is broken. Sets `dropped` and n_hosts; at most so many plays. */
void shrink(struct scenario *s, unsigned tries);

#endif
