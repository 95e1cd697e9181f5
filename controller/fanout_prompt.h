/* How a fan-out's parts become prompts. The form is fixed, so that it can be relied on and a cache of prompts hits:
 *
 *   a member's system text     stands in the first message, of role system; behind the text of the caller's own, if the shared
 *                              messages begin with one, with an empty line between
 *   context and documents      stand in the last message of role user, before its own text:
 *
 *       <context>
 *       CONTEXT
 *       </context>
 *
 *       <documents>
 *       <document index="1">
 *       <title>TITLE</title>
 *       TEXT
 *       </document>
 *       </documents>
 *
 *   answers, for the synthesis stand in the same message, behind its text, those of failed members left out:
 *
 *       <answers>
 *       <answer name="NAME">
 *       TEXT
 *       </answer>
 *       </answers>
 *
 * No message is added for them: many chat templates refuse two of the same role in a row. Nothing is escaped: these are words to
 * a model, not to a parser, and whoever puts passages into a prompt trusts them as far as the model does. */
#ifndef CARAVAN_CONTROLLER_FANOUT_PROMPT_H
#define CARAVAN_CONTROLLER_FANOUT_PROMPT_H

#include <jansson.h>
#include <stddef.h>

enum {
    FANOUT_PROMPT_E_NO_USER = 1, /* no message of role user to put it into */
    FANOUT_PROMPT_E_CONTENT      /* that message's content is neither a string nor a list of parts */
};

struct fanout_said {
    const char *name;
    const char *text;
    size_t n_bytes;
};

/* All make a new list of messages (ret: owned) out of one, which is left as it is. messages: objects with a string `role`.
 * 0, FANOUT_PROMPT_E_*, -ENOMEM. context: NULL: none. documents: {"title", "text"} each; NULL: none. */
int fanout_prompt_question(const json_t *messages, const char *context, const json_t *documents, json_t **ret);
int fanout_prompt_system(const json_t *messages, const char *text, json_t **ret);
int fanout_prompt_answers(const json_t *messages, const struct fanout_said *said, size_t n, json_t **ret);

#endif
