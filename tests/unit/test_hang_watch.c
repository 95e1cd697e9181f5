/* When is a worker frozen, sample by sample. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/core/hang_watch.h"

enum { SAMPLES_MAX = 8 };

struct seen {
    uint64_t at_ms, unread_bytes, cpu_ms;
    char proc_state;
    bool retransmits, devices_busy, no_sockets;
    uint64_t frozen_ms; /* expected */
};

#define SEEN(at, unread, cpu, state, ...)                                                            \
    {                                                                                                \
        .at_ms = (at), .unread_bytes = (unread), .cpu_ms = (cpu), .proc_state = (state), __VA_ARGS__ \
    }
#define FROZEN(ms) .frozen_ms = (ms)

static const struct {
    const char *name;
    struct seen seen[SAMPLES_MAX];
} cases[] = {
    {"nothing unread", {SEEN(1000, 0, 50, 'S'), SEEN(2000, 0, 50, 'S'), SEEN(3000, 0, 50, 'S')}},
    {"bytes wait and nothing happens",
     {SEEN(1000, 321, 50, 'S'), SEEN(2000, 321, 50, 'S', FROZEN(1000)), SEEN(3000, 321, 50, 'S', FROZEN(2000))}},
    {"stopped by a signal", {SEEN(1000, 321, 50, 'T'), SEEN(2000, 321, 50, 'T', FROZEN(1000))}},
    {"more bytes come", {SEEN(1000, 9, 50, 'S'), SEEN(2000, 6000, 50, 'S', FROZEN(1000))}},
    {"it computes",
     {SEEN(1000, 321, 50, 'R'), SEEN(2000, 321, 60, 'R'), SEEN(3000, 321, 60, 'R', FROZEN(1000)),
      SEEN(4000, 321, 70, 'R')}},
    {"it reads",
     {SEEN(1000, 6000, 50, 'S'), SEEN(2000, 321, 50, 'S'), SEEN(3000, 321, 50, 'S', FROZEN(1000)),
      SEEN(4000, 0, 50, 'S')}},
    {"emptied and filled again", {SEEN(1000, 321, 50, 'S'), SEEN(2000, 0, 50, 'S'), SEEN(3000, 321, 50, 'S')}},
    {"it waits for a disk",
     {SEEN(1000, 321, 50, 'S'), SEEN(2000, 321, 50, 'D'), SEEN(3000, 321, 50, 'S'),
      SEEN(4000, 321, 50, 'S', FROZEN(1000))}},
    {"its GPU works",
     {SEEN(1000, 321, 50, 'S'), SEEN(2000, 321, 50, 'S', .devices_busy = true), SEEN(3000, 321, 50, 'S'),
      SEEN(4000, 321, 50, 'S', FROZEN(1000))}},
    {"the network sends again",
     {SEEN(1000, 321, 50, 'S'), SEEN(2000, 321, 50, 'S', .retransmits = true), SEEN(3000, 321, 50, 'S'),
      SEEN(4000, 321, 50, 'S', FROZEN(1000))}},
    {"its sockets could not be read",
     {SEEN(1000, 321, 50, 'S'), SEEN(2000, 321, 50, 'S', .no_sockets = true), SEEN(3000, 321, 50, 'S')}},
    {"the agent stood still",
     {SEEN(1000, 321, 50, 'S'), SEEN(4000, 321, 50, 'S', FROZEN(3000)), SEEN(7001, 321, 50, 'S'),
      SEEN(8001, 321, 50, 'S', FROZEN(1000))}},
    {"it is another process", {SEEN(1000, 321, 50, 'S'), SEEN(2000, 321, 10, 'S')}},
};

static struct agent_unit_sample sample_of(const struct seen *s)
{
    return (struct agent_unit_sample){.cpu_ms = s->cpu_ms,
                                      .proc_state = s->proc_state,
                                      .has_sockets = !s->no_sockets,
                                      .unread_bytes = s->unread_bytes,
                                      .retransmits = s->retransmits,
                                      .devices_busy = s->devices_busy};
}

static void test_case_11_when_the_clock_runs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hang_watch w = {0};

        for (const struct seen *s = cases[i].seen; s < cases[i].seen + SAMPLES_MAX && s->at_ms; s++) {
            const struct agent_unit_sample sample = sample_of(s);
            uint64_t frozen_ms = hang_watch_sample(&w, &sample, s->at_ms);

            if (frozen_ms != s->frozen_ms)
                fail_msg("%s, at %d: %d", cases[i].name, (int)s->at_ms, (int)frozen_ms);
        }
    }
}

static void test_a_restart(void **state)
{
    const struct agent_unit_sample s = {.cpu_ms = 5, .proc_state = 'S', .has_sockets = true, .unread_bytes = 9};
    struct hang_watch w = {0};

    (void)state;
    assert_int_equal(hang_watch_sample(&w, &s, 1000), 0);
    assert_int_equal(hang_watch_sample(&w, &s, 3000), 2000);
    hang_watch_restart(&w);
    assert_int_equal(hang_watch_sample(&w, &s, 4000), 0);
    assert_int_equal(hang_watch_sample(&w, &s, 5000), 1000);
}

static void test_a_carrier_that_is_stopped(void **state)
{
    static const struct {
        uint64_t at_ms;
        char proc_state;
        uint64_t frozen_ms;
    } seen[] = {
        {1000, 'T', 0}, {3000, 'T', 2000}, {3500, 'S', 0},    {4000, 'T', 0},
        {5000, 'D', 0}, {6000, 'T', 0},    {7000, 'T', 1000}, {10001, 'T', 0} /* the agent stood still */,
    };
    struct hang_watch w = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
        assert_int_equal(hang_watch_stopped(&w, seen[i].proc_state, seen[i].at_ms), seen[i].frozen_ms);
    hang_watch_restart(&w);
    assert_int_equal(hang_watch_stopped(&w, 'T', 11000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_case_11_when_the_clock_runs),
        cmocka_unit_test(test_a_restart),
        cmocka_unit_test(test_a_carrier_that_is_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
