/* The door to libzmq: CURVE links between agents and controllers on a libevent loop.
 *
 * wire_server is the ROUTER of a controller or of an agent's neighbour port, wire_client the DEALER of whoever dials. Who a peer is follows from its public key, which
 * CURVE has proven, never from a routing id. Settings and their reasons stand in wire_settings.h; sends never block. A
 * message is one frame; what has more is dropped and counted. Callbacks may destroy the object that calls them. */
#ifndef CARAVAN_COMMON_WIRE_H
#define CARAVAN_COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/talkers.h"
#include "common/crypto.h"

struct event_base;
struct wire_server;
struct wire_client;

enum { WIRE_E_ADDR_IN_USE = 1, WIRE_E_BAD_ADDR, WIRE_E_FULL /* high water mark: not sent */, WIRE_E_UNKNOWN_PEER };

struct wire_server_callbacks {
    /* key: 32 bytes, proven. peer_addr: IP literal. buf: borrowed. */
    void (*message)(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes);
    /* A peer has proven this key and was not let in. addr: IP literal. Told for the first dial from there, then once a
     * minute at most, however many there are: wire_server_refusals counts them all. */
    void (*refused)(void *ctx, const uint8_t *key, const char *addr);
    void *ctx;
};

/* Counted since wire_server_new. */
struct wire_server_stats {
    uint64_t n_messages;  /* handed to the callback */
    uint64_t n_refused;   /* handshakes of keys that may not in */
    uint64_t n_malformed; /* messages of several frames, or under a routing id of the peer's own making */
    uint64_t n_forgotten; /* peers that others pushed out of the table of connections */
};

/* Binds tcp://ADDR:PORT (addr "*" = all, port 0 = any). With trust_open any key is let in; else those of wire_server_allow only.
 * id: borrowed for the call. 0, WIRE_E_ADDR_IN_USE, WIRE_E_BAD_ADDR, negative errno. */
int wire_server_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t port,
                    bool trust_open, const struct wire_server_callbacks *cb, struct wire_server **ret);
void wire_server_destroy(struct wire_server **s);
/* Lets one more key in from now on; the same key twice is fine. 0 or -ENOMEM. */
int wire_server_allow(struct wire_server *s, const uint8_t key[CRYPTO_KEY_BYTES]);
/* Not any more: what it says from now on, or has said and was not read yet, is dropped and counted as refused, whatever
 * connections it still has; nothing is sent to it. Where closed connections are watched, the one it is sent to is closed. With
 * trust_open any key is let in all the same. */
void wire_server_disallow(struct wire_server *s, const uint8_t key[CRYPTO_KEY_BYTES]);
/* The same, and with trust_open too, until wire_server_allow. 0; -ENOMEM, only with trust_open: nothing has changed. */
int wire_server_forbid(struct wire_server *s, const uint8_t key[CRYPTO_KEY_BYTES]);
/* From now on `closed` is called (with the ctx of the callbacks) where the connection that a key is sent to is over: by its
 * own end, or because it no longer answers heartbeats. A hint: it may have dialled again. Once per server. 0 or negative
 * errno. */
int wire_server_watch_closed(struct wire_server *s, struct event_base *base,
                             void (*closed)(void *ctx, const uint8_t *key, const char *peer_addr));
uint16_t wire_server_port(const struct wire_server *s);
struct wire_server_stats wire_server_stats(const struct wire_server *s);
/* The dials that were not let in, by address. Borrowed: as long as s. */
const struct talkers *wire_server_refusals(const struct wire_server *s);
/* To the peer's accepted connection, to its newest where none was accepted. 0, WIRE_E_FULL, WIRE_E_UNKNOWN_PEER, negative
 * errno. */
int wire_server_send(struct wire_server *s, const uint8_t *key, const void *buf, size_t n_bytes);
/* Within `message` only: answers by the very connection that the message came by, which from then on does not count as
 * its peer's newest because of it. For those who come to ask and leave again. As wire_server_send. */
int wire_server_answer(struct wire_server *s, const void *buf, size_t n_bytes);
/* Within `message` only: from now on what is sent to its peer goes by the very connection that the message came by and by
 * no other, until another one is accepted. A copy of the key may dial and speak as it likes: it can only be answered. */
void wire_server_accept(struct wire_server *s);
/* Within `message` only: whether it came by the connection that was accepted last or the one before, whose messages may come
 * late; true for a peer of which none was. */
bool wire_server_may_speak(struct wire_server *s);

struct wire_client_callbacks {
    void (*message)(void *ctx, const void *buf, size_t n_bytes);
    void (*connected)(void *ctx); /* the CURVE handshake succeeded */
    /* Closed, refused or silent, once for all dials in a row that fail; it dials again by itself. */
    void (*disconnected)(void *ctx);
    void *ctx;
    /* Both may be NULL. */
    void (*accepted)(void *ctx); /* the TCP connection stands, nothing is proven yet */
    /* In place of disconnected, for each dial: the other end is who it should be, and does not let us in. */
    void (*denied)(void *ctx);
};

/* Dials tcp://ADDR:PORT and proves server_key. Dials again by itself after 100 ms to 1 s, jittered. id, addr: borrowed for
 * the call. All clients must be destroyed before exit(). 0, WIRE_E_BAD_ADDR (not an IP literal), negative errno. */
int wire_client_new(struct event_base *base, const struct identity *id, const char *addr, uint16_t port,
                    const uint8_t server_key[CRYPTO_KEY_BYTES], const struct wire_client_callbacks *cb,
                    struct wire_client **ret);
void wire_client_destroy(struct wire_client **c);
/* 0, WIRE_E_FULL (also while not connected: nothing is kept for later), negative errno. */
int wire_client_send(struct wire_client *c, const void *buf, size_t n_bytes);

#endif
