/* The agent's own answers, read-only, over a Unix socket: what a controller told it last of nodes and instances, for
 * `caravan` on this machine while no controller can be reached.
 *
 *   GET /api/nodes, GET /api/instances: the controller's JSON, with "age_ms" (since it came) as its first member
 *
 * Who may ask is the file's matter: 0660, group caravan where there is one. Bounded: connections, head, time. */
#ifndef CARAVAN_AGENT_LOCAL_API_H
#define CARAVAN_AGENT_LOCAL_API_H

#include "common/core/protocol.h"

struct event_base;
struct local_api;

enum {
    LOCAL_API_CONNECTIONS = 8,
    LOCAL_API_HEAD_MAX = 4096,
    LOCAL_API_MS = 5000 /* for one question and its answer */
};

enum { LOCAL_API_E_UNUSABLE = 1 /* the place cannot be used; said by one warn line */ };

/* Makes the socket at path and the directory that it stands in. What a dead agent left there is replaced; what is no
 * socket, or is answered at, is not. 0; LOCAL_API_E_UNUSABLE; negative errno. */
int local_api_new(struct event_base *base, const char *path, struct local_api **ret);
/* Removes the socket. */
void local_api_destroy(struct local_api **a);

/* What is answered from now on. What it takes it sets to NULL. One that is no JSON object is passed over. */
void local_api_take(struct local_api *a, struct snapshot *snapshot);

#endif
