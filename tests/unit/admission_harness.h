/* For tests of core/admission: one thing happens, and every decision that follows is compared. Instance "m" as in
 * tests/lib/view_lab.h, or several that a test lists. */
#ifndef CARAVAN_TESTS_UNIT_ADMISSION_HARNESS_H
#define CARAVAN_TESTS_UNIT_ADMISSION_HARNESS_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/admission.h"
#include "tests/lib/view_lab.h"

enum { TICKETS = 128, WAIT_MS = 30000 };

/* Request k has owner &lab.owner[k]; its body is `body`. */
struct lab {
    struct admission *admission;
    struct view *view;
    uint64_t now_ms;
    struct admission_ticket *ticket[TICKETS];
    int owner[TICKETS];
    char said[4096];
    bool several; /* instances: which one it is is said, not the epoch */
};

static inline void say(struct lab *lab, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void say(struct lab *lab, const char *fmt, ...)
{
    size_t n = strlen(lab->said);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(lab->said + n, sizeof(lab->said) - n, fmt, ap);
    va_end(ap);
}

static const char *const refusals[] = {[ADMISSION_NOT_FOUND] = "not found",     [ADMISSION_NOT_READY] = "not ready",
                                       [ADMISSION_FAILED] = "failed",           [ADMISSION_FULL] = "full",
                                       [ADMISSION_POISON] = "poison",           [ADMISSION_LOST] = "lost",
                                       [ADMISSION_NOT_STARTED] = "not started", [ADMISSION_TIMED_OUT] = "timed out"};

static inline void pull(struct lab *lab)
{
    struct admission_decision d;
    struct admission_word w;

    while (admission_next(lab->admission, &d)) {
        long k = (int *)d.owner - lab->owner;

        if (d.verdict == ADMISSION_GO && lab->several) {
            say(lab, "%ld>%c ", k, 'a' + d.instance.b[0]);
        } else if (d.verdict == ADMISSION_GO) {
            assert_int_equal(d.port, 18080 + d.epoch);
            assert_int_equal(d.key[0], 'a' + (int)(d.epoch % 26)); /* whose carrier that is goes with the port */
            say(lab, "%ld>%" PRIu64 " ", k, d.epoch);
        } else if (d.verdict == ADMISSION_WAIT)
            say(lab, "%ld waits ", k);
        else
            say(lab, "%ld %s ", k, refusals[d.refusal]);
        if (d.verdict == ADMISSION_REFUSE)
            lab->ticket[k] = NULL;
    }
    while (admission_next_word(lab->admission, lab->now_ms, &w))
        if (w.kind == ADMISSION_SAYS_ENSURE)
            say(lab, "[ensure %s] ", w.name);
        else if (w.kind != ADMISSION_SAYS_TRAFFIC)
            say(lab, "[%s %" PRIu64 "] ",
                w.upstream == UPSTREAM_POISON    ? "poison"
                : w.upstream == UPSTREAM_REFUSED ? "refused"
                                                 : "broken",
                w.epoch);
}

/* What was said since the last look. */
#define EXPECT(lab, text)                       \
    do {                                        \
        pull(lab);                              \
        assert_string_equal((lab)->said, text); \
        (lab)->said[0] = '\0';                  \
    } while (0)

static inline void show(struct lab *lab)
{
    assert_int_equal(admission_view(lab->admission, lab->view, lab->now_ms), 0);
}

/* The leader's newest word about instance "m". A view is never changed once it was shown. */
static inline struct view_instance *look(struct lab *lab, enum instance_state state, uint64_t epoch)
{
    view_unref(&lab->view);
    lab->view = lab_view(state, (uint16_t)(18080 + epoch));
    ((struct plan *)lab->view->instance[0].plan)->slots =
        ADMISSION_IN_FLIGHT_MAX; /* no test's matter, where it is not said */
    lab->view->instance[0].epoch = epoch;
    lab->view->instance[0].coordinator_key[0] = (char)('a' + (int)(epoch % 26));
    return &lab->view->instance[0];
}

static inline void see(struct lab *lab, enum instance_state state, uint64_t epoch)
{
    look(lab, state, epoch);
    show(lab);
}

/* One of several: its id is its place in the list, from 0. */
struct seen {
    const char *name;
    enum instance_state state;
    uint32_t slots, permille, failed_s;
    uint64_t epoch;
    bool leaving;
};

static inline void fill_seen(struct view_instance *in, size_t k, const struct seen *s)
{
    struct plan *plan = lab_plan();

    *in = (struct view_instance){.id = lab_id((uint8_t)k), .state = s->state, .epoch = s->epoch ? s->epoch : 1};
    snprintf(in->name, sizeof(in->name), "%s", s->name);
    snprintf(in->model, sizeof(in->model), "tiny");
    plan->slots = s->slots ? s->slots : 1;
    in->plan = plan;
    in->coordinator_port = 18080;
    in->progress_permille = s->permille;
    in->eta_ms = UINT64_MAX;
    in->leaving = s->leaving;
    in->state_since_wall_ms = 1000000 - 1000 * s->failed_s;
}

/* All that the leader shows now. served: may be started by a request; NULL: nothing may. */
static inline void see_all(struct lab *lab, const struct seen *seen, size_t n, const char *served)
{
    struct view *v = lab_view(INSTANCE_READY, 1);

    lab->several = true;
    free((void *)v->instance[0].plan);
    free(v->instance);
    v->made_wall_ms = 1000000;
    v->instance = calloc(n ? n : 1, sizeof(v->instance[0]));
    v->n_instances = n;
    for (size_t k = 0; k < n; k++)
        fill_seen(&v->instance[k], k, &seen[k]);
    v->served = calloc(2, sizeof(v->served[0]));
    v->n_served = 2;
    v->served[0] = (struct view_served){.name = "by-hand", .model = "tiny", .start = SERVED_MANUAL, .there = true};
    v->served[1] = (struct view_served){.model = "tiny", .start = SERVED_DEMAND, .there = true, .section = true};
    snprintf(v->served[1].name, sizeof(v->served[1].name), "%s", served ? served : "");
    view_unref(&lab->view);
    lab->view = v;
    show(lab);
}

#define SEE(lab, served, ...)                                                                                          \
    see_all(lab, (const struct seen[]){__VA_ARGS__}, sizeof((const struct seen[]){__VA_ARGS__}) / sizeof(struct seen), \
            served)

static inline void lab_open(struct lab *lab, const struct admission_config *config)
{
    memset(lab, 0, sizeof(*lab));
    lab->now_ms = 1000;
    assert_int_equal(admission_new(config, &lab->admission), 0);
}

static inline void lab_open_ready(struct lab *lab)
{
    lab_open(lab, &(struct admission_config){0});
    see(lab, INSTANCE_READY, 3);
}

static inline void lab_shut(struct lab *lab)
{
    admission_destroy(&lab->admission);
    view_unref(&lab->view);
}

static inline void ask_for(struct lab *lab, int k, const char *model, uint8_t body)
{
    const struct admission_ask ask = {
        .model = model, .body = lab_id(body), .n_bytes = 100, .wait_ms = WAIT_MS, .owner = &lab->owner[k]};

    assert_int_equal(admission_ask(lab->admission, &ask, lab->now_ms, &lab->ticket[k]), 0);
}

static inline void ask_timed(struct lab *lab, int k, const char *model, uint64_t timeout_ms)
{
    const struct admission_ask ask = {.model = model,
                                      .body = lab_id((uint8_t)k),
                                      .wait_ms = WAIT_MS,
                                      .timeout_ms = timeout_ms,
                                      .owner = &lab->owner[k]};

    assert_int_equal(admission_ask(lab->admission, &ask, lab->now_ms, &lab->ticket[k]), 0);
}

static inline void ask(struct lab *lab, int k, uint8_t body)
{
    ask_for(lab, k, "m", body);
}

static inline void broken(struct lab *lab, int k, enum admission_break how)
{
    admission_broken(lab->admission, lab->ticket[k], how, lab->now_ms);
}

static inline void progress(struct lab *lab, int k, size_t n)
{
    admission_progress(lab->admission, lab->ticket[k], n, lab->now_ms);
}

static inline void done(struct lab *lab, int k, int status)
{
    admission_done(lab->admission, &lab->ticket[k], status, lab->now_ms);
}

static inline void left(struct lab *lab, int k)
{
    admission_left(lab->admission, &lab->ticket[k], lab->now_ms);
}

/* Time goes on to the next deadline, and so on, for ms in all. */
static inline void pass(struct lab *lab, uint64_t ms)
{
    uint64_t end_ms = lab->now_ms + ms;

    for (;;) {
        uint64_t due_ms = admission_due_ms(lab->admission);

        if (due_ms > end_ms)
            break;
        lab->now_ms = due_ms > lab->now_ms ? due_ms : lab->now_ms;
        admission_tick(lab->admission, lab->now_ms);
        pull(lab);
        assert_true(admission_due_ms(lab->admission) > lab->now_ms); /* else the loop would spin */
    }
    lab->now_ms = end_ms;
}

#endif
