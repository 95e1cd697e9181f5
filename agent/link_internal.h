/* Shared by the link's two files alone: link.c talks to controllers, link_find.c knows who they may be and where. */
#ifndef CARAVAN_AGENT_LINK_INTERNAL_H
#define CARAVAN_AGENT_LINK_INTERNAL_H

#include <string.h>

#include "agent/link.h"
#include "agent/name_lookup.h"
#include "common/seldom.h"

struct event;
struct wire_client;

enum { LINK_PEERS_MAX = 32 };

/* One address of one controller. */
struct peer {
    struct link *link;
    char host[AGENT_HOST_MAX];
    uint16_t port;
    uint8_t key[CRYPTO_KEY_BYTES];
    bool configured, announced; /* by mDNS, and not withdrawn since */
    const struct name *name;    /* whose address it is; NULL: nobody's. Without any of the three it is stale */
    struct wire_client *client; /* NULL: not dialled, another address of the same key is in use */
    bool connected, greeted, dial_told;
    uint64_t seq;
};

/* A configured controller by name: looked up again as long as nobody with its key answers. */
struct name {
    struct link *link;
    const struct controller_address *controller;
    struct name_lookup *lookup;
    bool told;
};

struct link {
    struct event_base *base;
    const struct agent_options *options;
    struct state_dir *state;
    const struct identity *identity;
    const struct state_cluster *known;
    struct link_callbacks cb;
    struct hello hello;
    struct id128 cluster;
    uint64_t term;
    uint32_t minor; /* as of term */
    struct peer *peer[LINK_PEERS_MAX];
    struct peer *session; /* whom we report to; NULL: nobody */
    size_t n_names;
    struct name name[AGENT_CONTROLLERS_MAX];
    struct event *on_retry, *on_settle, *on_again;
    uint32_t refused_ms; /* until a refused hello is said again */
    uint64_t n_dropped;
    struct seldom dropped; /* messages that made no sense */
    uint64_t denied_ms;    /* when that was said; 0: never */
    bool held, full_told, stranger_told;
};

static inline bool link_same_key(const uint8_t *a, const uint8_t *b)
{
    return !memcmp(a, b, CRYPTO_KEY_BYTES);
}

/* link.c */
void link_peer_destroy(struct peer **p);
struct peer *link_greeted_with_key(struct link *l, const uint8_t *key); /* NULL: none */
/* Outside of the clients' callbacks, which may call this: peers that are new are dialled, others let go. */
void link_settle_later(struct link *l);

/* link_find.c */
int link_add_controllers(struct link *l);   /* those that are configured or known. 0 or negative errno */
void link_tell_controllers(struct link *l); /* those who may lead us before anybody is met */
void link_look_up_again(struct link *l);    /* names that nobody answers for */

#endif
