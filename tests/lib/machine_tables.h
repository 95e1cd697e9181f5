/* The four state machines seen alike: for the tests that look at all of them, and for the pages that show them. */
#ifndef CARAVAN_TESTS_LIB_MACHINE_TABLES_H
#define CARAVAN_TESTS_LIB_MACHINE_TABLES_H

#include <stdbool.h>

#include "controller/core/machine.h"

struct machine_cell {
    enum verdict verdict;
    int to;               /* GO: a state */
    bool acts;            /* GO: the move begins work of its own */
    bool holds;           /* REFUSE: only after transition_grace */
    const char *sentence; /* REFUSE, IGNORE; NULL: none */
};

struct machine_table {
    const char *name, *program; /* "node", "controller"; NULL ends the list */
    const char *what;
    int first_state, last_state; /* it begins in the first one */
    int n_events;                /* from 0 */
    const char *(*state_name)(int state);
    const char *(*event_name)(int event);
    struct machine_cell (*cell)(int state, int event);
};
extern const struct machine_table machine_tables[];

#endif
