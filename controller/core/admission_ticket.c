/* Lists and states of tickets: each ticket is in the list of its state, and in no other. */
#include <stdlib.h>

#include "common/core/sat.h"
#include "controller/core/admission_state.h"

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static void list_insert(struct ticket_list *l, struct admission_ticket *after, struct admission_ticket *t)
{
    t->prev = after;
    t->next = after ? after->next : l->first;
    *(t->prev ? &t->prev->next : &l->first) = t;
    *(t->next ? &t->next->prev : &l->last) = t;
}

static void list_remove(struct ticket_list *l, struct admission_ticket *t)
{
    *(t->prev ? &t->prev->next : &l->first) = t->next;
    *(t->next ? &t->next->prev : &l->last) = t->prev;
    t->prev = t->next = NULL;
}

void list_append(struct ticket_list *l, struct admission_ticket *t)
{
    list_insert(l, l->last, t);
}

struct admission_ticket *list_take_first(struct ticket_list *l)
{
    struct admission_ticket *t = l->first;

    if (t)
        list_remove(l, t);
    return t;
}

/* New ones are the last; those that were interrupted are older than those which came meanwhile. */
static void insert_by_seq(struct ticket_list *l, struct admission_ticket *t)
{
    struct admission_ticket *after = l->last;

    if (after && after->seq > t->seq)
        for (after = NULL; (after ? after->next : l->first)->seq < t->seq;)
            after = after ? after->next : l->first;
    list_insert(l, after, t);
}

static void tell(struct admission *a, struct admission_ticket *t)
{
    if (t->due)
        return;
    t->due = true;
    t->next_due = NULL;
    *(a->due_last ? &a->due_last->next_due : &a->due_first) = t;
    a->due_last = t;
}

/* ---- states of a ticket ----------------------------------------------------------------------------------------- */

static struct ticket_list *waiting_list(struct admission_ticket *t)
{
    return t->suspect ? &t->line->suspects : &t->line->fresh;
}

static void leave_waiting(struct admission *a, struct admission_ticket *t)
{
    list_remove(waiting_list(t), t);
    t->line->n_waiting--;
    a->n_waiting--;
    a->waiting_bytes -= t->n_bytes;
}

static void leave_sent(struct admission *a, struct admission_ticket *t)
{
    struct admission_unit *u = t->unit;

    list_remove(&a->sent, t);
    u->n_sent--;
    u->n_slotless -= t->slotless;
    t->slotless = false;
    u->traffic.in_flight = (uint32_t)(u->n_sent - u->n_slotless);
    u->n_overtime -= t->overtime;
    t->overtime = false;
    if (u->turn == t)
        u->turn = NULL;
}

/* Out of its list and its counts; it is in none then. */
static void leave_state(struct admission *a, struct admission_ticket *t)
{
    alarm_set(a, t, UINT64_MAX);
    switch (t->state) {
    case TICKET_WAITING:
        leave_waiting(a, t);
        return;
    case TICKET_SENT:
        leave_sent(a, t);
        return;
    case TICKET_LOSING:
        list_remove(&a->losing, t);
        return;
    case TICKET_NEW:
    case TICKET_REFUSED:
    case TICKET_GONE:
        return;
    }
}

void ticket_join(struct admission_ticket *t, struct admission_line *line)
{
    if (t->line)
        t->line->n_tickets--;
    t->line = line;
    line->n_tickets++;
}

static void enter_waiting(struct admission *a, struct admission_ticket *t)
{
    insert_by_seq(waiting_list(t), t);
    t->line->n_waiting++;
    a->n_waiting++;
    a->waiting_bytes += t->n_bytes;
}

void ticket_wait(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    leave_state(a, t);
    t->state = TICKET_WAITING;
    t->unit = NULL;
    t->suspect = !suspects_none(a->suspects) && suspects_find(a->suspects, &t->body, now_ms);
    enter_waiting(a, t);
    alarm_set(a, t, sat_min(t->until_ms, sat_add(t->since_ms, t->wait_ms)));
    tell(a, t);
}

void ticket_move(struct admission *a, struct admission_ticket *t, struct admission_line *line)
{
    leave_waiting(a, t);
    ticket_join(t, line);
    enter_waiting(a, t);
}

void ticket_refuse(struct admission *a, struct admission_ticket *t, enum admission_refusal why)
{
    t->computing = t->state == TICKET_SENT;
    leave_state(a, t);
    t->state = TICKET_REFUSED;
    t->refusal = why;
    tell(a, t);
}

void ticket_send(struct admission *a, struct admission_ticket *t, struct admission_unit *u)
{
    leave_state(a, t);
    t->state = TICKET_SENT;
    t->unit = u;
    t->instance = u->instance;
    t->epoch = u->traffic_epoch = u->epoch;
    t->deliveries++;
    t->reached_bytes = 0;
    list_append(&a->sent, t);
    u->n_sent++;
    u->n_slotless += t->slotless;
    u->traffic.in_flight = (uint32_t)(u->n_sent - u->n_slotless);
    alarm_set(a, t, t->until_ms);
    tell(a, t);
}

void ticket_lose(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    leave_state(a, t);
    t->state = TICKET_LOSING;
    list_append(&a->losing, t);
    alarm_set(a, t, now_ms + ADMISSION_CAUSE_MS);
    tell(a, t);
}

void ticket_free(struct admission *a, struct admission_ticket *t)
{
    a->n_tickets--;
    if (t->line)
        t->line->n_tickets--;
    free(t);
}

void ticket_end(struct admission *a, struct admission_ticket *t)
{
    leave_state(a, t);
    if (t->due)
        t->state = TICKET_GONE;
    else
        ticket_free(a, t);
}

/* ---- decisions -------------------------------------------------------------------------------------------------- */

struct admission_ticket *ticket_next_due(struct admission *a)
{
    struct admission_ticket *t = a->due_first;

    if (!t)
        return NULL;
    a->due_first = t->next_due;
    if (!a->due_first)
        a->due_last = NULL;
    t->due = false;
    return t;
}
