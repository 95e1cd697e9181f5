/* print_tables agent|controller: the state machines of a daemon as a reference page, as it stands beside their tables. */
#include <stdio.h>
#include <string.h>

#include "tests/lib/machine_tables.h"

static const char legend[] =
    "What each state machine does with each event: a row for each, none undecided. A test fails while this page is not what\n"
    "the code does.\n\n"
    "- **go**: to the state named, which may be the same one. **go, acts**: the move begins work of its own.\n"
    "- **refuse**: nothing changes and nothing is ended; who asked is told the sentence.\n"
    "- **ignore**: nothing changes: it came late, or twice, or is true already.\n";
static const char controller_legend[] =
    "- **refuse, late**: the state may only be late, so the command is held for `transition_grace` before it is refused.\n\n"
    "A refusal is logged, audited and counted in `caravan_transitions_refused_total{machine,state,event}`; the task that asked\n"
    "ends `refused` if it had not begun, else `failed`, with the code `invalid_transition`.\n";

static const char *verdict_text(const struct machine_cell *c)
{
    switch (c->verdict) {
    case GO:
        return c->acts ? "go, acts" : "go";
    case REFUSE:
        return c->holds ? "refuse, late" : "refuse";
    case IGNORE:
        return "ignore";
    case UNDECIDED:
        break;
    }
    return "UNDECIDED";
}

static void print_state(const struct machine_table *t, int state)
{
    printf("\n### %s: %s\n\n| event | verdict | to | sentence |\n|---|---|---|---|\n", t->name, t->state_name(state));
    for (int event = 0; event < t->n_events; event++) {
        struct machine_cell c = t->cell(state, event);

        printf("| %s | %s | %s | %s |\n", t->event_name(event), verdict_text(&c),
               c.verdict == GO ? t->state_name(c.to) : "", c.sentence ? c.sentence : "");
    }
}

int main(int argc, char **argv)
{
    size_t n = 0;

    if (argc == 2)
        printf("# State machines of caravan-%s\n\n%s%s", argv[1], legend,
               strcmp(argv[1], "controller") == 0 ? controller_legend : "");
    for (const struct machine_table *t = machine_tables; argc == 2 && t->name; t++) {
        if (strcmp(t->program, argv[1]))
            continue;
        n++;
        printf("\n## %c%s\n\n%s\n", t->name[0] - 'a' + 'A', t->name + 1, t->what);
        for (int state = t->first_state; state <= t->last_state; state++)
            print_state(t, state);
    }
    if (n) {
        puts("\nThis page is made from the tables in the code by `cmake --build build/debug --target reference`.");
        return 0;
    }
    fprintf(stderr, "usage: print_tables agent|controller\n");
    return 2;
}
