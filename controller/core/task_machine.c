#include "controller/core/task_machine.h"

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"

#define TO(state)                    \
    {                                \
        .verdict = GO, .to = (state) \
    }
#define LATE(text)                            \
    {                                         \
        .verdict = IGNORE, .sentence = (text) \
    }
#define NO(text)                              \
    {                                         \
        .verdict = REFUSE, .sentence = (text) \
    }

#define ENDED "the task has ended already"

static const struct task_cell task_table[TASK_STATE_N][TASK_EVENT_N] = {
    [TASK_PENDING][TASK_EV_BEGIN] = TO(TASK_RUNNING),
    [TASK_PENDING][TASK_EV_DONE] = LATE("the task has not begun"),
    [TASK_PENDING][TASK_EV_FAIL] = TO(TASK_FAILED),
    [TASK_PENDING][TASK_EV_REFUSE] = TO(TASK_REFUSED),
    [TASK_PENDING][TASK_EV_CANCEL] = TO(TASK_CANCELLED),

    [TASK_RUNNING][TASK_EV_BEGIN] = LATE("the task has begun already"),
    [TASK_RUNNING][TASK_EV_DONE] = TO(TASK_COMPLETE),
    [TASK_RUNNING][TASK_EV_FAIL] = TO(TASK_FAILED),
    [TASK_RUNNING][TASK_EV_REFUSE] = TO(TASK_FAILED), /* it had begun */
    [TASK_RUNNING][TASK_EV_CANCEL] = TO(TASK_CANCELLED),

    [TASK_COMPLETE][TASK_EV_BEGIN] = LATE(ENDED),
    [TASK_COMPLETE][TASK_EV_DONE] = LATE(ENDED),
    [TASK_COMPLETE][TASK_EV_FAIL] = LATE(ENDED),
    [TASK_COMPLETE][TASK_EV_REFUSE] = LATE(ENDED),
    [TASK_COMPLETE][TASK_EV_CANCEL] = NO(ENDED),

    [TASK_FAILED][TASK_EV_BEGIN] = LATE(ENDED),
    [TASK_FAILED][TASK_EV_DONE] = LATE(ENDED),
    [TASK_FAILED][TASK_EV_FAIL] = LATE(ENDED),
    [TASK_FAILED][TASK_EV_REFUSE] = LATE(ENDED),
    [TASK_FAILED][TASK_EV_CANCEL] = NO(ENDED),

    [TASK_REFUSED][TASK_EV_BEGIN] = LATE(ENDED),
    [TASK_REFUSED][TASK_EV_DONE] = LATE(ENDED),
    [TASK_REFUSED][TASK_EV_FAIL] = LATE(ENDED),
    [TASK_REFUSED][TASK_EV_REFUSE] = LATE(ENDED),
    [TASK_REFUSED][TASK_EV_CANCEL] = NO(ENDED),

    [TASK_CANCELLED][TASK_EV_BEGIN] = LATE(ENDED),
    [TASK_CANCELLED][TASK_EV_DONE] = LATE(ENDED),
    [TASK_CANCELLED][TASK_EV_FAIL] = LATE(ENDED),
    [TASK_CANCELLED][TASK_EV_REFUSE] = LATE(ENDED),
    [TASK_CANCELLED][TASK_EV_CANCEL] = LATE(ENDED),
};

const char *task_event_name(enum task_event e)
{
    static const char *const names[TASK_EVENT_N] = {
        [TASK_EV_BEGIN] = "begin",   [TASK_EV_DONE] = "done",     [TASK_EV_FAIL] = "fail",
        [TASK_EV_REFUSE] = "refuse", [TASK_EV_CANCEL] = "cancel",
    };

    return (unsigned)e < TASK_EVENT_N ? names[e] : "unknown";
}

const struct task_cell *task_cell(enum task_state state, enum task_event event)
{
    return &task_table[state][event];
}

bool task_state_ended(enum task_state state)
{
    switch (state) {
    case TASK_PENDING:
    case TASK_RUNNING:
        return false;
    case TASK_COMPLETE:
    case TASK_FAILED:
    case TASK_REFUSED:
    case TASK_CANCELLED:
        break;
    }
    return true;
}

static int task_emit(struct step *s, const struct task *t, enum task_state from, enum task_event event,
                     const struct task_cell *cell, const struct cause *cause)
{
    struct cluster_transition tr = {.machine = "task",
                                    .instance = t->view.instance,
                                    .from = task_state_name(from),
                                    .to = task_state_name(t->view.state),
                                    .event = task_event_name(event)};

    text_format(tr.id, sizeof(tr.id), "%llu", (unsigned long long)t->view.id);
    return err_fold(fx_verdict(s, &tr, cell->verdict, cell->sentence, cause, &s->c->task_refused[from][event]));
}

int task_event(struct step *s, struct task *t, enum task_event event, const struct cause *cause)
{
    const struct task_cell *cell = task_cell(t->view.state, event);
    enum task_state from = t->view.state;
    int r;

    if (cell->verdict != GO)
        return err_fold(task_emit(s, t, from, event, cell, cause));
    r = step_task(s, t);
    if (r)
        return err_fold(r);
    t->view.state = cell->to;
    if (task_state_ended(cell->to))
        t->view.ended_wall_ms = s->wall_ms;
    if (cause && cause->code)
        text_format(t->view.code, sizeof(t->view.code), "%s", cause->code);
    if (cause && cause->text)
        text_format(t->view.text, sizeof(t->view.text), "%s", cause->text);
    r = record_task(s, t, false);
    if (r)
        return err_fold(r);
    return err_fold(task_emit(s, t, from, event, cell, cause));
}
