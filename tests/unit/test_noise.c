/* The handshake's mathematics against two published test vectors, and against keys and messages that prove nothing.
 *
 * Vectors: tests/vectors of the snow project, cacophony.txt and snow.txt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/noise.h"

static size_t from_hex(const char *hex, uint8_t *ret, size_t size)
{
    size_t n = strlen(hex) / 2;

    assert_true(n <= size);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        ret[i] = (uint8_t)byte;
    }
    return n;
}

static void expect_hex(const void *bytes, size_t n, const char *hex)
{
    uint8_t wanted[256];

    assert_int_equal(from_hex(hex, wanted, sizeof(wanted)), n);
    assert_memory_equal(bytes, wanted, n);
}

/* Messages 3 to 6 go under the split keys, the initiator's first. */
static const struct vector {
    const char *prologue, *init_static, *init_ephemeral, *resp_static, *resp_ephemeral, *hash;
    size_t n_messages;
    struct {
        const char *payload, *sealed;
    } message[6];
} vectors[] = {
    {"4a6f686e2047616c74",
     "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
     "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
     "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
     "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
     "1c8fa891cb414fedba6daa7c6f4ae0a6d98e5f9768cc9cecd27e805614943ee9"
     "c8a1b27fbfb76dc197255c8aa69f6b4285c423840b8bedf45e652ca64f797d81",
     6,
     {{"4c756477696720766f6e204d69736573",
       "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944ba83a447b38c83e327ad936929812f624884847b7831e9"
       "5e197b2f797088efdd2f88f1db7e1fb0e99c64419097af91cee64e470f4b6fcd9298ce0b56fe20f86e13bf70439c538e3602a7127af71a"
       "29cc"},
      {"4d757272617920526f746862617264",
       "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088439f069b267a06b3de3ecb1043bcb098e9af91d9c64748d9"
       "98c7b47890871571"},
      {"462e20412e20486179656b", "cd54383060e7a28434cca27fb1cc524cfbabeb18181589df219d07"},
      {"4361726c204d656e676572", "a856d3bf0246bfc476c655009cd1ed677b8dcc5b349ae8ef2a05f2"},
      {"4a65616e2d426170746973746520536179", "49063084b2c51f098337cb8a13739ac848f907e67cfb2cc8a8b60586467aa02fc7"},
      {"457567656e2042f6686d20766f6e2042617765726b",
       "8b9709d23b47e4639df7678d7a21741eba4ef1e9c60383001c7435549c20f9d56f30e935d3"}}},
    {"5468657265206973206e6f20726967687420616e642077726f6e672e2054686572652773206f6e6c792066756e20616e6420626f72696e672e",
     "7d96e7fbefd508f6d553010ef8b53b9800f30bdd1bc82d141c543cc4afe31bde",
     "3fa848b150e958dad41a3e1e455c65c46b773d806a55f4abdcae3f5e3f80d816",
     "f192f565f752e8e706d20bd2a71b22d94b804bfeb499ac84391f1af846d1824d",
     "3092d9e2e44264afea07fd9b43562177e9ae63d65cbdc471d3539247e2ba1a36",
     NULL,
     4,
     {{"eab1b0a96295a7f0b29f013bf2baa6d74ab79b2b2f69b79764eb97684ca17e5d",
       "4b42c759ee133dc6a49aa1b19fc1727ca3d3876d6ed5479b60fe2963fede0f4ff9f68f1540f591b16150d98b3f65371da84c2dcfbf18f0"
       "2295edcd20fdcf315c83529bc394387fc22bfc8583e23514c28884729838efe481016f828fefca4f53c4e61c7ed5a7b297044e11b90a28"
       "d2e264ac2335e254c7b636d1d0406aea1e3e"},
      {"1a1d45c87a116c31f9704d9c599f833e65dbe1fc511a50fc85e07b440806430b",
       "058e04eada2f87f02ffb22ec049d3d629008eb672976078b61222af7822e9c19b04dc83d279b6d418149e3ba99ff887c64a2f9da7a1ad2"
       "c83bbea46759a503933f9cfc8c06dbc2b9170a0fb6a5a28740"},
      {"752ce6ebed958e84d2e8ffa89ca929e500bc987d3ba01196f850fe73d7320822",
       "e4a719610c329661dcc3084484c92025c7fadff6910c6d9e8dcdae29d76cd2d33c74218a3588732db968a282ba4689ec"},
      {"f7496b1a99db7ba96ce16c642662e966b8323aca4e7c8e2ed51d3e764c05a363",
       "8cdb272f66c39e16182c1b68a45052f97264ca6a337e338dbdd1121005fb268b637d94ecc94ded7352c1e22bf7d2a32d"}}},
};

static void secret_of(const char *hex, uint8_t ret[CRYPTO_KEY_BYTES])
{
    assert_int_equal(from_hex(hex, ret, CRYPTO_KEY_BYTES), CRYPTO_KEY_BYTES);
}

static void identity_of(const char *hex, struct identity *ret)
{
    uint8_t secret[CRYPTO_KEY_BYTES];

    secret_of(hex, secret);
    crypto_identity_from_secret(secret, ret);
}

static void check_transport(const struct vector *v, const uint8_t key[2][CRYPTO_KEY_BYTES])
{
    for (size_t i = 2; i < v->n_messages; i++) {
        uint8_t payload[64], sealed[80], opened[64];
        size_t n = from_hex(v->message[i].payload, payload, sizeof(payload));

        crypto_seal(key[i % 2], (i - 2) / 2, NULL, 0, payload, n, sealed);
        expect_hex(sealed, n + CRYPTO_TAG_BYTES, v->message[i].sealed);
        assert_int_equal(crypto_open(key[i % 2], (i - 2) / 2, NULL, 0, sealed, n + CRYPTO_TAG_BYTES, opened), 0);
        assert_memory_equal(opened, payload, n);
    }
}

static void check_vector(const struct vector *v)
{
    struct identity initiator, responder;
    struct noise a, b;
    uint8_t prologue[64], secret[32], payload[64], msg[192], got[64], key_a[2][32], key_b[2][32];
    size_t n_prologue = from_hex(v->prologue, prologue, sizeof(prologue)), n;

    identity_of(v->init_static, &initiator);
    identity_of(v->resp_static, &responder);
    noise_begin(&a, &initiator, responder.public_key, prologue, n_prologue);
    noise_begin(&b, &responder, NULL, prologue, n_prologue);

    n = from_hex(v->message[0].payload, payload, sizeof(payload));
    secret_of(v->init_ephemeral, secret);
    assert_int_equal(noise_write_1(&a, secret, payload, n, msg), 0);
    expect_hex(msg, n + NOISE_1_EXTRA, v->message[0].sealed);
    assert_int_equal(noise_read_1(&b, msg, n + NOISE_1_EXTRA, got), 0);
    assert_memory_equal(got, payload, n);
    assert_memory_equal(b.peer, initiator.public_key, CRYPTO_KEY_BYTES);

    n = from_hex(v->message[1].payload, payload, sizeof(payload));
    secret_of(v->resp_ephemeral, secret);
    assert_int_equal(noise_write_2(&b, secret, payload, n, msg), 0);
    expect_hex(msg, n + NOISE_2_EXTRA, v->message[1].sealed);
    assert_int_equal(noise_read_2(&a, msg, n + NOISE_2_EXTRA, got), 0);
    assert_memory_equal(got, payload, n);

    noise_split(&a, key_a[0], key_a[1]);
    noise_split(&b, key_b[0], key_b[1]);
    assert_memory_equal(key_a, key_b, sizeof(key_a));
    assert_memory_equal(a.hash, b.hash, sizeof(a.hash));
    if (v->hash)
        expect_hex(a.hash, sizeof(a.hash), v->hash);
    check_transport(v, (const uint8_t(*)[CRYPTO_KEY_BYTES])key_a);
}

static void test_published_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
        check_vector(&vectors[i]);
}

/* Points of low order, some in several encodings (cr.yp.to/ecdh.html). */
static const char *const low_order[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
};

static void test_keys_that_give_nothing(void **state)
{
    const uint8_t random[CRYPTO_KEY_BYTES] = {7};
    struct identity own;
    struct noise a, b;
    uint8_t weak[CRYPTO_KEY_BYTES], shared[CRYPTO_KEY_BYTES], msg[NOISE_1_EXTRA] = {0}, got[1];

    (void)state;
    crypto_identity_from_secret(random, &own);
    for (size_t i = 0; i < sizeof(low_order) / sizeof(*low_order); i++) {
        secret_of(low_order[i], weak);
        memset(shared, 1, sizeof(shared));
        assert_int_equal(crypto_dh(own.secret_key, weak, shared), CRYPTO_E_WEAK_KEY);
        assert_memory_equal(shared, (uint8_t[CRYPTO_KEY_BYTES]){0}, sizeof(shared));
        noise_begin(&a, &own, weak, "", 0); /* as the responder's long-term key */
        assert_int_equal(noise_write_1(&a, random, NULL, 0, msg), NOISE_E_REFUSED);
        noise_begin(&b, &own, NULL, "", 0); /* as the initiator's short-term key */
        memcpy(msg, weak, sizeof(weak));
        assert_int_equal(noise_read_1(&b, msg, sizeof(msg), got), NOISE_E_REFUSED);
        noise_begin(&a, &own, own.public_key, "", 0); /* as the responder's short-term key */
        assert_int_equal(noise_write_1(&a, random, NULL, 0, msg), 0);
        memcpy(msg, weak, sizeof(weak));
        assert_int_equal(noise_read_2(&a, msg, NOISE_2_EXTRA, got), NOISE_E_REFUSED);
    }
}

/* Whoever has a weak long-term key can seal it rightly: es is honest, ss is refused; so is se, were ss to let it pass. */
static void test_a_weak_key_of_the_initiator(void **state)
{
    const uint8_t random[CRYPTO_KEY_BYTES] = {9};
    struct identity responder, forger = {.secret_key = {1}};
    struct noise a, b;
    uint8_t msg[NOISE_1_EXTRA], got[1];

    (void)state;
    crypto_identity_from_secret(random, &responder);
    noise_begin(&a, &forger, responder.public_key, "", 0);
    noise_begin(&b, &responder, NULL, "", 0);
    assert_int_equal(noise_write_1(&a, random, NULL, 0, msg), 0); /* the public half is all zero */
    assert_int_equal(noise_read_1(&b, msg, sizeof(msg), got), NOISE_E_REFUSED);
    assert_memory_equal(b.peer, forger.public_key, sizeof(b.peer)); /* es was right */
    assert_int_equal(noise_write_2(&b, random, NULL, 0, msg), NOISE_E_REFUSED);
}

static void test_cut_short(void **state)
{
    const uint8_t random[CRYPTO_KEY_BYTES] = {7};
    struct identity own;
    struct noise x;
    uint8_t msg[NOISE_1_EXTRA] = {1}, got[1];

    (void)state;
    crypto_identity_from_secret(random, &own);
    for (size_t n = 0; n <= sizeof(msg); n++) {
        noise_begin(&x, &own, NULL, "", 0);
        assert_int_equal(noise_read_1(&x, msg, n, got), NOISE_E_REFUSED);
        noise_begin(&x, &own, own.public_key, "", 0);
        assert_int_equal(noise_read_2(&x, msg, n < NOISE_2_EXTRA ? n : NOISE_2_EXTRA, got), NOISE_E_REFUSED);
    }
    for (size_t n = 0; n < CRYPTO_TAG_BYTES; n++)
        assert_int_equal(crypto_open(own.secret_key, 0, NULL, 0, msg, n, got), CRYPTO_E_BAD_TAG);
}

static void test_wiped(void **state)
{
    const uint8_t random[CRYPTO_KEY_BYTES] = {7};
    const struct noise none = {0};
    struct identity own;
    struct noise x;

    (void)state;
    crypto_identity_from_secret(random, &own);
    noise_begin(&x, &own, own.public_key, "", 0);
    noise_clear(&x);
    for (size_t i = 0; i < sizeof(x); i++)
        assert_int_equal(((const uint8_t *)&x)[i], ((const uint8_t *)&none)[i]);
}

static int setup(void **state)
{
    (void)state;
    return crypto_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_keys_that_give_nothing),
        cmocka_unit_test(test_a_weak_key_of_the_initiator),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_wiped),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
