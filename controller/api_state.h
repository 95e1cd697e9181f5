/* Private to api*.c: who waits for the control loop, and how an order gets there. */
#ifndef CARAVAN_CONTROLLER_API_STATE_H
#define CARAVAN_CONTROLLER_API_STATE_H

#include <sys/queue.h>

#include "common/actor.h"
#include "controller/api.h"

struct api_follow;
struct api_secret;

/* Each brings an answer and some transitions back over the pipe at once, which loses what it has no room for: whoever waits
 * for a lost answer waits for ever. */
enum { API_PENDING_MAX = ACTOR_QUEUE_MAX / 4 };

/* Somebody who waits for the control loop. */
struct api_pending {
    LIST_ENTRY(api_pending) link;
    struct api *api;
    uint64_t id;
    struct http_exchange *x;
    char model[PROTO_MODEL_MAX]; /* of a plan asked for */
    struct api_secret *secret;   /* owned; what is said once, when the order has been done. NULL: none */
};

struct api {
    struct api_deps deps;
    struct view *view; /* NULL: none yet */
    struct backends *backends;
    struct door door; /* n_addrs 0: not told yet */
    struct api_follow *follow;
    uint64_t next_id;
    size_t n_pending;
    LIST_HEAD(, api_pending) pending;
};

/* 0, or -ENOMEM and an answer. ret: owned. */
int api_new_order(struct http_exchange *x, enum front_order_kind kind, struct front_order **ret);
/* Sends the order and lets x wait for its answer. order: the caller's, or gone and NULL; secret (may be NULL) too. */
void api_submit(struct api *a, struct http_exchange *x, struct front_order **order, struct api_secret **secret);
/* What is asked of the thing that the path names; what: "node". */
void api_order_of_target(struct api *a, struct http_exchange *x, enum front_order_kind kind, const char *what);
/* The newest view, or NULL and an answer. */
struct view *api_need_view(struct api *a, struct http_exchange *x);

#endif
