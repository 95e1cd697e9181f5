/* The gateway's decisions under everything at once. First whatever can be said and seen, in any order: routed to one epoch
 * at most and to none that is over, sent twice at most, every decision told once, nothing left. Then a coordinator that one
 * request makes abort, its client trying for ever: it costs two aborts, and everybody else is served. */
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

enum { SEEDS = 150, STEPS = 400, PLACES = 64, INSTANCES = 3, WAIT_MS = 30000 };

enum place_state { FREE = 0, WAITING, SENT };

struct place {
    enum place_state state;
    struct admission_ticket *ticket;
    struct id128 instance;
    uint64_t epoch;
    int deliveries;
    bool committed, poison;
    uint64_t ends_ms; /* when its answer is whole */
    uint64_t token_ms;
};

struct known { /* what the views have said of an instance */
    struct view_instance shown;
    uint64_t over;
    bool served;
};

struct world {
    struct admission *admission;
    uint64_t seed, now_ms;
    struct view *view;
    struct place place[PLACES];
    struct known known[INSTANCES];
    uint32_t in_flight[INSTANCES]; /* as told */
    bool slow_ones;                /* some take longer to their first token than a suspect is left alone */
    size_t n_served, n_poisoned, n_lost, n_not_ready, n_aborts;
};

/* ---- what the views have said ---- */

static bool is_serving(const struct view_instance *in)
{
    return in->state == INSTANCE_READY || in->state == INSTANCE_DRAINING;
}

static bool is_end(enum instance_state s)
{
    return s == INSTANCE_STOPPING || s == INSTANCE_STOPPED || s == INSTANCE_FAILED;
}

static void remember(struct known *k, const struct view_instance *in)
{
    if (in->epoch < k->shown.epoch)
        return; /* late */
    if (in->epoch > k->shown.epoch) {
        k->over = in->epoch - 1;
        k->served = false;
    }
    if ((k->served && !is_serving(in)) || is_end(in->state))
        k->over = in->epoch;
    k->served = is_serving(in);
    k->shown = *in;
}

static struct known *find(struct world *w, const struct id128 *id)
{
    for (size_t k = 0; k < INSTANCES; k++)
        if (id128_equal(&w->known[k].shown.id, id))
            return &w->known[k];
    fail_msg("no such instance");
    return NULL;
}

static void show(struct world *w)
{
    struct view *v = lab_view(INSTANCE_READY, 1);

    free((void *)v->instance[0].plan);
    free(v->instance);
    v->instance = calloc(INSTANCES, sizeof(v->instance[0]));
    v->n_instances = INSTANCES;
    for (size_t k = 0; k < INSTANCES; k++)
        v->instance[k] = w->known[k].shown;
    assert_int_equal(admission_view(w->admission, v, w->now_ms), 0);
    view_unref(&v);
}

/* ---- what is decided ---- */

static void check_go(struct world *w, const struct place *p, const struct admission_decision *d)
{
    const struct known *k = find(w, &d->instance);

    assert_true(p->state != FREE && !p->committed && p->deliveries < 2);
    assert_true(d->epoch == k->shown.epoch && d->epoch > k->over && k->served);
    assert_int_equal(d->port, k->shown.coordinator_port);
    assert_string_equal(d->key, k->shown.coordinator_key);
}

static void pull(struct world *w)
{
    struct admission_decision d;
    struct admission_word word;

    while (admission_next(w->admission, &d)) {
        struct place *p = d.owner;

        assert_true(p->state != FREE);
        if (d.verdict == ADMISSION_GO) {
            check_go(w, p, &d);
            p->state = SENT;
            p->instance = d.instance;
            p->epoch = d.epoch;
            p->deliveries++;
            p->token_ms = w->now_ms + random_in(&w->seed, 1, 300);
            if (w->slow_ones && !p->poison && random_one_in(&w->seed, 10))
                p->token_ms += 2 * ADMISSION_TURN_MS;
            p->ends_ms = p->token_ms + random_in(&w->seed, 1, 3000);
        } else if (d.verdict == ADMISSION_WAIT) {
            p->state = WAITING;
        } else {
            w->n_poisoned += d.refusal == ADMISSION_POISON || (d.refusal == ADMISSION_LOST && p->poison);
            w->n_lost += d.refusal == ADMISSION_LOST && !p->poison;
            w->n_not_ready += d.refusal == ADMISSION_NOT_READY;
            assert_true(p->poison || d.refusal != ADMISSION_POISON);
            assert_true(p->committed || p->deliveries == 2 || d.refusal != ADMISSION_LOST);
            *p = (struct place){.state = FREE};
        }
    }
    while (admission_next_word(w->admission, w->now_ms, &word))
        if (word.kind == ADMISSION_SAYS_TRAFFIC)
            w->in_flight[find(w, &word.instance) - w->known] = word.traffic.in_flight;
    for (size_t a = 0; a < PLACES; a++) {
        for (size_t b = 0; b < a; b++)
            assert_true(w->place[a].state != SENT || w->place[b].state != SENT ||
                        !id128_equal(&w->place[a].instance, &w->place[b].instance) ||
                        w->place[a].epoch == w->place[b].epoch);
    }
}

/* ---- what happens ---- */

static struct place *free_place(struct world *w)
{
    for (size_t k = 0; k < PLACES; k++)
        if (w->place[k].state == FREE)
            return &w->place[k];
    return NULL;
}

static void ask(struct world *w, const char *model, uint8_t body, bool poison)
{
    const struct admission_ask ask = {
        .model = model, .body = lab_id(body), .n_bytes = body, .wait_ms = WAIT_MS, .owner = free_place(w)};
    struct place *p = ask.owner;

    if (!p)
        return;
    *p = (struct place){.state = WAITING, .poison = poison};
    assert_int_equal(admission_ask(w->admission, &ask, w->now_ms, &p->ticket), 0);
    pull(w);
}

static void break_off(struct world *w, struct place *p, enum admission_break how)
{
    p->deliveries -= how == ADMISSION_PORT_REFUSED || how == ADMISSION_UNREACHED || how == ADMISSION_NO_ROOM;
    p->state = WAITING;
    admission_broken(w->admission, p->ticket, how, w->now_ms);
    pull(w);
}

static void done(struct world *w, struct place *p, int status)
{
    struct admission_ticket *t = p->ticket;

    *p = (struct place){.state = FREE};
    admission_done(w->admission, &t, status, w->now_ms);
    w->n_served++;
    pull(w);
}

static void leave(struct world *w, struct place *p)
{
    struct admission_ticket *t = p->ticket;

    *p = (struct place){.state = FREE};
    admission_left(w->admission, &t, w->now_ms);
    pull(w);
}

static void token(struct world *w, struct place *p)
{
    admission_progress(w->admission, p->ticket, 100, w->now_ms);
    admission_committed(w->admission, p->ticket);
    p->committed = true;
    pull(w);
}

static void tick(struct world *w)
{
    admission_tick(w->admission, w->now_ms);
    pull(w);
    assert_true(admission_due_ms(w->admission) > w->now_ms); /* or the gateway's loop would spin */
}

static void world_open(struct world *w, uint64_t seed, const struct admission_config *config)
{
    *w = (struct world){.seed = seed, .now_ms = 1000};
    assert_int_equal(admission_new(config, &w->admission), 0);
    for (size_t k = 0; k < INSTANCES; k++) {
        struct view_instance *in = &w->known[k].shown;

        in->id = lab_id((uint8_t)(0xa0 + k));
        snprintf(in->name, sizeof(in->name), "m%zu", k / 2); /* two of one name */
        snprintf(in->model, sizeof(in->model), "tiny");
        in->state = INSTANCE_LOADING;
        in->epoch = 1;
        in->coordinator_port = (uint16_t)(1000 + k);
        in->coordinator_key[0] = (char)('a' + k);
    }
    show(w);
    pull(w);
}

/* Everything gets its answer, and then there is nothing. */
static void world_end(struct world *w)
{
    for (size_t k = 0; k < PLACES; k++) {
        if (w->place[k].state == WAITING)
            leave(w, &w->place[k]);
    }
    for (size_t k = 0; k < PLACES; k++) {
        while (w->place[k].state == SENT)
            done(w, &w->place[k], 200);
    }
    w->now_ms += 2000;
    tick(w);
    for (size_t k = 0; k < INSTANCES; k++)
        assert_int_equal(w->in_flight[k], 0);
    assert_true(admission_due_ms(w->admission) == UINT64_MAX);
    admission_destroy(&w->admission);
}

/* ---- anything ---- */

static void anything_seen(struct world *w)
{
    static const char *const codes[] = {"rank_lost", "node_lost", "coordinator_lost", "coordinator_hung", ""};
    size_t at = random_in(&w->seed, 0, INSTANCES - 1);
    struct known *k = &w->known[at];
    struct view_instance next = k->shown, late = k->shown;

    next.epoch += random_in(&w->seed, 0, 2) / 2;
    next.state = random_one_in(&w->seed, 2)
                     ? INSTANCE_READY
                     : (enum instance_state)random_in(&w->seed, INSTANCE_REQUESTED, INSTANCE_FAILED);
    next.n_tried = random_in(&w->seed, 0, 1);
    next.tried[0].epoch = k->shown.epoch;
    strcpy(next.tried[0].code, codes[random_in(&w->seed, 0, 4)]);
    remember(k, &next);
    show(w);
    pull(w);
    if (!random_one_in(&w->seed, 8) || late.epoch == k->shown.epoch)
        return;
    next = k->shown; /* an older picture comes after it */
    k->shown = late;
    show(w);
    k->shown = next;
    pull(w);
    show(w);
    pull(w);
}

/* It is no longer shown; another of the same name comes. */
static void one_vanishes(struct world *w)
{
    struct known *k = &w->known[random_in(&w->seed, 0, INSTANCES - 1)];

    for (size_t i = 0; i < 16; i++)
        k->shown.id.b[i] = (uint8_t)random_next(&w->seed);
    k->shown.epoch = 1;
    k->shown.state = INSTANCE_READY;
    k->over = 0;
    k->served = true;
    w->in_flight[k - w->known] = 0;
    show(w);
    pull(w);
}

static void anything_of(struct world *w, struct place *p)
{
    static const int statuses[] = {200, 400, 500, 503};

    if (p->state == FREE)
        return;
    if (p->state == WAITING || random_one_in(&w->seed, 8))
        leave(w, p);
    else if (random_one_in(&w->seed, 3))
        token(w, p);
    else if (random_one_in(&w->seed, 2))
        done(w, p, statuses[random_in(&w->seed, 0, 3)]);
    else
        break_off(w, p,
                  p->committed ? ADMISSION_BROKEN
                               : (enum admission_break)random_in(&w->seed, ADMISSION_PORT_REFUSED, ADMISSION_BROKEN));
}

static void test_anything(void **state)
{
    static const char *const models[] = {"m0", "m1", "tiny", "none", "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"};

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w;

        world_open(&w, seed, &(struct admission_config){.waiting_max = 20, .waiting_bytes_max = 100});
        for (int step = 0; step < STEPS; step++) {
            uint64_t what = random_in(&w.seed, 0, 9);

            if (what < 3)
                ask(&w, models[random_in(&w.seed, 0, 4)], (uint8_t)random_in(&w.seed, 1, 12), true);
            else if (what < 7)
                anything_of(&w, &w.place[random_in(&w.seed, 0, PLACES - 1)]);
            else if (what < 9 && !random_one_in(&w.seed, 10))
                anything_seen(&w);
            else if (what < 9)
                one_vanishes(&w);
            else
                w.now_ms += random_in(&w.seed, 0, 5000);
            tick(&w);
        }
        world_end(&w);
    }
}

/* ---- one poison ---- */

static void next_epoch(struct world *w, enum instance_state state)
{
    struct view_instance next = w->known[0].shown;

    next.epoch += state == INSTANCE_READY;
    next.state = state;
    remember(&w->known[0], &next);
    show(w);
    pull(w);
}

/* The coordinator aborts: all connections break, in some order, before or after the leader says so. */
static void abort_now(struct world *w)
{
    bool leader_first = random_one_in(&w->seed, 2);
    size_t from = random_in(&w->seed, 0, PLACES - 1);
    uint64_t epoch = w->known[0].shown.epoch;

    w->n_aborts++;
    if (leader_first) {
        w->known[0].shown.n_tried = 1;
        w->known[0].shown.tried[0].epoch = epoch;
        strcpy(w->known[0].shown.tried[0].code, "coordinator_lost");
        next_epoch(w, INSTANCE_RECOVERING);
    }
    for (size_t k = 0; k < PLACES; k++) {
        struct place *p = &w->place[(from + k) % PLACES];

        if (p->state == SENT && p->epoch == epoch)
            break_off(w, p, p->committed ? ADMISSION_BROKEN : ADMISSION_RESET);
    }
    if (!leader_first)
        next_epoch(w, INSTANCE_RECOVERING);
    w->now_ms += random_in(&w->seed, 500, 5000);
    tick(w);
    next_epoch(w, INSTANCE_READY);
}

/* What falls due at this time, of one request. */
static void serve(struct world *w, struct place *p)
{
    if (p->state == SENT && !p->poison && !p->committed && w->now_ms >= p->token_ms)
        token(w, p);
    if (p->state == SENT && !p->poison && w->now_ms >= p->ends_ms)
        done(w, p, 200);
    if (p->state == SENT && p->poison && w->now_ms >= p->token_ms)
        abort_now(w);
}

static void test_one_poison(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        size_t n_asked = 0, n_tried = 0, begun;
        struct world w;

        world_open(&w, seed, &(struct admission_config){.waiting_max = 0});
        w.slow_ones = seed % 2;
        next_epoch(&w, INSTANCE_READY);
        for (int step = 0; step < STEPS; step++) {
            size_t room = PLACES;

            for (size_t k = 0; k < PLACES; k++)
                room -= w.place[k].state != FREE;
            if (room > 2 && step < STEPS / 2 && random_one_in(&w.seed, 2)) {
                ask(&w, "m0", (uint8_t)(n_asked % 200), false);
                n_asked++;
            }
            if (room > 1 && step > 20 && random_one_in(&w.seed, 6)) {
                ask(&w, "m0", 255, true);
                n_tried++;
            }
            begun = 0;
            for (size_t k = 0; k < PLACES; k++)
                serve(&w, &w.place[k]);
            w.now_ms += random_in(&w.seed, 10, 400);
            tick(&w);
        }
        for (int step = 0; step < 4000; step++) {
            w.now_ms += 100;
            tick(&w);
            for (size_t k = 0; k < PLACES; k++)
                serve(&w, &w.place[k]);
        }
        for (size_t k = 0; k < PLACES; k++)
            begun += w.place[k].state != FREE;
        if (w.n_aborts > (w.slow_ones ? 4 : 2) || w.n_poisoned != n_tried || w.n_not_ready || begun)
            fail_msg("seed %" PRIu64 ": %zu aborts, %zu of %zu refused, %zu in vain, %zu left", seed, w.n_aborts,
                     w.n_poisoned, n_tried, w.n_not_ready, begun);
        assert_int_equal(w.n_served + w.n_lost, n_asked); /* lost: its answer had begun, or it was there twice */
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_anything), cmocka_unit_test(test_one_poison)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
