/* API keys: who may ask what over HTTP, as digests of secrets that are not kept. The HTTP thread finds them in the view.
 *
 * As soon as there is one, every request needs one; so the first one, and one of them ever after, may administer. */
#ifndef CARAVAN_CONTROLLER_CORE_API_KEYS_H
#define CARAVAN_CONTROLLER_CORE_API_KEYS_H

#include "controller/core/state.h"

/* All that take a step return 0 or -ENOMEM. */

/* CLUSTER_EV_API_KEY, CLUSTER_EV_API_UNKEY; INTENT_API_KEY. */
int api_keys_make(struct step *s, const struct cluster_ev *ev);
int api_keys_remove(struct step *s, const struct cluster_ev *ev);
int api_keys_written(struct step *s, const struct pending *p, bool ok);

int api_keys_restore(struct step *s, const struct view_api_key *key);
int api_keys_view(const struct cluster *c, struct view *v);

#endif
