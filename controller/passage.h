/* One request on its way to whoever serves its model: it waits, is sent, and sent again where its epoch ends before anything
 * of an answer was handed on; the last says so. Where it goes and when is decided in core/admission. No client is known
 * here: whoever began it hears of the answer by its calls. All on the HTTP thread. */
#ifndef CARAVAN_CONTROLLER_PASSAGE_H
#define CARAVAN_CONTROLLER_PASSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/httpc.h"
#include "controller/core/admission.h"

struct gateway;
struct passage;

/* Why there is no answer, or not all of it. */
struct gateway_refusal {
    int status;
    const char *type;       /* static; NULL: what llama-server says with that status */
    uint64_t retry_after_s; /* 0: not said */
    char text[2 * PROTO_TEXT_MAX];
};

enum { PASSAGE_FIELDS_MAX = 6 };

/* All borrowed until its end. */
struct passage_spec {
    const char *model; /* as asked: a name, alias, model's name or instance id */
    const char *method, *target;
    const struct httpc_header *header; /* what goes on to the coordinator, at most PASSAGE_FIELDS_MAX; copied */
    size_t n_headers;
    const void *body; /* what is sent: it need not be what a client said */
    size_t n_body_bytes;
    const void *said; /* what a client said, by which its request is known again; NULL: that is the body */
    size_t n_said_bytes;
    bool slotless;       /* it computes no token */
    uint64_t wait_ms;    /* until it is sent, counted anew whenever the queue or the load moves; 0: the gateway's */
    uint64_t timeout_ms; /* until the first piece of an answer, whatever moves; 0: there is no such limit */
};

/* What was made of a piece of an answer. */
enum passage_use {
    PASSAGE_SIGN_OF_LIFE = 1, /* it said nothing but that somebody is there */
    PASSAGE_KEPT,             /* nothing of the answer has been handed on that could not be taken back */
    PASSAGE_HANDED_ON         /* the request cannot be sent again */
};

struct passage_calls {
    /* Each answer's beginning: again after `again`. header: borrowed. */
    void (*head)(void *ctx, int status, const struct httpc_header *header, size_t n_headers);
    enum passage_use (*data)(void *ctx, const void *buf, size_t n_bytes);
    /* What came of an answer so far counts no more: it is cut, and another may come, or `fail`. */
    void (*again)(void *ctx);
    /* Once one of these, and the passage is gone. It came to its end, with the status of the last head; there is none, or not
     * the whole of one (refusal: borrowed). */
    void (*end)(void *ctx);
    void (*fail)(void *ctx, const struct gateway_refusal *refusal);
    void *ctx;
};

/* Calls may come before it returns only where *ret was set, and then from its last step. calls: copied.
 * 0; PASSAGE_E_FULL: too many are under way; -ENOMEM. No call came then. */
enum { PASSAGE_E_FULL = 1 };
int passage_begin(struct gateway *g, const struct passage_spec *spec, const struct passage_calls *calls,
                  struct passage **ret);
/* Nobody wants it any more: no call comes after this. Not from its own calls; from those of another one it is fine, as is
 * beginning new ones from `end` and `fail`. NULL is fine. */
void passage_cancel(struct passage **p);
/* Back-pressure: stops and resumes the answer. */
void passage_pause(struct passage *p);
void passage_resume(struct passage *p);

/* So far; us since it began, 0: not yet. */
struct passage_times {
    uint64_t sent_us;  /* the last sending: before that it waited */
    uint64_t first_us; /* the first piece of its answer that was no sign of life */
};
void passage_times(const struct passage *p, struct passage_times *ret);
/* The instance that it was last sent to; zero: none. */
struct id128 passage_instance(const struct passage *p);
/* What it waits for, in one line for people. */
void passage_say_waiting(const struct passage *p, char *buf, size_t size);

#endif
