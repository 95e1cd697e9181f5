/* The door to libsodium: identities, ids, random bytes, and what common/noise.c builds a handshake from. Nothing else
 * includes sodium.h. */
#ifndef CARAVAN_COMMON_CRYPTO_H
#define CARAVAN_COMMON_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/ids.h"

enum { CRYPTO_KEY_BYTES = 32, CRYPTO_KEY_HEX = 65 /* with NUL */ };
enum { CRYPTO_HASH_BYTES = 64, CRYPTO_TAG_BYTES = 16 };
enum { CRYPTO_E_BAD_KEY_FILE = 1, CRYPTO_E_BAD_HEX, CRYPTO_E_WEAK_KEY, CRYPTO_E_BAD_TAG };

/* A CURVE25519 key pair, as CurveZMQ uses it. Wiped by crypto_identity_clear. */
struct identity {
    uint8_t public_key[CRYPTO_KEY_BYTES];
    uint8_t secret_key[CRYPTO_KEY_BYTES];
};

/* Once per process, before anything else here. 0 or negative errno. */
int crypto_init(void);

/* Loads DIR/identity (0600), or makes it on first use: written to a temporary file, synced, renamed. dir exists.
 * 0; CRYPTO_E_BAD_KEY_FILE (malformed, readable by others, or of another user, but that root may
 * read one of the directory's owner: never replaced silently); negative errno. */
int crypto_identity_load(const char *dir, struct identity *ret);
/* Such a file, by its path; makes none. The same outcomes. For a child that is told which key it has. */
int crypto_identity_read(const char *path, struct identity *ret);
void crypto_identity_clear(struct identity *id);

/* Node and controller ids: the first 16 bytes of BLAKE2b-256 of the public key. */
struct id128 crypto_node_id(const uint8_t public_key[CRYPTO_KEY_BYTES]);

/* The key pair that follows from a seed (libsodium: crypto_box_seed_keypair): both who made a join token and who holds it
 * can compute it. */
void crypto_identity_from_seed(const uint8_t seed[CRYPTO_KEY_BYTES], struct identity *ret);

/* BLAKE2b-256: of secrets with 256 bits of randomness, which need no slow hash. */
void crypto_digest(const void *data, size_t n_bytes, uint8_t ret[CRYPTO_KEY_BYTES]);

/* Compares in the same time wherever they differ. */
bool crypto_equal(const void *a, const void *b, size_t n_bytes);

/* 64 hex digits. crypto_key_parse: 0 or CRYPTO_E_BAD_HEX. */
char *crypto_key_format(const uint8_t key[CRYPTO_KEY_BYTES], char buf[CRYPTO_KEY_HEX]);
int crypto_key_parse(const char *hex, uint8_t ret[CRYPTO_KEY_BYTES]);

void crypto_random(void *buf, size_t n_bytes);
struct id128 crypto_random_id(void);

/* BLAKE2b-256 of data under a 32 byte key: per-epoch secrets are derived, not stored. */
void crypto_derive(const uint8_t key[CRYPTO_KEY_BYTES], const void *data, size_t n_bytes, uint8_t ret[32]);

/* Overwrites a secret; the compiler does not leave it out. */
void crypto_wipe(void *buf, size_t n_bytes);

/* The key pair of an X25519 secret: any 32 bytes. */
void crypto_identity_from_secret(const uint8_t secret[CRYPTO_KEY_BYTES], struct identity *ret);

/* X25519. 0; CRYPTO_E_WEAK_KEY: public_key is one of the few that give everybody the same result; ret is all zero then. */
int crypto_dh(const uint8_t secret[CRYPTO_KEY_BYTES], const uint8_t public_key[CRYPTO_KEY_BYTES],
              uint8_t ret[CRYPTO_KEY_BYTES]);

/* BLAKE2b-512 of a, then b. Either may be NULL where its length is 0; ret may be one of them. */
void crypto_hash_pair(const void *a, size_t n_a, const void *b, size_t n_b, uint8_t ret[CRYPTO_HASH_BYTES]);

/* ChaCha20-Poly1305 (RFC 8439), the nonce four zero bytes and the counter in little endian, as Noise has it. One key never
 * sees one counter twice. crypto_seal writes n_bytes + CRYPTO_TAG_BYTES; crypto_open takes n_bytes, the tag among them, and
 * writes n_bytes - CRYPTO_TAG_BYTES, or returns CRYPTO_E_BAD_TAG (too short, too) and nothing that could be read. */
void crypto_seal(const uint8_t key[CRYPTO_KEY_BYTES], uint64_t counter, const void *ad, size_t n_ad, const void *plain,
                 size_t n_bytes, uint8_t *ret);
int crypto_open(const uint8_t key[CRYPTO_KEY_BYTES], uint64_t counter, const void *ad, size_t n_ad, const void *sealed,
                size_t n_bytes, uint8_t *ret);

#endif
