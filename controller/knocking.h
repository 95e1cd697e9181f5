/* The leader's own knocks that are under way, bounded. */
#ifndef CARAVAN_CONTROLLER_KNOCKING_H
#define CARAVAN_CONTROLLER_KNOCKING_H

#include "common/core/protocol.h"
#include "common/crypto.h"

struct event_base;
struct knocking;

enum { KNOCKING_MAX = 64 };
enum { KNOCKING_E_FULL = 1 };

/* found: what was found at `node`; never from inside knocking_begin. id: borrowed for as long. 0, -ENOMEM. */
int knocking_new(struct event_base *base, const struct identity *id,
                 void (*found)(void *ctx, const struct id128 *node, uint64_t token, enum knock_outcome outcome),
                 void *ctx, struct knocking **ret);
/* Those under way are given up; found is not called for them. */
void knocking_destroy(struct knocking **k);
/* peer: copied. 0: found will be called; KNOCKING_E_FULL or negative errno: it will not. */
int knocking_begin(struct knocking *k, const struct id128 *node, uint64_t token, const struct peer_facts *peer);

#endif
