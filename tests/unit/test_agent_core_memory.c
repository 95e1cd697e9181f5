/* Each allocation of each step of a whole instance's life fails once: the step returns NULL, the agent is as it was
 * before, nothing leaks (the sanitizer looks), and the same event succeeds afterwards.
 *
 * The core is included here so that its allocations can be counted and its state compared byte for byte. */
#include <errno.h>
#include <stdlib.h>

static unsigned fail_at; /* 0: never */
static unsigned n_allocations;

static int fails(void)
{
    return ++n_allocations == fail_at;
}

static void *counted_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

static void *counted_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

static void *counted_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

#define malloc  counted_malloc
#define calloc  counted_calloc
#define realloc counted_realloc
/* clang-format off */
#include "common/core/model_shape.c"
#include "common/core/message_copy.c"
#include "agent/core/effects.c"
#include "agent/core/epoch_book.c"
#include "agent/core/hang_watch.c"
#include "agent/core/lease_book.c"
#include "agent/core/process_machine.c"
#include "agent/core/result_book.c"
#include "agent/core/units.c"
#include "agent/core/unit.c"
#include "agent/core/adopt.c"
#include "agent/core/command.c"
#include "agent/core/start.c"
#include "agent/core/knock.c"
#include "agent/core/peers.c"
#include "agent/core/route.c"
#include "agent/core/relay.c"
#include "agent/core/settle.c"
#include "agent/core/report.c"
#include "agent/core/agent.c"
/* clang-format on */
#undef malloc
#undef calloc
#undef realloc

#include "tests/unit/agent_harness.h"

static unsigned n_failed;

static void assert_unchanged(const struct agent *before, const struct state *state_before)
{
    const struct state *s = h.agent->now;

    assert_ptr_equal(s, before->now);
    assert_memory_equal(s, state_before, offsetof(struct state, unit) + state_before->n_units * sizeof(s->unit[0]));
    assert_memory_equal(&h.agent->results, &before->results, sizeof(before->results));
    assert_memory_equal(h.agent->view, before->view, sizeof(before->view));
}

/* Stands in for agent_step in the harness below. */
static struct agent_effects *failing_step(struct agent *a, const struct agent_ev *ev, uint64_t now_ms)
{
    static struct agent before;
    static struct state state_before;
    struct agent_effects *fx = NULL;

    before = *a;
    state_before = *a->now;
    for (fail_at = 1; !fx; fail_at++) {
        n_allocations = 0;
        fx = agent_step(a, ev, now_ms);
        if (!fx) {
            n_failed++;
            assert_unchanged(&before, &state_before);
        }
    }
    fail_at = 0;
    return fx;
}

static void test_every_allocation_of_a_life(void **state)
{
    static const char *const names[] = {"qwen", "llama"};

    (void)state;
    n_failed = 0;
    h.step = failing_step;
    begin_serving();
    sample(5000);
    start_worker(20, "a", 1, 1);
    spawned("w1002", 20053);
    probed("w1002", true);
    models(names, 2);
    tick(2000);
    lease(21, "a", 2, 10);
    persisted(3, true);
    exited("c1001", 6, "aborted");
    probed("w1000", false);
    exited("w1000", 9, "");
    exited("w1002", 15, "");
    stop(22, "a", 2);
    simple(AGENT_EV_LINK_DOWN);
    simple(AGENT_EV_LINK_UP);
    stop(22, "a", 2);
    tick(60000);
    assert_true(n_failed > 60);
}

static void test_every_allocation_of_a_carrier(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    n_failed = 0;
    boot_with_carriers();
    h.step = failing_step;
    begin_idle();
    models(names, 1);
    simple(AGENT_EV_LINK_UP);
    sample(5000);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_carried_worker(2, "a", 1, 1);
    persisted(2, true);
    spawned("t1001", 7440);
    probed("t1001", true);
    lease(3, "b", 1, 100);
    persisted(3, true);
    start_carried_coordinator(4, "b", 1);
    stop(5, "a", 1);
    stop(6, "b", 1);
    spawn_failed("t1003", NULL, "");
    spawn_failed("c1002", NULL, "");
    exited("t1001", 9, "");
    probed("w1000", true);
    assert_true(n_failed > 30);
}

static void test_every_allocation_of_a_neighbour(void **state)
{
    struct message start = command(9, "a", 1, COMMAND_LEASE);

    (void)state;
    n_failed = 0;
    h.step = failing_step;
    begin_serving();
    sample(5000);
    knock_at(20, "x");
    knocked(h.now_ms, KNOCK_ANSWERED);
    neighbours("b", "d");
    peer_up("b");
    relayed_kind("b", "b", MESSAGE_HELLO); /* carrying */
    controller_relays("b", MESSAGE_WELCOME);
    simple(AGENT_EV_LINK_DOWN);
    health("b", true);
    tick(2500);
    relayed_kind("b", "me", MESSAGE_WELCOME); /* being carried */
    relayed("b", "me", &start);
    exited("w1000", 9, "killed");
    simple(AGENT_EV_RESUMED);
    tick(60000);
    assert_true(n_failed > 40);
}

static void test_new(void **state)
{
    struct agent *a = NULL;

    (void)state;
    for (fail_at = 1; fail_at <= 3; fail_at++) {
        n_allocations = 0;
        assert_int_equal(agent_new(&h.config, NULL, 0, &a), -ENOMEM);
        assert_null(a);
    }
    n_allocations = fail_at = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_allocation_of_a_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_allocation_of_a_carrier, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_allocation_of_a_neighbour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_new, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
