/* The gateway's queues under many at once, with nothing worse than models that come and go: first come, first served; never
 * more in flight than slots; whoever waits is served or told, and nobody is lost. And no event costs more where a thousand
 * wait than where few do. */
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
#include "tests/lib/random.h"
#include "tests/lib/view_lab.h"

enum { SEEDS = 100, STEPS = 500, PLACES = 120, UNITS = 4, NAMES = 4, WAIT_MS = 30000 };

/* Two of m0, one of m1, one of m2, which a request begins; and by the id of the first. */
static const char *const names[NAMES] = {"m0", "m1", "m2", "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0"};
static const size_t name_of[UNITS] = {0, 0, 1, 2};

enum place_state { FREE = 0, WAITING, SENT };

struct place {
    enum place_state state;
    struct admission_ticket *ticket;
    size_t name, unit;
    uint64_t seq, until_ms;
};

struct world {
    struct admission *admission;
    uint64_t seed, now_ms, seq;
    struct place place[PLACES];
    struct view_instance unit[UNITS];
    uint32_t slots[UNITS];
    size_t n_served, n_refused, n_asked, n_ensured;
};

static void show(struct world *w)
{
    struct view *v = lab_view(INSTANCE_READY, 1);

    free((void *)v->instance[0].plan);
    free(v->instance);
    v->instance = calloc(UNITS, sizeof(v->instance[0]));
    v->n_instances = UNITS;
    for (size_t k = 0; k < UNITS; k++) {
        struct plan *plan = lab_plan();

        plan->slots = w->slots[k];
        v->instance[k] = w->unit[k];
        v->instance[k].plan = plan;
    }
    v->n_served = 1;
    v->served = calloc(1, sizeof(v->served[0]));
    snprintf(v->served[0].name, sizeof(v->served[0].name), "m2");
    v->served[0].start = SERVED_DEMAND;
    assert_int_equal(admission_view(w->admission, v, w->now_ms), 0);
    view_unref(&v);
}

/* ---- what is decided ---- */

static size_t count_sent(const struct world *w, size_t unit)
{
    size_t n = 0;

    for (size_t k = 0; k < PLACES; k++)
        n += w->place[k].state == SENT && w->place[k].unit == unit;
    return n;
}

static bool is_alone(const struct world *w, size_t unit)
{
    for (size_t k = 0; k < UNITS; k++)
        if (k != unit && name_of[k] == name_of[unit] && w->unit[k].state == INSTANCE_READY && !w->unit[k].leaving)
            return false;
    return true;
}

static void check_go(struct world *w, struct place *p)
{
    size_t n = count_sent(w, p->unit);

    assert_true(w->unit[p->unit].state == INSTANCE_READY && !w->unit[p->unit].leaving);
    assert_true(n <= w->slots[p->unit] + is_alone(w, p->unit));
    assert_true(n <= ADMISSION_IN_FLIGHT_MAX);
    for (size_t k = 0; k < PLACES; k++) /* nobody who waits for the same came before */
        assert_false(w->place[k].state == WAITING && w->place[k].name == p->name && w->place[k].seq < p->seq);
}

static void take(struct world *w, const struct admission_decision *d)
{
    struct place *p = d->owner;

    assert_true(p->state != FREE);
    if (d->verdict == ADMISSION_GO) {
        p->state = SENT;
        p->unit = d->instance.b[0] - 0xa0u;
        check_go(w, p);
    } else if (d->verdict == ADMISSION_WAIT) {
        assert_int_equal(p->state, WAITING);
    } else {
        assert_true(d->refusal != ADMISSION_TIMED_OUT || p->until_ms <= w->now_ms);
        w->n_refused++;
        *p = (struct place){.state = FREE};
    }
}

static void answer_start(struct world *w, const char *name)
{
    struct cluster_answer answer = {.accepted = !random_one_in(&w->seed, 3)};

    w->n_ensured++;
    assert_string_equal(name, "m2");
    assert_true(w->unit[3].state == INSTANCE_STOPPED || w->unit[3].leaving);
    admission_ensured(w->admission, name, &answer, w->now_ms);
    if (!answer.accepted)
        return;
    w->unit[3].leaving = false; /* kept, where it had not gone yet */
    if (w->unit[3].state == INSTANCE_STOPPED) {
        w->unit[3].state = INSTANCE_LOADING;
        w->unit[3].epoch++;
    }
    show(w);
}

static void pull(struct world *w)
{
    struct admission_decision d;
    struct admission_word word;
    bool more;

    do {
        while (admission_next(w->admission, &d))
            take(w, &d);
        more = admission_next_word(w->admission, w->now_ms, &word);
        if (more && word.kind == ADMISSION_SAYS_ENSURE)
            answer_start(w, word.name);
    } while (more);
}

/* ---- what happens ---- */

static void ask(struct world *w)
{
    struct admission_ask ask = {.wait_ms = WAIT_MS, .n_bytes = 10};
    struct place *p = NULL;

    for (size_t k = 0; k < PLACES && !p; k++)
        p = w->place[k].state == FREE ? &w->place[k] : NULL;
    if (!p)
        return;
    *p = (struct place){.state = WAITING, .name = random_in(&w->seed, 0, NAMES - 1), .seq = ++w->seq};
    ask.timeout_ms = random_one_in(&w->seed, 3) ? random_in(&w->seed, 1, 20000) : 0;
    p->until_ms = ask.timeout_ms ? w->now_ms + ask.timeout_ms : UINT64_MAX;
    ask.model = names[p->name];
    ask.body.b[0] = (uint8_t)w->seq;
    ask.body.b[1] = (uint8_t)(w->seq >> 8);
    ask.owner = p;
    w->n_asked++;
    assert_int_equal(admission_ask(w->admission, &ask, w->now_ms, &p->ticket), 0);
}

static void anything_of(struct world *w, struct place *p)
{
    struct admission_ticket *t = p->ticket;

    if (p->state == FREE)
        return;
    if (p->state == SENT && random_one_in(&w->seed, 4)) {
        p->state = WAITING;
        admission_broken(w->admission, t, ADMISSION_NO_ROOM, w->now_ms);
        return;
    }
    if (p->state == WAITING && !random_one_in(&w->seed, 3))
        return;
    w->n_served++;
    if (p->state == SENT && !random_one_in(&w->seed, 4)) {
        *p = (struct place){.state = FREE};
        admission_done(w->admission, &t, 200, w->now_ms);
    } else {
        *p = (struct place){.state = FREE};
        admission_left(w->admission, &t, w->now_ms);
    }
}

/* One comes, or is to be unloaded, or has been: never one that has something to do. */
static void come_or_go(struct world *w)
{
    size_t k = random_in(&w->seed, 0, UNITS - 1);
    struct view_instance *u = &w->unit[k];

    if (u->state == INSTANCE_LOADING) {
        u->progress_permille += 100;
        u->state = random_one_in(&w->seed, 2) ? INSTANCE_READY : INSTANCE_LOADING;
    } else if (u->state == INSTANCE_READY && k == 3) {
        u->leaving = true;
        u->state = count_sent(w, k) ? INSTANCE_READY : INSTANCE_STOPPED;
    }
    w->slots[k] = (uint32_t)random_in(&w->seed, w->slots[k], w->slots[k] + 1) % 30 + 1;
    show(w);
}

static void world_open(struct world *w, uint64_t seed)
{
    *w = (struct world){.seed = seed, .now_ms = 1000};
    assert_int_equal(admission_new(&(struct admission_config){.waiting_max = PLACES}, &w->admission), 0);
    for (size_t k = 0; k < UNITS; k++) {
        struct view_instance *in = &w->unit[k];

        in->id = lab_id((uint8_t)(0xa0 + k));
        snprintf(in->name, sizeof(in->name), "%s", names[name_of[k]]);
        snprintf(in->model, sizeof(in->model), "tiny");
        in->state = k == 3 ? INSTANCE_STOPPED : INSTANCE_LOADING;
        in->epoch = 1;
        in->coordinator_port = 1000;
        w->slots[k] = (uint32_t)random_in(&w->seed, 1, 4);
    }
    show(w);
}

static size_t count_places(const struct world *w)
{
    size_t n = 0;

    for (size_t k = 0; k < PLACES; k++)
        n += w->place[k].state != FREE;
    return n;
}

/* Nothing more comes, and all that is there is answered: then nobody waits any more, and nothing is left to do. */
static void world_end(struct world *w)
{
    w->unit[3].epoch += w->unit[3].state == INSTANCE_STOPPED;
    for (size_t k = 0; k < UNITS; k++) {
        w->unit[k].state = INSTANCE_READY;
        w->unit[k].leaving = false;
    }
    show(w);
    for (int round = 0; count_places(w); round++) {
        assert_true(round < 1000);
        pull(w);
        for (size_t k = 0; k < PLACES; k++) {
            struct admission_ticket *t = w->place[k].ticket;

            if (w->place[k].state != SENT)
                continue;
            w->n_served++;
            w->place[k] = (struct place){.state = FREE};
            admission_done(w->admission, &t, 200, w->now_ms);
        }
        w->now_ms += ADMISSION_NO_ROOM_MS;
        admission_tick(w->admission, w->now_ms);
    }
    assert_int_equal(w->n_served + w->n_refused, w->n_asked);
    w->now_ms += 2000;
    admission_tick(w->admission, w->now_ms);
    pull(w);
    assert_true(admission_due_ms(w->admission) == UINT64_MAX);
    admission_destroy(&w->admission);
}

static void test_queues(void **state)
{
    size_t n_ensured = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;

        world_open(&w, seed);
        for (int step = 0; step < STEPS; step++) {
            uint64_t what = random_in(&w.seed, 0, 9);

            if (what < 4)
                ask(&w);
            else if (what < 8)
                anything_of(&w, &w.place[random_in(&w.seed, 0, PLACES - 1)]);
            else if (what < 9)
                come_or_go(&w);
            else
                w.now_ms += random_in(&w.seed, 0, 2000);
            pull(&w);
            admission_tick(w.admission, w.now_ms);
            pull(&w);
            assert_true(admission_due_ms(w.admission) > w.now_ms); /* or the gateway's loop would spin */
        }
        n_ensured += w.n_ensured;
        world_end(&w);
    }
    assert_true(n_ensured > SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_queues)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
