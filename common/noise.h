/* Noise_IK_25519_ChaChaPoly_BLAKE2b (noiseprotocol.org, revision 34): two messages after which both ends have proved who
 * they are and share two keys that no later theft of a long-term key gives away.
 *
 *   <- s                     the initiator knows the responder's long-term key beforehand
 *   -> e, es, s, ss  + payload
 *   <- e, ee, se     + payload
 *
 * Only the mathematics: no buffers, no versions, no randomness. Whoever calls brings 32 fresh random bytes for each short-term
 * key. What message 1 says may be a recording: the responder believes it only once a record under the split keys was opened. */
#ifndef CARAVAN_COMMON_NOISE_H
#define CARAVAN_COMMON_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/crypto.h"

enum {
    NOISE_1_EXTRA = CRYPTO_KEY_BYTES + CRYPTO_KEY_BYTES + CRYPTO_TAG_BYTES + CRYPTO_TAG_BYTES, /* besides the payload */
    NOISE_2_EXTRA = CRYPTO_KEY_BYTES + CRYPTO_TAG_BYTES
};
enum { NOISE_E_REFUSED = 1 }; /* a tag that is not right, a key that gives nothing, a message too short */

/* A plain value, full of secrets: noise_clear wipes it. After NOISE_E_REFUSED nothing else may be done with it. */
struct noise {
    const struct identity *own;
    uint8_t chain[CRYPTO_HASH_BYTES]; /* ck */
    uint8_t hash[CRYPTO_HASH_BYTES];  /* h */
    uint8_t key[CRYPTO_KEY_BYTES];    /* k */
    uint64_t counter;                 /* n */
    struct identity ephemeral;
    uint8_t peer[CRYPTO_KEY_BYTES];           /* rs: the responder has it from message 1 */
    uint8_t peer_ephemeral[CRYPTO_KEY_BYTES]; /* re */
};

/* responder_key: NULL for the responder itself. own: borrowed until noise_clear. */
void noise_begin(struct noise *x, const struct identity *own, const uint8_t *responder_key, const void *prologue,
                 size_t n_bytes);
void noise_clear(struct noise *x);

/* The initiator's turn, the responder's, the responder's, the initiator's. random: 32 bytes, never used before. payload of n
 * bytes; write: ret of n + NOISE_x_EXTRA bytes. read: msg of n bytes, ret of n - NOISE_x_EXTRA bytes. 0; NOISE_E_REFUSED. */
int noise_write_1(struct noise *x, const uint8_t random[CRYPTO_KEY_BYTES], const void *payload, size_t n, uint8_t *ret);
int noise_read_1(struct noise *x, const uint8_t *msg, size_t n, uint8_t *ret);
int noise_write_2(struct noise *x, const uint8_t random[CRYPTO_KEY_BYTES], const void *payload, size_t n, uint8_t *ret);
int noise_read_2(struct noise *x, const uint8_t *msg, size_t n, uint8_t *ret);

/* The two keys, after message 2: what the initiator seals with, what the responder does. x->hash names this handshake. */
void noise_split(const struct noise *x, uint8_t initiator[CRYPTO_KEY_BYTES], uint8_t responder[CRYPTO_KEY_BYTES]);

#endif
