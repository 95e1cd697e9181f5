/* What an answer says of itself as it passes: how many bytes and events it had, and how many tokens were made for it. Pure, one
 * look at each line's first byte; nothing is parsed but the numbers at its end. */
#ifndef CARAVAN_CONTROLLER_CORE_ANSWER_TALLY_H
#define CARAVAN_CONTROLLER_CORE_ANSWER_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* llama-server's usage and timings, and what follows them in any API's shape, take a quarter of it. */
enum { ANSWER_TAIL_BYTES = 2048 };

struct answer_tally {
    uint64_t n_bytes;
    uint64_t n_events; /* lines that begin as "data:" does */
    bool mid_line;
    char tail[ANSWER_TAIL_BYTES]; /* a ring: its last bytes */
};

/* Zero is empty. */
void answer_tally_feed(struct answer_tally *t, const void *buf, size_t n_bytes);

/* Tokens that were made for it: what its usage or its timings say ("completion_tokens", "output_tokens", "predicted_n"; such
 * a word in a text that the model wrote has its quotes escaped, so it is no answer's own). Where neither came, as in a stream
 * that was cut, the events of one (is_stream): there is one for each token, and one or two more. -1: it says nothing. */
int64_t answer_tally_tokens(const struct answer_tally *t, bool is_stream);

#endif
