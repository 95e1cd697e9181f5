/* Counts every [state][event] that a run asks of the four tables: the linker puts these in front of the functions that
 * move a machine (--wrap), so that moves into the same state and what is ignored count too. */
#ifndef CARAVAN_TESTS_SIM_CELLS_H
#define CARAVAN_TESTS_SIM_CELLS_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/sim/stats.h"

enum cells_machine { CELLS_NODE, CELLS_INSTANCE, CELLS_TASK, CELLS_PROCESS };

/* Where to count from now on. */
void cells_count_in(struct stats *s);
void cells_count(enum cells_machine m, unsigned state, unsigned event);

/* A core looks at a cell without raising its event: counts while a step is under way, not when a check looks. */
void cells_in_step(bool on);
void cells_consulted(enum cells_machine m, unsigned state, unsigned event);

enum cells_verdict { CELLS_GO = 1, CELLS_REFUSE, CELLS_IGNORE };

struct cells_cell {
    enum cells_verdict verdict;
    unsigned to; /* GO */
};

struct cells_table {
    const char *machine;
    unsigned first_state, n_states, n_events; /* states: first_state .. n_states - 1 */
    const char *(*state)(unsigned);
    const char *(*event)(unsigned);
    struct cells_cell (*cell)(unsigned state, unsigned event); /* as the core has it */
    /* Why no run can come here; NULL: one can. */
    const char *(*unreachable)(unsigned state, unsigned event);
};

const struct cells_table *cells_table(enum cells_machine m);

#endif
