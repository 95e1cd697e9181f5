/* The beginning of a stream: both ends agree, or nothing happens, whatever is changed, cut, repeated or made up on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/noise.h"
#include "common/tunnel_handshake.h"

enum { CIPHER_A = 1, CIPHER_B = 2 };
#define PROLOGUE "Caravan rank tunnel 1" /* a stranger's copy */

static struct identity ana, bob, eve;
static const struct tunnel_claim claim = {.instance = {{0xca}}, .epoch = 4, .rank = 3, .direction = TUNNEL_TO_RANK};

static int setup(void **state)
{
    (void)state;
    if (crypto_init() < 0)
        return -1;
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){1}, &ana);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0, 2}, &bob);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){0, 3}, &eve);
    return 0;
}

/* ---- two ends, and the bytes between them ---- */

struct pair {
    struct tunnel_handshake *a, *b;
    uint8_t hello[TUNNEL_HELLO_BYTES], answer[TUNNEL_ANSWER_BYTES], confirm[TUNNEL_CONFIRM_BYTES];
};

static void pair_clear(struct pair *p)
{
    tunnel_handshake_destroy(&p->a);
    tunnel_handshake_destroy(&p->b);
}

static void take(struct tunnel_handshake *h, uint8_t *ret, size_t n_expected)
{
    size_t n;
    const uint8_t *bytes = tunnel_handshake_take(h, &n);

    assert_int_equal(n, n_expected);
    memcpy(ret, bytes, n);
    tunnel_handshake_take(h, &n);
    assert_int_equal(n, 0);
}

/* In chunks of so many bytes; the outcome comes with the last one, and not before. */
static int feed(struct tunnel_handshake *h, const uint8_t *bytes, size_t n, size_t chunk)
{
    size_t at = 0, taken;
    int r = 0;

    while (at < n && r == 0) {
        r = tunnel_handshake_feed(h, bytes + at, chunk < n - at ? chunk : n - at, &taken);
        at += taken;
    }
    if (r != TUNNEL_E_VERSION)
        assert_int_equal(at, n);
    return r;
}

static void expect_silent(struct tunnel_handshake *h)
{
    size_t n;

    tunnel_handshake_take(h, &n);
    assert_int_equal(n, 0);
}

static void begin(struct pair *p, uint8_t offered)
{
    *p = (struct pair){.a = NULL};
    assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &claim, offered, &p->a), 0);
    assert_int_equal(tunnel_responder_new(&bob, &p->b), 0);
    expect_silent(p->b);
    take(p->a, p->hello, sizeof(p->hello));
}

/* Up to the answer, which lies in p->answer. */
static void ask(struct pair *p, uint8_t offered, enum tunnel_verdict verdict, uint8_t cipher, int outcome)
{
    begin(p, offered);
    assert_int_equal(feed(p->b, p->hello, sizeof(p->hello), sizeof(p->hello)), TUNNEL_ASKED);
    expect_silent(p->b);
    assert_int_equal(tunnel_handshake_answer(p->b, verdict, cipher), outcome);
    take(p->b, p->answer, sizeof(p->answer));
}

/* Up to message 3, which lies in p->confirm. */
static void agree(struct pair *p)
{
    ask(p, CIPHER_A, TUNNEL_GRANTED, CIPHER_A, 0);
    assert_int_equal(feed(p->a, p->answer, sizeof(p->answer), sizeof(p->answer)), TUNNEL_DONE);
    take(p->a, p->confirm, sizeof(p->confirm));
}

/* ---- what works ---- */

static void check_keys(struct pair *p, uint8_t cipher)
{
    CLEANUP(tunnel_keys_clear) struct tunnel_keys a, b;

    tunnel_handshake_keys(p->a, &a);
    tunnel_handshake_keys(p->b, &b);
    assert_memory_equal(a.send, b.receive, sizeof(a.send));
    assert_memory_equal(a.receive, b.send, sizeof(a.send));
    assert_memory_not_equal(a.send, a.receive, sizeof(a.send));
    assert_memory_equal(a.hash, b.hash, sizeof(a.hash));
    assert_int_equal(a.cipher, cipher);
    assert_int_equal(b.cipher, cipher);
}

static void check_agreement(size_t chunk)
{
    CLEANUP(pair_clear) struct pair p;
    const struct tunnel_claim *got;

    begin(&p, CIPHER_A | CIPHER_B);
    assert_int_equal(feed(p.b, p.hello, sizeof(p.hello), chunk), TUNNEL_ASKED);
    got = tunnel_handshake_claim(p.b);
    assert_true(id128_equal(&got->instance, &claim.instance) && got->epoch == 4 && got->rank == 3);
    assert_int_equal(got->direction, TUNNEL_TO_RANK);
    assert_int_equal(tunnel_handshake_ciphers(p.b), CIPHER_A | CIPHER_B);
    assert_int_equal(tunnel_handshake_answer(p.b, TUNNEL_GRANTED, CIPHER_B), 0);
    take(p.b, p.answer, sizeof(p.answer));
    assert_int_equal(feed(p.a, p.answer, sizeof(p.answer), chunk), TUNNEL_DONE);
    take(p.a, p.confirm, sizeof(p.confirm));
    assert_int_equal(feed(p.b, p.confirm, sizeof(p.confirm), chunk), TUNNEL_DONE);
    expect_silent(p.b);
    assert_memory_equal(tunnel_handshake_peer(p.b), ana.public_key, CRYPTO_KEY_BYTES);
    check_keys(&p, CIPHER_B);
}

static void test_agreement_in_any_chunks(void **state)
{
    (void)state;
    for (size_t chunk = 1; chunk <= TUNNEL_HELLO_BYTES; chunk++)
        check_agreement(chunk);
}

/* What comes behind is records, and stays where it is: at the responder in one read with message 3, at the initiator
 * with message 2. */
static void test_takes_only_its_own_bytes(void **state)
{
    CLEANUP(pair_clear) struct pair p;
    uint8_t bytes[TUNNEL_HELLO_BYTES + 100] = {0};
    size_t taken;

    (void)state;
    begin(&p, CIPHER_A);
    memcpy(bytes, p.hello, sizeof(p.hello));
    assert_int_equal(tunnel_handshake_feed(p.b, bytes, 0, &taken), 0);
    assert_int_equal(tunnel_handshake_feed(p.b, bytes, sizeof(bytes), &taken), TUNNEL_ASKED);
    assert_int_equal(taken, TUNNEL_HELLO_BYTES);
    assert_int_equal(tunnel_handshake_feed(p.b, bytes, sizeof(bytes), &taken), TUNNEL_ASKED);
    assert_int_equal(taken, 0);
    assert_int_equal(tunnel_handshake_answer(p.b, TUNNEL_GRANTED, CIPHER_A), 0);
    take(p.b, bytes, TUNNEL_ANSWER_BYTES);
    assert_int_equal(tunnel_handshake_feed(p.a, bytes, sizeof(bytes), &taken), TUNNEL_DONE);
    assert_int_equal(taken, TUNNEL_ANSWER_BYTES);
    take(p.a, bytes, TUNNEL_CONFIRM_BYTES);
    assert_int_equal(tunnel_handshake_feed(p.b, bytes, sizeof(bytes), &taken), TUNNEL_DONE);
    assert_int_equal(taken, TUNNEL_CONFIRM_BYTES);
    assert_int_equal(tunnel_handshake_feed(p.b, bytes, sizeof(bytes), &taken), TUNNEL_DONE);
    assert_int_equal(taken, 0);
}

/* Two streams of the same two ends share nothing. */
static void test_fresh_each_time(void **state)
{
    CLEANUP(pair_clear) struct pair p, q;
    struct tunnel_keys one, two;

    (void)state;
    agree(&p);
    agree(&q);
    assert_memory_not_equal(p.hello + 1, q.hello + 1, CRYPTO_KEY_BYTES);
    assert_memory_not_equal(p.answer + 1, q.answer + 1, CRYPTO_KEY_BYTES);
    tunnel_handshake_keys(p.a, &one);
    tunnel_handshake_keys(q.a, &two);
    assert_memory_not_equal(one.send, two.send, sizeof(one.send));
    assert_memory_not_equal(one.hash, two.hash, sizeof(one.hash));
    tunnel_keys_clear(&one);
    for (size_t i = 0; i < sizeof(one); i++)
        assert_int_equal(((uint8_t *)&one)[i], 0);
}

/* The keys are the room's own derivation of Noise's, as an end that was written apart would compute them. */
static void test_keys_as_another_end_computes_them(void **state)
{
    CLEANUP(pair_clear) struct pair p;
    struct tunnel_keys keys;
    struct noise x;
    uint8_t payload[TUNNEL_CLAIM_BYTES + 1], msg[TUNNEL_HELLO_BYTES], got[2], split[2][CRYPTO_KEY_BYTES], key[32];

    (void)state;
    begin(&p, CIPHER_A);
    tunnel_claim_encode(&claim, payload);
    payload[TUNNEL_CLAIM_BYTES] = CIPHER_A;
    noise_begin(&x, &ana, bob.public_key, PROLOGUE, sizeof(PROLOGUE) - 1);
    assert_int_equal(noise_write_1(&x, eve.secret_key, payload, sizeof(payload), msg + 1), 0);
    msg[0] = 1;
    assert_int_equal(feed(p.b, msg, sizeof(msg), sizeof(msg)), TUNNEL_ASKED);
    assert_int_equal(tunnel_handshake_answer(p.b, TUNNEL_GRANTED, CIPHER_A), 0);
    take(p.b, p.answer, sizeof(p.answer));
    assert_int_equal(p.answer[0], 1);
    assert_int_equal(noise_read_2(&x, p.answer + 1, sizeof(p.answer) - 1, got), 0);
    assert_memory_equal(got, ((uint8_t[]){TUNNEL_GRANTED, CIPHER_A}), 2);
    noise_split(&x, split[0], split[1]);
    crypto_seal(split[0], 0, NULL, 0, NULL, 0, msg);
    assert_int_equal(feed(p.b, msg, TUNNEL_CONFIRM_BYTES, 1), TUNNEL_DONE);
    tunnel_handshake_keys(p.b, &keys);
    for (int i = 0; i < 2; i++) {
        crypto_derive(split[i], "Caravan rank tunnel 1 records", 29, key);
        assert_memory_equal(i ? keys.send : keys.receive, key, sizeof(key));
    }
    assert_memory_equal(keys.hash, x.hash, sizeof(x.hash));
}

/* ---- refusals ---- */

static void test_refusals_are_told(void **state)
{
    (void)state;
    for (int v = TUNNEL_GRANTED + 1; v < TUNNEL_VERDICT_N; v++) {
        CLEANUP(pair_clear) struct pair p;
        const enum tunnel_verdict verdict = (enum tunnel_verdict)v;

        ask(&p, CIPHER_A, verdict, CIPHER_A, TUNNEL_REFUSED);
        assert_int_equal(tunnel_handshake_verdict(p.b), verdict);
        assert_int_equal(feed(p.a, p.answer, sizeof(p.answer), 7), TUNNEL_REFUSED);
        assert_int_equal(tunnel_handshake_verdict(p.a), verdict == TUNNEL_OTHER_PEER ? TUNNEL_NO_GRANT : verdict);
        expect_silent(p.a);
    }
}

static void test_ciphers_that_were_not_offered(void **state)
{
    static const struct {
        uint8_t offered, cipher;
        int outcome;
    } table[] = {
        {CIPHER_A, CIPHER_A, 0},
        {CIPHER_A | CIPHER_B, CIPHER_B, 0},
        {0x80, 0x80, 0},
        {CIPHER_A, CIPHER_B, TUNNEL_REFUSED},
        {CIPHER_A, 0, TUNNEL_REFUSED},
        {CIPHER_A | CIPHER_B, CIPHER_A | CIPHER_B, TUNNEL_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        CLEANUP(pair_clear) struct pair p;

        ask(&p, table[i].offered, TUNNEL_GRANTED, table[i].cipher, table[i].outcome);
        if (table[i].outcome == TUNNEL_REFUSED)
            assert_int_equal(tunnel_handshake_verdict(p.b), TUNNEL_NO_CIPHER);
        assert_int_equal(feed(p.a, p.answer, sizeof(p.answer), sizeof(p.answer)),
                         table[i].outcome ? TUNNEL_REFUSED : TUNNEL_DONE);
    }
}

/* A responder with the right key that does not keep to the rules. */
static int answer_with(struct pair *p, uint8_t code, uint8_t cipher)
{
    struct noise x;
    uint8_t payload[TUNNEL_CLAIM_BYTES + 1];
    const uint8_t said[2] = {code, cipher};

    begin(p, CIPHER_A);
    noise_begin(&x, &bob, NULL, PROLOGUE, sizeof(PROLOGUE) - 1);
    assert_int_equal(noise_read_1(&x, p->hello + 1, sizeof(p->hello) - 1, payload), 0);
    p->answer[0] = TUNNEL_VERSION;
    assert_int_equal(noise_write_2(&x, eve.secret_key, said, sizeof(said), p->answer + 1), 0);
    return feed(p->a, p->answer, sizeof(p->answer), sizeof(p->answer));
}

static void test_answers_out_of_order(void **state)
{
    static const struct {
        uint8_t code, cipher;
        int r;
    } table[] = {
        {TUNNEL_GRANTED, CIPHER_A, TUNNEL_DONE},
        {TUNNEL_GRANTED, CIPHER_B, TUNNEL_E_BAD},
        {TUNNEL_GRANTED, 0, TUNNEL_E_BAD},
        {TUNNEL_GRANTED, CIPHER_A | CIPHER_B, TUNNEL_E_BAD},
        {TUNNEL_ENDED, CIPHER_A, TUNNEL_REFUSED},
        {TUNNEL_VERDICT_N, 0, TUNNEL_REFUSED}, /* of a later version */
        {255, 0, TUNNEL_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        CLEANUP(pair_clear) struct pair p;

        assert_int_equal(answer_with(&p, table[i].code, table[i].cipher), table[i].r);
        if (table[i].r == TUNNEL_REFUSED)
            assert_true(tunnel_handshake_verdict(p.a) < TUNNEL_VERDICT_N);
        if (table[i].r != TUNNEL_DONE)
            expect_silent(p.a);
    }
}

/* An initiator with a key of its own that claims what cannot be. */
static void test_claims_that_cannot_be(void **state)
{
    CLEANUP(pair_clear) struct pair p;
    struct noise x;
    uint8_t payload[TUNNEL_CLAIM_BYTES + 1], msg[TUNNEL_HELLO_BYTES] = {TUNNEL_VERSION};

    (void)state;
    begin(&p, CIPHER_A);
    tunnel_claim_encode(&claim, payload);
    payload[TUNNEL_CLAIM_BYTES - 1] = 99; /* the direction */
    payload[TUNNEL_CLAIM_BYTES] = CIPHER_A;
    noise_begin(&x, &eve, bob.public_key, PROLOGUE, sizeof(PROLOGUE) - 1);
    assert_int_equal(noise_write_1(&x, ana.secret_key, payload, sizeof(payload), msg + 1), 0);
    assert_int_equal(feed(p.b, msg, sizeof(msg), 50), TUNNEL_E_BAD);
    expect_silent(p.b);
}

/* ---- what is not from the other end ---- */

static void test_each_bit_of_the_hello(void **state)
{
    CLEANUP(pair_clear) struct pair p;

    (void)state;
    begin(&p, CIPHER_A);
    for (size_t bit = 0; bit < 8 * sizeof(p.hello); bit++) {
        CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *b = NULL;
        int r;

        assert_int_equal(tunnel_responder_new(&bob, &b), 0);
        p.hello[bit / 8] ^= (uint8_t)(1 << bit % 8);
        r = feed(b, p.hello, sizeof(p.hello), sizeof(p.hello));
        assert_int_equal(r, bit < 8 ? TUNNEL_E_VERSION : TUNNEL_E_BAD);
        expect_silent(b);
        p.hello[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(feed(p.b, p.hello, sizeof(p.hello), sizeof(p.hello)), TUNNEL_ASKED);
}

static void test_each_bit_of_the_answer(void **state)
{
    (void)state;
    for (size_t bit = 0; bit <= 8 * TUNNEL_ANSWER_BYTES; bit++) {
        CLEANUP(pair_clear) struct pair p;
        int r;

        ask(&p, CIPHER_A, TUNNEL_GRANTED, CIPHER_A, 0);
        if (bit < 8 * TUNNEL_ANSWER_BYTES)
            p.answer[bit / 8] ^= (uint8_t)(1 << bit % 8);
        r = feed(p.a, p.answer, sizeof(p.answer), sizeof(p.answer));
        if (bit == 8 * TUNNEL_ANSWER_BYTES) { /* none: the one that must pass */
            assert_int_equal(r, TUNNEL_DONE);
            break;
        }
        assert_int_equal(r, bit < 8 ? TUNNEL_E_VERSION : TUNNEL_E_BAD);
        expect_silent(p.a);
    }
}

static void test_each_bit_of_the_confirmation(void **state)
{
    (void)state;
    for (size_t bit = 0; bit <= 8 * TUNNEL_CONFIRM_BYTES; bit++) {
        CLEANUP(pair_clear) struct pair p;

        agree(&p);
        if (bit < 8 * TUNNEL_CONFIRM_BYTES)
            p.confirm[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(feed(p.b, p.confirm, sizeof(p.confirm), sizeof(p.confirm)),
                         bit < 8 * TUNNEL_CONFIRM_BYTES ? TUNNEL_E_BAD : TUNNEL_DONE);
        expect_silent(p.b);
    }
}

/* Nothing is said and nothing decided before a message is whole. */
static void test_cut_at_each_length(void **state)
{
    (void)state;
    for (size_t n = 0; n < TUNNEL_HELLO_BYTES; n++) {
        CLEANUP(pair_clear) struct pair p;

        begin(&p, CIPHER_A);
        assert_int_equal(feed(p.b, p.hello, n, 16), 0);
        expect_silent(p.b);
    }
    for (size_t n = 0; n < TUNNEL_ANSWER_BYTES; n++) {
        CLEANUP(pair_clear) struct pair p;

        ask(&p, CIPHER_A, TUNNEL_GRANTED, CIPHER_A, 0);
        assert_int_equal(feed(p.a, p.answer, n, 16), 0);
        expect_silent(p.a);
    }
    for (size_t n = 0; n < TUNNEL_CONFIRM_BYTES; n++) {
        CLEANUP(pair_clear) struct pair p;

        agree(&p);
        assert_int_equal(feed(p.b, p.confirm, n, 16), 0);
    }
}

/* Message 1 was recorded: it is answered, and that is all; neither the recorded message 3 nor the answer itself, thrown back,
 * is the new one. */
static void test_a_replay_gains_nothing(void **state)
{
    CLEANUP(pair_clear) struct pair p;
    const uint8_t *const tried[] = {p.confirm, p.answer, p.hello};

    (void)state;
    agree(&p);
    assert_int_equal(feed(p.b, p.confirm, sizeof(p.confirm), 5), TUNNEL_DONE);
    for (size_t i = 0; i < sizeof(tried) / sizeof(*tried); i++) {
        CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *b = NULL;
        uint8_t answer[TUNNEL_ANSWER_BYTES];

        assert_int_equal(tunnel_responder_new(&bob, &b), 0);
        assert_int_equal(feed(b, p.hello, sizeof(p.hello), 100), TUNNEL_ASKED);
        assert_int_equal(tunnel_handshake_answer(b, TUNNEL_GRANTED, CIPHER_A), 0);
        take(b, answer, sizeof(answer));
        assert_memory_not_equal(answer, p.answer, sizeof(answer));
        assert_int_equal(feed(b, tried[i], TUNNEL_CONFIRM_BYTES, 5), TUNNEL_E_BAD);
        expect_silent(b);
    }
}

/* An answer of another handshake of the same two ends is no answer to this one. */
static void test_an_answer_to_another_hello(void **state)
{
    CLEANUP(pair_clear) struct pair p, q;

    (void)state;
    ask(&p, CIPHER_A, TUNNEL_GRANTED, CIPHER_A, 0);
    ask(&q, CIPHER_A, TUNNEL_GRANTED, CIPHER_A, 0);
    assert_int_equal(feed(p.a, q.answer, sizeof(q.answer), sizeof(q.answer)), TUNNEL_E_BAD);
    assert_int_equal(feed(q.a, q.hello, TUNNEL_ANSWER_BYTES, 20), TUNNEL_E_BAD); /* its own, thrown back */
}

static void test_another_key_than_expected(void **state)
{
    CLEANUP(pair_clear) struct pair p;
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *other = NULL, *none = NULL;
    uint8_t answer[TUNNEL_ANSWER_BYTES];
    struct identity forged = {0};

    (void)state;
    begin(&p, CIPHER_A);
    assert_int_equal(tunnel_responder_new(&eve, &other), 0); /* the address was another node's */
    assert_int_equal(feed(other, p.hello, sizeof(p.hello), sizeof(p.hello)), TUNNEL_E_BAD);
    expect_silent(other);
    tunnel_handshake_destroy(&other);

    /* Eve says that she is Ana, whose public key she knows. */
    memcpy(forged.public_key, ana.public_key, sizeof(forged.public_key));
    memcpy(forged.secret_key, eve.secret_key, sizeof(forged.secret_key));
    assert_int_equal(tunnel_initiator_new(&forged, bob.public_key, &claim, CIPHER_A, &other), 0);
    take(other, p.hello, sizeof(p.hello));
    assert_int_equal(feed(p.b, p.hello, sizeof(p.hello), sizeof(p.hello)), TUNNEL_E_BAD);

    /* ... or answers as Bob, to whom it was not sent. */
    tunnel_handshake_destroy(&other);
    memcpy(forged.public_key, bob.public_key, sizeof(forged.public_key));
    tunnel_handshake_destroy(&p.a);
    assert_int_equal(tunnel_initiator_new(&ana, bob.public_key, &claim, CIPHER_A, &p.a), 0);
    take(p.a, p.hello, sizeof(p.hello));
    assert_int_equal(tunnel_responder_new(&forged, &other), 0);
    assert_int_equal(feed(other, p.hello, sizeof(p.hello), sizeof(p.hello)), TUNNEL_E_BAD);
    memset(answer, TUNNEL_VERSION, sizeof(answer));
    assert_int_equal(feed(p.a, answer, sizeof(answer), sizeof(answer)), TUNNEL_E_BAD);

    assert_int_equal(tunnel_initiator_new(&ana, (const uint8_t[CRYPTO_KEY_BYTES]){0}, &claim, CIPHER_A, &none),
                     TUNNEL_E_BAD);
    assert_null(none);
}

/* The first byte decides, before anything is computed; later bytes change nothing. */
static void test_other_versions(void **state)
{
    CLEANUP(pair_clear) struct pair p;
    size_t taken;

    (void)state;
    for (unsigned v = 0; v < 256; v++) {
        CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *b = NULL;
        const uint8_t byte = (uint8_t)v;

        assert_int_equal(tunnel_responder_new(&bob, &b), 0);
        assert_int_equal(tunnel_handshake_feed(b, &byte, 1, &taken), v == TUNNEL_VERSION ? 0 : TUNNEL_E_VERSION);
        expect_silent(b);
    }
    begin(&p, CIPHER_A);
    assert_int_equal(tunnel_handshake_feed(p.b, (const uint8_t *)"GET / HTTP/1.1\r\n", 16, &taken), TUNNEL_E_VERSION);
    assert_int_equal(tunnel_handshake_feed(p.b, p.hello, sizeof(p.hello), &taken), TUNNEL_E_VERSION);
    assert_int_equal(taken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreement_in_any_chunks),
        cmocka_unit_test(test_takes_only_its_own_bytes),
        cmocka_unit_test(test_fresh_each_time),
        cmocka_unit_test(test_keys_as_another_end_computes_them),
        cmocka_unit_test(test_refusals_are_told),
        cmocka_unit_test(test_ciphers_that_were_not_offered),
        cmocka_unit_test(test_answers_out_of_order),
        cmocka_unit_test(test_claims_that_cannot_be),
        cmocka_unit_test(test_each_bit_of_the_hello),
        cmocka_unit_test(test_each_bit_of_the_answer),
        cmocka_unit_test(test_each_bit_of_the_confirmation),
        cmocka_unit_test(test_cut_at_each_length),
        cmocka_unit_test(test_a_replay_gains_nothing),
        cmocka_unit_test(test_an_answer_to_another_hello),
        cmocka_unit_test(test_another_key_than_expected),
        cmocka_unit_test(test_other_versions),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
