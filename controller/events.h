/* GET /api/events: every state transition as it happens, and the newest of the past for those who come back with a
 * Last-Event-ID. Ids count up and start at the wall clock's milliseconds, so that they go on upwards over restarts. */
#ifndef CARAVAN_CONTROLLER_EVENTS_H
#define CARAVAN_CONTROLLER_EVENTS_H

#include <stdint.h>

#include "controller/core/cluster.h"
#include "controller/http.h"

enum { EVENTS_RING = 1024, EVENTS_PING_MS = 15000 };

struct event_base;
struct events;

/* base: for pings. 0, -ENOMEM. */
int events_new(struct event_base *base, uint64_t first_id, struct events **ret);
/* The server, and with it every exchange, must be gone before. */
void events_destroy(struct events **e);
void events_add(struct events *e, const struct cluster_transition *t, uint64_t wall_ms);
/* Route handler; ctx is the struct events. */
void events_handle(void *ctx, struct http_exchange *x);

#endif
