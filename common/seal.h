/* Records of the rank tunnel: sealed and opened in place, by OpenSSL's AES-256-GCM or ChaCha20-Poly1305.
 *
 * A record is a head of 4 bytes (kind, then length, 24 bits, high byte first), as many bytes as the length says, sealed, and
 * a tag of 16. The head is authenticated with them. The nonce is the number of the record, which is never sent, so that
 * one that is left out, repeated or moved does not open. A stream ends with a record of kind SEAL_END: whoever cuts the
 * connection cannot make one. Each direction has a key of its own. After SEAL_REKEY_RECORDS or SEAL_REKEY_BYTES both ends
 * go on with a key that follows from the last one and does not lead back to it. */
#ifndef CARAVAN_COMMON_SEAL_H
#define CARAVAN_COMMON_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/crypto.h"

struct seal;

enum { SEAL_HEAD_BYTES = 4, SEAL_TAG_BYTES = 16, SEAL_OVERHEAD_BYTES = SEAL_HEAD_BYTES + SEAL_TAG_BYTES };
enum { SEAL_DATA_MAX = 256 * 1024 }; /* bytes in one record */
enum seal_kind { SEAL_DATA, SEAL_END /* empty, and nothing comes behind it */ };

/* As in the handshake; a set of them is their sum. */
enum seal_cipher { SEAL_AES_256_GCM = 1, SEAL_CHACHA20_POLY1305 = 2 };

enum {
    SEAL_E_MORE = 1, /* the record is not whole yet */
    SEAL_E_BAD,      /* not what the other end has sealed: the stream is over */
    SEAL_E_SPENT     /* no number is left for another record: the stream is over */
};

/* The ciphers that this machine would use: each CPU can do both, but AES without instructions for it is slow, and not
 * constant in time. */
uint8_t seal_offer(void);
/* For the one who answers: the fastest of those offered that is fast here too. 0: none is known. */
uint8_t seal_choose(uint8_t offered);

/* One direction at one end. key: of that direction, from the handshake; what seals is derived from it and from the cipher,
 * so that whatever else the handshake has done with it does no harm. data_max: 1..SEAL_DATA_MAX, the same at both ends.
 * ret: owned. 0; negative errno. */
int seal_new(enum seal_cipher cipher, const uint8_t key[CRYPTO_KEY_BYTES], size_t data_max, struct seal **ret);
/* Wipes its keys. NULL is fine. */
void seal_destroy(struct seal **s);

/* record: n_data bytes with SEAL_HEAD_BYTES before and SEAL_TAG_BYTES behind them, all three ours to write; the whole is
 * ready to be sent. n_data: up to data_max, 0 with SEAL_END. 0, SEAL_E_SPENT; negative errno. */
int seal_record(struct seal *s, enum seal_kind kind, uint8_t *record, size_t n_data);

struct seal_opened {
    enum seal_kind kind;
    uint8_t *data; /* within the bytes given */
    size_t n_data;
    size_t n_record; /* bytes that the whole record takes; SEAL_HEAD_BYTES as long as its head is not whole */
};

/* bytes: what has come and is not opened yet; its first record is opened in place. A partial one stays as it is, to be
 * given again with what follows. 0; SEAL_E_MORE: only ret->n_record is set; SEAL_E_BAD: the record is wiped, or, for a
 * length or kind that cannot be, not waited for; SEAL_E_SPENT; negative errno. */
int seal_open(struct seal *s, uint8_t *bytes, size_t n_bytes, struct seal_opened *ret);

/* When keys change, and which number the last record has. For tests: both ends, before the first record. */
#define SEAL_REKEY_RECORDS (UINT64_C(1) << 24)
#define SEAL_REKEY_BYTES   (UINT64_C(64) << 30)
struct seal_limits {
    uint64_t rekey_records, rekey_bytes, last_number;
};
void seal_set_limits(struct seal *s, struct seal_limits limits);

#endif
