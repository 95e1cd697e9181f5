/* The links to controllers: who they are (configured, or met by mDNS and pinned), hello and welcome, and the one that
 * this agent reports to. */
#ifndef CARAVAN_AGENT_LINK_H
#define CARAVAN_AGENT_LINK_H

#include <stdbool.h>

#include "agent/options.h"
#include "agent/state.h"
#include "common/mdns.h"

struct event_base;
struct link;

struct link_callbacks {
    void (*up)(void *ctx);                               /* welcomed */
    void (*down)(void *ctx);                             /* the link that was up is gone */
    void (*message)(void *ctx, const struct message *m); /* COMMAND, NEIGHBOURS or RELAY of who welcomed us; borrowed */
    void (*snapshot)(void *ctx, struct snapshot *snapshot); /* what it takes it sets to NULL */
    void (*controller)(void *ctx, const uint8_t *key);      /* this key may lead us; once or more, from link_new on */
    void *ctx;
    /* Our key is not let in. true: somebody sees to it; else it is said, once a minute at most. May be NULL. */
    bool (*denied)(void *ctx);
};

/* All but hello borrowed as long as the link lives. Dials the configured controllers at once, and those of the cluster that
 * this node has joined, or is to join (cluster->n_controllers 0: none); names are looked up without making the loop wait, and
 * again as long as nobody answers. 0 or negative errno. */
int link_new(struct event_base *base, const struct agent_options *options, struct state_dir *state,
             const struct identity *identity, const struct state_cluster *cluster, const struct hello *hello,
             const struct link_callbacks *cb, struct link **ret);
void link_destroy(struct link **l);

/* Nobody is dialled until link_let_go: our key is known nowhere yet, and to be refused would only look like an attack. */
void link_hold(struct link *l);
void link_let_go(struct link *l);

/* Of who has welcomed us last; zero: nobody has. */
const struct id128 *link_cluster(const struct link *l);
uint32_t link_minor(const struct link *l); /* PROTOCOL_MINOR there */

/* A `_caravan-ctl._tcp` that mDNS announced or no longer does. Under trust = open one whose key is new is pinned where
 * nobody was before; otherwise only keys that are configured count. */
void link_on_service(struct link *l, const struct mdns_service *s);

/* Fills in version, cluster, term and sequence. Dropped where there is no link. */
void link_send(struct link *l, struct message *m);

/* Cluster and term, as who welcomed us last has said, also within a relay: a message there that names a cluster already is
 * somebody else's and stays as it is. */
void link_stamp(const struct link *l, struct message *m);

/* What is said in the next hello. */
void link_set_rpc(struct link *l, const struct rpc_version *rpc);

#endif
