#include "tests/sim/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cells_cell page[CELLS_MACHINES][CELLS_STATES][CELLS_EVENTS];

const struct cells_cell *pages_cell(enum cells_machine m, unsigned state, unsigned event)
{
    return &page[m][state][event];
}

const char *pages_follow(enum cells_machine m, const struct pages_step *t, unsigned *state)
{
    static const char *const verdicts[] = {"", "go", "refuse", "ignore"};
    const struct cells_table *table = cells_table(m);
    unsigned e = 0;

    while (e < table->n_events && strcmp(t->event, table->event(e)) != 0)
        e++;
    if (e == table->n_events)
        return "there is no such event";
    if (strcmp(t->from, table->state(*state)) != 0)
        return "that is not where it was";
    if (strcmp(t->verdict, verdicts[page[m][*state][e].verdict]) != 0)
        return "its page says otherwise";
    if (page[m][*state][e].verdict != CELLS_GO)
        return NULL;
    if (strcmp(t->to, table->state(page[m][*state][e].to)) != 0)
        return "its page says that it goes elsewhere";
    *state = page[m][*state][e].to;
    return NULL;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static unsigned state_named(const struct cells_table *t, const char *name)
{
    for (unsigned s = t->first_state; s < t->n_states; s++) {
        if (strcmp(t->state(s), name) == 0)
            return s;
    }
    return 0;
}

static enum cells_verdict verdict_named(const char *word)
{
    if (strncmp(word, "go", 2) == 0)
        return CELLS_GO;
    return strncmp(word, "refuse", 6) == 0 ? CELLS_REFUSE : strncmp(word, "ignore", 6) == 0 ? CELLS_IGNORE : 0;
}

/* "| event | verdict | to | sentence |" below "### machine: state". */
static void read_row(enum cells_machine m, unsigned state, char *line)
{
    const struct cells_table *t = cells_table(m);
    char *cell[3], *rest = line + 1;

    for (size_t i = 0; i < 3; i++) {
        cell[i] = strsep(&rest, "|");
        if (!rest)
            return;
        cell[i] += strspn(cell[i], " ");
        for (size_t n = strlen(cell[i]); n && cell[i][n - 1] == ' ';)
            cell[i][--n] = '\0';
    }
    for (unsigned e = 0; e < t->n_events; e++) {
        if (strcmp(t->event(e), cell[0]) == 0)
            page[m][state][e] = (struct cells_cell){verdict_named(cell[1]), state_named(t, cell[2])};
    }
}

static void read_page(const char *root, const char *name)
{
    char path[4096], line[4096], machine[32], state[32];
    unsigned m = 0, s = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", root, name);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "### %31[^:]: %31s", machine, state) == 2) {
            for (m = 0; m < CELLS_MACHINES && strcmp(cells_table((enum cells_machine)m)->machine, machine) != 0;)
                m++;
            s = m < CELLS_MACHINES ? state_named(cells_table((enum cells_machine)m), state) : 0;
        } else if (line[0] == '|' && s) {
            read_row((enum cells_machine)m, s, line);
        }
    }
    if (f)
        fclose(f);
}

/* Not to go on with half a page. */
static void complete(enum cells_machine m)
{
    const struct cells_table *t = cells_table(m);
    unsigned missing = 0, cells = 0;

    for (unsigned s = t->first_state; s < t->n_states; s++) {
        for (unsigned e = 0; e < t->n_events; e++) {
            cells++;
            missing += !page[m][s][e].verdict;
            if (!page[m][s][e].verdict)
                page[m][s][e] = t->cell(s, e);
        }
    }
    if (missing == cells)
        printf("%s: there is no page of its table, so the table is held against itself\n", t->machine);
    else if (missing)
        printf("%s: %u cells are not in the page of its table\n", t->machine, missing);
}

void pages_read(const char *root)
{
    read_page(root, "controller/core/tables.md");
    read_page(root, "agent/core/tables.md");
    for (unsigned m = 0; m < CELLS_MACHINES; m++)
        complete((enum cells_machine)m);
}
