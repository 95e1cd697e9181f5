/* The node's table: every cell decided, every refusal explained, nothing leads where the design does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/node_machine.h"

static void test_every_cell_is_decided_and_explained(void **state)
{
    (void)state;
    for (unsigned st = NODE_UNKNOWN; st < NODE_STATE_N; st++) {
        for (unsigned ev = 0; ev < NODE_EVENT_N; ev++) {
            const struct node_cell *cell = node_cell(st, ev);

            if (cell->verdict == UNDECIDED)
                fail_msg("%s, %s: undecided", node_state_name(st), node_event_name(ev));
            if (cell->verdict == GO)
                assert_in_range(cell->to, NODE_UNKNOWN, NODE_RETIRED);
            else if (!cell->sentence || !cell->sentence[0] || cell->to || cell->action)
                fail_msg("%s, %s: needs a sentence and nothing else", node_state_name(st), node_event_name(ev));
        }
    }
}

static void test_names_are_there_and_differ(void **state)
{
    (void)state;
    for (unsigned ev = 0; ev < NODE_EVENT_N; ev++) {
        assert_string_not_equal(node_event_name(ev), "unknown");
        for (unsigned other = 0; other < ev; other++)
            assert_string_not_equal(node_event_name(ev), node_event_name(other));
    }
    assert_string_equal(node_event_name(NODE_EVENT_N), "unknown");
    assert_string_equal(node_state_name(0), "unknown");
}

/* What people rely on, said once more by itself. */
static void test_what_the_design_says(void **state)
{
    static const struct {
        enum node_state from;
        enum node_event event;
        enum node_state to;
    } go[] = {
        {NODE_UNKNOWN, NODE_EV_HELLO, NODE_JOINING},
        {NODE_JOINING, NODE_EV_REPORT, NODE_READY},
        {NODE_JOINING, NODE_EV_PARTIAL, NODE_JOINING},
        {NODE_JOINING, NODE_EV_SILENT, NODE_SUSPECT},
        {NODE_READY, NODE_EV_SILENT, NODE_SUSPECT},
        {NODE_DRAINING, NODE_EV_SILENT, NODE_SUSPECT},
        {NODE_SUSPECT, NODE_EV_REPORT, NODE_READY},
        {NODE_SUSPECT, NODE_EV_KNOCK_ANSWERED, NODE_SUSPECT}, /* it is alive, but cannot be told anything */
        {NODE_SUSPECT, NODE_EV_KNOCK_REFUSED, NODE_STUCK},
        {NODE_SUSPECT, NODE_EV_KNOCK_UNANSWERED, NODE_LOST},
        {NODE_STUCK, NODE_EV_KNOCK_ANSWERED, NODE_SUSPECT},
        {NODE_STUCK, NODE_EV_KNOCK_REFUSED, NODE_STUCK},
        {NODE_STUCK, NODE_EV_KNOCK_UNANSWERED, NODE_LOST},
        {NODE_STUCK, NODE_EV_REPORT, NODE_READY},
        {NODE_LOST, NODE_EV_KNOCK_ANSWERED, NODE_SUSPECT},
        {NODE_LOST, NODE_EV_REPORT, NODE_READY},
        {NODE_LOST, NODE_EV_EVICT, NODE_EVICTED},
        {NODE_EVICTED, NODE_EV_REPORT, NODE_READY},
        {NODE_READY, NODE_EV_DRAIN, NODE_DRAINING},
        {NODE_DRAINING, NODE_EV_EMPTIED, NODE_DRAINED},
        {NODE_DRAINING, NODE_EV_UNDRAIN, NODE_READY},
        {NODE_DRAINED, NODE_EV_SILENT, NODE_DRAINED}, /* that is what drain is for */
    };
    static const enum node_state away[] = {NODE_SUSPECT, NODE_STUCK, NODE_LOST, NODE_EVICTED};

    (void)state;
    for (size_t i = 0; i < sizeof(go) / sizeof(go[0]); i++) {
        assert_int_equal(node_cell(go[i].from, go[i].event)->verdict, GO);
        assert_int_equal(node_cell(go[i].from, go[i].event)->to, go[i].to);
    }
    for (unsigned st = NODE_UNKNOWN; st < NODE_STATE_N; st++)
        assert_int_equal(node_cell(st, NODE_EV_BAD_HELLO)->verdict, REFUSE);
    for (unsigned st = NODE_UNKNOWN; st < NODE_RETIRED; st++) {
        assert_int_equal(node_cell(st, NODE_EV_RETIRE)->verdict, GO);
        assert_int_equal(node_cell(st, NODE_EV_RETIRE)->to, NODE_RETIRED);
        if (st != NODE_SUSPECT && st != NODE_STUCK) /* silence alone loses nothing: only a knock does */
            for (unsigned ev = 0; ev < NODE_EVENT_N; ev++)
                assert_true(node_cell(st, ev)->to != NODE_LOST || st == NODE_LOST);
    }
    for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
        assert_int_equal(node_cell(away[i], NODE_EV_DRAIN)->verdict, REFUSE);
        assert_int_equal(node_cell(away[i], NODE_EV_UNDRAIN)->verdict, GO); /* the flag may stand */
        assert_int_equal(node_cell(away[i], NODE_EV_HELLO)->to, NODE_JOINING);
    }
    for (unsigned ev = 0; ev < NODE_EVENT_N; ev++) /* nothing leads out of retirement */
        assert_int_not_equal(node_cell(NODE_RETIRED, ev)->verdict, GO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_decided_and_explained),
        cmocka_unit_test(test_names_are_there_and_differ),
        cmocka_unit_test(test_what_the_design_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
