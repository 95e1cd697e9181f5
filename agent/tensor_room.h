/* The index of this node's models, made in the background: an actor whose thread has the lowest priority there is, for CPU
 * and disk, since whatever else the machine does is more urgent. What it keeps, carriers read (agent/carrier/feeding.h). */
#ifndef CARAVAN_AGENT_TENSOR_ROOM_H
#define CARAVAN_AGENT_TENSOR_ROOM_H

#include "agent/tensor_work.h"

struct event_base;
struct tensor_room;

/* On the loop: the picture has changed; while a file is hashed, once a second. p: borrowed. */
typedef void tensor_progressed(void *ctx, const struct tensor_progress *p);

/* index_dir, dir: as for tensor_work_new. progressed: NULL is fine. ret: owned. 0 or negative errno. */
int tensor_room_new(struct event_base *base, const char *index_dir, const char *const *dir, size_t n_dirs,
                    tensor_progressed *progressed, void *ctx, struct tensor_room **ret);
/* At once: what is half hashed is left. NULL is fine. */
void tensor_room_destroy(struct tensor_room **r);

/* Whenever the inventory has changed. models: borrowed. 0 or negative errno, and then it goes on with what it knew. */
int tensor_room_take(struct tensor_room *r, const struct inventory *models);

/* As of the last time that something was told of what was taken last; nothing: n_models is 0. */
void tensor_room_progress(const struct tensor_room *r, struct tensor_progress *ret);

#endif
