/* Text for a terminal: how wide it shows, without what would steer the terminal, and numbers as people read them. */
#ifndef CARAVAN_CONTROLLER_CLI_SCREEN_H
#define CARAVAN_CONTROLLER_CLI_SCREEN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Columns that s takes. UTF-8; bytes that are not count as one each. Needs a UTF-8 LC_CTYPE. */
size_t screen_width(const char *s);
/* The bytes of s that take at most `columns`, which are *ret_columns (may be NULL); never cuts a character. */
size_t screen_fit(const char *s, size_t columns, size_t *ret_columns);

/* Writes n bytes to out, control characters but newline and tab as '?': names and answers come from outside, and an escape
 * sequence in them must not reach the terminal. A character may be cut between two calls. */
void screen_write(FILE *out, const char *s, size_t n_bytes);
/* The same in place for a string, newlines and tabs too. Returns s. */
char *screen_clean(char *s);

enum { SCREEN_NUMBER_MAX = 32 };
/* "206 MiB", "11.4 GiB"; "12 s", "3 min 20 s"; buf of SCREEN_NUMBER_MAX. Return buf. */
char *screen_bytes(uint64_t bytes, char *buf);
char *screen_duration(uint64_t ms, char *buf);

#define SCREEN_BYTES(n)     screen_bytes((n), (char[SCREEN_NUMBER_MAX]){0})
#define SCREEN_DURATION(ms) screen_duration((ms), (char[SCREEN_NUMBER_MAX]){0})

#endif
