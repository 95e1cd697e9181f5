/* Lists and states of tickets: each ticket is in the list of its state, and in no other. */
#include <stdlib.h>

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

static void leave_sent(struct admission *a, struct admission_ticket *t)
{
    struct admission_unit *u = t->unit;

    list_remove(&a->sent, t);
    u->traffic.in_flight = (uint32_t)--u->n_sent;
    u->n_overtime -= t->overtime;
    t->overtime = false;
    if (u->turn == t)
        u->turn = NULL;
}

/* Out of its list and its counts; it is in none then. */
static void leave_state(struct admission *a, struct admission_ticket *t)
{
    switch (t->state) {
    case TICKET_WAITING:
        list_remove(&a->waiting, t);
        a->n_waiting--;
        a->waiting_bytes -= t->n_bytes;
        return;
    case TICKET_SENT:
        leave_sent(a, t);
        return;
    case TICKET_LOSING:
        list_remove(&a->losing, t);
        return;
    case TICKET_REFUSED:
    case TICKET_GONE:
        return;
    }
}

void ticket_enter_waiting(struct admission *a, struct admission_ticket *t)
{
    struct admission_ticket *after = a->waiting.last;

    while (after && after->seq > t->seq) /* one that was interrupted is older than those which came meanwhile */
        after = after->prev;
    t->state = TICKET_WAITING;
    list_insert(&a->waiting, after, t);
    a->n_waiting++;
    a->waiting_bytes += t->n_bytes;
    tell(a, t);
}

void ticket_wait_again(struct admission *a, struct admission_ticket *t)
{
    leave_state(a, t);
    ticket_enter_waiting(a, t);
}

void ticket_refuse(struct admission *a, struct admission_ticket *t, enum admission_refusal why)
{
    leave_state(a, t);
    t->state = TICKET_REFUSED;
    t->refusal = why;
    tell(a, t);
}

void ticket_send(struct admission *a, struct admission_ticket *t)
{
    struct admission_unit *u = t->unit;

    leave_state(a, t);
    t->state = TICKET_SENT;
    t->instance = u->instance;
    t->epoch = u->traffic_epoch = u->epoch;
    t->deliveries++;
    t->reached_bytes = 0;
    list_insert(&a->sent, a->sent.last, t);
    u->traffic.in_flight = (uint32_t)++u->n_sent;
    tell(a, t);
}

/* Its answer is cut for good. Whoever reads it is told why, which the leader knows a moment later than we do. */
void ticket_lose(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    leave_state(a, t);
    t->state = TICKET_LOSING;
    t->cause_ms = now_ms + ADMISSION_CAUSE_MS;
    list_insert(&a->losing, a->losing.last, t);
    tell(a, t);
}

void ticket_end(struct admission *a, struct admission_ticket *t)
{
    leave_state(a, t);
    if (t->due)
        t->state = TICKET_GONE;
    else
        free(t);
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
