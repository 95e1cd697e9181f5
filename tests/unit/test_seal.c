/* Records of the tunnel: what another library makes of them, and what no one but the other end may make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/cleanup.h"
#include "common/seal.h"
#include "tests/lib/random.h"

static const enum seal_cipher ciphers[] = {SEAL_AES_256_GCM, SEAL_CHACHA20_POLY1305};
static const uint8_t key[CRYPTO_KEY_BYTES] = "one direction of a stream, 32 by";

enum { N = 61, RECORD = N + SEAL_OVERHEAD_BYTES };

struct pair {
    struct seal *out, *in;
};

static void pair_destroy(struct pair *p)
{
    seal_destroy(&p->out);
    seal_destroy(&p->in);
}

static struct pair pair_of(enum seal_cipher cipher)
{
    struct pair p = {NULL, NULL};

    assert_int_equal(seal_new(cipher, key, SEAL_DATA_MAX, &p.out), 0);
    assert_int_equal(seal_new(cipher, key, SEAL_DATA_MAX, &p.in), 0);
    return p;
}

static void fill(uint8_t *data, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)random_next(&seed);
}

/* A record of n bytes that follow from seed. */
static void make(struct seal *s, uint8_t *record, size_t n, uint64_t seed)
{
    fill(record + SEAL_HEAD_BYTES, n, seed);
    assert_int_equal(seal_record(s, SEAL_DATA, record, n), 0);
}

static void expect_data(const struct seal_opened *o, size_t n, uint64_t seed)
{
    CLEANUP(cleanup_free) uint8_t *data = malloc(n + 1);

    assert_non_null(data);
    fill(data, n, seed);
    assert_int_equal(o->kind, SEAL_DATA);
    assert_int_equal(o->n_data, n);
    assert_int_equal(o->n_record, n + SEAL_OVERHEAD_BYTES);
    assert_memory_equal(o->data, data, n);
}

/* ---- what a record is --------------------------------------------------------------------------------------------- */

/* The same by libsodium: key, nonce, head, tag. */
static void expect_as_sodium(enum seal_cipher cipher, const uint8_t from[32], uint64_t number, uint8_t *record,
                             size_t n)
{
    uint8_t nonce[12] = {0}, data[N];
    unsigned long long n_data;
    int r;

    for (size_t i = 0; i < 8; i++)
        nonce[11 - i] = (uint8_t)(number >> (8 * i));
    if (cipher == SEAL_AES_256_GCM)
        r = crypto_aead_aes256gcm_decrypt(data, &n_data, NULL, record + SEAL_HEAD_BYTES, n + SEAL_TAG_BYTES, record,
                                          SEAL_HEAD_BYTES, nonce, from);
    else
        r = crypto_aead_chacha20poly1305_ietf_decrypt(data, &n_data, NULL, record + SEAL_HEAD_BYTES, n + SEAL_TAG_BYTES,
                                                      record, SEAL_HEAD_BYTES, nonce, from);
    assert_int_equal(r, 0);
    assert_int_equal(n_data, n);
    fill(record, n, number);
    assert_memory_equal(data, record, n);
}

static void test_another_library_agrees(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        CLEANUP(pair_destroy) struct pair p = pair_of(ciphers[c]);
        uint8_t label[] = "caravan seal 1, cipher ", now[32], record[RECORD];

        if (ciphers[c] == SEAL_AES_256_GCM && !crypto_aead_aes256gcm_is_available())
            continue;
        seal_set_limits(p.out, (struct seal_limits){3, SEAL_REKEY_BYTES, 1000});
        label[sizeof(label) - 1] = (uint8_t)ciphers[c];
        crypto_generichash(now, 32, label, sizeof(label), key, 32);
        for (uint64_t number = 0; number < 7; number++) {
            make(p.out, record, N, number);
            assert_memory_equal(record, ((uint8_t[]){0, 0, 0, N}), SEAL_HEAD_BYTES);
            expect_as_sodium(ciphers[c], now, number, record, N);
            if (number % 3 == 2)
                crypto_generichash(now, 32, (const uint8_t *)"caravan seal 1, next key", 24, now, 32);
        }
    }
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4096, 65535, 65536, SEAL_DATA_MAX - 1, SEAL_DATA_MAX};
    CLEANUP(cleanup_free) uint8_t *record = malloc(SEAL_DATA_MAX + SEAL_OVERHEAD_BYTES);

    (void)state;
    assert_non_null(record);
    for (size_t c = 0; c < 2; c++) {
        CLEANUP(pair_destroy) struct pair p = pair_of(ciphers[c]);
        struct seal_opened o;

        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            make(p.out, record, sizes[i], i);
            assert_int_equal(seal_open(p.in, record, sizes[i] + SEAL_OVERHEAD_BYTES, &o), 0);
            expect_data(&o, sizes[i], i);
        }
    }
}

/* ---- what does not open ------------------------------------------------------------------------------------------- */

static void test_every_bit_counts(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++)
        for (size_t bit = 0; bit < 8 * RECORD; bit++) {
            CLEANUP(pair_destroy) struct pair p = pair_of(ciphers[c]);
            uint8_t record[RECORD];
            struct seal_opened o;
            int r;

            make(p.out, record, N, bit);
            record[bit / 8] ^= (uint8_t)(1 << bit % 8);
            r = seal_open(p.in, record, RECORD, &o);
            if (r == SEAL_E_MORE) { /* the length became larger: what is missing cannot make it right */
                assert_true(bit >= 8 && bit < 32 && o.n_record > RECORD);
                continue;
            }
            assert_int_equal(r, SEAL_E_BAD);
            for (size_t i = 0; bit >= 32 && i < RECORD; i++)
                assert_int_equal(record[i], 0);
            assert_int_equal(seal_open(p.in, record, RECORD, &o), SEAL_E_BAD); /* and nothing after it */
        }
}

static void test_cut_at_every_length(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        CLEANUP(pair_destroy) struct pair p = pair_of(ciphers[c]);
        uint8_t record[RECORD], before[RECORD];
        struct seal_opened o;

        make(p.out, record, N, 7);
        memcpy(before, record, RECORD);
        for (size_t n = 0; n < RECORD; n++) {
            assert_int_equal(seal_open(p.in, record, n, &o), SEAL_E_MORE);
            assert_int_equal(o.n_record, n < SEAL_HEAD_BYTES ? SEAL_HEAD_BYTES : RECORD);
            assert_memory_equal(record, before, RECORD);
        }
        assert_int_equal(seal_open(p.in, record, RECORD, &o), 0);
        expect_data(&o, N, 7);
    }
}

/* Again, left out, of the other direction, under the other cipher. */
static void test_order(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        CLEANUP(pair_destroy) struct pair again = pair_of(ciphers[c]), left_out = pair_of(ciphers[c]);
        CLEANUP(pair_destroy) struct pair mixed = pair_of(ciphers[1 - c]);
        CLEANUP(seal_destroy) struct seal *other = NULL;
        uint8_t first[RECORD], copy[RECORD], other_key[CRYPTO_KEY_BYTES] = "the other direction";
        struct seal_opened o;

        make(again.out, first, N, 1);
        memcpy(copy, first, RECORD);
        assert_int_equal(seal_open(again.in, copy, RECORD, &o), 0);
        memcpy(copy, first, RECORD);
        assert_int_equal(seal_open(again.in, copy, RECORD, &o), SEAL_E_BAD);
        make(again.out, copy, N, 2);
        assert_int_equal(seal_open(left_out.in, copy, RECORD, &o), SEAL_E_BAD);
        memcpy(copy, first, RECORD);
        assert_int_equal(seal_open(mixed.in, copy, RECORD, &o), SEAL_E_BAD);
        assert_int_equal(seal_new(ciphers[c], other_key, SEAL_DATA_MAX, &other), 0);
        memcpy(copy, first, RECORD);
        assert_int_equal(seal_open(other, copy, RECORD, &o), SEAL_E_BAD);
    }
}

static void test_heads_that_cannot_be(void **state)
{
    static const struct {
        uint8_t head[SEAL_HEAD_BYTES];
        int r;
    } rows[] = {
        {{0, 0, 4, 0}, SEAL_E_MORE},  {{0, 0, 4, 1}, SEAL_E_BAD},         {{0, 255, 255, 255}, SEAL_E_BAD},
        {{1, 0, 0, 0}, SEAL_E_MORE},  {{1, 0, 0, 1}, SEAL_E_BAD},         {{2, 0, 0, 0}, SEAL_E_BAD},
        {{255, 0, 0, 0}, SEAL_E_BAD}, {{255, 255, 255, 255}, SEAL_E_BAD},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP(seal_destroy) struct seal *s = NULL;
        uint8_t head[SEAL_HEAD_BYTES];
        struct seal_opened o;

        assert_int_equal(seal_new(SEAL_CHACHA20_POLY1305, key, 1024, &s), 0);
        memcpy(head, rows[i].head, sizeof(head));
        assert_int_equal(seal_open(s, head, sizeof(head), &o), rows[i].r); /* not one byte more is waited for */
    }
}

static void test_end(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++) {
        CLEANUP(pair_destroy) struct pair p = pair_of(ciphers[c]);
        uint8_t end[SEAL_OVERHEAD_BYTES], more[RECORD];
        struct seal_opened o;

        assert_int_equal(seal_record(p.out, SEAL_END, end, 0), 0);
        assert_int_equal(seal_record(p.out, SEAL_DATA, more, N), SEAL_E_SPENT);
        assert_int_equal(seal_open(p.in, end, sizeof(end), &o), 0);
        assert_int_equal(o.kind, SEAL_END);
        assert_int_equal(o.n_data, 0);
        assert_int_equal(seal_open(p.in, end, 0, &o), SEAL_E_BAD);
    }
}

/* ---- limits ------------------------------------------------------------------------------------------------------- */

static void test_keys_change_at_both_ends(void **state)
{
    static const struct seal_limits rows[] = {
        {4, SEAL_REKEY_BYTES, 100}, {SEAL_REKEY_RECORDS, 3 * N, 100}, {1, 1, 100}};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        CLEANUP(pair_destroy) struct pair p = pair_of(ciphers[i % 2]);
        CLEANUP(pair_destroy) struct pair late = pair_of(ciphers[i % 2]);
        uint8_t record[RECORD];
        struct seal_opened o;
        int r = 0;

        seal_set_limits(p.out, rows[i / 2]);
        seal_set_limits(p.in, rows[i / 2]);
        seal_set_limits(late.out, rows[i / 2]);
        for (uint64_t n = 0; n < 20; n++) {
            make(p.out, record, N, n);
            assert_int_equal(seal_open(p.in, record, RECORD, &o), 0);
            expect_data(&o, N, n);
        }
        for (uint64_t n = 0; n < 20 && !r; n++) { /* one that keeps its key does not follow */
            make(late.out, record, N, n);
            r = seal_open(late.in, record, RECORD, &o);
        }
        assert_int_equal(r, SEAL_E_BAD);
    }
}

static void test_numbers_end(void **state)
{
    CLEANUP(pair_destroy) struct pair p = pair_of(SEAL_AES_256_GCM);
    struct seal_limits few = {SEAL_REKEY_RECORDS, SEAL_REKEY_BYTES, 2};
    uint8_t record[RECORD];
    struct seal_opened o;

    (void)state;
    seal_set_limits(p.out, few);
    seal_set_limits(p.in, few);
    for (uint64_t n = 0; n < 3; n++) {
        make(p.out, record, N, n);
        assert_int_equal(seal_open(p.in, record, RECORD, &o), 0);
    }
    assert_int_equal(seal_record(p.out, SEAL_DATA, record, N), SEAL_E_SPENT);
    assert_int_equal(seal_open(p.in, record, RECORD, &o), SEAL_E_SPENT);
}

static void test_choice(void **state)
{
    const uint8_t both = SEAL_AES_256_GCM | SEAL_CHACHA20_POLY1305;

    (void)state;
    assert_true(seal_offer() & SEAL_CHACHA20_POLY1305);
    assert_int_equal(seal_choose(SEAL_CHACHA20_POLY1305), SEAL_CHACHA20_POLY1305);
    assert_int_equal(seal_choose(both), seal_offer() & SEAL_AES_256_GCM ? SEAL_AES_256_GCM : SEAL_CHACHA20_POLY1305);
    assert_int_equal(seal_choose(0xff), seal_choose(both));
    assert_int_equal(seal_choose(0), 0);
    assert_int_equal(seal_choose(0xfc), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_library_agrees),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_every_bit_counts),
        cmocka_unit_test(test_cut_at_every_length),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_heads_that_cannot_be),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_keys_change_at_both_ends),
        cmocka_unit_test(test_numbers_end),
        cmocka_unit_test(test_choice),
    };

    if (crypto_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
