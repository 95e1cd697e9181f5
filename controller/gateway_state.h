/* Private to gateway*.c. */
#ifndef CARAVAN_CONTROLLER_GATEWAY_STATE_H
#define CARAVAN_CONTROLLER_GATEWAY_STATE_H

#include "controller/core/admission.h"
#include "controller/core/answer_tally.h"
#include "controller/core/assemble.h"
#include "controller/core/body_peek.h"
#include "controller/fanout.h"
#include "controller/gateway.h"
#include "controller/passage.h"
#include "controller/tunnels.h"
#include "controller/upstream.h"
#include "controller/upstream_places.h"

struct event;

/* What the leader was asked to start and has not answered yet, each name once. */
struct gateway_asks {
    size_t n;
    struct gateway_ask {
        uint64_t id;
        char name[PROTO_MODEL_MAX];
    } * item;
    uint64_t last;
};

struct gateway {
    struct gateway_deps deps;
    uint8_t secret[CRYPTO_KEY_BYTES];
    struct tunnels *tunnels;
    struct upstream_places *places;
    struct view *view;
    struct admission *admission;
    struct event *timer;
    uint64_t timer_ms; /* when it is due; UINT64_MAX: it is not set */
    size_t n_requests;
    struct gateway_asks asks;
    struct fanout_book fanouts;
    bool settling;
};

/* Carries out what the admission has decided, tells the control loop, sets the timer. After each call of the admission's;
 * passages may be gone after it, the caller's too. Out of what it does itself it may be called again, which then leaves all
 * to the call that is under way. */
void gateway_settle(struct gateway *g);

/* ---- gateway_asks: whose answer is it? --------------------------------------------------------------------------- */

/* ret_id: with GATEWAY_REQUEST in it. An older one of the same name is forgotten. 0, -ENOMEM. */
int gateway_asks_begin(struct gateway_asks *a, const char *name, uint64_t *ret_id);
/* False: there is none of that id. */
bool gateway_asks_end(struct gateway_asks *a, uint64_t id, char name[PROTO_MODEL_MAX]);

/* ---- passage ----------------------------------------------------------------------------------------------------- */

void passage_decided(const struct admission_decision *d); /* d->owner: the passage */

/* ---- gateway_routes: whom a request is for ----------------------------------------------------------------------- */

/* The one that a request without a name can only mean; NULL: there is not exactly one. */
const struct view_instance *gateway_only_ready(const struct view *v);
/* An answer of the gateway's own. model: the instance's name; NULL: none of ours. */
void gateway_refuse(struct gateway *g, struct http_exchange *x, const char *model, const struct gateway_refusal *r);

/* ---- gateway_fields: what of the client's head goes on to a coordinator, and what of its answer's comes back ------ */

enum { GATEWAY_FIELDS_MAX = 3 };
/* Borrowed from x. Returns how many. */
size_t gateway_fields(const struct http_exchange *x, struct httpc_header ret[GATEWAY_FIELDS_MAX]);
/* Does llama-server compute tokens for it? path: its own. What looks or counts need not wait behind answers. */
bool gateway_takes_slot(const char *method, const char *path);
/* type: of the coordinator's answer; NULL: it has none. What stands for it: borrowed from type, or static. */
const char *gateway_type(const char *type);
/* What the client gives it until the first piece of an answer; 0: nothing was said. peek: of its body; NULL: there is none. */
uint64_t gateway_timeout_ms(const struct http_head *head, const struct body_peek *peek);

/* ---- gateway_assembly: a whole answer out of a stream ------------------------------------------------------------ */

/* spec->body: the client's. Where its answer can be put together, that becomes what asks for a stream (ret_body), and ret is
 * what takes it; else nothing is set. peek: of its body; NULL: it says nothing to us. Both owned. 0, -ENOMEM (either may be
 * set). */
int gateway_assembly(const char *path, const struct body_peek *peek, struct passage_spec *spec, char **ret_body,
                     struct assemble **ret);
/* r: as assemble_end says it. */
const char *gateway_say_not_whole(int r);

/* ---- gateway_reply: an HTTP client and its request --------------------------------------------------------------- */

/* Takes x, which is answered in the end. model: as asked; in: the instance meant, NULL: none. peek: of its body; NULL: it
 * says nothing to us. All borrowed but x. */
void gateway_reply_begin(struct gateway *g, struct http_exchange *x, const char *model, const struct view_instance *in,
                         const struct body_peek *peek);

/* ---- gateway_account: what is counted and logged of each request ------------------------------------------------- */

struct gateway_account {
    const char *name;  /* of the instance; NULL: none of ours */
    const char *asked; /* the model, as the request said it; NULL: it was not read */
    const struct http_exchange *x;
    bool part;                        /* of a fan-out, which is told of as a whole, too */
    int status;                       /* 499: its client left */
    bool streamed;                    /* its head is out, and it is a stream's */
    struct id128 instance;            /* where it was sent last; zero: nowhere */
    const struct answer_tally *tally; /* of what came from there; NULL: nothing */
    uint64_t total_us;
    struct passage_times times;
};
/* Once for each request that a route of the gateway took, when it is over. */
void gateway_account(struct gateway *g, const struct gateway_account *a);

/* ---- gateway_say: the sentences of refusals --------------------------------------------------------------------- */

/* model: as asked. name: the instance's. failure: why the last sending failed, negative errno; 0: it did not. */
void gateway_say(const struct view *v, const struct admission_decision *d, const char *model, int failure,
                 struct gateway_refusal *ret);

/* ---- gateway_waiting: what a client is told while it waits ------------------------------------------------------- */

/* What model is waited for, in one line: "loading 43 %, about 12 s", "place 3 in its queue", ... model: as asked. place: in
 * its queue, from 1; 0: it has been sent, or that is not known. */
void gateway_say_waiting(const struct view *v, const char *model, size_t place, char *buf, size_t size);

/* ---- gateway_models: GET /v1/models, and of one --------------------------------------------------------------------- */

void gateway_handle_models(void *ctx, struct http_exchange *x); /* ctx: the struct gateway */
void gateway_handle_model(void *ctx, struct http_exchange *x);  /* the same */

#endif
