/* Standard output as a terminal, or not. */
#ifndef CARAVAN_CONTROLLER_CLI_TERM_H
#define CARAVAN_CONTROLLER_CLI_TERM_H

#include <stdbool.h>
#include <stddef.h>

enum term_colour { TERM_PLAIN, TERM_GOOD, TERM_WARN, TERM_BAD, TERM_DIM, TERM_BOLD };

bool term_is_tty(void);
/* Columns; 0 where output is not a terminal: no limit then. */
size_t term_width(void);
/* Escape sequence to begin a colour, "" where there is none: no terminal, NO_COLOR, TERM=dumb. TERM_PLAIN ends one. */
const char *term_begin(enum term_colour colour);

/* The colour of a node's, unit's, instance's, task's or backend's state. */
enum term_colour term_state_colour(const char *state);

#endif
