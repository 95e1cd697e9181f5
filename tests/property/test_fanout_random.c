/* A fan-out's course under anything that may be heard, in any order: whoever was asked ends once and by its deadline, what is
 * told is in order, sums are right, and it always finishes, once, and last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/fanout_course.h"
#include "tests/lib/random.h"

enum { SEEDS = 2000, BEGAN_MS = 5000 };

struct told {
    bool asked, ended, cancelled, speaks; /* speaks: a delta was told that nothing has taken back */
};

struct world {
    struct fanout_course *course;
    struct fanout_course_config config;
    size_t n;
    uint64_t seed, now_ms;
    struct told told[FANOUT_VOICES_MAX];
    size_t n_ended;
    bool finished;
};

static void check_asked(const struct world *w, size_t voice)
{
    assert_false(w->told[voice].asked || w->told[voice].ended);
    if (voice < w->config.n_members)
        return;
    assert_int_equal(w->n_ended, w->config.n_members); /* the synthesis is the last */
    assert_true(fanout_course_sum(w->course).n_answered > 0);
}

static void take(struct world *w, const struct fanout_effect *fx)
{
    struct told *t = &w->told[fx->voice];

    assert_false(w->finished);
    switch (fx->kind) {
    case FANOUT_FX_ASK:
        check_asked(w, fx->voice);
        t->asked = true;
        return;
    case FANOUT_FX_CANCEL:
        assert_true(t->asked && !t->ended && !t->cancelled);
        t->cancelled = true;
        return;
    case FANOUT_FX_TELL_AGAIN:
        assert_true(t->asked && !t->ended);
        t->speaks = false;
        return;
    case FANOUT_FX_TELL_DELTA:
        assert_true(t->asked && !t->ended);
        t->speaks = true;
        return;
    case FANOUT_FX_TELL_ENDED:
        assert_false(t->ended);
        t->ended = true;
        w->n_ended++;
        return;
    case FANOUT_FX_FINISH:
        assert_int_equal(w->n_ended, w->n);
        w->finished = true;
        return;
    }
}

static void pull(struct world *w)
{
    struct fanout_effect fx;

    while (fanout_course_next(w->course, &fx))
        take(w, &fx);
}

/* What holds after every step. */
static void check(const struct world *w)
{
    uint64_t since_ms = w->now_ms - BEGAN_MS;

    for (size_t i = 0; i < w->n; i++) {
        struct fanout_voice_course c = fanout_course_voice(w->course, i);
        bool ended = c.state == FANOUT_ANSWERED || c.state == FANOUT_FAILED;

        assert_int_equal(w->told[i].ended, ended);
        assert_int_equal(c.state == FANOUT_FAILED, c.why != 0);
        if (ended)
            assert_true(c.ended_ms <= since_ms);
        if (ended || c.state == FANOUT_IDLE)
            continue;
        assert_true(since_ms - c.asked_ms < w->config.voice_timeout_ms[i]);
        assert_true(since_ms < w->config.timeout_ms);
        assert_true(fanout_course_due_ms(w->course) > w->now_ms && fanout_course_due_ms(w->course) != UINT64_MAX);
    }
}

static void step(struct world *w)
{
    size_t voice = random_in(&w->seed, 0, w->n - 1);

    w->now_ms += random_one_in(&w->seed, 3) ? random_in(&w->seed, 0, 400) : 0;
    fanout_course_tick(w->course, w->now_ms); /* as the shell's timer does, in time */
    pull(w);
    if (random_one_in(&w->seed, 3))
        fanout_course_sent(w->course, voice, w->now_ms);
    else
        fanout_course_hear(w->course, voice, (enum fanout_event)random_in(&w->seed, FANOUT_EV_DELTA, FANOUT_EV_CUT),
                           w->now_ms);
    if (random_one_in(&w->seed, 2)) /* else: what follows is pulled later, with more */
        return;
    pull(w);
    check(w);
}

static void check_sum(const struct world *w)
{
    struct fanout_sum sum = fanout_course_sum(w->course);
    size_t n_answered = 0;

    for (size_t i = 0; i < w->config.n_members; i++)
        n_answered += fanout_course_voice(w->course, i).state == FANOUT_ANSWERED;
    assert_int_equal(sum.n_answered, n_answered);
    assert_int_equal(sum.n_answered + sum.n_failed, w->config.n_members);
    assert_true(sum.members_ms <= sum.wall_ms && sum.wall_ms <= w->now_ms - BEGAN_MS);
    assert_true(sum.efficiency_permille <= 1000 || sum.efficiency_permille == UINT32_MAX);
}

static void play(uint64_t seed)
{
    struct world w = {.seed = seed, .now_ms = BEGAN_MS};

    w.config.n_members = random_one_in(&w.seed, 8) ? FANOUT_MEMBERS_MAX : random_in(&w.seed, 1, 6);
    w.config.synthesis = random_one_in(&w.seed, 2);
    w.config.timeout_ms = random_in(&w.seed, 1, 9000);
    for (size_t i = 0; i < FANOUT_VOICES_MAX; i++)
        w.config.voice_timeout_ms[i] = random_in(&w.seed, 1, 9000);
    w.n = w.config.n_members + w.config.synthesis;
    assert_int_equal(fanout_course_new(&w.config, w.now_ms, &w.course), 0);
    pull(&w);
    for (int i = 0; i < 2000 && !w.finished; i++)
        step(&w);
    w.now_ms += w.config.timeout_ms;
    fanout_course_tick(w.course, w.now_ms);
    pull(&w);
    check(&w);
    assert_true(w.finished);
    assert_int_equal(fanout_course_due_ms(w.course), UINT64_MAX);
    check_sum(&w);
    fanout_course_destroy(&w.course);
}

static void test_case_26_it_always_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        play(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_case_26_it_always_ends)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
