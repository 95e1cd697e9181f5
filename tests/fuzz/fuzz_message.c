/* Bytes from a peer: message_unpack must come to an outcome, and what it accepts must pack and come back the same.
 * Corpus to begin with: proto/golden. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/message.h"
#include "tests/lib/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(message_destroy) struct message *m = NULL, *back = NULL;
    CLEANUP(cleanup_free) uint8_t *packed = NULL;
    size_t n;

    if (message_unpack(data, size, &m))
        return 0;
    m->version_minor = PROTOCOL_MINOR;
    if (m->kind == MESSAGE_RELAY)
        m->relay.inner->version_minor = PROTOCOL_MINOR;
    if (message_pack(m, &packed, &n) || message_unpack(packed, n, &back) || !message_same(m, back))
        abort();
    return 0;
}
