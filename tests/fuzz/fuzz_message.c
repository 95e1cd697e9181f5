/* Bytes from a peer: message_unpack must come to an outcome, and what it accepts must pack and come back the same. New
 * inputs are now and then whole messages of random contents, which chance alone would not make. */
#include "common/cleanup.h"
#include "common/message.h"
#include "tests/fuzz/support.h"
#include "tests/lib/messages.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    CLEANUP(cleanup_free) uint8_t *bytes = NULL;
    size_t n;

    if (seed % 64)
        return LLVMFuzzerMutate(data, size, max_size);
    m = message_random_new(seed);
    if (message_pack(m, &bytes, &n) || n > max_size)
        return LLVMFuzzerMutate(data, size, max_size);
    memcpy(data, bytes, n);
    return n;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(message_destroy) struct message *m = NULL, *back = NULL;
    CLEANUP(cleanup_free) uint8_t *packed = NULL;
    size_t n;
    int r = message_unpack(data, size, &m);

    FUZZ_CHECK(r >= 0 && (r == 0) == (m != NULL));
    if (r)
        return;
    m->version_minor = PROTOCOL_MINOR;
    if (m->kind == MESSAGE_RELAY)
        m->relay.inner->version_minor = PROTOCOL_MINOR;
    r = message_pack(m, &packed, &n);
    FUZZ_CHECK(r == 0);
    if (r)
        return;
    r = message_unpack(packed, n, &back);
    FUZZ_CHECK(r == 0);
    if (r == 0)
        FUZZ_CHECK(message_same(m, back));
}
