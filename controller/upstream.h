/* Requests to a coordinator: its address, or the way through its node's carrier, its key of this epoch, and the one token that
 * proves it before anybody is routed there. */
#ifndef CARAVAN_CONTROLLER_UPSTREAM_H
#define CARAVAN_CONTROLLER_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/crypto.h"
#include "common/httpc.h"

enum { UPSTREAM_FIELDS_MAX = 8, UPSTREAM_CONNECT_MS = 3000 };

struct event_base;
struct tunnels;
struct upstream_places;

/* Who asks; all borrowed. */
struct upstream {
    struct event_base *base;
    const uint8_t *secret; /* CRYPTO_KEY_BYTES */
    struct tunnels *tunnels;
    struct upstream_places *places; /* NULL: each request has a connection of its own */
};

struct upstream_target {
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    char key[PROTO_KEY_MAX]; /* of the node whose carrier that is; empty: it is the coordinator's own port */
    struct id128 instance;
    uint64_t epoch;
    bool embeds; /* it was started for embeddings or ranking, and generates nothing */
};

/* The API key of an epoch's coordinator: derived, so that nothing has to be kept, and worthless after the epoch. */
char *upstream_key(const uint8_t secret[CRYPTO_KEY_BYTES], const struct id128 *instance, uint64_t epoch,
                   char buf[PROTO_KEY_MAX]);

/* The whole of the field Authorization with it. */
enum { UPSTREAM_BEARER_MAX = PROTO_KEY_MAX + 8 };
void upstream_bearer(const uint8_t secret[CRYPTO_KEY_BYTES], const struct upstream_target *target,
                     char buf[UPSTREAM_BEARER_MAX]);

/* As httpc_start: host, port, dialler and Authorization are filled in; at most UPSTREAM_FIELDS_MAX - 1 fields of the
 * caller's. Through a carrier it ends with the errors of controller/tunnels.h, too. */
int upstream_start(const struct upstream *up, const struct upstream_target *target, const struct httpc_spec *spec,
                   const struct httpc_callbacks *cb, struct httpc_request **ret);

/* Is it one that llama-server gives? A redirection is none: whoever follows it takes the API key along. */
bool upstream_is_answer(int status);
/* May this field of an answer go on to the client? */
bool upstream_passes_on(const char *name);
/* borrowed from header; NULL: not there */
const char *upstream_field(const struct httpc_header *header, size_t n, const char *name);
/* Content-Length; -1: not there, or nonsense. */
int64_t upstream_length(const struct httpc_header *header, size_t n);

/* "connection refused", ...: for people. r: negative errno. */
const char *upstream_failure_text(int r);

struct warm_up;
/* text: a sentence where ok is false. Called once, then the warm-up is gone; not after warm_up_cancel. */
typedef void warm_up_done(void *ctx, const struct upstream_target *target, bool ok, const char *text);
/* One token from the coordinator, or what it has in place of one, within deadline_ms. ret: borrowed until done. 0 or negative errno. */
int warm_up_start(const struct upstream *up, const struct upstream_target *target, uint64_t deadline_ms,
                  warm_up_done *done, void *ctx, struct warm_up **ret);
void warm_up_cancel(struct warm_up **w);

#endif
