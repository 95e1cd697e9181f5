/* The part of a view that shows what is deployed. Private to view.c. */
#ifndef CARAVAN_CONTROLLER_CORE_VIEW_INSTANCES_H
#define CARAVAN_CONTROLLER_CORE_VIEW_INSTANCES_H

#include "controller/core/state.h"

/* Fills v's list, newest first; half filled on failure. 0, -ENOMEM. */
int view_instances(const struct cluster *c, uint64_t now_ms, struct view *v);

#endif
