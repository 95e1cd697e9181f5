/* The cluster that this node has joined: its id, and where its controllers are and by which keys they are known. One file of
 * lines, made when a controller first let this node in, so that a restart needs no token and no configuration. */
#ifndef CARAVAN_AGENT_STATE_CLUSTER_H
#define CARAVAN_AGENT_STATE_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/core/join_token.h"

enum { STATE_CONTROLLERS_MAX = 16, STATE_CLUSTER_TEXT_MAX = 4096 };

struct state_cluster {
    struct id128 id; /* zero: none */
    size_t n_controllers;
    struct join_controller controller[STATE_CONTROLLERS_MAX]; /* the newest knowledge first */
};

/* All pure. */
size_t state_cluster_format(const struct state_cluster *c, char buf[STATE_CLUSTER_TEXT_MAX]);
/* false: it is not exactly what state_cluster_format writes of a cluster with one controller at least; *ret is left alone. */
bool state_cluster_parse(const char *text, size_t n_bytes, struct state_cluster *ret);
/* Unless it is there already, or there is no room. */
void state_cluster_add(struct state_cluster *c, const struct join_controller *controller);
bool state_cluster_same(const struct state_cluster *a, const struct state_cluster *b);

#endif
