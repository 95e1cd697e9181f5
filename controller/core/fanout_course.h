/* The course of a fan-out: who is asked when, who is given up, when it is over, and how well it went. Pure; what is said is
 * none of its business.
 *
 * It has voices: members 0..n-1, all asked at once, and where a synthesis is wanted one more, number n, which is asked when
 * every member has ended and one at least has answered. Each has a deadline from when it is asked, and there is one for all:
 * whoever is not done by then is given up, so that it always ends. A voice ends once, and stays ended. */
#ifndef CARAVAN_CONTROLLER_CORE_FANOUT_COURSE_H
#define CARAVAN_CONTROLLER_CORE_FANOUT_COURSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FANOUT_MEMBERS_MAX = 64, FANOUT_VOICES_MAX = FANOUT_MEMBERS_MAX + 1 };

struct fanout_course;

struct fanout_course_config {
    size_t n_members; /* 1..FANOUT_MEMBERS_MAX */
    bool synthesis;
    uint64_t timeout_ms;                          /* for all, from the begin on */
    uint64_t voice_timeout_ms[FANOUT_VOICES_MAX]; /* of each, from when it is asked */
};

enum fanout_state {
    FANOUT_IDLE = 1, /* not asked yet */
    FANOUT_ASKED,
    FANOUT_ANSWERING,
    FANOUT_ANSWERED,
    FANOUT_FAILED
};
enum { FANOUT_STATE_N = FANOUT_FAILED + 1 };

/* What becomes of a voice. */
enum fanout_event {
    FANOUT_EV_ASK = 1, /* the course's own: its time has come */
    FANOUT_EV_DELTA,   /* it has said something, or something more */
    FANOUT_EV_AGAIN,   /* what it has said so far counts no more: it was asked a second time */
    FANOUT_EV_END,     /* its answer is whole */
    FANOUT_EV_FAIL,    /* it ended without one */
    FANOUT_EV_CUT      /* nobody wants to hear the rest of it */
};
enum { FANOUT_EVENT_N = FANOUT_EV_CUT + 1 };

enum fanout_why {
    FANOUT_WHY_ITSELF = 1, /* FAIL or CUT: the caller knows */
    FANOUT_WHY_LATE,       /* its own time was up */
    FANOUT_WHY_ALL_LATE,   /* the time of all was up */
    FANOUT_WHY_NOBODY      /* the synthesis: no member has answered */
};

struct fanout_voice_course {
    enum fanout_state state;
    enum fanout_why why; /* FAILED */
    uint64_t asked_ms;   /* all since the begin. UINT64_MAX: not asked */
    uint64_t sent_ms;    /* its last sending; UINT64_MAX: it never was, so long it waited */
    uint64_t first_ms;   /* the first that it said; UINT64_MAX: nothing */
    uint64_t ended_ms;   /* ANSWERED, FAILED */
};

struct fanout_effect {
    enum fanout_effect_kind {
        FANOUT_FX_ASK = 1,
        FANOUT_FX_CANCEL, /* whatever goes on for it */
        FANOUT_FX_TELL_AGAIN,
        FANOUT_FX_TELL_DELTA,
        FANOUT_FX_TELL_ENDED, /* voices one by one, in the order in which they ended */
        FANOUT_FX_FINISH      /* once, the last: nothing goes on any more */
    } kind;
    size_t voice;
};

/* config: copied. 0, -ENOMEM. */
int fanout_course_new(const struct fanout_course_config *config, uint64_t now_ms, struct fanout_course **ret);
void fanout_course_destroy(struct fanout_course **c);

/* Anything but DELTA, AGAIN, END, FAIL and CUT is ours; what comes for a voice that has ended changes nothing. */
void fanout_course_hear(struct fanout_course *c, size_t voice, enum fanout_event ev, uint64_t now_ms);
/* It was sent (again) at that time, until then it waited for a place; before whatever is heard of it afterwards. */
void fanout_course_sent(struct fanout_course *c, size_t voice, uint64_t at_ms);
void fanout_course_tick(struct fanout_course *c, uint64_t now_ms);
/* UINT64_MAX: not at all. */
uint64_t fanout_course_due_ms(const struct fanout_course *c);
/* Pull until false after each call above, and after the begin. */
bool fanout_course_next(struct fanout_course *c, struct fanout_effect *ret);

struct fanout_voice_course fanout_course_voice(const struct fanout_course *c, size_t voice);

/* How it went, once it has finished. */
struct fanout_sum {
    size_t n_answered, n_failed; /* of the members */
    uint64_t members_ms;         /* from the begin until the last member had ended */
    uint64_t wall_ms;            /* and until all was over */
    /* Ideal time / real time of the members, of 1000. Ideal: as if each had been sent at once, the longest time that any took
     * from its last sending to its end. Real: members_ms. So what lowers it is waiting: for a slot, for a model that
     * loads, for a second sending. UINT32_MAX: none was ever sent. Source: design, "Gateway"; field case 24. */
    uint32_t efficiency_permille;
};
struct fanout_sum fanout_course_sum(const struct fanout_course *c);

/* For the test that no cell is undecided. */
bool fanout_course_decides(enum fanout_state state, enum fanout_event ev);

#endif
