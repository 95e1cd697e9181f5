/* What the control loop and the HTTP thread say to one another over the actor's pipe. Whoever sends one gives it away. */
#ifndef CARAVAN_CONTROLLER_FRONT_MSG_H
#define CARAVAN_CONTROLLER_FRONT_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "controller/core/cluster.h"
#include "controller/discovery.h"
#include "controller/door.h"
#include "controller/metrics.h"

/* Control loop -> HTTP. */
enum front_note_kind {
    FRONT_NOTE_VIEW = 1, /* view, control, door: newest wins */
    FRONT_NOTE_BACKENDS,
    FRONT_NOTE_TRANSITION,
    FRONT_NOTE_ANSWER, /* request_id, answer, refusal */
    FRONT_NOTE_PLANNED /* request_id, planned */
};

struct front_planned {
    int r; /* 0, PLACE_E_*, CLUSTER_E_*, negative */
    char why[PROTO_TEXT_MAX];
    struct plan *plan;  /* owned; may be NULL */
    struct plan *other; /* owned; the plan under the other policy, or NULL */
};

/* Which cell of which table has refused; NULL where no table has. All static. */
struct front_refusal {
    const char *machine, *state, *event;
};

struct front_note {
    enum front_note_kind kind;
    uint64_t wall_ms;
    struct view *view;              /* owned */
    struct metrics_control control; /* with VIEW */
    struct door door;               /* with VIEW */
    struct backends *backends;      /* owned */
    struct cluster_transition transition;
    uint64_t request_id;
    struct cluster_answer answer;
    struct front_refusal refusal;
    struct front_planned planned;
};

/* HTTP -> control loop. */
enum front_order_kind {
    FRONT_ORDER_DEPLOY = 1,
    FRONT_ORDER_STOP,
    FRONT_ORDER_PLAN,
    FRONT_ORDER_DRAIN,
    FRONT_ORDER_UNDRAIN,
    FRONT_ORDER_RETIRE,
    FRONT_ORDER_LIFT_BRAKE,
    FRONT_ORDER_TRAFFIC,   /* instance, epoch, traffic: nobody waits for an answer */
    FRONT_ORDER_UPSTREAM,  /* instance, epoch, upstream: the same */
    FRONT_ORDER_TOKEN,     /* access: key, expires_wall_ms, uses_left */
    FRONT_ORDER_UNTOKEN,   /* target: the token's public key, or its beginning */
    FRONT_ORDER_APPROVE,   /* access: key, name */
    FRONT_ORDER_REVOKE,    /* target: a node */
    FRONT_ORDER_API_KEY,   /* api_key */
    FRONT_ORDER_API_UNKEY, /* target: its name */
    FRONT_ORDER_ENSURE     /* target: a name that is asked for */
};

struct front_order {
    enum front_order_kind kind;
    uint64_t request_id;
    struct place_request request; /* owned; DEPLOY, PLAN */
    struct plan *plan;            /* owned; DEPLOY: pinned, or NULL */
    char target[PROTO_MODEL_MAX]; /* STOP: an instance; DRAIN, UNDRAIN, RETIRE, REVOKE: a node */
    struct id128 instance;
    uint64_t epoch;
    struct cluster_traffic traffic;
    enum cluster_upstream upstream;
    struct view_key access;
    struct view_api_key api_key;
};

void front_note_destroy(struct front_note **n);
void front_order_destroy(struct front_order **o);
/* For the actor's drops. */
void front_note_drop(void *note);
void front_order_drop(void *order);

#endif
