/* Between the wire and the core: bytes of agents become checked messages, messages of the core become bytes. A peer that
 * sends what cannot be read, or what its key's scope does not allow, costs one counter and one log line a minute, and nothing
 * else. Of several connections of one node's key the one that was welcomed last is the node's; by another one only a hello is
 * heard, and nothing leaves but its answer. */
#ifndef CARAVAN_CONTROLLER_LINK_H
#define CARAVAN_CONTROLLER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/crypto.h"
#include "controller/core/view.h"

struct event_base;
struct link;

enum { LINK_E_ADDR_IN_USE = 1, LINK_E_BAD_ADDR, LINK_E_NOT_SENT /* no such peer now, or its queue is full */ };
enum { LINK_PEERS_MAX = 1024 };
enum { LINK_JOIN_MAX = 1024 /* bytes of a message by a token's key; longer ones are not read */ };

struct link_config {
    const char *addr; /* "0.0.0.0": all; borrowed for link_new */
    uint16_t port;
    bool trust_open;
    struct id128 cluster;
    uint64_t term;
};

struct link_peer {
    uint8_t key[CRYPTO_KEY_BYTES];
    char key_hex[PROTO_KEY_MAX];
    struct id128 node;
    uint64_t seq_out;
    uint64_t n_malformed, n_unknown, n_refused;
    uint64_t used_ms, warned_ms;
};

/* Totals over all peers since the start. */
struct link_counts {
    uint64_t malformed, unknown; /* messages that could not be read */
    uint64_t
        refused; /* handshakes of keys that are not let in, messages that their key's scope forbids, and all but hellos
                         by a connection of a node's key that is not the node's */
};

struct link_callbacks {
    /* HELLO, REPORT, RESULT, EVENT or the RELAY of one, or JOIN, of a proven key whose scope allows it. *m: consumed where
     * it is set to NULL. */
    void (*message)(void *ctx, const struct link_peer *peer, const char *peer_addr, struct message **m);
    /* This node's connection is over. May be NULL. */
    void (*closed)(void *ctx, const struct link_peer *peer, const char *peer_addr);
    void *ctx;
};

/* id: borrowed for the call; cb: copied. 0, LINK_E_ADDR_IN_USE, LINK_E_BAD_ADDR, negative errno. */
int link_new(struct event_base *base, const struct identity *id, const struct link_config *config,
             const struct link_callbacks *cb, struct link **ret);
void link_destroy(struct link **l);
/* m: borrowed; its version, cluster, term and sequence number are filled in, those of a relayed message too. 0,
 * LINK_E_NOT_SENT, negative errno. */
int link_send(struct link *l, const char *key_hex, struct message *m);
/* Within `message` only: the same, by the very connection that spoke. A WELCOME that refuses nothing makes it the node's. */
int link_answer(struct link *l, struct message *m);
/* Lets a key in from now on, or gives it another scope: a KEY_JOIN may say MESSAGE_JOIN and nothing else, a KEY_NODE all
 * but that. 0 or -ENOMEM. */
int link_allow(struct link *l, const char *key_hex, enum key_scope scope);
/* Not any more: what it says is dropped and counted as refused, and nothing is sent to it. Under trust_open too. 0 or
 * -ENOMEM: it may still be let in. */
int link_forbid(struct link *l, const char *key_hex);
struct link_counts link_counts(const struct link *l);

#endif
