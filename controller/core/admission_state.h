/* Private to admission*.c: tickets, the lines that they wait in, and who calls whom: admission (asks, answers, time) and
 * admission_view use admission_queue (who goes), that admission_line (of one name) and admission_ticket (one request), and
 * that admission_alarm (whose time is over next). */
#ifndef CARAVAN_CONTROLLER_CORE_ADMISSION_STATE_H
#define CARAVAN_CONTROLLER_CORE_ADMISSION_STATE_H

#include "controller/core/admission.h"
#include "controller/core/admission_unit.h"
#include "controller/core/suspects.h"

enum ticket_state {
    TICKET_NEW = 0,
    TICKET_WAITING,
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
    uint64_t wait_ms, came_ms, since_ms;
    uint64_t until_ms; /* its client's time; UINT64_MAX: it has not said */
    uint64_t alarm_ms;
    size_t alarm; /* its place among the alarms, from 1; 0: it has none */
    char model[PROTO_MODEL_MAX];
    struct admission_line *line;
    bool slotless;               /* SENT: it takes no slot */
    bool suspect;                /* WAITING: in the line's list of those */
    struct admission_unit *unit; /* SENT, LOSING: where. Else NULL */
    struct id128 instance;       /* that it was last sent to, or would be */
    uint64_t epoch;
    unsigned deliveries;
    bool committed, overtime;
    uint64_t reached_bytes;
    enum admission_refusal refusal;
    bool computing;     /* it had been sent */
    uint64_t waited_ms; /* until its time was over */
};

struct ticket_list {
    struct admission_ticket *first, *last;
};

/* All that wait for one name; or for one instance, where it was asked for by its id. */
struct admission_line {
    char name[PROTO_MODEL_MAX];
    struct admission_unit *only; /* by its id; NULL: the units of that name */
    size_t n_tickets;            /* in whatever state */
    size_t n_waiting;            /* in these two, each by seq */
    struct ticket_list fresh, suspects;
    /* as the newest view has it */
    size_t n_units, n_live, n_serving, n_ready; /* of that name: those that it shows, of them live, ... */
    size_t n_failed;
    bool startable;           /* by a request */
    bool keepable;            /* one of them leaves, and may be kept */
    bool was_live;            /* scratch of one look at the view */
    bool stopped;             /* one of it has just been, by a person */
    uint64_t failed_until_ms; /* as of its units, the longest */
    /* the leader, and what it was asked */
    bool wanted;         /* somebody came for whom it has not been asked yet */
    uint64_t asked_ms;   /* when the leader was last asked for it; 0: never */
    uint64_t refused_ms; /* until then its refusal stands; 0: it has not refused */
    char code[PROTO_NAME_MAX], text[PROTO_TEXT_MAX];
    struct admission_unit *held; /* new requests are held back there, until a suspect can be alone */
    uint64_t quiet_ms;           /* since then */
    bool let_others;             /* for this once */
};

struct admission {
    struct admission_config config;
    struct suspects *suspects;
    uint64_t sorted; /* suspects_version: how the lines were sorted last */
    struct view *view;
    size_t n_units;
    struct admission_unit **unit;
    size_t n_lines;
    struct admission_line **line;
    struct ticket_list sent, losing;
    size_t n_waiting, waiting_bytes;
    size_t n_tickets, n_alarms, alarms_cap;
    struct admission_ticket **alarm; /* a heap: the soonest first */
    struct admission_ticket *due_first, *due_last;
    uint64_t last_seq;
};

/* ---- admission_alarm: whose time is over next ------------------------------------------------------------------- */

/* Room for the alarms of n tickets. 0, -ENOMEM. */
int alarm_reserve(struct admission *a, size_t n);
void alarm_set(struct admission *a, struct admission_ticket *t, uint64_t at_ms); /* UINT64_MAX: it has none */
/* The soonest; of two, who came first. NULL: none. */
struct admission_ticket *alarm_next(const struct admission *a);

/* ---- admission_ticket: one function per way into a state -------------------------------------------------------- */

void list_append(struct ticket_list *l, struct admission_ticket *t);
struct admission_ticket *list_take_first(struct ticket_list *l); /* NULL: it is empty */

void ticket_join(struct admission_ticket *t, struct admission_line *line); /* one that does not wait */
void ticket_wait(struct admission *a, struct admission_ticket *t, uint64_t now_ms);
void ticket_move(struct admission *a, struct admission_ticket *t, struct admission_line *line); /* one that waits */
void ticket_send(struct admission *a, struct admission_ticket *t, struct admission_unit *u);    /* to its epoch */
/* Its answer is cut for good. Whoever reads it is told why, which the leader knows a moment later than we do. */
void ticket_lose(struct admission *a, struct admission_ticket *t, uint64_t now_ms);
void ticket_refuse(struct admission *a, struct admission_ticket *t, enum admission_refusal why);
void ticket_end(struct admission *a, struct admission_ticket *t);  /* no decision comes any more */
void ticket_free(struct admission *a, struct admission_ticket *t); /* in no list, nothing due */
/* The decision that waits longest; NULL: none waits. It is in no queue of decisions then. */
struct admission_ticket *ticket_next_due(struct admission *a);

/* ---- admission_line: who is meant by a name, and who asks the leader for it -------------------------------------- */

/* ret: the line of those who ask for model. 0; LINE_E_REFUSED: waiting cannot help, *why; -ENOMEM. */
enum { LINE_E_REFUSED = 1 };
int line_find(struct admission *a, const char *model, uint64_t now_ms, struct admission_line **ret,
              enum admission_refusal *why);
/* The line of that name, or of one instance (only, else NULL), made where there is none. 0, -ENOMEM. */
int line_make(struct admission *a, const char *name, struct admission_unit *only, struct admission_line **ret);
bool line_has(const struct admission_line *l, const struct admission_unit *u);
struct admission_ticket *line_first(const struct admission_line *l); /* who came first; NULL: nobody waits */
/* When a request of it, or a load, last got on. */
uint64_t line_moved_ms(const struct admission *a, const struct admission_line *l);
/* After another view: each line's figures of it. */
void lines_count(struct admission *a);
/* Those that nobody has a use for go. */
void lines_sweep(struct admission *a, uint64_t now_ms);
bool line_next_word(struct admission_line *l, uint64_t now_ms, struct admission_word *ret);
uint64_t line_word_due_ms(const struct admission_line *l); /* UINT64_MAX: never */

/* ---- admission_queue: who may go, and what follows when an epoch ends under somebody ----------------------------- */

/* Sends what may go, and lets go of those whose time is over. */
void queue_serve(struct admission *a, uint64_t now_ms);
/* Where a request that takes no slot can go at once; NULL: it waits as others do. */
struct admission_unit *queue_find_beside(const struct admission *a, const struct admission_line *l, uint64_t now_ms);
/* This epoch of u has ended: what is in flight there is suspect. sure: its coordinator went first, which a request may have
 * done; else nobody is found guilty by it. */
void queue_mark_abort(struct admission *a, struct admission_unit *u, uint64_t epoch, bool sure, uint64_t now_ms);
/* The connection of one that was sent is gone, and its epoch probably with it. */
void queue_interrupted(struct admission *a, struct admission_ticket *t, uint64_t now_ms);

struct admission_unit *admission_find_unit(const struct admission *a, const struct id128 *instance);

#endif
