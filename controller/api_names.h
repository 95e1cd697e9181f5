/* "There is no tyni; there is: tiny": which names somebody may have meant. Pure. */
#ifndef CARAVAN_CONTROLLER_API_NAMES_H
#define CARAVAN_CONTROLLER_API_NAMES_H

#include <stddef.h>

#include "controller/core/view.h"

/* Up to five names of models like the one asked for, nearest first, as "a, b, c"; "none" where there are no models.
 * Returns buf. */
char *api_near_names(const struct view *v, const char *wanted, char *buf, size_t size);

#endif
