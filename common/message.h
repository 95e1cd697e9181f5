/* The door to protobuf-c: bytes to struct message and back. No protobuf-c type passes it.
 * Version rules stand in proto/README.md. */
#ifndef CARAVAN_COMMON_MESSAGE_H
#define CARAVAN_COMMON_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum {
    MESSAGE_E_MALFORMED = 1, /* no protobuf, over a bound, an enum value out of range, not UTF-8, a relay in a relay */
    MESSAGE_E_TOO_LARGE,     /* over PROTO_MESSAGE_MAX; nothing was parsed */
    MESSAGE_E_UNKNOWN_KIND,  /* a kind from a later minor version, or an event about a unit of such a role */
    MESSAGE_E_VERSION        /* another major version */
};

/* buf: borrowed. ret: owned (message_destroy). 0, a MESSAGE_E_ outcome, -ENOMEM. */
int message_unpack(const void *buf, size_t n_bytes, struct message **ret);

/* The version sent is always ours, whatever m says. Each byte of a text that is not UTF-8 is sent as '?'. Counts over their
 * bounds and texts without an end are our own mistakes (assert). m: borrowed. ret: owned, malloc'ed, *ret_n_bytes long.
 * 0, MESSAGE_E_TOO_LARGE, -ENOMEM. */
int message_pack(const struct message *m, uint8_t **ret, size_t *ret_n_bytes);

/* A word for logs: "malformed", "too_large", ... */
const char *message_outcome_name(int outcome);

#endif
