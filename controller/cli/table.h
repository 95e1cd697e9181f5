/* Aligned columns that fit the terminal. */
#ifndef CARAVAN_CONTROLLER_CLI_TABLE_H
#define CARAVAN_CONTROLLER_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "controller/cli/term.h"

struct table;

enum {
    TABLE_RIGHT = 1,   /* numbers */
    TABLE_SHRINKS = 2, /* may be cut with "…" where the terminal is too narrow */
    TABLE_OPTIONAL = 4 /* left out, the last one first, where that is not enough */
};

struct table_column {
    const char *title; /* NULL ends a list */
    unsigned flags;
};

/* columns: borrowed, must outlive the table. NULL: no memory; the functions below take that in their stride. */
struct table *table_new(const struct table_column *columns);
void table_destroy(struct table **t);

/* The next cell, row by row from the left. Control characters in it become '?'. */
void table_cell(struct table *t, enum term_colour colour, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* width: columns of the terminal, 0 for no limit. */
void table_print(const struct table *t, FILE *out, size_t width);

#endif
