/* The door to libzmq: CURVE links between agents and controllers on a libevent loop.
 *
 * wire_server is a controller's ROUTER, wire_client an agent's DEALER. Who a peer is follows from its public key, which
 * CURVE has proven, never from a routing id. Settings and their reasons: heartbeats 300/900/1200 ms, MAXMSGSIZE,
 * HANDSHAKE_IVL 3 s, HWM 1000, LINGER 0, ZAP_ENFORCE_DOMAIN; sends never block. */
#ifndef CARAVAN_COMMON_WIRE_H
#define CARAVAN_COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/crypto.h"

struct event_base;
struct wire_server;
struct wire_client;

enum { WIRE_E_ADDR_IN_USE = 1, WIRE_E_BAD_ADDR, WIRE_E_FULL /* high water mark: not sent */, WIRE_E_UNKNOWN_PEER };

struct wire_server_callbacks {
    /* key: 32 bytes, proven. peer_addr: IP literal. buf: borrowed. */
    void (*message)(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes);
    /* From the ZAP actor's answer counts; called on the loop. addr: IP literal. */
    void (*refused)(void *ctx, const uint8_t *key, const char *addr);
    void *ctx;
};

/* Binds tcp://ADDR:PORT (addr "*" = all). With trust_open any key is let in; else those of wire_server_allow only.
 * id: borrowed for the call. 0, WIRE_E_ADDR_IN_USE, WIRE_E_BAD_ADDR, negative errno. */
int wire_server_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t port,
                    bool trust_open, const struct wire_server_callbacks *cb, struct wire_server **ret);
void wire_server_destroy(struct wire_server **s);
/* To the peer's newest connection. 0, WIRE_E_FULL, WIRE_E_UNKNOWN_PEER, negative errno. */
int wire_server_send(struct wire_server *s, const uint8_t *key, const void *buf, size_t n_bytes);

struct wire_client_callbacks {
    void (*message)(void *ctx, const void *buf, size_t n_bytes);
    void (*connected)(void *ctx);    /* the CURVE handshake succeeded */
    void (*disconnected)(void *ctx); /* closed, refused or silent; it dials again by itself */
    void *ctx;
};

/* Dials tcp://ADDR:PORT and proves server_key. Reconnects by itself, 100 ms to 1 s, jittered. */
int wire_client_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t port,
                    const uint8_t server_key[CRYPTO_KEY_BYTES], const struct wire_client_callbacks *cb,
                    struct wire_client **ret);
void wire_client_destroy(struct wire_client **c);
/* 0, WIRE_E_FULL, negative errno. */
int wire_client_send(struct wire_client *c, const void *buf, size_t n_bytes);

#endif
