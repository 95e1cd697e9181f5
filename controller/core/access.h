/* Whose keys are let in: nodes' keys, join tokens' keys, and API keys. All of it is kept (RECORD_KEY, RECORD_API_KEY);
 * a key counts from the moment its record is durable.
 *
 * A token is a key like any other, whose secret half both the operator and the node can derive from the token's seed; the
 * seed itself never comes here. Its scope lets it say one thing, so that nothing else from a stranger is ever parsed. */
#ifndef CARAVAN_CONTROLLER_CORE_ACCESS_H
#define CARAVAN_CONTROLLER_CORE_ACCESS_H

#include "controller/core/state.h"

/* Bounds on what is kept. */
enum { ACCESS_KEYS_MAX = 2048, ACCESS_TOKENS_MAX = 64, ACCESS_API_KEYS_MAX = 64 };
enum { ACCESS_USES_MAX = 1024 };
#define ACCESS_TTL_MAX_MS (UINT64_C(30) * 24 * 3600 * 1000)

/* All return 0 or -ENOMEM. */
int access_join(struct step *s, const struct cluster_ev *ev);
int access_token(struct step *s, const struct cluster_ev *ev);
int access_untoken(struct step *s, const struct cluster_ev *ev);
int access_approve(struct step *s, const struct cluster_ev *ev);
int access_revoke(struct step *s, const struct cluster_ev *ev);
int access_api_key(struct step *s, const struct cluster_ev *ev);
int access_api_unkey(struct step *s, const struct cluster_ev *ev);

#endif
