/* What may be asked for, in the picture. */
#ifndef CARAVAN_CONTROLLER_CORE_VIEW_SERVED_H
#define CARAVAN_CONTROLLER_CORE_VIEW_SERVED_H

#include "controller/core/state.h"

/* Fills v->served. 0, -ENOMEM. */
int view_served(const struct cluster *c, struct view *v);

#endif
