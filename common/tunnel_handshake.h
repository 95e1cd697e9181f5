/* How a stream of the rank tunnel begins: node key to node key by Noise_IK_25519_ChaChaPoly_BLAKE2b (common/noise.h). Bytes
 * in, bytes out; no sockets, no clock: deadlines and how many may be half open are the caller's.
 *
 *   initiator                                                                    responder
 *   1: version, e, own key (sealed), claim and ciphers offered (sealed)  ------>
 *                                                             <------  2: version, e, verdict and cipher (sealed)
 *   3: an empty record under the split keys                              ------>   only now the responder acts
 *
 * Every message has one length. The version is bound by the prologue: a byte changed on the way fails the first tag. Who
 * does not prove to know the responder's key gets no byte back. Message 1 may be a recording, or forged by who stole the
 * responder's own secret: all that counts is message 3, which needs the secrets of both of the initiator's keys. So
 * nothing (no dial, no worker's only place) may be done before TUNNEL_DONE.
 *
 * The record keys are derived from the split keys, so that the one of message 3 seals nothing else. Which ciphers there
 * are is the records' business (common/seal.h): a bit each, of which the responder picks one; here they are only carried,
 * and nobody on the way can take one out. */
#ifndef CARAVAN_COMMON_TUNNEL_HANDSHAKE_H
#define CARAVAN_COMMON_TUNNEL_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/tunnel_claim.h"
#include "common/crypto.h"

enum {
    TUNNEL_VERSION = 1,
    TUNNEL_HELLO_BYTES = 1 + 96 + TUNNEL_CLAIM_BYTES + 1, /* message 1 */
    TUNNEL_ANSWER_BYTES = 1 + 48 + 2,                     /* message 2 */
    TUNNEL_CONFIRM_BYTES = CRYPTO_TAG_BYTES               /* message 3 */
};

enum {
    TUNNEL_ASKED = 1, /* responder: the claim is there; tunnel_handshake_answer is next */
    TUNNEL_DONE,      /* keys are there, and what came behind is records */
    TUNNEL_REFUSED,   /* initiator: the peer said why. Responder: it was answered so; send that, then close */
    TUNNEL_E_VERSION, /* the first byte is of another version; unproved, as anybody may have sent it */
    TUNNEL_E_BAD      /* another key, bytes that were changed, no Caravan at all */
};

struct tunnel_handshake;

/* Secret; tunnel_keys_clear wipes it. */
struct tunnel_keys {
    uint8_t send[CRYPTO_KEY_BYTES], receive[CRYPTO_KEY_BYTES];
    uint8_t hash[CRYPTO_HASH_BYTES]; /* the same at both ends, in no other handshake */
    uint8_t cipher;
};
void tunnel_keys_clear(struct tunnel_keys *keys);

/* own: borrowed until destroyed. ciphers: all that may be picked, not 0. ret: owned. An initiator has message 1 to be
 * taken. 0; TUNNEL_E_BAD: peer is no key (initiator only); -ENOMEM. */
int tunnel_initiator_new(const struct identity *own, const uint8_t peer[CRYPTO_KEY_BYTES],
                         const struct tunnel_claim *claim, uint8_t ciphers, struct tunnel_handshake **ret);
int tunnel_responder_new(const struct identity *own, struct tunnel_handshake **ret);
void tunnel_handshake_destroy(struct tunnel_handshake **h);

/* Takes of n bytes what belongs to the handshake, and says how many; any number may come at once. 0: more is needed; or an
 * outcome from above. After an outcome nothing is taken any more, and the same is said again. */
int tunnel_handshake_feed(struct tunnel_handshake *h, const uint8_t *bytes, size_t n, size_t *ret_taken);

/* How many more bytes it would take now: whoever reads no more of them leaves what follows where it is. 0: it is not the
 * peer's turn. */
size_t tunnel_handshake_wanted(const struct tunnel_handshake *h);

/* What is to be sent, once: borrowed until the next call; *ret_n is 0 where there is nothing. */
const uint8_t *tunnel_handshake_take(struct tunnel_handshake *h, size_t *ret_n);

/* Responder, from TUNNEL_ASKED on: the key that message 1 names, what it claims and the ciphers that it offers. An
 * initiator's claim is its own. */
const uint8_t *tunnel_handshake_peer(const struct tunnel_handshake *h);
const struct tunnel_claim *tunnel_handshake_claim(const struct tunnel_handshake *h);
uint8_t tunnel_handshake_ciphers(const struct tunnel_handshake *h);

/* Responder, once after TUNNEL_ASKED: what is said to that. cipher: one of those offered; any other, 0 too, makes
 * TUNNEL_NO_CIPHER of TUNNEL_GRANTED. 0: message 2 is to be sent, and message 3 awaited; TUNNEL_REFUSED: message 2 is to
 * be sent, then it is over; TUNNEL_E_BAD: the initiator's key gives nothing. */
int tunnel_handshake_answer(struct tunnel_handshake *h, enum tunnel_verdict verdict, uint8_t cipher);

/* After TUNNEL_REFUSED. A peer without any grant is told TUNNEL_NO_GRANT, whatever the responder knows. */
enum tunnel_verdict tunnel_handshake_verdict(const struct tunnel_handshake *h);

/* After TUNNEL_DONE, once: the keys are wiped here. */
void tunnel_handshake_keys(struct tunnel_handshake *h, struct tunnel_keys *ret);

#endif
