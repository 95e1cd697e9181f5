/* A join token: the one string that lets a node in. It names the cluster, its controllers with their whole public keys, and
 * a seed from which the node derives a key that may ask for its own to be let in (crypto_identity_from_seed).
 *
 * Text: "caravan1_" and URL-safe base64 without padding of
 *   version (1) | cluster (16) | seed (32) | n (1) | n x { key (32) | port (2, big-endian) | length (1) | address } | check (4)
 * check: the first bytes, big-endian, of FNV-1a-64 over all before it, so that a cut or mistyped token is told from one
 * that is used up. */
#ifndef CARAVAN_COMMON_CORE_JOIN_TOKEN_H
#define CARAVAN_COMMON_CORE_JOIN_TOKEN_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/ids.h"
#include "common/core/protocol.h"

enum {
    JOIN_TOKEN_SECRET = 32,
    JOIN_TOKEN_CONTROLLERS_MAX = 8, /* addresses: a controller with three of them counts three times */
    JOIN_TOKEN_TEXT_MAX = 1024      /* with NUL */
};
enum { JOIN_TOKEN_E_INVALID = 1 };

/* Holds a secret: wipe it (explicit_bzero) when it is no longer needed. */
struct join_token {
    struct id128 cluster; /* not zero */
    uint8_t seed[JOIN_TOKEN_SECRET];
    size_t n_controllers; /* at least 1 */
    struct join_controller {
        uint8_t key[32];
        uint16_t port;             /* not 0 */
        char addr[PROTO_ADDR_MAX]; /* IP literal */
    } controller[JOIN_TOKEN_CONTROLLERS_MAX];
};

/* Pure. Always fits; t's counts are within bounds. */
void join_token_format(const struct join_token *t, char buf[JOIN_TOKEN_TEXT_MAX]);
/* text: n_bytes of it, borrowed; white space around it is passed over. One token has one text. 0; JOIN_TOKEN_E_INVALID: why
 * says what is wrong ("it is cut: ...") and never holds a part of the text. */
int join_token_parse(const char *text, size_t n_bytes, struct join_token *ret, char *why, size_t why_size);

#endif
