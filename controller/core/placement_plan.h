/* The plan itself: its notes, its band, its ranks. Used by placement alone. */
#ifndef CARAVAN_CONTROLLER_CORE_PLACEMENT_PLAN_H
#define CARAVAN_CONTROLLER_CORE_PLACEMENT_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "controller/core/placement_fit.h"

/* Adds a reason; where there is no room left, it takes the last one's place. */
void plan_note(struct plan *plan, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes off what a cut has left of a character: a text that was cut must still be UTF-8. */
void plan_trim(char *text);

/* The most nodes that a file of this size asks for: 1, 2 or 4. */
uint32_t plan_band(uint64_t model_bytes);
void plan_note_band(struct plan *plan);

/* Fills in the ranks on these nodes, in this order; they hold the model. */
void plan_fill(struct plan *plan, const struct fit_problem *p, const struct fit_node *const *nodes, size_t n);

#endif
