/* The queue: fresh requests go as they come, suspects one at a time. */
#include <string.h>

#include "controller/core/admission_state.h"

/* ---- whom it is for --------------------------------------------------------------------------------------------- */

struct admission_unit *admission_find_unit(const struct admission *a, const struct id128 *instance)
{
    for (size_t k = 0; k < a->n_units; k++)
        if (id128_equal(&a->unit[k]->instance, instance))
            return a->unit[k];
    return NULL;
}

void queue_resolve(struct admission *a, struct admission_ticket *t)
{
    const struct view_instance *in = a->view ? view_find_instance(a->view, t->model) : NULL;

    t->unit = in ? admission_find_unit(a, &in->id) : NULL;
    if (!t->deliveries)
        t->instance = in ? in->id : (struct id128){{0}};
    if (!in || in->state == INSTANCE_STOPPED)
        ticket_refuse(a, t, ADMISSION_NOT_FOUND);
    else if (in->state == INSTANCE_FAILED)
        ticket_refuse(a, t, ADMISSION_FAILED);
    else if (in->state == INSTANCE_STOPPING)
        ticket_refuse(a, t, ADMISSION_NOT_READY);
}

/* ---- the queue -------------------------------------------------------------------------------------------------- */

static bool is_suspect(const struct admission *a, const struct admission_ticket *t, uint64_t now_ms)
{
    return !suspects_none(a->suspects) && suspects_find(a->suspects, &t->body, now_ms) != NULL;
}

uint64_t queue_wait_end_ms(const struct admission_ticket *t)
{
    uint64_t from_ms = t->unit && t->unit->moved_ms > t->since_ms ? t->unit->moved_ms : t->since_ms;

    return t->wait_ms < UINT64_MAX - from_ms ? from_ms + t->wait_ms : UINT64_MAX;
}

/* Who is the first suspect of each unit, and may the others pass it for once? */
static void look_for_suspects(struct admission *a, uint64_t now_ms)
{
    for (size_t k = 0; k < a->n_units; k++) {
        a->unit[k]->next_suspect = NULL;
        a->unit[k]->let_others = false;
    }
    for (struct admission_ticket *t = a->waiting.first; t; t = t->next)
        if (t->unit && !t->unit->next_suspect && is_suspect(a, t, now_ms))
            t->unit->next_suspect = t;
    for (size_t k = 0; k < a->n_units; k++) {
        struct admission_unit *u = a->unit[k];
        bool held = u->next_suspect && !u->turn && admission_unit_open(u, now_ms) && !admission_unit_quiet(u);

        u->let_others = held && u->quiet_ms && now_ms >= u->quiet_ms + ADMISSION_QUIET_MS;
        if (!held || !u->quiet_ms || u->let_others)
            u->quiet_ms = held ? now_ms : 0;
    }
}

static bool may_go(const struct admission *a, const struct admission_ticket *t, uint64_t now_ms)
{
    const struct admission_unit *u = t->unit;

    if (!u || !admission_unit_open(u, now_ms) || u->turn)
        return false;
    if (!u->next_suspect)
        return true;
    if (t == u->next_suspect)
        return admission_unit_quiet(u);
    return u->let_others && !is_suspect(a, t, now_ms);
}

/* It is to be alone for a while: longer, the more often it was there when a coordinator aborted. */
static void begin_turn(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    const struct suspect *s = suspects_find(a->suspects, &t->body, now_ms);
    unsigned again = s && s->aborts > 1 ? s->aborts - 1 : 0;

    t->unit->turn = t;
    t->unit->turn_ms = now_ms + ((uint64_t)ADMISSION_TURN_MS << 2 * (again < 4 ? again : 4));
}

/* Returns whether that changed who is next. */
static bool refuse_late(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    if (now_ms < queue_wait_end_ms(t))
        return false;
    ticket_refuse(a, t, ADMISSION_NOT_READY);
    return t->unit && t == t->unit->next_suspect;
}

static bool serve_once(struct admission *a, uint64_t now_ms)
{
    bool changed = false;

    look_for_suspects(a, now_ms);
    for (struct admission_ticket *t = a->waiting.first, *next; t; t = next) {
        next = t->next;
        if (!may_go(a, t, now_ms)) {
            changed |= refuse_late(a, t, now_ms);
            continue;
        }
        ticket_send(a, t);
        if (t == t->unit->next_suspect)
            begin_turn(a, t, now_ms);
    }
    return changed;
}

void queue_serve(struct admission *a, uint64_t now_ms)
{
    while (a->n_waiting && serve_once(a, now_ms))
        ;
}

/* ---- aborts ----------------------------------------------------------------------------------------------------- */

void queue_mark_abort(struct admission *a, struct admission_unit *u, uint64_t epoch, bool sure, uint64_t now_ms)
{
    if (u->aborted == epoch)
        return;
    u->aborted = epoch;
    u->aborted_alone = sure && u->n_sent == 1;
    for (struct admission_ticket *t = a->sent.first; t; t = t->next)
        if (t->unit == u)
            suspects_add(a->suspects, &t->body, &u->instance, epoch, t->reached_bytes, now_ms);
}

static void convict(struct admission *a, struct admission_ticket *guilty, uint64_t now_ms)
{
    struct admission_ticket *t, *next;

    suspects_convict(a->suspects, &guilty->body, now_ms);
    admission_unit_say(guilty->unit, UPSTREAM_POISON, guilty->epoch, now_ms);
    ticket_refuse(a, guilty, ADMISSION_POISON);
    for (t = a->waiting.first; t; t = next) {
        next = t->next;
        if (id128_equal(&t->body, &guilty->body))
            ticket_refuse(a, t, ADMISSION_POISON);
    }
}

void queue_interrupted(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    const struct suspect *s = suspects_find(a->suspects, &t->body, now_ms);
    bool alone = t->unit->aborted == t->epoch && t->unit->aborted_alone;

    if (alone && s && s->epoch == t->epoch && s->aborts >= 2) {
        convict(a, t, now_ms);
    } else if (t->committed || t->deliveries >= 2) {
        ticket_lose(a, t, now_ms);
    } else {
        t->since_ms = now_ms;
        ticket_wait_again(a, t);
    }
}
