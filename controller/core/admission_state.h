/* Private to admission*.c: tickets, the lists that they are in, and who calls whom: admission (asks, answers, time) and
 * admission_view use admission_queue, and that admission_ticket. */
#ifndef CARAVAN_CONTROLLER_CORE_ADMISSION_STATE_H
#define CARAVAN_CONTROLLER_CORE_ADMISSION_STATE_H

#include "controller/core/admission.h"
#include "controller/core/admission_unit.h"
#include "controller/core/suspects.h"

enum ticket_state {
    TICKET_WAITING = 1,
    TICKET_SENT,
    TICKET_LOSING, /* its answer was cut; the leader may still say why */
    TICKET_REFUSED,
    TICKET_GONE /* its owner left before the last decision was pulled */
};

struct admission_ticket {
    enum ticket_state state;
    struct admission_ticket *prev, *next; /* in the list of its state */
    struct admission_ticket *next_due;
    bool due; /* a decision is to be pulled */
    uint64_t seq;
    void *owner;
    struct id128 body;
    size_t n_bytes;
    uint64_t wait_ms, since_ms;
    char model[PROTO_MODEL_MAX];
    struct admission_unit *unit; /* NULL: there is none of that name */
    struct id128 instance;       /* that it was last sent to, or would be */
    uint64_t epoch;
    unsigned deliveries;
    bool committed, overtime;
    uint64_t reached_bytes;
    uint64_t cause_ms; /* LOSING: until then */
    enum admission_refusal refusal;
};

struct ticket_list {
    struct admission_ticket *first, *last;
};

struct admission {
    struct admission_config config;
    struct suspects *suspects;
    struct view *view;
    size_t n_units;
    struct admission_unit **unit;
    struct ticket_list waiting; /* by seq */
    struct ticket_list sent, losing;
    size_t n_waiting, waiting_bytes;
    struct admission_ticket *due_first, *due_last;
    uint64_t last_seq;
};

/* ---- admission_ticket: one function per way into a state -------------------------------------------------------- */

void ticket_enter_waiting(struct admission *a, struct admission_ticket *t); /* one that is in no list */
void ticket_wait_again(struct admission *a, struct admission_ticket *t);
void ticket_send(struct admission *a, struct admission_ticket *t); /* to the epoch of its unit */
/* Its answer is cut for good. Whoever reads it is told why, which the leader knows a moment later than we do. */
void ticket_lose(struct admission *a, struct admission_ticket *t, uint64_t now_ms);
void ticket_refuse(struct admission *a, struct admission_ticket *t, enum admission_refusal why);
void ticket_end(struct admission *a, struct admission_ticket *t); /* no decision comes any more */
/* The decision that waits longest; NULL: none waits. It is in no queue of decisions then. */
struct admission_ticket *ticket_next_due(struct admission *a);

/* ---- admission_queue: who may go, and what follows when an epoch ends under somebody ----------------------------- */

/* Finds the unit of one that waits; refuses it where waiting cannot help. */
void queue_resolve(struct admission *a, struct admission_ticket *t);
uint64_t queue_wait_end_ms(const struct admission_ticket *t);
/* Sends what may go, and lets go of those which have waited too long. */
void queue_serve(struct admission *a, uint64_t now_ms);
/* This epoch of u has ended: what is in flight there is suspect. sure: its coordinator went first, which a request may have
 * done; else nobody is found guilty by it. */
void queue_mark_abort(struct admission *a, struct admission_unit *u, uint64_t epoch, bool sure, uint64_t now_ms);
/* The connection of one that was sent is gone, and its epoch probably with it. */
void queue_interrupted(struct admission *a, struct admission_ticket *t, uint64_t now_ms);

struct admission_unit *admission_find_unit(const struct admission *a, const struct id128 *instance);

#endif
