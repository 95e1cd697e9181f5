/* The HTTP thread: server, API, gateway, events and metrics on a loop of their own, so that neither a busy stream nor a slow
 * client ever waits for, or holds up, the control loop. They share nothing but what the pipe carries. */
#ifndef CARAVAN_CONTROLLER_FRONT_H
#define CARAVAN_CONTROLLER_FRONT_H

#include "common/crypto.h"
#include "controller/front_msg.h"

struct event_base;
struct front;

struct front_callbacks {
    /* An order from a client; owned by the callee. On the control loop. */
    void (*order)(void *ctx, struct front_order *order);
    void *ctx;
};

/* fds: bound sockets, consumed on success. wait_ms: how long a request waits for its model. cb: copied. 0 or negative
 * errno. */
int front_new(struct event_base *base, const int *fds, size_t n_fds, const uint8_t secret[CRYPTO_KEY_BYTES],
              uint64_t wait_ms, const struct front_callbacks *cb, struct front **ret);
/* Ends every connection and waits for the thread. */
void front_destroy(struct front **f);
/* note: consumed. 0 or negative errno. */
int front_send(struct front *f, struct front_note *note);

#endif
