/* Nodes: what they report, who has gone silent, who comes back. */
#ifndef CARAVAN_CONTROLLER_CORE_NODES_H
#define CARAVAN_CONTROLLER_CORE_NODES_H

#include "controller/core/state.h"

struct node *node_find(const struct cluster *c, const struct id128 *id); /* NULL: none */
struct node *node_by_key(const struct cluster *c, const char *key);      /* the same */

/* Nothing can be asked of it, and nothing is expected from it: lost, stuck, evicted, retired, not come back in time after
 * a restart of the controller, or called lost by every knock and only kept from it by the brake. */
bool node_gone(const struct cluster *c, const struct id128 *id, uint64_t now_ms);

/* What n last said of that process of the instance's epoch; NULL: nothing, also where n is NULL. rank: of a worker. */
const struct unit_facts *node_unit(const struct node *n, const struct instance *i, enum unit_role role, int32_t rank);

/* Of the node with the coordinator, by which its carrier is known; empty: it is reached without one. */
const char *node_carrier_key(const struct cluster *c, const struct instance *i);

/* Its chosen address, or else the one that its link comes from. */
const char *node_addr(const struct node *n);

/* Where it can be knocked at and dialled. false: it has no port for that. */
bool node_peer(const struct node *n, struct peer_facts *ret);

/* Index in the table, or where it would be. */
size_t node_index(const struct cluster *c, const struct id128 *id);

/* How its last message came: by that neighbour; NULL: by its own link. The caller has said journal_change. */
void node_set_carrier(struct step *s, struct node *n, const struct node *carrier);

/* 0, -ENOMEM. */
int nodes_report(struct step *s, struct node *n, struct message *m); /* takes the models out of m */
/* carrier: as for node_set_carrier. */
int nodes_seen(struct step *s, struct node *n, const struct message *m, const struct node *carrier);
int nodes_tick(struct step *s);

/* Actions of the table. */
int node_on_silent(struct step *s, struct node *n, const struct cause *cause);
int node_on_ready(struct step *s, struct node *n, const struct cause *cause);
int node_on_lost(struct step *s, struct node *n, const struct cause *cause);
int node_on_stuck(struct step *s, struct node *n, const struct cause *cause);
int node_on_retired(struct step *s, struct node *n, const struct cause *cause);

/* Its silence would mean something: it is expected to report. */
bool nodes_listens_for(const struct node *n);

/* When nodes_tick has something to do; UINT64_MAX: never. */
uint64_t nodes_due_ms(const struct cluster *c);

/* Our own machine was suspended: nothing that was heard before counts, and nothing is decided for `settle`. */
int nodes_resumed(struct step *s);
bool nodes_quiet(const struct step *s);

#endif
