#include "controller/core/fanout_course.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "common/core/err.h"

/* What the caller has not been told yet. */
enum { OWES_ASK = 1, OWES_CANCEL = 2, OWES_AGAIN = 4, OWES_DELTA = 8, OWES_ENDED = 16 };

struct voice {
    struct fanout_voice_course course;
    uint64_t deadline_ms; /* ASKED, ANSWERING */
    unsigned owes;
    size_t rank; /* among those that have ended */
};

struct fanout_course {
    struct fanout_course_config config;
    uint64_t began_ms, deadline_ms;
    size_t n_voices, n_ended;
    bool finished; /* and told so */
    struct voice voice[FANOUT_VOICES_MAX];
};

/* ---- one voice --------------------------------------------------------------------------------------------------- */

struct cell {
    enum fanout_state to;
    unsigned owes;
};

#define STAYS(state) \
    {                \
        state, 0     \
    }
static const struct cell table[FANOUT_STATE_N][FANOUT_EVENT_N] = {
    [FANOUT_IDLE] =
        {
            [FANOUT_EV_ASK] = {FANOUT_ASKED, OWES_ASK},
            [FANOUT_EV_DELTA] = STAYS(FANOUT_IDLE),
            [FANOUT_EV_AGAIN] = STAYS(FANOUT_IDLE),
            [FANOUT_EV_END] = STAYS(FANOUT_IDLE),
            [FANOUT_EV_FAIL] = {FANOUT_FAILED, OWES_ENDED},
            [FANOUT_EV_CUT] = {FANOUT_FAILED, OWES_ENDED},
        },
    [FANOUT_ASKED] =
        {
            [FANOUT_EV_ASK] = STAYS(FANOUT_ASKED),
            [FANOUT_EV_DELTA] = {FANOUT_ANSWERING, OWES_DELTA},
            [FANOUT_EV_AGAIN] = STAYS(FANOUT_ASKED),
            [FANOUT_EV_END] = {FANOUT_ANSWERED, OWES_ENDED},
            [FANOUT_EV_FAIL] = {FANOUT_FAILED, OWES_ENDED},
            [FANOUT_EV_CUT] = {FANOUT_FAILED, OWES_CANCEL | OWES_ENDED},
        },
    [FANOUT_ANSWERING] =
        {
            [FANOUT_EV_ASK] = STAYS(FANOUT_ANSWERING),
            [FANOUT_EV_DELTA] = {FANOUT_ANSWERING, OWES_DELTA},
            [FANOUT_EV_AGAIN] = {FANOUT_ASKED, OWES_AGAIN},
            [FANOUT_EV_END] = {FANOUT_ANSWERED, OWES_ENDED},
            [FANOUT_EV_FAIL] = {FANOUT_FAILED, OWES_ENDED},
            [FANOUT_EV_CUT] = {FANOUT_FAILED, OWES_CANCEL | OWES_ENDED},
        },
    [FANOUT_ANSWERED] =
        {
            [FANOUT_EV_ASK] = STAYS(FANOUT_ANSWERED),
            [FANOUT_EV_DELTA] = STAYS(FANOUT_ANSWERED),
            [FANOUT_EV_AGAIN] = STAYS(FANOUT_ANSWERED),
            [FANOUT_EV_END] = STAYS(FANOUT_ANSWERED),
            [FANOUT_EV_FAIL] = STAYS(FANOUT_ANSWERED),
            [FANOUT_EV_CUT] = STAYS(FANOUT_ANSWERED),
        },
    [FANOUT_FAILED] =
        {
            [FANOUT_EV_ASK] = STAYS(FANOUT_FAILED),
            [FANOUT_EV_DELTA] = STAYS(FANOUT_FAILED),
            [FANOUT_EV_AGAIN] = STAYS(FANOUT_FAILED),
            [FANOUT_EV_END] = STAYS(FANOUT_FAILED),
            [FANOUT_EV_FAIL] = STAYS(FANOUT_FAILED),
            [FANOUT_EV_CUT] = STAYS(FANOUT_FAILED),
        },
};

bool fanout_course_decides(enum fanout_state state, enum fanout_event ev)
{
    return table[state][ev].to != 0;
}

static bool has_ended(const struct voice *v)
{
    return v->course.state == FANOUT_ANSWERED || v->course.state == FANOUT_FAILED;
}

static void ask(struct fanout_course *c, struct voice *v, uint64_t now_ms)
{
    v->course.asked_ms = now_ms - c->began_ms;
    v->deadline_ms = now_ms + c->config.voice_timeout_ms[v - c->voice];
}

static void say(struct fanout_course *c, struct voice *v, uint64_t now_ms)
{
    if (v->course.first_ms == UINT64_MAX)
        v->course.first_ms = now_ms - c->began_ms;
}

static void end(struct fanout_course *c, struct voice *v, enum fanout_why why, uint64_t now_ms)
{
    v->course.ended_ms = now_ms - c->began_ms;
    v->course.why = v->course.state == FANOUT_FAILED ? why : 0;
    v->rank = c->n_ended++;
    if (v->owes & OWES_ASK) /* it ended before anybody was told to ask it */
        v->owes = OWES_ENDED;
}

/* The one place that writes a voice's state. why: of an event that may end it in failure. */
static void move(struct fanout_course *c, struct voice *v, enum fanout_event ev, enum fanout_why why, uint64_t now_ms)
{
    const struct cell *cell = &table[v->course.state][ev];
    enum fanout_state from = v->course.state;

    v->course.state = cell->to;
    v->owes |= cell->owes;
    if (cell->owes & OWES_ASK)
        ask(c, v, now_ms);
    if (cell->owes & OWES_DELTA)
        say(c, v, now_ms);
    if (ev == FANOUT_EV_AGAIN && from != cell->to) {
        v->owes &= ~(unsigned)OWES_DELTA;
        v->course.first_ms = UINT64_MAX;
    }
    if (cell->owes & OWES_ENDED)
        end(c, v, why, now_ms);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static bool members_have_ended(const struct fanout_course *c)
{
    for (size_t i = 0; i < c->config.n_members; i++)
        if (!has_ended(&c->voice[i]))
            return false;
    return true;
}

static size_t count(const struct fanout_course *c, enum fanout_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < c->config.n_members; i++)
        n += c->voice[i].course.state == state;
    return n;
}

/* The synthesis' turn, where it has come. */
static void advance(struct fanout_course *c, uint64_t now_ms)
{
    struct voice *v = &c->voice[c->config.n_members];

    if (!c->config.synthesis || v->course.state != FANOUT_IDLE || !members_have_ended(c))
        return;
    if (count(c, FANOUT_ANSWERED))
        move(c, v, FANOUT_EV_ASK, 0, now_ms);
    else
        move(c, v, FANOUT_EV_FAIL, FANOUT_WHY_NOBODY, now_ms);
}

void fanout_course_hear(struct fanout_course *c, size_t voice, enum fanout_event ev, uint64_t now_ms)
{
    assert(voice < c->n_voices && ev != FANOUT_EV_ASK);
    if (c->voice[voice].course.state == FANOUT_IDLE)
        return; /* nobody has asked it */
    move(c, &c->voice[voice], ev, FANOUT_WHY_ITSELF, now_ms);
    advance(c, now_ms);
}

void fanout_course_sent(struct fanout_course *c, size_t voice, uint64_t at_ms)
{
    struct voice *v = &c->voice[voice];

    assert(voice < c->n_voices);
    if (!has_ended(v))
        v->course.sent_ms = at_ms > c->began_ms ? at_ms - c->began_ms : 0;
}

void fanout_course_tick(struct fanout_course *c, uint64_t now_ms)
{
    bool all = now_ms >= c->deadline_ms;

    for (size_t i = 0; i < c->n_voices; i++) {
        struct voice *v = &c->voice[i];

        if (all)
            move(c, v, FANOUT_EV_CUT, FANOUT_WHY_ALL_LATE, now_ms);
        else if (v->course.state != FANOUT_IDLE && now_ms >= v->deadline_ms)
            move(c, v, FANOUT_EV_CUT, FANOUT_WHY_LATE, now_ms);
    }
    advance(c, now_ms);
}

uint64_t fanout_course_due_ms(const struct fanout_course *c)
{
    uint64_t due_ms = UINT64_MAX;

    for (size_t i = 0; i < c->n_voices; i++) {
        const struct voice *v = &c->voice[i];

        if (has_ended(v))
            continue;
        if (c->deadline_ms < due_ms)
            due_ms = c->deadline_ms;
        if (v->course.state != FANOUT_IDLE && v->deadline_ms < due_ms)
            due_ms = v->deadline_ms;
    }
    return due_ms;
}

/* ---- what follows ------------------------------------------------------------------------------------------------- */

/* The first of all that owes what; of those that have ended, the one that did so first. NULL: nobody does. */
static struct voice *find(struct fanout_course *c, unsigned what)
{
    struct voice *found = NULL;

    for (size_t i = 0; i < c->n_voices; i++) {
        struct voice *v = &c->voice[i];

        if (v->owes & what && (!found || (what == OWES_ENDED && v->rank < found->rank)))
            found = v;
    }
    return found;
}

bool fanout_course_next(struct fanout_course *c, struct fanout_effect *ret)
{
    static const struct {
        unsigned owes;
        enum fanout_effect_kind kind;
    } order[] = {{OWES_CANCEL, FANOUT_FX_CANCEL},
                 {OWES_AGAIN, FANOUT_FX_TELL_AGAIN},
                 {OWES_DELTA, FANOUT_FX_TELL_DELTA},
                 {OWES_ENDED, FANOUT_FX_TELL_ENDED},
                 {OWES_ASK, FANOUT_FX_ASK}};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        struct voice *v = find(c, order[i].owes);

        if (!v)
            continue;
        v->owes &= ~order[i].owes;
        *ret = (struct fanout_effect){.kind = order[i].kind, .voice = (size_t)(v - c->voice)};
        return true;
    }
    if (c->finished || c->n_ended < c->n_voices)
        return false;
    c->finished = true;
    *ret = (struct fanout_effect){.kind = FANOUT_FX_FINISH};
    return true;
}

/* ---- how it went -------------------------------------------------------------------------------------------------- */

struct fanout_voice_course fanout_course_voice(const struct fanout_course *c, size_t voice)
{
    assert(voice < c->n_voices);
    return c->voice[voice].course;
}

struct fanout_sum fanout_course_sum(const struct fanout_course *c)
{
    struct fanout_sum sum = {.n_answered = count(c, FANOUT_ANSWERED), .n_failed = count(c, FANOUT_FAILED)};
    uint64_t ideal_ms = 0;
    bool sent = false;

    for (size_t i = 0; i < c->n_voices; i++) {
        const struct fanout_voice_course *v = &c->voice[i].course;

        if (v->ended_ms > sum.wall_ms)
            sum.wall_ms = v->ended_ms;
        if (i == c->config.n_members)
            break;
        sum.members_ms = sum.wall_ms;
        if (v->sent_ms == UINT64_MAX)
            continue;
        sent = true;
        if (v->ended_ms > v->sent_ms && v->ended_ms - v->sent_ms > ideal_ms)
            ideal_ms = v->ended_ms - v->sent_ms;
    }
    sum.efficiency_permille = !sent ? UINT32_MAX : sum.members_ms ? (uint32_t)(ideal_ms * 1000 / sum.members_ms) : 1000;
    return sum;
}

/* ---- its life ----------------------------------------------------------------------------------------------------- */

int fanout_course_new(const struct fanout_course_config *config, uint64_t now_ms, struct fanout_course **ret)
{
    struct fanout_course *c = calloc(1, sizeof(*c));

    assert(config->n_members >= 1 && config->n_members <= FANOUT_MEMBERS_MAX);
    if (!c)
        return err_raise(-ENOMEM);
    c->config = *config;
    c->began_ms = now_ms;
    c->deadline_ms = now_ms + config->timeout_ms;
    c->n_voices = config->n_members + config->synthesis;
    for (size_t i = 0; i < c->n_voices; i++)
        c->voice[i].course = (struct fanout_voice_course){
            .state = FANOUT_IDLE, .asked_ms = UINT64_MAX, .sent_ms = UINT64_MAX, .first_ms = UINT64_MAX};
    for (size_t i = 0; i < config->n_members; i++)
        move(c, &c->voice[i], FANOUT_EV_ASK, 0, now_ms);
    *ret = c;
    return 0;
}

void fanout_course_destroy(struct fanout_course **c)
{
    free(*c);
    *c = NULL;
}
