/* Nodes: who says hello, what they report, who has gone silent. */
#ifndef CARAVAN_CONTROLLER_CORE_NODES_H
#define CARAVAN_CONTROLLER_CORE_NODES_H

#include "controller/core/state.h"

struct node *node_find(const struct cluster *c, const struct id128 *id); /* NULL: none */

/* Nothing can be asked of it, and nothing is expected from it: lost, evicted, retired, or not come back in time after
 * a restart of the controller. */
bool node_gone(const struct cluster *c, const struct id128 *id, uint64_t now_ms);

/* Its chosen address, or else the one that its link comes from. */
const char *node_addr(const struct node *n);

/* 0, -ENOMEM. */
int nodes_hello(struct step *s, const struct cluster_ev *ev);
int nodes_report(struct step *s, struct node *n, struct message *m); /* takes the models out of m */
int nodes_seen(struct step *s, struct node *n, const struct message *m);
int nodes_tick(struct step *s);
int node_on_lost(struct step *s, struct node *n, const struct cause *cause);

/* When nodes_tick has something to do; UINT64_MAX: never. */
uint64_t nodes_due_ms(const struct cluster *c);

/* An operator takes a node out for good. */
int nodes_retire(struct step *s, const struct cluster_ev *ev);
/* Our own machine was suspended: nothing that was heard before counts. */
int nodes_resumed(struct step *s);

#endif
