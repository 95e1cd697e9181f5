/* The answer to a request that asked for no stream, put together from a stream. llama-server computes such a request to its end
 * when its client leaves, and its slot stays taken for minutes; it lets go of a stream at once. So a stream is asked for, and
 * what comes of it is byte for byte what llama-server would have said, but for the answer's id and its times. Pure.
 *
 * That was compared for /v1/chat/completions, shape by shape; a request that has anything else in it goes on as it is:
 * - stop: text that might have become a stop word is held back, and lost to the stream when max_tokens ends it there
 * - a last message of the assistant's: the whole answer begins with it, the stream does not
 * - logprobs, n_probs, top_logprobs: the stream has them elsewhere; n, n_cmpl: several answers, mixed
 * - tools: calls come in pieces whose order is not that of the whole
 * - verbose, timings_per_token, return_progress and the like ask for what only one of the two says; keys that are not known
 * - max_tokens of less than 8: it frees its slot soon enough
 * - /v1/completions: a character that max_tokens has cut is U+FFFD in the whole answer and nothing in a stream
 *
 * What remains: of a model that thinks, llama-server holds back from a stream what may become the mark of a thought. Where
 * max_tokens ends it just there ("<thi"), or nothing but white space was said, the whole answer has that and this one has not. */
#ifndef CARAVAN_CONTROLLER_CORE_ASSEMBLE_H
#define CARAVAN_CONTROLLER_CORE_ASSEMBLE_H

#include <stddef.h>

enum {
    ASSEMBLE_MAX = 16 * 1024 * 1024, /* bytes of an answer */
    ASSEMBLE_REQUEST_MAX = 4 * 1024 * 1024,
    ASSEMBLE_TOKENS_MIN = 8 /* whoever wants fewer has them before he could leave; at most 9 */
};

/* body: borrowed, a JSON object as body_peek has found it. ret: what to send in its place, owned. 0; -ENOMEM;
 * ASSEMBLE_E_OTHER: of that shape none is put together, or it is so long that it is not copied. */
enum { ASSEMBLE_E_OTHER = 1 };
int assemble_request(const char *body, size_t n_bytes, char **ret, size_t *ret_n_bytes);

struct assemble;

/* 0, -ENOMEM. */
int assemble_new(struct assemble **ret);
void assemble_destroy(struct assemble **a);
/* As new: another stream begins. */
void assemble_reset(struct assemble *a);

/* 0; -ENOMEM; or it cannot be put together, which every further call says, too. */
enum {
    ASSEMBLE_E_TOO_LARGE = 1,
    ASSEMBLE_E_STRANGE, /* it is not the stream that was asked for */
    ASSEMBLE_E_CUT      /* it ended too early */
};
int assemble_feed(struct assemble *a, const char *buf, size_t n_bytes);

/* The whole, once. ret_status: 200, or that of the error which ended the stream. ret_text: owned. As assemble_feed. */
int assemble_end(struct assemble *a, int *ret_status, char **ret_text, size_t *ret_n_bytes);

#endif
