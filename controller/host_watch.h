/* The machine that we run on: its addresses, and whether one of its links is up. The kernel tells of changes (rtnetlink);
 * where it does not, they are looked for each second. */
#ifndef CARAVAN_CONTROLLER_HOST_WATCH_H
#define CARAVAN_CONTROLLER_HOST_WATCH_H

#include "controller/core/cluster.h"

struct event_base;
struct host_watch;

/* changed: not for what host_watch_now says at first. 0 or negative errno. */
int host_watch_new(struct event_base *base, void (*changed)(void *ctx, const struct cluster_host *host), void *ctx,
                   struct host_watch **ret);
void host_watch_destroy(struct host_watch **h);
const struct cluster_host *host_watch_now(const struct host_watch *h); /* borrowed */

#endif
