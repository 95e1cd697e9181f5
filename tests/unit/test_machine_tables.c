/* What holds for every state machine of the house; what one of them means is in its own test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/machine_tables.h"

enum { STATES_MAX = 64 };

/* Calls f for each cell of each machine. */
static void for_each(void (*f)(const struct machine_table *t, int state, int event, struct machine_cell c))
{
    for (const struct machine_table *t = machine_tables; t->name; t++)
        for (int state = t->first_state; state <= t->last_state; state++)
            for (int event = 0; event < t->n_events; event++)
                f(t, state, event, t->cell(state, event));
}

#define FAIL_CELL(what) fail_msg("%s %s, %s: %s", t->name, t->state_name(state), t->event_name(event), what)

static void assert_decided(const struct machine_table *t, int state, int event, struct machine_cell c)
{
    switch (c.verdict) {
    case UNDECIDED:
        FAIL_CELL("undecided");
        break;
    case GO:
        if (c.to < t->first_state || c.to > t->last_state)
            FAIL_CELL("goes to no state");
        if (c.sentence || c.holds)
            FAIL_CELL("a move is explained by its cause, and waits for nothing");
        break;
    case REFUSE:
    case IGNORE:
        if (!c.sentence || strlen(c.sentence) < 10)
            FAIL_CELL("nothing is told to whom it concerns");
        if (c.to || c.acts)
            FAIL_CELL("does something all the same");
        if (c.holds && c.verdict != REFUSE)
            FAIL_CELL("waits with nothing to refuse");
        break;
    }
}

static void test_every_cell_is_decided_and_explained(void **state)
{
    (void)state;
    for_each(assert_decided);
}

/* A sentence is shown in one line, in a table and in JSON. */
static void assert_plain(const struct machine_table *t, int state, int event, struct machine_cell c)
{
    if (c.sentence && c.sentence[strcspn(c.sentence, "|\n\r\t\"\\")])
        FAIL_CELL("its sentence is no plain line");
}

static void test_every_sentence_is_one_plain_line(void **state)
{
    (void)state;
    for_each(assert_plain);
}

static void reach(const struct machine_table *t, int state, bool *reached)
{
    reached[state] = true;
    for (int event = 0; event < t->n_events; event++) {
        struct machine_cell c = t->cell(state, event);

        if (c.verdict == GO && !reached[c.to])
            reach(t, c.to, reached);
    }
}

static void test_every_state_can_be_reached(void **state)
{
    (void)state;
    for (const struct machine_table *t = machine_tables; t->name; t++) {
        bool reached[STATES_MAX] = {false};

        assert_true(t->last_state < STATES_MAX);
        reach(t, t->first_state, reached);
        for (int s = t->first_state; s <= t->last_state; s++)
            if (!reached[s])
                fail_msg("%s: nothing leads to %s", t->name, t->state_name(s));
    }
}

/* Where nothing leads out, it has ended; these are all the ends there are. */
static void test_no_state_is_a_trap(void **state)
{
    static const char *const ends[] = {"node retired", "instance stopped", "task complete",
                                       "task failed",  "task refused",     "task cancelled"};

    (void)state;
    for (const struct machine_table *t = machine_tables; t->name; t++)
        for (int s = t->first_state; s <= t->last_state; s++) {
            bool out = false, is_end = false;
            char text[64];

            for (int event = 0; event < t->n_events; event++)
                out |= t->cell(s, event).verdict == GO && t->cell(s, event).to != s;
            snprintf(text, sizeof(text), "%s %s", t->name, t->state_name(s));
            for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
                is_end |= strcmp(text, ends[i]) == 0;
            if (out == is_end)
                fail_msg("%s: %s", text, out ? "an end, and something leads out" : "nothing leads out");
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_decided_and_explained),
        cmocka_unit_test(test_every_sentence_is_one_plain_line),
        cmocka_unit_test(test_every_state_can_be_reached),
        cmocka_unit_test(test_no_state_is_a_trap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
