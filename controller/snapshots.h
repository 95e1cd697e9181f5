/* Each agent has a picture of the cluster for the time when no controller can be reached: what GET /api/nodes and
 * /api/instances said last. Every agent gets it once in max(5 s, 0.25 s x nodes), one after the other and not all at once,
 * unless nothing has changed since it had its last one. */
#ifndef CARAVAN_CONTROLLER_SNAPSHOTS_H
#define CARAVAN_CONTROLLER_SNAPSHOTS_H

#include "controller/core/view.h"

struct event_base;
struct snapshots;

enum { SNAPSHOTS_ROUND_MS = 5000, SNAPSHOTS_NODES = 20 /* whom a round is enough for; more take longer */ };

/* send: m is borrowed. 0, -ENOMEM. */
int snapshots_new(struct event_base *base, uint32_t round_ms,
                  void (*send)(void *ctx, const char *key, struct message *m), void *ctx, struct snapshots **ret);
void snapshots_destroy(struct snapshots **s);
/* The newest picture; its changes are sent in time. v: a reference is taken. */
void snapshots_show(struct snapshots *s, struct view *v);

#endif
