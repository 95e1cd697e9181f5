/* The model inventory as an actor: headers are read in a thread of their own, because a disk may take its time. It looks
 * when a directory changes, and every ten seconds where nobody tells it (network file systems). */
#ifndef CARAVAN_AGENT_INVENTORY_H
#define CARAVAN_AGENT_INVENTORY_H

#include <stddef.h>
#include <stdint.h>

#include "agent/inventory_scan.h"

struct event_base;
struct inventory_room;

/* On the loop, first after the first look, then whenever something changed. inventory: owned by the callee. */
typedef void inventory_changed(void *ctx, struct inventory *inventory);

/* dir: borrowed as long as the room lives. 0 or negative errno. */
int inventory_room_new(struct event_base *base, const char *const *dir, size_t n_dirs, inventory_changed *changed,
                       void *ctx, struct inventory_room **ret);
void inventory_room_destroy(struct inventory_room **r);

#endif
