/* A page of metrics, whole and in pieces. First byte: how long these are. */
#include "common/core/metric_text.h"
#include "tests/fuzz/support.h"

void fuzz_one(const uint8_t *data, size_t size)
{
    struct metric_reader whole, pieces;
    size_t step;

    if (!size)
        return;
    step = 1 + data[0] % 64u;
    metric_reader_init(&whole, "llamacpp:n_decode_total");
    metric_reader_init(&pieces, "llamacpp:n_decode_total");
    metric_reader_feed(&whole, data + 1, size - 1);
    for (size_t at = 1; at < size; at += step)
        metric_reader_feed(&pieces, data + at, size - at < step ? size - at : step);
    metric_reader_end(&whole);
    metric_reader_end(&pieces);
    FUZZ_CHECK(whole.found == pieces.found && whole.value == pieces.value);
}
