/* The HTTP thread: server, API, gateway, events and metrics on a loop of their own, so that neither a busy stream nor a slow
 * client ever waits for, or holds up, the control loop. They share nothing but what the pipe carries. */
#ifndef CARAVAN_CONTROLLER_FRONT_H
#define CARAVAN_CONTROLLER_FRONT_H

#include "common/crypto.h"
#include "controller/front_msg.h"

struct event_base;
struct front;
struct http_route;
struct http_settings;

enum { FRONT_TABLES = 4 };

struct front_callbacks {
    /* An order from a client; owned by the callee. On the control loop. */
    void (*order)(void *ctx, struct front_order *order);
    void *ctx;
};

struct front_config {
    const int *fds; /* bound sockets, consumed on success */
    size_t n_fds;
    const uint8_t *secret;                 /* CRYPTO_KEY_BYTES; copied */
    const struct identity *identity;       /* with which carriers know us; borrowed for the front's life */
    uint64_t wait_ms;                      /* how long a request waits for its model */
    size_t waiting_max, waiting_bytes_max; /* how many wait at a time; 0: the gateway's own bounds */
    const struct http_settings *settings;  /* borrowed for the front's life; NULL: as the options' defaults are */
};

/* config, cb: copied. 0 or negative errno. */
int front_new(struct event_base *base, const struct front_config *config, const struct front_callbacks *cb,
              struct front **ret);
/* Every route that is served. */
void front_routes(bool metrics_open, const struct http_route *ret[FRONT_TABLES]);
/* Ends every connection and waits for the thread. */
void front_destroy(struct front **f);
/* note: consumed. 0 or negative errno. */
int front_send(struct front *f, struct front_note *note);

#endif
