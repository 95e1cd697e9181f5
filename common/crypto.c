#include "common/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/le.h"
#include "common/file.h"

_Static_assert(CRYPTO_KEY_BYTES == crypto_box_PUBLICKEYBYTES && CRYPTO_KEY_BYTES == crypto_box_SECRETKEYBYTES,
               "CurveZMQ's keys are those of crypto_box, X25519");
_Static_assert(CRYPTO_KEY_BYTES == crypto_aead_chacha20poly1305_IETF_KEYBYTES &&
                   CRYPTO_TAG_BYTES == crypto_aead_chacha20poly1305_IETF_ABYTES &&
                   CRYPTO_HASH_BYTES == crypto_generichash_BYTES_MAX,
               "what a Noise handshake is made of");

#define IDENTITY_HEAD "# Caravan identity. Secret: whoever has this file is this node.\n"
enum { IDENTITY_FILE_MAX = 512 };

int crypto_init(void)
{
    return sodium_init() < 0 ? err_raise(-ENOSYS) : 0;
}

void crypto_identity_clear(struct identity *id)
{
    sodium_memzero(id, sizeof(*id));
}

struct id128 crypto_node_id(const uint8_t public_key[CRYPTO_KEY_BYTES])
{
    uint8_t hash[crypto_generichash_BYTES];
    struct id128 id;

    crypto_generichash(hash, sizeof(hash), public_key, CRYPTO_KEY_BYTES, NULL, 0);
    memcpy(id.b, hash, sizeof(id.b));
    return id;
}

char *crypto_key_format(const uint8_t key[CRYPTO_KEY_BYTES], char buf[CRYPTO_KEY_HEX])
{
    return sodium_bin2hex(buf, CRYPTO_KEY_HEX, key, CRYPTO_KEY_BYTES);
}

int crypto_key_parse(const char *hex, uint8_t ret[CRYPTO_KEY_BYTES])
{
    uint8_t key[CRYPTO_KEY_BYTES];
    size_t n;

    if (!hex || strlen(hex) != CRYPTO_KEY_HEX - 1 ||
        sodium_hex2bin(key, sizeof(key), hex, CRYPTO_KEY_HEX - 1, NULL, &n, NULL) || n != sizeof(key))
        return CRYPTO_E_BAD_HEX;
    memcpy(ret, key, sizeof(key));
    sodium_memzero(key, sizeof(key));
    return 0;
}

void crypto_random(void *buf, size_t n_bytes)
{
    randombytes_buf(buf, n_bytes);
}

struct id128 crypto_random_id(void)
{
    struct id128 id;

    crypto_random(id.b, sizeof(id.b));
    return id;
}

void crypto_derive(const uint8_t key[CRYPTO_KEY_BYTES], const void *data, size_t n_bytes, uint8_t ret[32])
{
    crypto_generichash(ret, 32, data, n_bytes, key, CRYPTO_KEY_BYTES);
}

/* ---- the identity file ---- */

/* X25519 ignores these bits of a secret. Set as it would set them, one key has one form, and each damaged bit shows. */
static void clamp(uint8_t secret[CRYPTO_KEY_BYTES])
{
    secret[0] &= 0xf8;
    secret[31] = (uint8_t)((secret[31] & 0x7f) | 0x40);
}

static void identity_format(const struct identity *id, char text[IDENTITY_FILE_MAX])
{
    char public_hex[CRYPTO_KEY_HEX], secret_hex[CRYPTO_KEY_HEX];

    snprintf(text, IDENTITY_FILE_MAX, IDENTITY_HEAD "public = %s\nsecret = %s\n",
             crypto_key_format(id->public_key, public_hex), crypto_key_format(id->secret_key, secret_hex));
    sodium_memzero(secret_hex, sizeof(secret_hex));
}

/* Exactly what identity_format writes, so that a damaged file is never half believed. */
static int identity_parse(const char *text, struct identity *ret)
{
    char secret_hex[CRYPTO_KEY_HEX], again[IDENTITY_FILE_MAX];
    struct identity id = {0};
    bool whole;

    whole = sscanf(text, IDENTITY_HEAD "public = %*64[0-9a-f] secret = %64[0-9a-f]", secret_hex) == 1 &&
            crypto_key_parse(secret_hex, id.secret_key) == 0;
    if (whole) {
        clamp(id.secret_key);
        crypto_scalarmult_base(id.public_key, id.secret_key);
        identity_format(&id, again);
        whole = strcmp(text, again) == 0;
        sodium_memzero(again, sizeof(again));
    }
    if (whole)
        *ret = id;
    sodium_memzero(secret_hex, sizeof(secret_hex));
    crypto_identity_clear(&id);
    return whole ? 0 : CRYPTO_E_BAD_KEY_FILE;
}

static int read_all(int fd, char *buf, size_t size, size_t *ret_n)
{
    size_t n = 0;
    ssize_t got;

    while ((got = read(fd, buf + n, size - n)) != 0) {
        if (got < 0 && errno != EINTR)
            return err_raise(-errno);
        n += got > 0 ? (size_t)got : 0;
    }
    *ret_n = n;
    return 0;
}

/* Ours; or, for root who only looks, of the user whose directory it is: the service's. */
static bool is_owner(int dir, uid_t uid)
{
    struct stat st;

    return uid == geteuid() || (geteuid() == 0 && fstat(dir, &st) == 0 && uid == st.st_uid);
}

/* 0, CRYPTO_E_BAD_KEY_FILE, -ENOENT (nothing is there), another negative errno. */
static int identity_read(int dir, const char *name, struct identity *ret)
{
    /* O_NONBLOCK: a FIFO of that name must not hold us up. */
    CLEANUP(cleanup_close) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char text[IDENTITY_FILE_MAX + 1];
    struct stat st;
    size_t n;
    int r;

    if (fd < 0)
        return errno == ELOOP ? CRYPTO_E_BAD_KEY_FILE : err_raise(-errno);
    if (fstat(fd, &st) < 0)
        return err_raise(-errno);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || !is_owner(dir, st.st_uid))
        return CRYPTO_E_BAD_KEY_FILE;
    r = read_all(fd, text, sizeof(text) - 1, &n);
    if (r < 0)
        return err_pass(r);
    text[n] = '\0';
    r = strlen(text) == n ? identity_parse(text, ret) : CRYPTO_E_BAD_KEY_FILE;
    sodium_memzero(text, sizeof(text));
    return r;
}

/* Makes the file NAME beside the place where it will be, whole and on the disk. */
static int identity_write(int dir, const char *name, const struct identity *id)
{
    CLEANUP(cleanup_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    char text[IDENTITY_FILE_MAX];
    int r;

    if (fd < 0)
        return err_raise(-errno);
    identity_format(id, text);
    r = fchmod(fd, 0600) < 0 ? err_raise(-errno) : file_write(fd, text, strlen(text));
    if (r == 0 && fsync(fd) < 0)
        r = err_raise(-errno);
    sodium_memzero(text, sizeof(text));
    return r < 0 ? err_pass(r) : 0;
}

/* 0; -EEXIST: somebody else was first, and theirs counts. */
static int identity_make(int dir)
{
    CLEANUP(crypto_identity_clear) struct identity id;
    char name[sizeof("identity.") + 16];
    uint8_t suffix[8];
    int r;

    crypto_random(id.secret_key, sizeof(id.secret_key));
    clamp(id.secret_key);
    crypto_scalarmult_base(id.public_key, id.secret_key);
    crypto_random(suffix, sizeof(suffix));
    memcpy(name, "identity.", sizeof("identity.") - 1);
    sodium_bin2hex(name + sizeof("identity.") - 1, 17, suffix, sizeof(suffix));
    r = identity_write(dir, name, &id);
    /* link, not rename: it never replaces a file, on any file system. */
    if (r == 0 && linkat(dir, name, dir, "identity", 0) < 0)
        r = err_raise(-errno);
    unlinkat(dir, name, 0);
    if (r == 0 && fsync(dir) < 0)
        r = err_raise(-errno);
    return r < 0 ? err_pass(r) : 0;
}

int crypto_identity_load(const char *dir, struct identity *ret)
{
    CLEANUP(cleanup_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(crypto_identity_clear) struct identity id = {0};
    int r;

    if (fd < 0)
        return err_raise(-errno);
    r = identity_read(fd, "identity", &id);
    if (r == -ENOENT) {
        r = identity_make(fd);
        if (r < 0 && r != -EEXIST)
            return err_pass(r);
        r = identity_read(fd, "identity", &id); /* proves what lies on the disk, too */
    }
    if (r)
        return r < 0 ? err_pass(r) : r;
    *ret = id;
    return 0;
}

int crypto_identity_read(const char *path, struct identity *ret)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    CLEANUP(cleanup_close) int dir = -1;
    char *parent;
    int r;

    parent = slash ? strndup(path, (size_t)(name - path)) : strdup(".");
    if (!parent)
        return err_raise(-ENOMEM);
    dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    r = dir < 0 ? err_raise(-errno) : identity_read(dir, name, ret);
    free(parent);
    return r < 0 ? err_pass(r) : r;
}

void crypto_identity_from_seed(const uint8_t seed[CRYPTO_KEY_BYTES], struct identity *ret)
{
    crypto_box_seed_keypair(ret->public_key, ret->secret_key, seed);
}

void crypto_digest(const void *data, size_t n_bytes, uint8_t ret[CRYPTO_KEY_BYTES])
{
    crypto_generichash(ret, CRYPTO_KEY_BYTES, data, n_bytes, NULL, 0);
}

bool crypto_equal(const void *a, const void *b, size_t n_bytes)
{
    return sodium_memcmp(a, b, n_bytes) == 0;
}

/* ---- what a handshake is made of ---- */

void crypto_wipe(void *buf, size_t n_bytes)
{
    sodium_memzero(buf, n_bytes);
}

void crypto_identity_from_secret(const uint8_t secret[CRYPTO_KEY_BYTES], struct identity *ret)
{
    memcpy(ret->secret_key, secret, CRYPTO_KEY_BYTES);
    clamp(ret->secret_key);
    crypto_scalarmult_base(ret->public_key, ret->secret_key);
}

int crypto_dh(const uint8_t secret[CRYPTO_KEY_BYTES], const uint8_t public_key[CRYPTO_KEY_BYTES],
              uint8_t ret[CRYPTO_KEY_BYTES])
{
    if (crypto_scalarmult(ret, secret, public_key) == 0)
        return 0;
    sodium_memzero(ret, CRYPTO_KEY_BYTES);
    return CRYPTO_E_WEAK_KEY;
}

void crypto_hash_pair(const void *a, size_t n_a, const void *b, size_t n_b, uint8_t ret[CRYPTO_HASH_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, CRYPTO_HASH_BYTES);
    crypto_generichash_update(&state, a, n_a);
    crypto_generichash_update(&state, b, n_b);
    crypto_generichash_final(&state, ret, CRYPTO_HASH_BYTES);
    sodium_memzero(&state, sizeof(state));
}

static void nonce_of(uint64_t counter, uint8_t ret[crypto_aead_chacha20poly1305_IETF_NPUBBYTES])
{
    memset(ret, 0, crypto_aead_chacha20poly1305_IETF_NPUBBYTES);
    le_put(ret + 4, sizeof(counter), counter);
}

void crypto_seal(const uint8_t key[CRYPTO_KEY_BYTES], uint64_t counter, const void *ad, size_t n_ad, const void *plain,
                 size_t n_bytes, uint8_t *ret)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];

    nonce_of(counter, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(ret, NULL, plain, n_bytes, ad, n_ad, NULL, nonce, key);
}

int crypto_open(const uint8_t key[CRYPTO_KEY_BYTES], uint64_t counter, const void *ad, size_t n_ad, const void *sealed,
                size_t n_bytes, uint8_t *ret)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];

    nonce_of(counter, nonce);
    return crypto_aead_chacha20poly1305_ietf_decrypt(ret, NULL, NULL, sealed, n_bytes, ad, n_ad, nonce, key) == 0
               ? 0
               : CRYPTO_E_BAD_TAG;
}

/* ---- in libzmq's place ---- */

/* libzmq takes this function of libsodium from us, since a program's own come first. Where a server, by its welcome, names a
 * short-term key that yields no secret, libsodium says so and libzmq 4.3 ends the process: any node that we dial could do
 * that to the controller. With a secret that nobody has, the handshake fails instead. */
__attribute__((visibility("default"))) int crypto_box_beforenm(unsigned char *secret, const unsigned char *public_key,
                                                               const unsigned char *secret_key)
{
    if (crypto_box_curve25519xsalsa20poly1305_beforenm(secret, public_key, secret_key) != 0)
        crypto_random(secret, crypto_box_BEFORENMBYTES);
    return 0;
}
