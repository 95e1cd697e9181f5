/* The beginning of a stream of the rank tunnel, with whom does not keep to it. First byte: 0, a stranger who dials; 1, a
 * stranger who is dialled; 2, a claim by itself; 3, a node with a key of its own, and the rest is what it seals into message 1,
 * a verdict, a cipher, and what it sends then; 4, one that is dialled, and the rest is what it seals into message 2; any
 * other byte: two honest ends, and the rest are the lengths of the pieces in which their bytes arrive. */
#include <string.h>

#include "common/cleanup.h"
#include "common/noise.h"
#include "common/tunnel_handshake.h"
#include "tests/fuzz/support.h"

#define PROLOGUE "Caravan rank tunnel 1"

static struct identity ana, bob;
static const struct tunnel_claim claim = {.instance = {{1}}, .epoch = 4, .rank = 3, .direction = TUNNEL_TO_RANK};

void fuzz_setup(void)
{
    if (crypto_init() < 0)
        abort();
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){1}, &ana);
    crypto_identity_from_secret((const uint8_t[CRYPTO_KEY_BYTES]){2}, &bob);
}

static size_t take(struct tunnel_handshake *h, uint8_t ret[TUNNEL_HELLO_BYTES])
{
    size_t n;
    const uint8_t *bytes = tunnel_handshake_take(h, &n);

    FUZZ_CHECK(n <= TUNNEL_HELLO_BYTES);
    memcpy(ret, bytes, n);
    return n;
}

/* A stranger reaches nothing and hears nothing. */
static void stranger(struct tunnel_handshake *h, const uint8_t *data, size_t size)
{
    uint8_t out[TUNNEL_HELLO_BYTES];
    size_t taken;
    int r;

    take(h, out); /* message 1, of an initiator */
    r = tunnel_handshake_feed(h, data, size, &taken);
    FUZZ_CHECK(taken <= size && taken <= TUNNEL_HELLO_BYTES);
    FUZZ_CHECK(r == 0 || r == TUNNEL_E_VERSION || r == TUNNEL_E_BAD);
    FUZZ_CHECK(take(h, out) == 0);
    if (r)
        FUZZ_CHECK(tunnel_handshake_feed(h, data, size, &taken) == r && taken == 0);
}

static void decode(const uint8_t *data)
{
    struct tunnel_claim got;
    uint8_t again[TUNNEL_CLAIM_BYTES];

    if (tunnel_claim_decode(data, &got) != 0)
        return;
    tunnel_claim_encode(&got, again);
    FUZZ_CHECK(memcmp(data, again, sizeof(again)) == 0);
}

/* Its key is its own, so its message 1 holds; what is in it may be anything. Without the split keys it comes no further. */
static void node_that_dials(struct tunnel_handshake *h, const uint8_t *data, size_t size)
{
    uint8_t msg[TUNNEL_HELLO_BYTES] = {TUNNEL_VERSION};
    struct tunnel_claim got;
    struct noise x;
    size_t taken;
    int r;

    if (size < TUNNEL_CLAIM_BYTES + 3)
        return;
    noise_begin(&x, &ana, bob.public_key, PROLOGUE, sizeof(PROLOGUE) - 1);
    FUZZ_CHECK(noise_write_1(&x, bob.secret_key, data, TUNNEL_CLAIM_BYTES + 1, msg + 1) == 0);
    r = tunnel_handshake_feed(h, msg, sizeof(msg), &taken);
    FUZZ_CHECK(r == (tunnel_claim_decode(data, &got) ? TUNNEL_E_BAD : TUNNEL_ASKED));
    if (r != TUNNEL_ASKED)
        return;
    FUZZ_CHECK(memcmp(tunnel_handshake_peer(h), ana.public_key, CRYPTO_KEY_BYTES) == 0);
    FUZZ_CHECK(tunnel_handshake_claim(h)->rank == got.rank && tunnel_handshake_ciphers(h) == data[TUNNEL_CLAIM_BYTES]);
    data += TUNNEL_CLAIM_BYTES + 1;
    size -= TUNNEL_CLAIM_BYTES + 1;
    r = tunnel_handshake_answer(h, (enum tunnel_verdict)(data[0] % TUNNEL_VERDICT_N), data[1]);
    FUZZ_CHECK(r == 0 || (r == TUNNEL_REFUSED && tunnel_handshake_verdict(h) < TUNNEL_VERDICT_N));
    FUZZ_CHECK(take(h, msg) == TUNNEL_ANSWER_BYTES);
    FUZZ_CHECK(tunnel_handshake_feed(h, data + 2, size - 2, &taken) != TUNNEL_DONE);
}

static void node_that_is_dialled(struct tunnel_handshake *h, const uint8_t *data, size_t size)
{
    uint8_t msg[TUNNEL_HELLO_BYTES], payload[TUNNEL_CLAIM_BYTES + 1];
    struct noise x;
    size_t taken;
    int r;

    if (size < 2)
        return;
    take(h, msg);
    noise_begin(&x, &bob, NULL, PROLOGUE, sizeof(PROLOGUE) - 1);
    FUZZ_CHECK(noise_read_1(&x, msg + 1, sizeof(msg) - 1, payload) == 0);
    FUZZ_CHECK(noise_write_2(&x, ana.secret_key, data, 2, msg + 1) == 0);
    r = tunnel_handshake_feed(h, msg, TUNNEL_ANSWER_BYTES, &taken);
    if (data[0] != TUNNEL_GRANTED)
        FUZZ_CHECK(r == TUNNEL_REFUSED && tunnel_handshake_verdict(h) != TUNNEL_GRANTED);
    else
        FUZZ_CHECK(r == (data[1] == 1 || data[1] == 2 ? TUNNEL_DONE : TUNNEL_E_BAD));
}

/* Gives msg in pieces; the outcome of the last one. */
static int pieces(struct tunnel_handshake *h, const uint8_t *msg, size_t n, const uint8_t *data, size_t size)
{
    size_t at = 0, taken;
    int r = 0;

    for (size_t i = 0; r == 0 && at < n; i++) {
        size_t piece = i < size ? data[i] % 64 : n - at;

        r = tunnel_handshake_feed(h, msg + at, piece < n - at ? piece : n - at, &taken);
        at += taken;
    }
    FUZZ_CHECK(at == n);
    return r;
}

static void honest(struct tunnel_handshake *a, struct tunnel_handshake *b, const uint8_t *data, size_t size)
{
    uint8_t msg[TUNNEL_HELLO_BYTES];
    struct tunnel_keys ka, kb;

    FUZZ_CHECK(pieces(b, msg, take(a, msg), data, size) == TUNNEL_ASKED);
    FUZZ_CHECK(tunnel_handshake_answer(b, TUNNEL_GRANTED, 2) == 0);
    FUZZ_CHECK(pieces(a, msg, take(b, msg), data, size) == TUNNEL_DONE);
    FUZZ_CHECK(pieces(b, msg, take(a, msg), data, size) == TUNNEL_DONE);
    tunnel_handshake_keys(a, &ka);
    tunnel_handshake_keys(b, &kb);
    FUZZ_CHECK(memcmp(ka.send, kb.receive, sizeof(ka.send)) == 0 && ka.cipher == 2 && kb.cipher == 2);
    FUZZ_CHECK(memcmp(ka.receive, kb.send, sizeof(ka.send)) == 0 && memcmp(ka.hash, kb.hash, sizeof(ka.hash)) == 0);
    tunnel_keys_clear(&ka);
    tunnel_keys_clear(&kb);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *a = NULL, *b = NULL;
    uint8_t what;

    if (!size || tunnel_initiator_new(&ana, bob.public_key, &claim, 3, &a) != 0 || tunnel_responder_new(&bob, &b) != 0)
        return;
    what = *data++;
    size--;
    if (what == '0')
        stranger(b, data, size);
    else if (what == '1')
        stranger(a, data, size);
    else if (what == '2' && size >= TUNNEL_CLAIM_BYTES)
        decode(data);
    else if (what == '3')
        node_that_dials(b, data, size);
    else if (what == '4')
        node_that_is_dialled(a, data, size);
    else
        honest(a, b, data, size);
}
