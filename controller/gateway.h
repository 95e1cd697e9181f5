/* /v1: finds the instance that a request's `model` names and passes request and answer through, byte for byte. All on the
 * HTTP thread. Where a request goes, what waits and what is refused is decided in core/admission; here it is carried out,
 * one passage per request (gateway_passage). */
#ifndef CARAVAN_CONTROLLER_GATEWAY_H
#define CARAVAN_CONTROLLER_GATEWAY_H

#include "common/crypto.h"
#include "controller/front_msg.h"
#include "controller/http.h"
#include "controller/metrics.h"

enum { GATEWAY_REQUESTS_MAX = 2048, GATEWAY_RETRY_AFTER_S = 5 };
#define GATEWAY_REQUEST \
    (UINT64_C(1) << 62) /* in the request_id of what the gateway itself has asked of the control loop */

struct event_base;
struct gateway;

struct gateway_deps {
    struct event_base *base;
    const uint8_t *secret; /* CRYPTO_KEY_BYTES; copied */
    const struct identity
        *identity;           /* with which carriers know us; borrowed for the gateway's life. NULL: there are none */
    struct metrics *metrics; /* borrowed for the gateway's life */
    uint64_t wait_ms; /* how long a request waits for its model while neither its load grows nor its queue moves */
    size_t waiting_max, waiting_bytes_max; /* of requests that wait; 0: as in core/admission.h */
    uint64_t note_ms;                      /* how often a stream that waits is told so; 0: 5000 */
    /* To the control loop; order: consumed. 0 or negative errno. */
    int (*submit)(void *ctx, struct front_order *order);
    void *ctx;
};

/* deps: copied. 0, -ENOMEM. */
int gateway_new(const struct gateway_deps *deps, struct gateway **ret);
/* The server must be gone before. */
void gateway_destroy(struct gateway **g);
const struct http_route *gateway_routes(void); /* ctx: the struct gateway */
/* borrowed; a reference is taken */
void gateway_set_view(struct gateway *g, struct view *v);
/* To an order with GATEWAY_REQUEST in its id. */
void gateway_answer(struct gateway *g, uint64_t request_id, const struct cluster_answer *answer);

#endif
