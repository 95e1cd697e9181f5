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

static void ticket_drop(struct admission_ticket **t)
{
    free(*t);
}

/* Where waiting cannot help it is refused. */
static void admit(struct admission *a, struct admission_ticket *t, bool slotless, uint64_t now_ms)
{
    const struct suspect *s = suspects_find(a->suspects, &t->body, now_ms);
    struct admission_unit *beside = slotless && !s ? queue_find_beside(a, t->line, now_ms) : NULL;

    if (s && s->refused) {
        ticket_refuse(a, t, ADMISSION_POISON);
        return;
    }
    t->line->wanted |= !t->line->n_live || t->line->n_failed;
    if (beside) {
        t->slotless = true;
        ticket_send(a, t, beside);
        return;
    }
    ticket_wait(a, t, now_ms);
    queue_serve(a, now_ms);
    if (t->state == TICKET_WAITING &&
        (a->n_waiting > a->config.waiting_max || a->waiting_bytes > a->config.waiting_bytes_max))
        ticket_refuse(a, t, ADMISSION_FULL);
}

static struct admission_ticket *make_ticket(const struct admission_ask *ask, uint64_t now_ms)
{
    struct admission_ticket *t = calloc(1, sizeof(*t));
    size_t n_model = strnlen(ask->model, sizeof(t->model));

    if (!t)
        return NULL;
    t->owner = ask->owner;
    t->body = ask->body;
    t->n_bytes = ask->n_bytes;
    t->wait_ms = ask->wait_ms;
    t->came_ms = t->since_ms = now_ms;
    t->until_ms = ask->timeout_ms ? sat_add(now_ms, ask->timeout_ms) : UINT64_MAX;
    if (n_model < sizeof(t->model)) /* a longer one is nobody's name */
        memcpy(t->model, ask->model, n_model);
    return t;
}

/* The one that would be meant, for whoever says why not. */
static struct id128 find_meant(const struct admission *a, const char *model)
{
    const struct view_instance *in = a->view ? view_find_instance(a->view, model) : NULL;

    return in ? in->id : (struct id128){{0}};
}

int admission_ask(struct admission *a, const struct admission_ask *ask, uint64_t now_ms, struct admission_ticket **ret)
{
    CLEANUP(ticket_drop) struct admission_ticket *t = make_ticket(ask, now_ms);
    enum admission_refusal why = ADMISSION_NOT_FOUND;
    struct admission_line *line = NULL;
    int r = t ? alarm_reserve(a, a->n_tickets + 1) : err_raise(-ENOMEM);

    if (!r)
        r = line_find(a, t->model, now_ms, &line, &why);
    if (r < 0)
        return err_pass(r);
    t->seq = ++a->last_seq;
    t->instance = find_meant(a, t->model);
    a->n_tickets++;
    if (line)
        ticket_join(t, line);
    if (r)
        ticket_refuse(a, t, why);
    else
        admit(a, t, ask->slotless, now_ms);
    *ret = t;
    t = NULL;
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
    if (!t->reached_bytes) {
        u->moved_ms = now_ms;
        alarm_set(a, t, UINT64_MAX);
    }
    t->reached_bytes += n_bytes;
    u->traffic.progress += n_bytes;
    if (suspects_none(a->suspects) && u->turn != t)
        return;
    s = suspects_find(a->suspects, &t->body, now_ms);
    if (s ? t->reached_bytes <= 2 * s->reached_bytes + ADMISSION_FURTHER_BYTES : u->turn != t)
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
    u->doubt_ms = now_ms + (how == ADMISSION_NO_ROOM ? ADMISSION_NO_ROOM_MS : ADMISSION_DOUBT_MS);
    if (how == ADMISSION_PORT_REFUSED || how == ADMISSION_RESET)
        admission_unit_say(u, UPSTREAM_REFUSED, t->epoch, now_ms);
    if (how == ADMISSION_RESET || how == ADMISSION_BROKEN) {
        u->moved_ms = now_ms;
        queue_mark_abort(a, u, t->epoch, true, now_ms);
        queue_interrupted(a, t, now_ms);
    } else { /* it never was there */
        t->deliveries--;
        ticket_wait(a, t, now_ms);
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
    end_turns(a, now_ms);
    queue_serve(a, now_ms);
}

static uint64_t unit_due_ms(const struct admission *a, const struct admission_unit *u)
{
    uint64_t due_ms = admission_unit_word_due_ms(u);

    if (u->turn)
        due_ms = sat_min(due_ms, u->turn_ms);
    if (a->n_waiting && u->serving && u->doubt_ms)
        due_ms = sat_min(due_ms, u->doubt_ms);
    return due_ms;
}

static uint64_t line_due_ms(const struct admission_line *l)
{
    uint64_t due_ms = line_word_due_ms(l);

    return l->n_waiting && l->quiet_ms ? sat_min(due_ms, l->quiet_ms + ADMISSION_QUIET_MS) : due_ms;
}

uint64_t admission_due_ms(const struct admission *a)
{
    const struct admission_ticket *t = alarm_next(a);
    uint64_t due_ms = t ? t->alarm_ms : UINT64_MAX;

    for (size_t k = 0; k < a->n_units; k++)
        due_ms = sat_min(due_ms, unit_due_ms(a, a->unit[k]));
    for (size_t k = 0; k < a->n_lines; k++)
        due_ms = sat_min(due_ms, line_due_ms(a->line[k]));
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
        ret->code = t->line ? t->line->code : "";
        ret->text = t->line ? t->line->text : "";
        ret->computing = t->computing;
        ret->waited_ms = t->waited_ms;
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
            ticket_free(a, t);
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
    for (size_t k = 0; k < a->n_lines; k++)
        if (line_next_word(a->line[k], now_ms, ret))
            return true;
    return false;
}

static size_t count_until(const struct ticket_list *l, uint64_t seq)
{
    size_t n = 0;

    for (const struct admission_ticket *t = l->first; t && t->seq <= seq; t = t->next)
        n++;
    return n;
}

size_t admission_place(const struct admission *a, const struct admission_ticket *t)
{
    (void)a;
    return t->state == TICKET_WAITING ? count_until(&t->line->fresh, t->seq) + count_until(&t->line->suspects, t->seq)
                                      : 0;
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

static void free_line(struct admission_line *l)
{
    free_list(&l->fresh);
    free_list(&l->suspects);
    free(l);
}

void admission_destroy(struct admission **admission)
{
    struct admission *a = *admission;
    struct admission_decision dropped;

    if (!a)
        return;
    while (admission_next(a, &dropped)) /* frees those which no list holds */
        ;
    for (size_t k = 0; k < a->n_lines; k++)
        free_line(a->line[k]);
    free_list(&a->sent);
    free_list(&a->losing);
    for (size_t k = 0; k < a->n_units; k++)
        free(a->unit[k]);
    free(a->unit);
    free(a->line);
    free(a->alarm);
    view_unref(&a->view);
    suspects_destroy(&a->suspects);
    free(a);
    *admission = NULL;
}
