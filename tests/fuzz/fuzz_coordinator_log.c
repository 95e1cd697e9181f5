/* The coordinator's log, fed whole and in pieces: no crash, and the pieces change nothing. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/coordinator_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
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
    if (news != more || whole.n_buffers > COORDINATOR_LOG_BUFFERS_MAX ||
        memcmp(whole.buffers, pieces.buffers, sizeof(whole.buffers)) != 0 ||
        strcmp(coordinator_log_cause(&whole), coordinator_log_cause(&pieces)) != 0)
        abort();
    return 0;
}
