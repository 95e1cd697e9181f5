/* /api: reads answer from the newest snapshot; what changes something goes to the control loop as an order and is answered
 * when its answer comes back. All on the HTTP thread. */
#ifndef CARAVAN_CONTROLLER_API_H
#define CARAVAN_CONTROLLER_API_H

#include "controller/front_msg.h"
#include "controller/http.h"

struct event_base;
struct api;

struct api_deps {
    struct event_base *base;
    /* To the control loop; order: consumed. 0 or negative errno. */
    int (*submit)(void *ctx, struct front_order *order);
    void *ctx;
};

/* deps: copied. 0, -ENOMEM. */
int api_new(const struct api_deps *deps, struct api **ret);
/* The server must be gone before. */
void api_destroy(struct api **a);
const struct http_route *api_routes(void); /* ctx: the struct api */

/* The snapshots: borrowed, a reference is taken. Followers of tasks are told what changed. */
void api_set_view(struct api *a, struct view *v);
void api_set_backends(struct api *a, struct backends *b);
void api_set_door(struct api *a, const struct door *d);
/* Answers to orders; request ids that nobody waits for any more are passed over. */
void api_answer(struct api *a, uint64_t request_id, const struct cluster_answer *answer,
                const struct front_refusal *refusal);
void api_planned(struct api *a, uint64_t request_id, const struct front_planned *planned);

#endif
