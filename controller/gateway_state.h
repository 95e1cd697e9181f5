/* Private to gateway*.c. */
#ifndef CARAVAN_CONTROLLER_GATEWAY_STATE_H
#define CARAVAN_CONTROLLER_GATEWAY_STATE_H

#include "controller/core/admission.h"
#include "controller/gateway.h"
#include "controller/tunnels.h"
#include "controller/upstream.h"

struct event;

struct gateway {
    struct gateway_deps deps;
    uint8_t secret[CRYPTO_KEY_BYTES];
    struct tunnels *tunnels;
    struct view *view;
    struct admission *admission;
    struct event *timer;
    uint64_t timer_ms; /* when it is due; UINT64_MAX: it is not set */
    size_t n_requests;
};

/* Carries out what the admission has decided, tells the control loop, sets the timer. After each call of the admission's;
 * passages may be gone after it, the caller's
 * too. Nothing that it does calls it again. */
void gateway_settle(struct gateway *g);

/* ---- gateway_passage: one request on its way -------------------------------------------------------------------- */

/* Takes x, which is answered in the end. model: as asked; in: the instance meant, NULL: none. */
void passage_begin(struct gateway *g, struct http_exchange *x, const char *model, const struct view_instance *in);
void passage_decided(const struct admission_decision *d); /* d->owner: the passage */

/* ---- gateway_say: the sentences of refusals --------------------------------------------------------------------- */

struct gateway_refusal {
    int status;
    const char *type;       /* NULL: what llama-server says with that status */
    uint64_t retry_after_s; /* 0: not said */
    char text[2 * PROTO_TEXT_MAX];
};

/* model: as asked. name: the instance's. failure: why the last sending failed, negative errno; 0: it did not. */
void gateway_say(const struct view *v, const struct admission_decision *d, const char *model, int failure,
                 struct gateway_refusal *ret);

/* ---- gateway_models: GET /v1/models ------------------------------------------------------------------------------ */

void gateway_handle_models(void *ctx, struct http_exchange *x); /* ctx: the struct gateway */

#endif
