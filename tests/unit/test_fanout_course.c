/* The course of a fan-out, told step by step: do one thing, expect every effect of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/fanout_course.h"

static char said[1024];

/* All that is to be done, one after the other. */
static const char *effects(struct fanout_course *c)
{
    static const char *const names[] = {
        [FANOUT_FX_ASK] = "ask",          [FANOUT_FX_CANCEL] = "cancel",    [FANOUT_FX_TELL_AGAIN] = "again",
        [FANOUT_FX_TELL_DELTA] = "delta", [FANOUT_FX_TELL_ENDED] = "ended", [FANOUT_FX_FINISH] = "finish"};
    struct fanout_effect fx;
    size_t n = 0;

    said[0] = '\0';
    while (fanout_course_next(c, &fx)) {
        n += (size_t)snprintf(said + n, sizeof(said) - n, "%s%s", n ? ", " : "", names[fx.kind]);
        if (fx.kind != FANOUT_FX_FINISH)
            n += (size_t)snprintf(said + n, sizeof(said) - n, " %zu", fx.voice);
    }
    return said;
}

#define EXPECT(c, text) assert_string_equal(effects(c), text)
#define HEAR(c, voice, event, at, text)                      \
    do {                                                     \
        fanout_course_hear(c, voice, FANOUT_EV_##event, at); \
        EXPECT(c, text);                                     \
    } while (0)
#define TICK(c, at, text)          \
    do {                           \
        fanout_course_tick(c, at); \
        EXPECT(c, text);           \
    } while (0)

static struct fanout_course *begin(size_t n_members, bool synthesis)
{
    struct fanout_course_config config = {.n_members = n_members, .synthesis = synthesis, .timeout_ms = 10000};
    struct fanout_course *c;

    for (size_t i = 0; i < FANOUT_VOICES_MAX; i++)
        config.voice_timeout_ms[i] = 8000;
    config.voice_timeout_ms[1] = 3000;
    assert_int_equal(fanout_course_new(&config, 1000, &c), 0);
    return c;
}

static void test_every_cell_is_decided(void **state)
{
    (void)state;
    for (int s = FANOUT_IDLE; s < FANOUT_STATE_N; s++)
        for (int e = FANOUT_EV_ASK; e < FANOUT_EVENT_N; e++)
            if (!fanout_course_decides((enum fanout_state)s, (enum fanout_event)e))
                fail_msg("state %d, event %d", s, e);
}

static void test_all_answer(void **state)
{
    struct fanout_course *c = begin(3, false);
    struct fanout_sum sum;

    (void)state;
    EXPECT(c, "ask 0, ask 1, ask 2");
    for (size_t i = 0; i < 3; i++)
        fanout_course_sent(c, i, 1000 + 100 * i);
    HEAR(c, 1, DELTA, 1300, "delta 1");
    HEAR(c, 1, END, 1900, "ended 1");
    HEAR(c, 2, DELTA, 2000, "delta 2");
    HEAR(c, 0, DELTA, 2000, "delta 0");
    HEAR(c, 2, END, 2100, "ended 2");
    HEAR(c, 0, END, 2250, "ended 0, finish");
    sum = fanout_course_sum(c);
    assert_int_equal(sum.n_answered, 3);
    assert_int_equal(sum.n_failed, 0);
    assert_int_equal(sum.members_ms, 1250);
    assert_int_equal(sum.wall_ms, 1250);
    assert_int_equal(sum.efficiency_permille, 1000); /* member 0 was sent at once and took all of it */
    assert_int_equal(fanout_course_voice(c, 1).first_ms, 300);
    assert_int_equal(fanout_course_voice(c, 1).sent_ms, 100);
    assert_int_equal(fanout_course_due_ms(c), UINT64_MAX);
    fanout_course_destroy(&c);
}

/* Six members, one slot: each waits for the one before. */
static void test_case_24_what_waiting_costs(void **state)
{
    struct fanout_course *c = begin(6, false);

    (void)state;
    EXPECT(c, "ask 0, ask 1, ask 2, ask 3, ask 4, ask 5");
    for (size_t i = 0; i < 6; i++) {
        fanout_course_sent(c, i, 1000 + 400 * i);
        fanout_course_hear(c, i, FANOUT_EV_END, 1400 + 400 * i);
    }
    effects(c);
    assert_int_equal(fanout_course_sum(c).efficiency_permille, 166);
    fanout_course_destroy(&c);
}

static void test_case_25_one_fails(void **state)
{
    struct fanout_course *c = begin(3, true);

    (void)state;
    effects(c);
    HEAR(c, 0, FAIL, 1100, "ended 0");
    HEAR(c, 2, DELTA, 1200, "delta 2");
    HEAR(c, 2, END, 1300, "ended 2");
    HEAR(c, 1, END, 1400, "ended 1, ask 3"); /* the synthesis has two answers */
    HEAR(c, 3, DELTA, 1500, "delta 3");
    HEAR(c, 3, FAIL, 1600, "ended 3, finish");
    assert_int_equal(fanout_course_sum(c).n_answered, 2);
    assert_int_equal(fanout_course_sum(c).n_failed, 1);
    assert_int_equal(fanout_course_sum(c).members_ms, 400);
    assert_int_equal(fanout_course_sum(c).wall_ms, 600);
    assert_int_equal(fanout_course_voice(c, 0).state, FANOUT_FAILED);
    assert_int_equal(fanout_course_voice(c, 0).why, FANOUT_WHY_ITSELF);
    assert_int_equal(fanout_course_voice(c, 3).asked_ms, 400);
    fanout_course_destroy(&c);
}

static void test_case_26_all_end_by_their_deadlines(void **state)
{
    struct fanout_course *c = begin(3, true);

    (void)state;
    effects(c);
    assert_int_equal(fanout_course_due_ms(c), 4000);
    HEAR(c, 0, DELTA, 3000, "delta 0");
    TICK(c, 3999, "");
    TICK(c, 4000, "cancel 1, ended 1"); /* its own three seconds */
    assert_int_equal(fanout_course_voice(c, 1).why, FANOUT_WHY_LATE);
    HEAR(c, 1, END, 4001, ""); /* too late */
    HEAR(c, 2, END, 5000, "ended 2");
    assert_int_equal(fanout_course_due_ms(c), 9000);
    TICK(c, 9000, "cancel 0, ended 0, ask 3");
    assert_int_equal(fanout_course_due_ms(c), 11000); /* that of all comes first */
    TICK(c, 11000, "cancel 3, ended 3, finish");
    assert_int_equal(fanout_course_voice(c, 3).why, FANOUT_WHY_ALL_LATE);
    assert_int_equal(fanout_course_sum(c).n_answered, 1);
    TICK(c, 20000, "");
    fanout_course_destroy(&c);
}

/* All at once, and a synthesis that was never asked. */
static void test_the_end_of_all(void **state)
{
    struct fanout_course_config config = {
        .n_members = 2, .synthesis = true, .timeout_ms = 500, .voice_timeout_ms = {9000, 9000, 9000}};
    struct fanout_course *c;

    (void)state;
    assert_int_equal(fanout_course_new(&config, 0, &c), 0);
    effects(c);
    HEAR(c, 0, END, 100, "ended 0");
    TICK(c, 500, "cancel 1, ended 1, ended 2, finish");
    assert_int_equal(fanout_course_voice(c, 2).why, FANOUT_WHY_ALL_LATE);
    assert_int_equal(fanout_course_voice(c, 2).asked_ms, UINT64_MAX);
    assert_int_equal(fanout_course_sum(c).efficiency_permille, UINT32_MAX); /* nothing was ever sent */
    fanout_course_destroy(&c);
}

static void test_case_27_nobody_to_put_together(void **state)
{
    struct fanout_course *c = begin(2, true);

    (void)state;
    effects(c);
    HEAR(c, 0, FAIL, 1100, "ended 0");
    HEAR(c, 1, FAIL, 1200, "ended 1, ended 2, finish");
    assert_int_equal(fanout_course_voice(c, 2).why, FANOUT_WHY_NOBODY);
    fanout_course_destroy(&c);
}

/* The epoch under it ended: it is sent again, and what it said before counts for nothing. */
static void test_asked_again(void **state)
{
    struct fanout_course *c = begin(1, false);

    (void)state;
    effects(c);
    HEAR(c, 0, AGAIN, 1050, ""); /* it had said nothing */
    fanout_course_hear(c, 0, FANOUT_EV_DELTA, 1100);
    HEAR(c, 0, AGAIN, 1200, "again 0"); /* what was not told yet is not told any more */
    assert_int_equal(fanout_course_voice(c, 0).first_ms, UINT64_MAX);
    HEAR(c, 0, DELTA, 2000, "delta 0");
    assert_int_equal(fanout_course_voice(c, 0).first_ms, 1000);
    fanout_course_sent(c, 0, 1900);
    HEAR(c, 0, END, 3000, "ended 0, finish");
    assert_int_equal(fanout_course_sum(c).efficiency_permille, 550); /* 1.1 s of 2 s: the first try was lost */
    fanout_course_destroy(&c);
}

static void test_cut_by_the_caller(void **state)
{
    struct fanout_course *c = begin(2, false);

    (void)state;
    effects(c);
    HEAR(c, 1, DELTA, 1100, "delta 1");
    HEAR(c, 1, CUT, 1200, "cancel 1, ended 1");
    HEAR(c, 1, CUT, 1300, "");
    assert_int_equal(fanout_course_voice(c, 1).why, FANOUT_WHY_ITSELF);
    HEAR(c, 0, END, 1400, "ended 0, finish");
    fanout_course_destroy(&c);
}

/* Who ended first is told first, whatever the number; nobody is heard before it is asked. */
static void test_order_of_ends(void **state)
{
    struct fanout_course *c = begin(3, true);

    (void)state;
    effects(c);
    HEAR(c, 3, DELTA, 1000, "");
    fanout_course_hear(c, 2, FANOUT_EV_END, 1100);
    fanout_course_hear(c, 0, FANOUT_EV_FAIL, 1100);
    fanout_course_hear(c, 1, FANOUT_EV_END, 1100);
    EXPECT(c, "ended 2, ended 0, ended 1, ask 3");
    HEAR(c, 3, END, 1200, "ended 3, finish");
    fanout_course_destroy(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cell_is_decided),
        cmocka_unit_test(test_all_answer),
        cmocka_unit_test(test_case_24_what_waiting_costs),
        cmocka_unit_test(test_case_25_one_fails),
        cmocka_unit_test(test_case_26_all_end_by_their_deadlines),
        cmocka_unit_test(test_the_end_of_all),
        cmocka_unit_test(test_case_27_nobody_to_put_together),
        cmocka_unit_test(test_asked_again),
        cmocka_unit_test(test_cut_by_the_caller),
        cmocka_unit_test(test_order_of_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
