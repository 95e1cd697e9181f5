/* The coordinator's log, fed whole and in pieces: no crash, and the pieces change nothing. */
#include <string.h>

#include "common/core/coordinator_log.h"
#include "tests/fuzz/support.h"

void fuzz_one(const uint8_t *data, size_t size)
{
    struct coordinator_log whole, pieces;
    unsigned news, more = 0;
    size_t step = size ? 1 + data[0] % 61u : 1;

    coordinator_log_init(&whole);
    coordinator_log_init(&pieces);
    news = coordinator_log_feed(&whole, data, size);
    for (size_t at = 0; at < size; at += step)
        more |= coordinator_log_feed(&pieces, data + at, size - at < step ? size - at : step);
    news |= coordinator_log_end(&whole);
    more |= coordinator_log_end(&pieces);
    FUZZ_CHECK(news == more && whole.n_buffers <= COORDINATOR_LOG_BUFFERS_MAX);
    FUZZ_CHECK(memcmp(whole.buffers, pieces.buffers, sizeof(whole.buffers)) == 0);
    FUZZ_CHECK(strcmp(coordinator_log_cause(&whole), coordinator_log_cause(&pieces)) == 0);
    FUZZ_CHECK(coordinator_error_name(whole.error)[0]);
    if (coordinator_error_is_final(coordinator_error_of(coordinator_log_cause(&whole))))
        FUZZ_CHECK(whole.n_errors > 0);
}
