/* Which request goes where, when, and which is refused: the gateway's decisions, without its sockets. Source: design,
 * "Gateway" (last paragraph) and "The failure unit" (routing).
 *
 * A request becomes a ticket. It is sent to an epoch that serves its model, waits for one, or is refused; each decision is
 * pulled by admission_next. An instance is routed to at most one epoch, never to one that is known to be over.
 *
 * Each name has one queue: first come, first served. Whoever is at its head goes to the instance of that name with the
 * fewest requests for its slots, and never is an instance given more than it has slots: but one, where it is the only one, so
 * that the next request is there when a slot is free. A name that nobody serves is asked of the leader once for all who wait,
 * where a request may start it, or where one of it leaves that may be kept; and one of which a replica has failed, seldom. No clock of ours cuts one that is computed, nor one whose queue moves or whose model
 * loads; only its own time does, until its first token.
 *
 * After an abort the interrupted requests of which nothing has reached their clients are sent again, once, and one at a
 * time; what comes meanwhile waits. Such a turn ends with the first sign that the request has come further than when it was
 * interrupted, with its end, or with its time. One that is alone in flight at a second abort is refused from then on. An
 * epoch that ended because of a node or a rank makes nobody a suspect. */
#ifndef CARAVAN_CONTROLLER_CORE_ADMISSION_H
#define CARAVAN_CONTROLLER_CORE_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controller/core/cluster.h"

struct admission;
struct admission_ticket;

enum {
    ADMISSION_WAITING_MAX = 1000,
    ADMISSION_WAITING_BYTES_MAX = 64 * 1024 * 1024,
    ADMISSION_SUSPECTS_MAX = 1024,
    ADMISSION_IN_FLIGHT_MAX =
        24, /* of one instance: a coordinator has 32 threads for HTTP, and its agent asks it, too */
    ADMISSION_POISON_MS = 10 * 60 * 1000, /* so long a body that made a coordinator abort is refused */
    ADMISSION_DOUBT_MS = 1000,  /* after a connection that failed, nothing is sent there: the leader may know by then */
    ADMISSION_NO_ROOM_MS = 100, /* after a carrier had no room for one more stream, the same */
    ADMISSION_ENSURE_MS =
        1000, /* the leader is asked again for what the view does not show; its refusal stands as long */
    ADMISSION_FAILED_MS = 30000, /* so long an instance that has failed is not started anew by a request */
    ADMISSION_TURN_MS = 20000,   /* how long a suspect is left alone; four times that after each further abort */
    ADMISSION_QUIET_MS = 10000,  /* how long new requests are held back until a suspect can be alone */
    ADMISSION_CAUSE_MS = 1500,   /* how long the end of a cut answer waits for the leader's word why */
    /* So many more than twice what it had when it was interrupted clear a suspect: some 60 tokens of a stream. Alone it gets on
     * faster than it did among others, which proves nothing yet. */
    ADMISSION_FURTHER_BYTES = 16 * 1024,
    ADMISSION_TRAFFIC_MS = 1000,
    ADMISSION_SLOTLESS_MAX = 6, /* of these, in flight at an instance beside the others; llama-server has 32 threads */
    ADMISSION_TRAFFIC_SOON_MS = 100 /* the first request of an instance, and the end of its last */
};

struct admission_config {
    size_t waiting_max, waiting_bytes_max; /* 0: as above */
};

struct admission_ask {
    const char *model;   /* name, alias, model's name or instance id; borrowed */
    struct id128 body;   /* hash of the body */
    size_t n_bytes;      /* of the body: counted while it waits */
    uint64_t wait_ms;    /* for an epoch that serves; counted anew each time that the queue moves, or the load grows */
    uint64_t timeout_ms; /* what its client gives it until the first token, in all; 0: it has not said */
    bool slotless;       /* it computes no token: it goes past those who wait for a slot, where it can go at once */
    void *owner;         /* comes back with each decision */
};

enum admission_refusal {
    ADMISSION_NOT_FOUND = 1, /* there is no such instance, or it has been stopped */
    ADMISSION_NOT_READY,     /* it did not become ready in time, or is being stopped */
    ADMISSION_FAILED,        /* it has failed and does not come back by itself */
    ADMISSION_FULL,          /* too many wait already */
    ADMISSION_POISON,        /* this body makes the coordinator abort */
    ADMISSION_LOST,          /* its epoch ended under it, and it cannot be sent again */
    ADMISSION_NOT_STARTED,   /* the leader has refused to start it: code, text */
    ADMISSION_TIMED_OUT      /* the time that its client gave is over: computing, waited_ms */
};

struct admission_decision {
    enum admission_verdict {
        ADMISSION_GO = 1, /* send it to instance, epoch, addr, port */
        ADMISSION_WAIT,   /* nothing is to be sent for now */
        ADMISSION_REFUSE  /* the ticket is gone */
    } verdict;
    void *owner;
    enum admission_refusal refusal;
    struct id128 instance; /* zero: never had one */
    uint64_t epoch;
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    char key[PROTO_KEY_MAX]; /* of the node whose carrier that is; empty: it is the coordinator's own port */
    const char *code, *text; /* NOT_STARTED; borrowed until the next call that takes a struct admission not const */
    bool computing;          /* TIMED_OUT: it had been sent */
    uint64_t waited_ms;      /* TIMED_OUT: since it came */
};

/* For the control loop: the events of these names. */
enum admission_says { ADMISSION_SAYS_TRAFFIC = 1, ADMISSION_SAYS_UPSTREAM, ADMISSION_SAYS_ENSURE };
struct admission_word {
    enum admission_says kind;
    char name
        [PROTO_MODEL_MAX]; /* ENSURE: of what somebody asks for, or an instance's id; answered by admission_ensured */
    struct id128 instance;
    uint64_t epoch;
    struct cluster_traffic traffic;
    enum cluster_upstream upstream;
};

/* config: copied. 0, -ENOMEM. */
int admission_new(const struct admission_config *config, struct admission **ret);
/* Tickets go with it. */
void admission_destroy(struct admission **a);

/* The newest picture; borrowed, a reference is taken. 0; -ENOMEM: nothing was taken of it. */
int admission_view(struct admission *a, struct view *v, uint64_t now_ms);
/* A request: exactly one decision waits after it, at least. ret: borrowed until ADMISSION_REFUSE, done or left.
 * 0, -ENOMEM. */
int admission_ask(struct admission *a, const struct admission_ask *ask, uint64_t now_ms, struct admission_ticket **ret);

/* ---- what became of one that was told to go ---- */

/* n_bytes more of the answer came: tokens, not signs of life. */
void admission_progress(struct admission *a, struct admission_ticket *t, size_t n_bytes, uint64_t now_ms);
/* Something of the answer has reached the client: it cannot be sent again. */
void admission_committed(struct admission *a, struct admission_ticket *t);
/* The answer came to its end with this status. Gone. */
void admission_done(struct admission *a, struct admission_ticket **t, int status, uint64_t now_ms);
enum admission_break {
    ADMISSION_PORT_REFUSED = 1, /* nobody listens there */
    ADMISSION_UNREACHED,        /* there was no way to it */
    ADMISSION_NO_ROOM,          /* its carrier has as many streams as it may have: nobody's fault, and soon over */
    ADMISSION_RESET,            /* the connection stood and ended before any byte of an answer */
    ADMISSION_BROKEN            /* it ended in the midst of one */
};
void admission_broken(struct admission *a, struct admission_ticket *t, enum admission_break how, uint64_t now_ms);
/* The client left, in whatever state it is. Gone; *t may be NULL. */
void admission_left(struct admission *a, struct admission_ticket **t, uint64_t now_ms);

/* What the leader said to ENSURE of this name. Accepted: whoever waits for it goes on waiting for what the view shows of it.
 * Refused: all who wait for it are, with these words, unless it could not be decided now: then it is asked again. */
void admission_ensured(struct admission *a, const char *name, const struct cluster_answer *answer, uint64_t now_ms);

/* How many are before it in its queue, itself counted; 0: it does not wait. Walks that queue. */
size_t admission_place(const struct admission *a, const struct admission_ticket *t);

/* ---- time, and what follows ---- */

void admission_tick(struct admission *a, uint64_t now_ms);
uint64_t admission_due_ms(const struct admission *a); /* UINT64_MAX: not at all */
/* Pull until false after each call above. Whatever goes on upstream for the ticket is over with any decision. */
bool admission_next(struct admission *a, struct admission_decision *ret);
bool admission_next_word(struct admission *a, uint64_t now_ms, struct admission_word *ret);

#endif
