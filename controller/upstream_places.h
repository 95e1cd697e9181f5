/* The coordinators that one thread sends requests to, by their epochs, and with each the connections to it that are kept
 * (common/httpc_place.h). */
#ifndef CARAVAN_CONTROLLER_UPSTREAM_PLACES_H
#define CARAVAN_CONTROLLER_UPSTREAM_PLACES_H

#include "common/crypto.h"

struct httpc_place;
struct tunnels;
struct upstream_places;
struct upstream_target;
struct view;

/* Both borrowed for its life. ret: owned. 0, -ENOMEM. */
int upstream_places_new(struct tunnels *tunnels, const uint8_t secret[CRYPTO_KEY_BYTES], struct upstream_places **ret);
/* Connections that wait are closed. Requests may go on. NULL is fine. */
void upstream_places_destroy(struct upstream_places **p);
/* The one for that epoch at that address, made where there is none, and the Authorization it takes. Both are borrowed until
 * the next review. 0, -ENOMEM. */
int upstream_places_find(struct upstream_places *p, const struct upstream_target *target, struct httpc_place **ret,
                         const char **ret_bearer);
/* Leaves those whose epoch is over by what v says. */
void upstream_places_review(struct upstream_places *p, const struct view *v);

#endif
