/* Answers libzmq's question "may this key in?" (ZAP, ZeroMQ RFC 27).
 *
 * It is asked on the control loop and not in an actor: the answer is a look into a list that lives there, takes
 * microseconds, and is only asked for peers that have proven to hold a key; garbage never gets so far. */
#ifndef CARAVAN_COMMON_WIRE_ZAP_H
#define CARAVAN_COMMON_WIRE_ZAP_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct wire_zap;

struct wire_zap_callbacks {
    /* May this key (32 bytes) in? Only looks. */
    bool (*allow)(void *ctx, const uint8_t *key);
    /* It was told no. addr: as libzmq has seen it. May destroy the handler. */
    void (*refused)(void *ctx, const uint8_t *key, const char *addr);
    void *ctx;
};

/* One per ZeroMQ context; before any socket of it binds, or the first peers would be refused. Those who are let in get
 * their key in hex as the metadata User-Id of each message. 0 or negative errno. */
int wire_zap_new(struct event_base *base, void *zmq_context, const struct wire_zap_callbacks *cb,
                 struct wire_zap **ret);
void wire_zap_destroy(struct wire_zap **z);

#endif
