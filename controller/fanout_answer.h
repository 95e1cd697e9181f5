/* What a fan-out answers, as JSON.
 *
 *   {"object": "fanout", "created": 1790000000,
 *    "members": [MEMBER, ...],         in the order of the request
 *    "success_count": 5, "failure_count": 1,
 *    "members_ms": 4100,               until the last member had ended
 *    "wall_ms": 6200,                  and until all was over
 *    "parallel_efficiency": 0.97,      ideal time / real time of the members (core/fanout_course.h); null: none was sent
 *    "synthesis": ANSWER | null}       null where none was asked for
 *
 *   MEMBER: "index", "name", and ANSWER: "model", "success", "content" (null where it failed), "reasoning_content" (where there
 *   is some), "error" (null, or {"code", "message", "type"}), "finish_reason", "queued_ms" (until it was sent, null: never), "first_token_ms"
 *   (until it said something, null: never), "total_ms", "tokens": {"prompt", "completion"} (null: not said), "instance" (null: none);
 *   times since the voice was asked.
 *
 * As a stream, each event also says its name as "type":
 *
 *   member.delta   {"index", "content"}   more of what that member says
 *   member.again   {"index"}              what its deltas said counts no more: its model was lost, and it is asked again
 *   member.done    MEMBER                 in the order in which they end
 *   synthesis.delta, synthesis.again, synthesis.done   the same without index and name
 *   done           the whole, as above    the last; without "content" and "reasoning_content", which were told already:
 *                                         no client may be sent the same megabytes twice at once (HTTP_OUTPUT_MAX) */
#ifndef CARAVAN_CONTROLLER_FANOUT_ANSWER_H
#define CARAVAN_CONTROLLER_FANOUT_ANSWER_H

#include <jansson.h>

#include "controller/core/fanout_course.h"
#include "controller/fanout_request.h"
#include "controller/fanout_voice.h"

/* All borrowed. voice: n_members of them, and the synthesis' where there is one. */
struct fanout_told {
    const struct fanout_request *request;
    const struct fanout_course *course;
    const struct fanout_voice *voice;
    bool brief; /* without content */
};

/* Owned; NULL: no memory. */
json_t *fanout_answer_voice(const struct fanout_told *t, size_t voice);
json_t *fanout_answer_whole(const struct fanout_told *t, uint64_t wall_ms);
/* An event's data: o (consumed) with type; "member." or "synthesis." stands before what. ret_name: static. */
json_t *fanout_answer_event(const struct fanout_told *t, size_t voice, enum fanout_effect_kind what, json_t *o,
                            const char **ret_name);

#endif
