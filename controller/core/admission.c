#include "controller/core/admission.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"
#include "controller/core/admission_state.h"

/* ---- questions -------------------------------------------------------------------------------------------------- */

static void admit(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    const struct suspect *s = suspects_find(a->suspects, &t->body, now_ms);

    queue_resolve(a, t);
    if (t->state == TICKET_WAITING && s && s->refused)
        ticket_refuse(a, t, ADMISSION_POISON);
    queue_serve(a, now_ms);
    if (t->state == TICKET_WAITING &&
        (a->n_waiting > a->config.waiting_max || a->waiting_bytes > a->config.waiting_bytes_max))
        ticket_refuse(a, t, ADMISSION_FULL);
}

int admission_ask(struct admission *a, const struct admission_ask *ask, uint64_t now_ms, struct admission_ticket **ret)
{
    struct admission_ticket *t = calloc(1, sizeof(*t));
    size_t n_model = strnlen(ask->model, sizeof(t->model));

    if (!t)
        return err_raise(-ENOMEM);
    t->seq = ++a->last_seq;
    t->owner = ask->owner;
    t->body = ask->body;
    t->n_bytes = ask->n_bytes;
    t->wait_ms = ask->wait_ms;
    t->since_ms = now_ms;
    if (n_model < sizeof(t->model)) /* a longer one is nobody's name */
        memcpy(t->model, ask->model, n_model);
    *ret = t;
    ticket_enter_waiting(a, t);
    admit(a, t, now_ms);
    return 0;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* It has come further than when it was interrupted: whatever ended that epoch, it was not this. */
static void end_suspicion(struct admission *a, struct admission_ticket *t)
{
    struct admission_unit *u = t->unit;

    suspects_clear(a->suspects, &t->body);
    u->n_overtime -= t->overtime;
    t->overtime = false;
    if (u->turn == t)
        u->turn = NULL;
}

void admission_progress(struct admission *a, struct admission_ticket *t, size_t n_bytes, uint64_t now_ms)
{
    struct admission_unit *u = t->unit;
    const struct suspect *s;

    assert(t->state == TICKET_SENT);
    if (!t->reached_bytes)
        u->moved_ms = now_ms;
    t->reached_bytes += n_bytes;
    u->traffic.progress += n_bytes;
    if (suspects_none(a->suspects) || !(s = suspects_find(a->suspects, &t->body, now_ms)) ||
        t->reached_bytes <= 2 * s->reached_bytes)
        return;
    end_suspicion(a, t);
    queue_serve(a, now_ms);
}

void admission_committed(struct admission *a, struct admission_ticket *t)
{
    (void)a;
    t->committed = true;
}

void admission_done(struct admission *a, struct admission_ticket **t, int status, uint64_t now_ms)
{
    struct admission_unit *u = (*t)->unit;

    assert((*t)->state == TICKET_SENT);
    u->moved_ms = now_ms;
    /* 501 is a feature that is off, 503 a model that loads: it is well. */
    if (status >= 500 && status != 501 && status != 503)
        admission_unit_say(u, UPSTREAM_BROKEN, (*t)->epoch, now_ms);
    end_suspicion(a, *t);
    ticket_end(a, *t);
    *t = NULL;
    queue_serve(a, now_ms);
}

void admission_broken(struct admission *a, struct admission_ticket *t, enum admission_break how, uint64_t now_ms)
{
    struct admission_unit *u = t->unit;

    assert(t->state == TICKET_SENT);
    u->doubt_ms = now_ms + ADMISSION_DOUBT_MS;
    if (how == ADMISSION_PORT_REFUSED || how == ADMISSION_RESET)
        admission_unit_say(u, UPSTREAM_REFUSED, t->epoch, now_ms);
    if (how == ADMISSION_RESET || how == ADMISSION_BROKEN) {
        u->moved_ms = now_ms;
        queue_mark_abort(a, u, t->epoch, true, now_ms);
        queue_interrupted(a, t, now_ms);
    } else { /* it never was there */
        t->deliveries--;
        ticket_wait_again(a, t);
    }
    queue_serve(a, now_ms);
}

void admission_left(struct admission *a, struct admission_ticket **t, uint64_t now_ms)
{
    if (!*t)
        return;
    ticket_end(a, *t);
    *t = NULL;
    queue_serve(a, now_ms);
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* Turns and doubts whose time is over. */
static void end_turns(struct admission *a, uint64_t now_ms)
{
    for (size_t k = 0; k < a->n_units; k++) {
        struct admission_unit *u = a->unit[k];

        if (now_ms >= u->doubt_ms)
            u->doubt_ms = 0;
        if (!u->turn || now_ms < u->turn_ms)
            continue;
        u->turn->overtime = true;
        u->turn = NULL;
        u->n_overtime++;
        u->moved_ms = now_ms;
    }
}

void admission_tick(struct admission *a, uint64_t now_ms)
{
    for (struct admission_ticket *t = a->losing.first, *next; t; t = next) {
        next = t->next;
        if (now_ms >= t->cause_ms)
            ticket_refuse(a, t, ADMISSION_LOST);
    }
    end_turns(a, now_ms);
    queue_serve(a, now_ms);
}

uint64_t admission_due_ms(const struct admission *a)
{
    uint64_t due_ms = UINT64_MAX;

    for (const struct admission_ticket *t = a->waiting.first; t; t = t->next)
        due_ms = sat_min(due_ms, queue_wait_end_ms(t));
    for (const struct admission_ticket *t = a->losing.first; t; t = t->next)
        due_ms = sat_min(due_ms, t->cause_ms);
    for (size_t k = 0; k < a->n_units; k++) {
        const struct admission_unit *u = a->unit[k];

        due_ms = sat_min(due_ms, admission_unit_word_due_ms(u));
        if (u->turn)
            due_ms = sat_min(due_ms, u->turn_ms);
        if (a->n_waiting && u->serving && u->doubt_ms)
            due_ms = sat_min(due_ms, u->doubt_ms);
        if (a->n_waiting && u->quiet_ms)
            due_ms = sat_min(due_ms, u->quiet_ms + ADMISSION_QUIET_MS);
    }
    return due_ms;
}

/* ---- what follows ----------------------------------------------------------------------------------------------- */

static void fill_decision(struct admission_ticket *t, struct admission_decision *ret)
{
    *ret = (struct admission_decision){
        .verdict = ADMISSION_WAIT, .owner = t->owner, .instance = t->instance, .epoch = t->epoch};
    if (t->state == TICKET_REFUSED) {
        ret->verdict = ADMISSION_REFUSE;
        ret->refusal = t->refusal;
    }
    if (t->state != TICKET_SENT)
        return;
    ret->verdict = ADMISSION_GO;
    memcpy(ret->addr, t->unit->addr, sizeof(ret->addr));
    ret->port = t->unit->port;
    memcpy(ret->key, t->unit->key, sizeof(ret->key));
}

bool admission_next(struct admission *a, struct admission_decision *ret)
{
    struct admission_ticket *t;

    while ((t = ticket_next_due(a))) {
        bool gone = t->state == TICKET_GONE;

        if (!gone)
            fill_decision(t, ret);
        if (gone || t->state == TICKET_REFUSED)
            free(t);
        if (!gone)
            return true;
    }
    return false;
}

bool admission_next_word(struct admission *a, uint64_t now_ms, struct admission_word *ret)
{
    for (size_t k = 0; k < a->n_units; k++)
        if (admission_unit_next_word(a->unit[k], now_ms, ret))
            return true;
    return false;
}

/* ---- its life --------------------------------------------------------------------------------------------------- */

int admission_new(const struct admission_config *config, struct admission **ret)
{
    CLEANUP(admission_destroy) struct admission *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_raise(-ENOMEM);
    a->config.waiting_max = config->waiting_max ? config->waiting_max : ADMISSION_WAITING_MAX;
    a->config.waiting_bytes_max = config->waiting_bytes_max ? config->waiting_bytes_max : ADMISSION_WAITING_BYTES_MAX;
    r = suspects_new(ADMISSION_SUSPECTS_MAX, ADMISSION_POISON_MS, &a->suspects);
    if (r < 0)
        return err_pass(r);
    *ret = a;
    a = NULL;
    return 0;
}

static void free_list(struct ticket_list *l)
{
    struct admission_ticket *t = l->first;

    while (t) {
        struct admission_ticket *next = t->next;

        free(t);
        t = next;
    }
}

void admission_destroy(struct admission **admission)
{
    struct admission *a = *admission;
    struct admission_decision dropped;

    if (!a)
        return;
    while (admission_next(a, &dropped)) /* frees those which no list holds */
        ;
    free_list(&a->waiting);
    free_list(&a->sent);
    free_list(&a->losing);
    for (size_t k = 0; k < a->n_units; k++)
        free(a->unit[k]);
    free(a->unit);
    view_unref(&a->view);
    suspects_destroy(&a->suspects);
    free(a);
    *admission = NULL;
}
