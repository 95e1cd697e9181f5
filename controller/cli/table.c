#include "controller/cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controller/cli/screen.h"

enum { GAP = 2, COLUMN_MIN = 8, COLUMNS_MAX = 16 };

struct cell {
    char *text;
    enum term_colour colour;
};

struct table {
    const struct table_column *column;
    size_t n_columns;
    struct cell *cell;
    size_t n_cells, n_room;
};

struct table *table_new(const struct table_column *columns)
{
    struct table *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->column = columns;
    while (t->n_columns < COLUMNS_MAX && columns[t->n_columns].title)
        t->n_columns++;
    return t;
}

void table_destroy(struct table **t)
{
    if (!*t)
        return;
    for (size_t i = 0; i < (*t)->n_cells; i++)
        free((*t)->cell[i].text);
    free((*t)->cell);
    free(*t);
    *t = NULL;
}

void table_cell(struct table *t, enum term_colour colour, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;

    if (!t)
        return;
    if (t->n_cells == t->n_room) {
        size_t room = t->n_room ? t->n_room * 2 : 64;
        struct cell *grown = realloc(t->cell, room * sizeof(*grown));

        if (!grown)
            return;
        t->cell = grown;
        t->n_room = room;
    }
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    t->cell[t->n_cells++] = (struct cell){text ? screen_clean(text) : NULL, colour};
}

static const char *cell_text(const struct table *t, size_t row, size_t column)
{
    size_t i = row * t->n_columns + column;

    return i < t->n_cells && t->cell[i].text ? t->cell[i].text : "";
}

static size_t n_rows(const struct table *t)
{
    return (t->n_cells + t->n_columns - 1) / t->n_columns;
}

/* How the columns are laid out for one printing. */
struct layout {
    size_t width[COLUMNS_MAX];
    bool hidden[COLUMNS_MAX];
};

static size_t line_width(const struct table *t, const struct layout *l)
{
    size_t total = 0;

    for (size_t i = 0; i < t->n_columns; i++)
        if (!l->hidden[i])
            total += l->width[i] + (total ? GAP : 0);
    return total;
}

/* Takes a column from the widest that may shrink until the line fits, or none is left. */
static void shrink(const struct table *t, struct layout *l, size_t limit)
{
    while (line_width(t, l) > limit) {
        size_t widest = t->n_columns;

        for (size_t i = 0; i < t->n_columns; i++)
            if ((t->column[i].flags & TABLE_SHRINKS) && !l->hidden[i] && l->width[i] > COLUMN_MIN &&
                (widest == t->n_columns || l->width[i] > l->width[widest]))
                widest = i;
        if (widest == t->n_columns)
            return;
        l->width[widest]--;
    }
}

static struct layout natural_layout(const struct table *t)
{
    struct layout l = {.width = {0}};

    for (size_t c = 0; c < t->n_columns; c++) {
        l.width[c] = screen_width(t->column[c].title);
        for (size_t r = 0; r < n_rows(t); r++) {
            size_t w = screen_width(cell_text(t, r, c));

            l.width[c] = w > l.width[c] ? w : l.width[c];
        }
    }
    return l;
}

/* Shrinks what may shrink; while that is not enough, leaves out an optional column and tries again. */
static struct layout fitted_layout(const struct table *t, size_t limit)
{
    const struct layout natural = natural_layout(t);
    struct layout l = natural;

    if (!limit)
        return l;
    shrink(t, &l, limit);
    for (size_t i = t->n_columns; i-- > 0 && line_width(t, &l) > limit;) {
        if (!(t->column[i].flags & TABLE_OPTIONAL))
            continue;
        memcpy(l.width, natural.width, sizeof(l.width));
        l.hidden[i] = true;
        shrink(t, &l, limit);
    }
    return l;
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last, enum term_colour colour)
{
    size_t shown = screen_width(text), n_bytes = strlen(text), pad;
    bool cut = shown > width;

    if (cut) { /* a wide character may leave a column free */
        n_bytes = screen_fit(text, width - 1, &shown);
        shown++;
    }
    pad = width - shown;
    if (right)
        fprintf(out, "%*s", (int)pad, "");
    fprintf(out, "%s%.*s%s%s", colour == TERM_PLAIN ? "" : term_begin(colour), (int)n_bytes, text, cut ? "…" : "",
            colour == TERM_PLAIN ? "" : term_begin(TERM_PLAIN));
    if (!last) /* no spaces at the end of a line */
        fprintf(out, "%*s", (int)(right ? GAP : GAP + pad), "");
}

/* row: SIZE_MAX for the titles. */
static void print_row(const struct table *t, FILE *out, const struct layout *l, size_t row)
{
    size_t last = t->n_columns;

    while (last > 1 && l->hidden[last - 1])
        last--;
    for (size_t c = 0; c < last; c++) {
        size_t i = row == SIZE_MAX ? 0 : row * t->n_columns + c;
        const char *text = row == SIZE_MAX ? t->column[c].title : cell_text(t, row, c);
        enum term_colour colour = row == SIZE_MAX ? TERM_BOLD : i < t->n_cells ? t->cell[i].colour : TERM_PLAIN;

        if (!l->hidden[c])
            print_cell(out, text, l->width[c], t->column[c].flags & TABLE_RIGHT, c + 1 == last, colour);
    }
    fputc('\n', out);
}

void table_print(const struct table *t, FILE *out, size_t width)
{
    struct layout l;

    if (!t || !t->n_columns)
        return;
    l = fitted_layout(t, width);
    print_row(t, out, &l, SIZE_MAX);
    for (size_t r = 0; r < n_rows(t); r++)
        print_row(t, out, &l, r);
}
