/* /v1: finds the instance that a request's `model` names and passes request and answer through, byte for byte. All on the
 * HTTP thread. Nothing is routed to an instance that is not ready. */
#ifndef CARAVAN_CONTROLLER_GATEWAY_H
#define CARAVAN_CONTROLLER_GATEWAY_H

#include "common/crypto.h"
#include "controller/core/view.h"
#include "controller/http.h"
#include "controller/metrics.h"

enum { GATEWAY_REQUESTS_MAX = 512, GATEWAY_RETRY_AFTER_S = 5 };

struct event_base;
struct gateway;

/* metrics: borrowed for the gateway's life. 0, -ENOMEM. */
int gateway_new(struct event_base *base, const uint8_t secret[CRYPTO_KEY_BYTES], struct metrics *metrics,
                struct gateway **ret);
/* The server must be gone before. */
void gateway_destroy(struct gateway **g);
const struct http_route *gateway_routes(void); /* ctx: the struct gateway */
/* borrowed; a reference is taken */
void gateway_set_view(struct gateway *g, struct view *v);

#endif
