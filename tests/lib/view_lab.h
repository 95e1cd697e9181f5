/* Views and plans made by hand, for tests of what shows them. Two nodes (n1, n2), models "tiny" (both nodes) and "broken",
 * one instance "m" of "tiny" over both, its deploy task 7. */
#ifndef CARAVAN_TESTS_LIB_VIEW_LAB_H
#define CARAVAN_TESTS_LIB_VIEW_LAB_H

#include "controller/core/view.h"

/* A plan over two ranks, 4 layers and the output; malloc'ed. */
struct plan *lab_plan(void);
/* A view with one reference. port: of the coordinator. */
struct view *lab_view(enum instance_state state, uint16_t port);
struct id128 lab_id(uint8_t seed);

#endif
