#include "common/tunnel_handshake.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/noise.h"

#define PROLOGUE "Caravan rank tunnel 1"
#define LABEL    "Caravan rank tunnel 1 records"

_Static_assert(TUNNEL_VERSION == 1, "prologue and label name the version");
_Static_assert(TUNNEL_HELLO_BYTES == 1 + NOISE_1_EXTRA + TUNNEL_CLAIM_BYTES + 1, "message 1");
_Static_assert(TUNNEL_ANSWER_BYTES == 1 + NOISE_2_EXTRA + 2, "message 2");

enum state {
    WANT_HELLO,   /* responder */
    ASKED,        /* responder: the caller's turn */
    WANT_CONFIRM, /* responder */
    WANT_ANSWER,  /* initiator */
    OVER          /* as `outcome` says */
};

struct tunnel_handshake {
    enum state state;
    int outcome;
    struct noise noise;
    struct tunnel_claim claim;
    uint8_t offered;
    uint8_t peer[CRYPTO_KEY_BYTES]; /* responder */
    enum tunnel_verdict verdict;
    uint8_t first[CRYPTO_KEY_BYTES]; /* message 3 is sealed with it: the initiator's split key */
    struct tunnel_keys keys;
    size_t n_in, n_out;
    uint8_t in[TUNNEL_HELLO_BYTES], out[TUNNEL_HELLO_BYTES];
};

void tunnel_keys_clear(struct tunnel_keys *keys)
{
    crypto_wipe(keys, sizeof(*keys));
}

void tunnel_handshake_destroy(struct tunnel_handshake **h)
{
    if (*h)
        crypto_wipe(*h, sizeof(**h));
    free(*h);
    *h = NULL;
}

/* Nothing secret is needed any more, but for the keys after TUNNEL_DONE. */
static int end(struct tunnel_handshake *h, int outcome)
{
    noise_clear(&h->noise);
    crypto_wipe(h->first, sizeof(h->first));
    h->state = OVER;
    h->outcome = outcome;
    return outcome;
}

static bool is_one_of(uint8_t cipher, uint8_t offered)
{
    return (cipher & offered) && !(cipher & (cipher - 1));
}

/* ---- keys ---- */

static void derive_records(const uint8_t split[CRYPTO_KEY_BYTES], uint8_t ret[CRYPTO_KEY_BYTES])
{
    crypto_derive(split, LABEL, sizeof(LABEL) - 1, ret);
}

static void make_keys(struct tunnel_handshake *h, bool initiator)
{
    uint8_t second[CRYPTO_KEY_BYTES];

    noise_split(&h->noise, h->first, second);
    derive_records(h->first, initiator ? h->keys.send : h->keys.receive);
    derive_records(second, initiator ? h->keys.receive : h->keys.send);
    memcpy(h->keys.hash, h->noise.hash, sizeof(h->keys.hash));
    crypto_wipe(second, sizeof(second));
}

void tunnel_handshake_keys(struct tunnel_handshake *h, struct tunnel_keys *ret)
{
    assert(h->outcome == TUNNEL_DONE);
    *ret = h->keys;
    tunnel_keys_clear(&h->keys);
}

/* ---- the initiator ---- */

static int new_handshake(enum state state, struct tunnel_handshake **ret)
{
    *ret = calloc(1, sizeof(**ret));
    if (!*ret)
        return err_raise(-ENOMEM);
    (*ret)->state = state;
    return 0;
}

static int write_hello(struct tunnel_handshake *h)
{
    uint8_t payload[TUNNEL_CLAIM_BYTES + 1], random[CRYPTO_KEY_BYTES];
    int r;

    tunnel_claim_encode(&h->claim, payload);
    payload[TUNNEL_CLAIM_BYTES] = h->offered;
    crypto_random(random, sizeof(random));
    h->out[0] = TUNNEL_VERSION;
    r = noise_write_1(&h->noise, random, payload, sizeof(payload), h->out + 1);
    crypto_wipe(random, sizeof(random));
    if (r)
        return TUNNEL_E_BAD;
    h->n_out = TUNNEL_HELLO_BYTES;
    return 0;
}

int tunnel_initiator_new(const struct identity *own, const uint8_t peer[CRYPTO_KEY_BYTES],
                         const struct tunnel_claim *claim, uint8_t ciphers, struct tunnel_handshake **ret)
{
    CLEANUP(tunnel_handshake_destroy) struct tunnel_handshake *h = NULL;
    int r = new_handshake(WANT_ANSWER, &h);

    assert(ciphers != 0);
    if (r < 0)
        return err_pass(r);
    noise_begin(&h->noise, own, peer, PROLOGUE, sizeof(PROLOGUE) - 1);
    h->claim = *claim;
    h->offered = ciphers;
    r = write_hello(h);
    if (r)
        return r;
    *ret = h;
    h = NULL;
    return 0;
}

static int read_answer(struct tunnel_handshake *h)
{
    uint8_t payload[2];

    if (noise_read_2(&h->noise, h->in + 1, TUNNEL_ANSWER_BYTES - 1, payload) != 0)
        return end(h, TUNNEL_E_BAD);
    /* (a verdict of a later version is still a refusal) */
    if (payload[0] != TUNNEL_GRANTED) {
        h->verdict = payload[0] < TUNNEL_VERDICT_N ? (enum tunnel_verdict)payload[0] : TUNNEL_NO_GRANT;
        return end(h, TUNNEL_REFUSED);
    }
    if (!is_one_of(payload[1], h->offered))
        return end(h, TUNNEL_E_BAD);
    h->keys.cipher = payload[1];
    make_keys(h, true);
    crypto_seal(h->first, 0, NULL, 0, NULL, 0, h->out);
    h->n_out = TUNNEL_CONFIRM_BYTES;
    return end(h, TUNNEL_DONE);
}

/* ---- the responder ---- */

int tunnel_responder_new(const struct identity *own, struct tunnel_handshake **ret)
{
    int r = new_handshake(WANT_HELLO, ret);

    if (r < 0)
        return err_pass(r);
    noise_begin(&(*ret)->noise, own, NULL, PROLOGUE, sizeof(PROLOGUE) - 1);
    return 0;
}

static int read_hello(struct tunnel_handshake *h)
{
    uint8_t payload[TUNNEL_CLAIM_BYTES + 1];

    if (noise_read_1(&h->noise, h->in + 1, TUNNEL_HELLO_BYTES - 1, payload) != 0 ||
        tunnel_claim_decode(payload, &h->claim) != 0)
        return end(h, TUNNEL_E_BAD);
    h->offered = payload[TUNNEL_CLAIM_BYTES];
    memcpy(h->peer, h->noise.peer, sizeof(h->peer));
    h->state = ASKED;
    return TUNNEL_ASKED;
}

const uint8_t *tunnel_handshake_peer(const struct tunnel_handshake *h)
{
    return h->peer;
}

const struct tunnel_claim *tunnel_handshake_claim(const struct tunnel_handshake *h)
{
    return &h->claim;
}

uint8_t tunnel_handshake_ciphers(const struct tunnel_handshake *h)
{
    return h->offered;
}

/* What is said of instances is said to those who have some part in them. */
static enum tunnel_verdict told(enum tunnel_verdict verdict)
{
    return verdict == TUNNEL_OTHER_PEER ? TUNNEL_NO_GRANT : verdict;
}

int tunnel_handshake_answer(struct tunnel_handshake *h, enum tunnel_verdict verdict, uint8_t cipher)
{
    uint8_t payload[2], random[CRYPTO_KEY_BYTES];
    int r;

    assert(h->state == ASKED);
    if (verdict == TUNNEL_GRANTED && !is_one_of(cipher, h->offered))
        verdict = TUNNEL_NO_CIPHER;
    h->verdict = verdict;
    payload[0] = (uint8_t)told(verdict);
    payload[1] = verdict == TUNNEL_GRANTED ? cipher : 0;
    crypto_random(random, sizeof(random));
    h->out[0] = TUNNEL_VERSION;
    r = noise_write_2(&h->noise, random, payload, sizeof(payload), h->out + 1);
    crypto_wipe(random, sizeof(random));
    if (r)
        return end(h, TUNNEL_E_BAD);
    h->n_out = TUNNEL_ANSWER_BYTES;
    if (verdict != TUNNEL_GRANTED)
        return end(h, TUNNEL_REFUSED);
    h->keys.cipher = cipher;
    make_keys(h, false);
    h->state = WANT_CONFIRM;
    return 0;
}

enum tunnel_verdict tunnel_handshake_verdict(const struct tunnel_handshake *h)
{
    assert(h->outcome == TUNNEL_REFUSED);
    return h->verdict;
}

static int read_confirm(struct tunnel_handshake *h)
{
    uint8_t nothing[1];

    if (crypto_open(h->first, 0, NULL, 0, h->in, TUNNEL_CONFIRM_BYTES, nothing) != 0) {
        tunnel_keys_clear(&h->keys);
        return end(h, TUNNEL_E_BAD);
    }
    return end(h, TUNNEL_DONE);
}

/* ---- bytes ---- */

/* 0: it is not the peer's turn. */
static size_t wanted(const struct tunnel_handshake *h)
{
    switch (h->state) {
    case WANT_HELLO:
        return TUNNEL_HELLO_BYTES;
    case WANT_CONFIRM:
        return TUNNEL_CONFIRM_BYTES;
    case WANT_ANSWER:
        return TUNNEL_ANSWER_BYTES;
    case ASKED:
    case OVER:
        break;
    }
    return 0;
}

static int read_message(struct tunnel_handshake *h)
{
    h->n_in = 0;
    switch (h->state) {
    case WANT_HELLO:
        return read_hello(h);
    case WANT_CONFIRM:
        return read_confirm(h);
    case WANT_ANSWER:
        return read_answer(h);
    case ASKED:
    case OVER:
        break;
    }
    return h->outcome;
}

size_t tunnel_handshake_wanted(const struct tunnel_handshake *h)
{
    size_t n_wanted = wanted(h);

    return n_wanted ? n_wanted - h->n_in : 0;
}

int tunnel_handshake_feed(struct tunnel_handshake *h, const uint8_t *bytes, size_t n, size_t *ret_taken)
{
    size_t n_wanted = wanted(h), n_taken;

    *ret_taken = 0;
    if (!n_wanted)
        return h->state == ASKED ? TUNNEL_ASKED : h->outcome;
    if (!n)
        return 0;
    n_taken = n < n_wanted - h->n_in ? n : n_wanted - h->n_in;
    memcpy(h->in + h->n_in, bytes, n_taken);
    h->n_in += n_taken;
    *ret_taken = n_taken;
    if (h->state != WANT_CONFIRM && h->in[0] != TUNNEL_VERSION)
        return end(h, TUNNEL_E_VERSION);
    return h->n_in == n_wanted ? read_message(h) : 0;
}

const uint8_t *tunnel_handshake_take(struct tunnel_handshake *h, size_t *ret_n)
{
    *ret_n = h->n_out;
    h->n_out = 0;
    return h->out;
}
