#include "common/noise.h"

#include <string.h>

static const char NAME[] = "Noise_IK_25519_ChaChaPoly_BLAKE2b";
_Static_assert(sizeof(NAME) - 1 <= CRYPTO_HASH_BYTES, "a longer name would be hashed");

enum { BLOCK = 128 }; /* BLAKE2b's, for HMAC */
enum { STATIC_BYTES = CRYPTO_KEY_BYTES + CRYPTO_TAG_BYTES };

/* ---- HMAC and HKDF over BLAKE2b: Noise keys its hash this way, not by BLAKE2b's own key ---- */

static void hmac(const uint8_t key[CRYPTO_HASH_BYTES], const void *data, size_t n, uint8_t ret[CRYPTO_HASH_BYTES])
{
    uint8_t pad[BLOCK], inner[CRYPTO_HASH_BYTES];

    for (size_t i = 0; i < BLOCK; i++)
        pad[i] = (i < CRYPTO_HASH_BYTES ? key[i] : 0) ^ 0x36;
    crypto_hash_pair(pad, sizeof(pad), data, n, inner);
    for (size_t i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    crypto_hash_pair(pad, sizeof(pad), inner, sizeof(inner), ret);
    crypto_wipe(pad, sizeof(pad));
    crypto_wipe(inner, sizeof(inner));
}

/* first may be chain. */
static void hkdf(const uint8_t chain[CRYPTO_HASH_BYTES], const void *data, size_t n, uint8_t first[CRYPTO_HASH_BYTES],
                 uint8_t second[CRYPTO_HASH_BYTES])
{
    uint8_t secret[CRYPTO_HASH_BYTES], text[CRYPTO_HASH_BYTES + 1];

    hmac(chain, data, n, secret);
    hmac(secret, (uint8_t[]){1}, 1, first);
    memcpy(text, first, CRYPTO_HASH_BYTES);
    text[CRYPTO_HASH_BYTES] = 2;
    hmac(secret, text, sizeof(text), second);
    crypto_wipe(secret, sizeof(secret));
    crypto_wipe(text, sizeof(text));
}

/* ---- the symmetric state ---- */

static void mix_hash(struct noise *x, const void *data, size_t n)
{
    crypto_hash_pair(x->hash, sizeof(x->hash), data, n, x->hash);
}

static int mix_dh(struct noise *x, const struct identity *ours, const uint8_t theirs[CRYPTO_KEY_BYTES])
{
    uint8_t shared[CRYPTO_KEY_BYTES], key[CRYPTO_HASH_BYTES];
    int r = crypto_dh(ours->secret_key, theirs, shared);

    if (r == 0) {
        hkdf(x->chain, shared, sizeof(shared), x->chain, key);
        memcpy(x->key, key, sizeof(x->key));
        x->counter = 0;
    }
    crypto_wipe(shared, sizeof(shared));
    crypto_wipe(key, sizeof(key));
    return r ? NOISE_E_REFUSED : 0;
}

static void seal(struct noise *x, const void *plain, size_t n, uint8_t *ret)
{
    crypto_seal(x->key, x->counter++, x->hash, sizeof(x->hash), plain, n, ret);
    mix_hash(x, ret, n + CRYPTO_TAG_BYTES);
}

static int open_sealed(struct noise *x, const uint8_t *sealed, size_t n, uint8_t *ret)
{
    if (crypto_open(x->key, x->counter++, x->hash, sizeof(x->hash), sealed, n, ret) != 0)
        return NOISE_E_REFUSED;
    mix_hash(x, sealed, n);
    return 0;
}

/* ---- the pattern ---- */

void noise_begin(struct noise *x, const struct identity *own, const uint8_t *responder_key, const void *prologue,
                 size_t n_bytes)
{
    *x = (struct noise){.own = own};
    memcpy(x->hash, NAME, sizeof(NAME) - 1);
    memcpy(x->chain, x->hash, sizeof(x->chain));
    mix_hash(x, prologue, n_bytes);
    if (responder_key)
        memcpy(x->peer, responder_key, sizeof(x->peer));
    mix_hash(x, responder_key ? responder_key : own->public_key, CRYPTO_KEY_BYTES);
}

void noise_clear(struct noise *x)
{
    crypto_wipe(x, sizeof(*x));
}

static void write_ephemeral(struct noise *x, const uint8_t random[CRYPTO_KEY_BYTES], uint8_t ret[CRYPTO_KEY_BYTES])
{
    crypto_identity_from_secret(random, &x->ephemeral);
    memcpy(ret, x->ephemeral.public_key, CRYPTO_KEY_BYTES);
    mix_hash(x, ret, CRYPTO_KEY_BYTES);
}

static void read_ephemeral(struct noise *x, const uint8_t *msg)
{
    memcpy(x->peer_ephemeral, msg, sizeof(x->peer_ephemeral));
    mix_hash(x, msg, sizeof(x->peer_ephemeral));
}

int noise_write_1(struct noise *x, const uint8_t random[CRYPTO_KEY_BYTES], const void *payload, size_t n, uint8_t *ret)
{
    int r;

    write_ephemeral(x, random, ret);
    r = mix_dh(x, &x->ephemeral, x->peer); /* es */
    if (r)
        return r;
    seal(x, x->own->public_key, CRYPTO_KEY_BYTES, ret + CRYPTO_KEY_BYTES);
    r = mix_dh(x, x->own, x->peer); /* ss */
    if (r)
        return r;
    seal(x, payload, n, ret + CRYPTO_KEY_BYTES + STATIC_BYTES);
    return 0;
}

int noise_read_1(struct noise *x, const uint8_t *msg, size_t n, uint8_t *ret)
{
    int r;

    if (n < NOISE_1_EXTRA)
        return NOISE_E_REFUSED;
    read_ephemeral(x, msg);
    r = mix_dh(x, x->own, x->peer_ephemeral); /* es */
    r = r ? r : open_sealed(x, msg + CRYPTO_KEY_BYTES, STATIC_BYTES, x->peer);
    r = r ? r : mix_dh(x, x->own, x->peer); /* ss */
    return r ? r : open_sealed(x, msg + CRYPTO_KEY_BYTES + STATIC_BYTES, n - CRYPTO_KEY_BYTES - STATIC_BYTES, ret);
}

int noise_write_2(struct noise *x, const uint8_t random[CRYPTO_KEY_BYTES], const void *payload, size_t n, uint8_t *ret)
{
    int r;

    write_ephemeral(x, random, ret);
    r = mix_dh(x, &x->ephemeral, x->peer_ephemeral); /* ee */
    r = r ? r : mix_dh(x, &x->ephemeral, x->peer);   /* se */
    if (r)
        return r;
    seal(x, payload, n, ret + CRYPTO_KEY_BYTES);
    return 0;
}

int noise_read_2(struct noise *x, const uint8_t *msg, size_t n, uint8_t *ret)
{
    int r;

    if (n < NOISE_2_EXTRA)
        return NOISE_E_REFUSED;
    read_ephemeral(x, msg);
    r = mix_dh(x, &x->ephemeral, x->peer_ephemeral);  /* ee */
    r = r ? r : mix_dh(x, x->own, x->peer_ephemeral); /* se */
    return r ? r : open_sealed(x, msg + CRYPTO_KEY_BYTES, n - CRYPTO_KEY_BYTES, ret);
}

void noise_split(const struct noise *x, uint8_t initiator[CRYPTO_KEY_BYTES], uint8_t responder[CRYPTO_KEY_BYTES])
{
    uint8_t first[CRYPTO_HASH_BYTES], second[CRYPTO_HASH_BYTES];

    hkdf(x->chain, NULL, 0, first, second);
    memcpy(initiator, first, CRYPTO_KEY_BYTES);
    memcpy(responder, second, CRYPTO_KEY_BYTES);
    crypto_wipe(first, sizeof(first));
    crypto_wipe(second, sizeof(second));
}
