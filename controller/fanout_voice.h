/* One voice of a fan-out: a chat completion on a passage of its own, streamed by the coordinator, and what it has said so far.
 * All on the HTTP thread. */
#ifndef CARAVAN_CONTROLLER_FANOUT_VOICE_H
#define CARAVAN_CONTROLLER_FANOUT_VOICE_H

#include <stdbool.h>
#include <stdint.h>

#include "controller/core/fanout_course.h"
#include "controller/fanout.h"
#include "controller/passage.h"

struct evbuffer;
struct sse;

enum { FANOUT_ANSWERS_MAX = 6 * 1024 * 1024 /* what all voices of one fan-out have said, as JSON */ };

struct fanout_voice {
    struct passage *passage; /* NULL: nothing goes on */
    struct sse *sse;
    int status;
    bool is_stream, done;
    bool given_up; /* CUT was heard: it is cancelled in a moment */
    struct evbuffer *content;
    struct evbuffer *reasoning; /* what it thought before it answered, where the model tells the two apart */
    struct evbuffer *refused;   /* an answer that is no stream: an error */
    size_t n_told;              /* of content: bytes that the client has heard of */
    struct fanout_purse *purse; /* borrowed */
    char finish_reason[PROTO_WORD_MAX];
    bool has_usage;
    uint64_t prompt_tokens, completion_tokens;
    struct gateway_refusal error; /* status 0: none */
    char error_type[PROTO_NAME_MAX];
    struct passage_times times;
    struct id128 instance;
    /* Called out of the passage: only what the course should hear may be done in it. */
    void (*heard)(void *ctx, struct fanout_voice *v, enum fanout_event ev);
    void *ctx;
};

/* purse, ctx: borrowed for its life. 0, -ENOMEM. */
int fanout_voice_init(struct fanout_voice *v, struct fanout_purse *purse,
                      void (*heard)(void *ctx, struct fanout_voice *v, enum fanout_event ev), void *ctx);
/* Never initialised is fine. */
void fanout_voice_clear(struct fanout_voice *v);

/* model, body, request_id: borrowed until its end. Where it cannot be asked, FAIL is heard before this returns. */
void fanout_voice_ask(struct fanout_voice *v, struct gateway *g, const char *model, const char *body,
                      size_t n_body_bytes, const char *request_id, uint64_t wait_ms);
/* It is heard no more. Not out of `heard`. */
void fanout_voice_cancel(struct fanout_voice *v);
/* times and instance as they are now. */
void fanout_voice_look(struct fanout_voice *v);

#endif
