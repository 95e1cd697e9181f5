/* The queue: fresh requests go as they come, suspects one at a time. */
#include <string.h>

#include "common/core/sat.h"
#include "controller/core/admission_state.h"

struct admission_unit *admission_find_unit(const struct admission *a, const struct id128 *instance)
{
    for (size_t k = 0; k < a->n_units; k++)
        if (id128_equal(&a->unit[k]->instance, instance))
            return a->unit[k];
    return NULL;
}

/* ---- suspects --------------------------------------------------------------------------------------------------- */

static bool is_suspect(const struct admission *a, const struct admission_ticket *t, uint64_t now_ms)
{
    return !suspects_none(a->suspects) && suspects_find(a->suspects, &t->body, now_ms) != NULL;
}

static void sort_line(struct admission *a, struct admission_line *l, uint64_t now_ms)
{
    struct admission_line was = *l;

    l->fresh = l->suspects = (struct ticket_list){.first = NULL};
    for (struct admission_ticket *t; (t = line_first(&was));) {
        list_take_first(t->suspect ? &was.suspects : &was.fresh);
        t->suspect = is_suspect(a, t, now_ms);
        list_append(t->suspect ? &l->suspects : &l->fresh, t);
    }
}

/* Who is a suspect, and who no longer? */
static void sort_lines(struct admission *a, uint64_t now_ms)
{
    if (a->sorted == suspects_version(a->suspects))
        return;
    a->sorted = suspects_version(a->suspects);
    for (size_t k = 0; k < a->n_lines; k++)
        sort_line(a, a->line[k], now_ms);
}

static bool may_hold(const struct admission_line *l, const struct admission_unit *u, uint64_t now_ms)
{
    return line_has(l, u) && admission_unit_takes(u) && admission_unit_open(u, now_ms) && !u->turn && !u->held_by;
}

static bool has_turn(const struct admission *a, const struct admission_line *l)
{
    for (size_t k = 0; k < a->n_units; k++)
        if (a->unit[k]->turn && line_has(l, a->unit[k]))
            return true;
    return false;
}

/* Where the first suspect of a line is to be alone: where it waits for that already, else where it is soonest. NULL: none
 * waits, or another one of that line has its turn. */
static struct admission_unit *find_quiet(const struct admission *a, const struct admission_line *l, uint64_t now_ms)
{
    struct admission_unit *found = NULL;

    if (!l->suspects.first || has_turn(a, l))
        return NULL;
    if (l->held && may_hold(l, l->held, now_ms))
        return l->held;
    for (size_t k = 0; k < a->n_units; k++) {
        struct admission_unit *u = a->unit[k];

        if (may_hold(l, u, now_ms) && (!found || u->n_sent - u->n_overtime < found->n_sent - found->n_overtime))
            found = u;
    }
    return found;
}

/* New requests are held back where a suspect is to be alone, but not for ever: then they may pass it for once. */
static void hold(struct admission *a, struct admission_line *l, uint64_t now_ms)
{
    struct admission_unit *u = find_quiet(a, l, now_ms);
    bool held = u && !admission_unit_quiet(u);

    l->let_others = held && l->quiet_ms && now_ms >= l->quiet_ms + ADMISSION_QUIET_MS;
    if (!held || !l->quiet_ms || l->let_others)
        l->quiet_ms = held ? now_ms : 0;
    l->held = u;
    if (u)
        u->held_by = l;
}

static void look_for_suspects(struct admission *a, uint64_t now_ms)
{
    sort_lines(a, now_ms);
    for (size_t k = 0; k < a->n_units; k++)
        a->unit[k]->held_by = NULL;
    for (size_t k = 0; k < a->n_lines; k++)
        hold(a, a->line[k], now_ms);
}

/* It is to be alone for a while: longer, the more often it was there when a coordinator aborted. */
static void begin_turn(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    const struct suspect *s = suspects_find(a->suspects, &t->body, now_ms);
    unsigned again = s && s->aborts > 1 ? s->aborts - 1 : 0;

    t->unit->turn = t;
    t->unit->turn_ms = now_ms + ((uint64_t)ADMISSION_TURN_MS << 2 * (again < 4 ? again : 4));
}

/* ---- who goes where --------------------------------------------------------------------------------------------- */

/* Neither a suspect's turn nor the wait for one keeps others out. */
static bool is_free(const struct admission_unit *u, uint64_t now_ms)
{
    return admission_unit_takes(u) && admission_unit_open(u, now_ms) && !u->turn &&
           (!u->held_by || u->held_by->let_others);
}

struct admission_unit *queue_find_beside(const struct admission *a, const struct admission_line *l, uint64_t now_ms)
{
    for (size_t k = 0; k < a->n_units; k++)
        if (line_has(l, a->unit[k]) && is_free(a->unit[k], now_ms) && a->unit[k]->n_slotless < ADMISSION_SLOTLESS_MAX)
            return a->unit[k];
    return NULL;
}

struct choice {
    struct admission_ticket *ticket; /* NULL: none may go */
    struct admission_unit *unit;
};

static struct admission_unit *find_lightest(const struct admission *a, const struct admission_line *l, uint64_t now_ms)
{
    struct admission_unit *found = NULL;

    for (size_t k = 0; k < a->n_units; k++) {
        struct admission_unit *u = a->unit[k];

        if (line_has(l, u) && is_free(u, now_ms) && u->n_sent - u->n_slotless < admission_unit_cap(u) &&
            (!found || admission_unit_lighter(u, found)))
            found = u;
    }
    return found;
}

static struct choice choose(const struct admission *a, const struct admission_line *l, uint64_t now_ms)
{
    struct admission_unit *alone = l->held, *u;

    if (alone && l->suspects.first && !alone->turn && admission_unit_quiet(alone) && alone->n_sent < alone->slots)
        return (struct choice){l->suspects.first, alone};
    u = l->fresh.first ? find_lightest(a, l, now_ms) : NULL;
    return (struct choice){u ? l->fresh.first : NULL, u};
}

/* Of all who may go, the one who came first: two lines may want the same instance. */
static bool send_next(struct admission *a, uint64_t now_ms)
{
    struct choice best = {NULL, NULL};

    for (size_t k = 0; k < a->n_lines; k++) {
        struct choice c = {NULL, NULL};

        if (a->line[k]->n_waiting)
            c = choose(a, a->line[k], now_ms);
        if (c.ticket && (!best.ticket || c.ticket->seq < best.ticket->seq))
            best = c;
    }
    if (!best.ticket)
        return false;
    ticket_send(a, best.ticket, best.unit);
    if (best.ticket->suspect)
        begin_turn(a, best.ticket, now_ms);
    return true;
}

/* ---- whose time is over ----------------------------------------------------------------------------------------- */

/* It only waits for slots that compute; should they hang, the leader ends that epoch. */
static bool waits_for_slots(const struct admission *a, const struct admission_ticket *t, uint64_t now_ms)
{
    for (size_t k = 0; k < a->n_units && !t->suspect; k++)
        if (line_has(t->line, a->unit[k]) && is_free(a->unit[k], now_ms) && a->unit[k]->n_sent)
            return true;
    return false;
}

static uint64_t patience_ends_ms(const struct admission *a, const struct admission_ticket *t, uint64_t now_ms)
{
    if (waits_for_slots(a, t, now_ms))
        return sat_add(now_ms, sat_max(t->wait_ms, 1000));
    return sat_add(sat_max(t->since_ms, line_moved_ms(a, t->line)), t->wait_ms);
}

/* Alarms of those who wait ring early: what has moved since they were set is looked at only then. */
static bool ring(struct admission *a, struct admission_ticket *t, uint64_t now_ms)
{
    uint64_t end_ms;

    if (t->state == TICKET_LOSING) {
        ticket_refuse(a, t, ADMISSION_LOST);
        return true;
    }
    end_ms = t->state == TICKET_WAITING ? patience_ends_ms(a, t, now_ms) : UINT64_MAX;
    if (t->until_ms > now_ms && end_ms > now_ms) {
        alarm_set(a, t, sat_min(t->until_ms, end_ms));
        return false;
    }
    t->waited_ms = now_ms - t->came_ms;
    ticket_refuse(a, t, t->until_ms <= now_ms ? ADMISSION_TIMED_OUT : ADMISSION_NOT_READY);
    return true;
}

static bool ring_alarms(struct admission *a, uint64_t now_ms)
{
    bool changed = false;

    for (struct admission_ticket *t; (t = alarm_next(a)) && t->alarm_ms <= now_ms;)
        changed |= ring(a, t, now_ms);
    return changed;
}

void queue_serve(struct admission *a, uint64_t now_ms)
{
    do {
        look_for_suspects(a, now_ms);
        while (a->n_waiting && send_next(a, now_ms))
            ;
    } while (ring_alarms(a, now_ms));
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

static void refuse_same(struct admission *a, struct ticket_list *l, const struct id128 *body)
{
    for (struct admission_ticket *t = l->first, *next; t; t = next) {
        next = t->next;
        if (id128_equal(&t->body, body))
            ticket_refuse(a, t, ADMISSION_POISON);
    }
}

static void convict(struct admission *a, struct admission_ticket *guilty, uint64_t now_ms)
{
    suspects_convict(a->suspects, &guilty->body, now_ms);
    admission_unit_say(guilty->unit, UPSTREAM_POISON, guilty->epoch, now_ms);
    ticket_refuse(a, guilty, ADMISSION_POISON);
    for (size_t k = 0; k < a->n_lines; k++) {
        refuse_same(a, &a->line[k]->fresh, &guilty->body);
        refuse_same(a, &a->line[k]->suspects, &guilty->body);
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
        ticket_wait(a, t, now_ms);
    }
}
