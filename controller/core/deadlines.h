/* What time does to instances: commands are sent again, steps run out, what has ended is no longer shown. */
#ifndef CARAVAN_CONTROLLER_CORE_DEADLINES_H
#define CARAVAN_CONTROLLER_CORE_DEADLINES_H

#include "controller/core/state.h"

/* 0, -ENOMEM. */
int deadlines_tick(struct step *s);

/* When deadlines_tick has something to do; UINT64_MAX: never. */
uint64_t deadlines_due_ms(const struct cluster *c);

#endif
