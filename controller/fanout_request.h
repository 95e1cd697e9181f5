/* The body of POST /v1/fanout, read strictly: what it does not know it refuses by name and place, and its limits hold before
 * memory is taken.
 *
 *   {"messages": [...],                  as in a chat completion, for all members; 1 to 1024, each with a role
 *    "members": [MEMBER, ...],           1 to 64
 *    "model": "qwen",                    of members and of a synthesis that name none
 *    "context": "...",                   what all should know; where it stands in a prompt, says fanout_prompt.h
 *    "documents": [{"title", "text"}],   retrieved passages, at most 256; the title may be missing
 *    "synthesis": SYNTHESIS,             puts the answers together; missing: nobody does
 *    "timeout": 600,                     seconds for all of it
 *    "member_timeout": 600,              of members who say none; the same, three quarters of it where there is a synthesis
 *    "stream": false}
 *
 *   MEMBER: {"name", "model", "system", "temperature", "max_tokens", "timeout", "extra"}; all may be missing. name: `member 1`,
 *   ... where it is, and each once. extra: whatever else its chat completion shall say ({"seed": 7, "response_format": ...}).
 *   SYNTHESIS: the same without name; "timeout": what is left of the whole. */
#ifndef CARAVAN_CONTROLLER_FANOUT_REQUEST_H
#define CARAVAN_CONTROLLER_FANOUT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "controller/core/fanout_course.h"
#include "controller/fanout_prompt.h"

enum {
    FANOUT_MESSAGES_MAX = 1024,
    FANOUT_DOCUMENTS_MAX = 256,
    FANOUT_TIMEOUT_DEFAULT_MS = 600 * 1000,
    FANOUT_BODIES_MAX = 32 * 1024 * 1024 /* what all members are asked, together */
};

enum {
    FANOUT_E_INVALID = 1, /* why says what and where */
    FANOUT_E_TOO_LARGE    /* the same */
};

/* What one voice is asked. */
struct fanout_ask {
    char name[PROTO_NAME_MAX];
    char model[PROTO_MODEL_MAX]; /* empty: not said */
    uint64_t timeout_ms;
    char *body; /* of its chat completion; NULL: not made yet */
    size_t n_body_bytes;
};

struct fanout_request {
    uint64_t timeout_ms;
    bool stream, synthesis;
    size_t n_members, n_bytes;                  /* n_bytes: of all that is kept here */
    struct fanout_ask voice[FANOUT_VOICES_MAX]; /* that of the synthesis is number n_members */
    char *question,
        *settings; /* with synthesis, JSON: what the members were asked, and what else its completion shall say */
};

/* ret: owned. 0, FANOUT_E_*, -ENOMEM. */
int fanout_request_read(const char *text, size_t n_bytes, struct fanout_request **ret, char *why, size_t why_size);
void fanout_request_destroy(struct fanout_request **r);

/* Makes the body of the synthesis' voice out of what was answered. said: borrowed. 0, -ENOMEM. */
int fanout_request_synthesize(struct fanout_request *r, const struct fanout_said *said, size_t n);

#endif
