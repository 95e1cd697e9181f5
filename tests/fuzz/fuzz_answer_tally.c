/* An answer's end, whole and in pieces. First byte: how long these are, and whether it is a stream. */
#include "controller/core/answer_tally.h"
#include "tests/fuzz/support.h"

void fuzz_one(const uint8_t *data, size_t size)
{
    struct answer_tally whole = {.n_bytes = 0}, pieces = {.n_bytes = 0};
    bool is_stream;
    size_t step;

    if (!size)
        return;
    step = 1 + data[0] % 64u;
    is_stream = data[0] & 128;
    answer_tally_feed(&whole, data + 1, size - 1);
    for (size_t at = 1; at < size; at += step)
        answer_tally_feed(&pieces, data + at, size - at < step ? size - at : step);
    FUZZ_CHECK(whole.n_bytes == size - 1 && pieces.n_bytes == size - 1);
    FUZZ_CHECK(whole.n_events == pieces.n_events);
    FUZZ_CHECK(answer_tally_tokens(&whole, is_stream) == answer_tally_tokens(&pieces, is_stream));
}
