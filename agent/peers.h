/* The neighbour port (7431) and the links to neighbours: up to three agents that we dial and three that dial us, as the
 * leader said last. Whoever is let in may knock: a ping is answered here, from the control loop, so that an agent that is
 * stopped or hangs does not answer. */
#ifndef CARAVAN_AGENT_PEERS_H
#define CARAVAN_AGENT_PEERS_H

#include <stdint.h>

#include "common/core/protocol.h"
#include "common/crypto.h"

struct event_base;
struct peers;

enum {
    PEERS_PORTS = 32,       /* tried from the first one on: several agents may share a machine */
    PEERS_CONTROLLERS = 16, /* keys that may always in */
    PEERS_SILENT_MS = 3000  /* who dials us speaks each second; after so long its link is down */
};

/* key: 64 hex digits. From the loop, never from within a call here; any of these may call peers_set and peers_send. */
struct peers_callbacks {
    void (*up)(void *ctx, const char *key); /* it has proven its key, by whoever dialled */
    void (*down)(void *ctx, const char *key);
    void (*message)(void *ctx, const char *key, const struct message *m); /* HEALTH or RELAY; borrowed */
    void *ctx;
    bool (*kept)(void *ctx, uint16_t port); /* for others: a search passes it by; NULL: none is */
};

/* Listens on addr ("*": all), on first_port or the next free one of PEERS_PORTS that is not kept. Where none is, it says so and goes on
 * without: neighbours can then be dialled, but nobody can knock here. id: borrowed for its life. 0 or negative errno. */
int peers_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t first_port,
              const struct peers_callbacks *cb, struct peers **ret);
void peers_destroy(struct peers **p);
uint16_t peers_port(const struct peers *p); /* 0: none */

/* A controller's key: it may knock from now on. */
void peers_allow_controller(struct peers *p, const uint8_t key[CRYPTO_KEY_BYTES]);

/* The whole list: dials its peers and no others, lets in its peers, guests and the controllers and nobody else. Of those
 * that go no `down` is told; links to those that stay are not touched, unless their addresses are others now. */
void peers_set(struct peers *p, const struct neighbours *list);

/* m: borrowed, its sequence number is filled in. Dropped where there is no link or no room. */
void peers_send(struct peers *p, const char *key, struct message *m);

#endif
