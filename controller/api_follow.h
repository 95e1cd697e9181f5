/* GET /api/tasks/ID as a stream: the task and its instance at once and at each change, until the task has ended. State
 * changes go out at once, mere progress at most every 100 ms. */
#ifndef CARAVAN_CONTROLLER_API_FOLLOW_H
#define CARAVAN_CONTROLLER_API_FOLLOW_H

#include "controller/core/view.h"
#include "controller/http.h"

struct event_base;
struct api_follow;

int api_follow_new(struct event_base *base, struct api_follow **ret); /* 0, -ENOMEM */
/* The server must be gone before. */
void api_follow_destroy(struct api_follow **f);
/* v, t: borrowed; t is in v. Answers x, now and later. */
void api_follow_begin(struct api_follow *f, struct http_exchange *x, const struct view *v, const struct view_task *t);
/* A new view; borrowed, a reference is taken. */
void api_follow_view(struct api_follow *f, struct view *v);

#endif
