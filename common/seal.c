#include "common/seal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { NONCE_BYTES = 12 };
#define FIRST_LABEL "caravan seal 1, cipher "
#define REKEY_LABEL "caravan seal 1, next key"

struct seal {
    EVP_CIPHER_CTX *ctx;
    const EVP_CIPHER *cipher; /* OpenSSL's own */
    uint8_t key[CRYPTO_KEY_BYTES];
    size_t data_max;
    uint64_t number;                     /* of the next record; goes on when the key changes */
    uint64_t keyed_records, keyed_bytes; /* under this key */
    bool over;                           /* SEAL_END was sealed or opened, or something failed */
    struct seal_limits limits;
};

/* ---- which cipher ------------------------------------------------------------------------------------------------- */

static bool has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    const unsigned long aes = 1ul << 3, pmull = 1ul << 4; /* HWCAP_AES, HWCAP_PMULL */

    return (getauxval(AT_HWCAP) & (aes | pmull)) == (aes | pmull);
#else
    return false;
#endif
}

uint8_t seal_offer(void)
{
    return has_aes() ? SEAL_AES_256_GCM | SEAL_CHACHA20_POLY1305 : SEAL_CHACHA20_POLY1305;
}

uint8_t seal_choose(uint8_t offered)
{
    uint8_t both = offered & seal_offer();

    return both & SEAL_AES_256_GCM ? SEAL_AES_256_GCM : both & SEAL_CHACHA20_POLY1305;
}

/* ---- keys --------------------------------------------------------------------------------------------------------- */

/* What OpenSSL could not do is nothing that anybody could mend: memory, or a build of it without the cipher. */
static int fail(struct seal *s)
{
    ERR_clear_error();
    s->over = true;
    return err_raise(-EIO);
}

/* The next key of a chain: whoever learns it learns none before it. */
static int derive_key(struct seal *s, const void *label, size_t n_label)
{
    uint8_t next[CRYPTO_KEY_BYTES];

    crypto_derive(s->key, label, n_label, next);
    memcpy(s->key, next, sizeof(next));
    OPENSSL_cleanse(next, sizeof(next));
    s->keyed_records = 0;
    s->keyed_bytes = 0;
    /* (the direction is told again with each record: a key of these two serves both) */
    return EVP_CipherInit_ex(s->ctx, s->cipher, NULL, s->key, NULL, 1) == 1 ? 0 : fail(s);
}

int seal_new(enum seal_cipher cipher, const uint8_t key[CRYPTO_KEY_BYTES], size_t data_max, struct seal **ret)
{
    CLEANUP(seal_destroy) struct seal *s = calloc(1, sizeof(*s));
    uint8_t label[] = FIRST_LABEL; /* the cipher's number takes the place of its NUL */
    int r;

    assert(data_max && data_max <= SEAL_DATA_MAX);
    if (!s)
        return err_raise(-ENOMEM);
    s->ctx = EVP_CIPHER_CTX_new();
    if (!s->ctx)
        return err_raise(-ENOMEM);
    s->cipher = cipher == SEAL_AES_256_GCM ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
    s->data_max = data_max;
    s->limits = (struct seal_limits){SEAL_REKEY_RECORDS, SEAL_REKEY_BYTES, UINT64_MAX - 1};
    memcpy(s->key, key, CRYPTO_KEY_BYTES);
    label[sizeof(label) - 1] = (uint8_t)cipher;
    r = derive_key(s, label, sizeof(label));
    if (r < 0)
        return err_pass(r);
    *ret = s;
    s = NULL;
    return 0;
}

void seal_destroy(struct seal **s)
{
    if (!*s)
        return;
    EVP_CIPHER_CTX_free((*s)->ctx); /* wipes what it holds */
    OPENSSL_cleanse((*s)->key, sizeof((*s)->key));
    free(*s);
    *s = NULL;
}

void seal_set_limits(struct seal *s, struct seal_limits limits)
{
    s->limits = limits;
}

/* One record of n_data bytes is done. Both ends count alike, and so change keys at the same record. */
static int count(struct seal *s, size_t n_data)
{
    int r;

    s->number++;
    s->keyed_records++;
    s->keyed_bytes += n_data;
    if (s->keyed_records < s->limits.rekey_records && s->keyed_bytes < s->limits.rekey_bytes)
        return 0;
    r = derive_key(s, REKEY_LABEL, sizeof(REKEY_LABEL) - 1);
    return r < 0 ? err_pass(r) : 0;
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

static void write_head(uint8_t *head, enum seal_kind kind, size_t n_data)
{
    head[0] = (uint8_t)kind;
    head[1] = (uint8_t)(n_data >> 16);
    head[2] = (uint8_t)(n_data >> 8);
    head[3] = (uint8_t)n_data;
}

/* Is it one that the other end could have written? */
static bool read_head(const struct seal *s, const uint8_t *head, struct seal_opened *ret)
{
    ret->n_data = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    ret->n_record = ret->n_data + SEAL_OVERHEAD_BYTES;
    if (head[0] == SEAL_END) {
        ret->kind = SEAL_END;
        return ret->n_data == 0;
    }
    ret->kind = SEAL_DATA;
    return head[0] == SEAL_DATA && ret->n_data <= s->data_max;
}

/* Begins the record of this number: its nonce, and its head as what is authenticated only. */
static bool begin(struct seal *s, const uint8_t *head, bool sealing)
{
    uint8_t nonce[NONCE_BYTES] = {0};
    int n;

    for (size_t i = 0; i < 8; i++)
        nonce[NONCE_BYTES - 1 - i] = (uint8_t)(s->number >> (8 * i));
    return EVP_CipherInit_ex(s->ctx, NULL, NULL, NULL, nonce, sealing) == 1 &&
           EVP_CipherUpdate(s->ctx, NULL, &n, head, SEAL_HEAD_BYTES) == 1;
}

int seal_record(struct seal *s, enum seal_kind kind, uint8_t *record, size_t n_data)
{
    uint8_t *data = record + SEAL_HEAD_BYTES, *tag = data + n_data;
    int n, r;

    assert(n_data <= s->data_max && (kind == SEAL_DATA || !n_data));
    if (s->over || s->number > s->limits.last_number)
        return SEAL_E_SPENT;
    write_head(record, kind, n_data);
    if (!begin(s, record, true) || EVP_CipherUpdate(s->ctx, data, &n, data, (int)n_data) != 1 ||
        EVP_CipherFinal_ex(s->ctx, tag, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, tag) != 1)
        return fail(s);
    s->over = kind == SEAL_END;
    r = count(s, n_data);
    return r < 0 ? err_pass(r) : 0;
}

static int refuse(struct seal *s)
{
    ERR_clear_error();
    s->over = true;
    return SEAL_E_BAD;
}

int seal_open(struct seal *s, uint8_t *bytes, size_t n_bytes, struct seal_opened *ret)
{
    struct seal_opened o = {.n_record = SEAL_HEAD_BYTES};
    int n, r;

    if (s->over)
        return SEAL_E_BAD;
    if (s->number > s->limits.last_number)
        return SEAL_E_SPENT;
    if (n_bytes >= SEAL_HEAD_BYTES && !read_head(s, bytes, &o))
        return refuse(s);
    ret->n_record = o.n_record;
    if (n_bytes < SEAL_HEAD_BYTES || n_bytes < o.n_record)
        return SEAL_E_MORE;
    o.data = bytes + SEAL_HEAD_BYTES;
    if (!begin(s, bytes, false) ||
        EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, o.data + o.n_data) != 1 ||
        EVP_CipherUpdate(s->ctx, o.data, &n, o.data, (int)o.n_data) != 1)
        return fail(s);
    if (EVP_CipherFinal_ex(s->ctx, o.data + o.n_data, &n) != 1) {
        OPENSSL_cleanse(bytes, o.n_record); /* nobody may use what was opened before the tag was seen */
        return refuse(s);
    }
    s->over = o.kind == SEAL_END;
    r = count(s, o.n_data);
    if (r < 0)
        return err_pass(r);
    *ret = o;
    return 0;
}
