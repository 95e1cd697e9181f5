/* Asks to be let into a cluster, with the key that follows from a join token. The answer only serves to say why not: that this
 * node is in is proved by the welcome of its own key (agent/link), and whoever owns the join ends it then.
 *
 * The own key is not dialled with before it can be known: a join tells when it is time. */
#ifndef CARAVAN_AGENT_JOIN_H
#define CARAVAN_AGENT_JOIN_H

#include <stdbool.h>

#include "agent/join_ticket.h"

struct event_base;
struct joining;

enum { JOIN_PATIENCE_MS = 500 };

struct join_callbacks {
    /* The own key may be let in by now: a controller said so, or none said anything for JOIN_PATIENCE_MS, or the token is of
     * no use. Once, from the loop; must not end the join. */
    void (*try_own_key)(void *ctx);
    void *ctx;
};

/* t->asks; its key is moved out of it. own: the public half is borrowed for the call. Dials nobody before join_begin. 0 or
 * negative errno. */
int join_new(struct event_base *base, struct join_ticket *t, const struct identity *own, const char *name,
             const struct join_callbacks *cb, struct joining **ret);
void join_destroy(struct joining **j);

/* Asks each of the token's controllers, until join_destroy: at once, after 5 s, then each 30 s. */
void join_begin(struct joining *j);

/* The own key was denied: where the join waited for that it begins. Says, once, why the token does not help either. true:
 * there is still hope. */
bool join_own_key_denied(struct joining *j);

#endif
