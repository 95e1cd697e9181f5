/* A sealed stream that somebody on the way has changed: what opens is what was sealed, in its order, from the start.
 * First byte: bit 0 the cipher, bit 1 keys change often, the rest how long the pieces are. Then steps of two bytes (what,
 * how much): 0 a record, 1 its end, 2 raw bytes from the input, 3 a bit flipped, 4 bytes taken away, 5 the last ones again. */
#include <string.h>

#include "common/seal.h"
#include "tests/fuzz/support.h"

enum { DATA_MAX = 64, STREAM_MAX = 4096 };

struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t n;
    uint8_t plain[STREAM_MAX];
    size_t n_plain;
    bool ended, changed;
};

void fuzz_setup(void)
{
    if (crypto_init() < 0)
        abort();
}

static void add_record(struct stream *st, struct seal *s, size_t n)
{
    uint8_t *record = st->bytes + st->n;

    if (st->ended || st->n + n + SEAL_OVERHEAD_BYTES > STREAM_MAX || st->n_plain + n > sizeof(st->plain))
        return;
    for (size_t i = 0; i < n; i++)
        record[SEAL_HEAD_BYTES + i] = st->plain[st->n_plain + i] = (uint8_t)(st->n + i);
    if (seal_record(s, n ? SEAL_DATA : SEAL_END, record, n))
        return;
    st->n += n + SEAL_OVERHEAD_BYTES;
    st->n_plain += n;
    st->ended = !n;
}

static void add_bytes(struct stream *st, const void *bytes, size_t n)
{
    if (st->n + n > STREAM_MAX)
        return;
    memmove(st->bytes + st->n, bytes, n);
    st->n += n;
    st->changed = true;
}

/* One step; returns how many bytes of the input it took besides its two. */
static size_t step(struct stream *st, struct seal *s, const uint8_t *data, size_t size)
{
    size_t n = data[1], taken = 0;

    switch (data[0] % 6) {
    case 0:
        add_record(st, s, 1 + n % DATA_MAX);
        break;
    case 1:
        add_record(st, s, 0);
        break;
    case 2:
        taken = n < size - 2 ? n : size - 2;
        add_bytes(st, data + 2, taken);
        break;
    case 3:
        if (st->n)
            st->bytes[(st->n - 1) - n % st->n] ^= (uint8_t)(1 << data[0] / 6 % 8);
        st->changed = true;
        break;
    case 4:
        st->n -= n < st->n ? n : st->n;
        st->changed = true;
        break;
    case 5:
        n = n < st->n ? n : st->n;
        add_bytes(st, st->bytes + st->n - n, n);
        break;
    }
    return taken;
}

/* Gives the stream in pieces, and checks what opens. */
static void open_all(struct stream *st, struct seal *s, size_t n_piece)
{
    size_t at = 0, given = 0, n_plain = 0;
    bool ended = false;
    int r = SEAL_E_MORE;

    while (r == SEAL_E_MORE && given < st->n) {
        struct seal_opened o;

        given += n_piece < st->n - given ? n_piece : st->n - given;
        while ((r = seal_open(s, st->bytes + at, given - at, &o)) == 0) {
            FUZZ_CHECK(!ended && o.n_record <= given - at && o.n_data + SEAL_OVERHEAD_BYTES == o.n_record);
            FUZZ_CHECK(n_plain + o.n_data <= st->n_plain);
            FUZZ_CHECK(memcmp(o.data, st->plain + n_plain, o.n_data) == 0);
            n_plain += o.n_data;
            at += o.n_record;
            ended = o.kind == SEAL_END;
        }
        FUZZ_CHECK(r == SEAL_E_BAD || (r == SEAL_E_MORE && o.n_record <= DATA_MAX + SEAL_OVERHEAD_BYTES));
    }
    FUZZ_CHECK(!ended || (st->ended && n_plain == st->n_plain));
    FUZZ_CHECK(st->changed || (n_plain == st->n_plain && ended == st->ended));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static const uint8_t key[CRYPTO_KEY_BYTES] = {1};
    enum seal_cipher cipher = size && data[0] & 1 ? SEAL_AES_256_GCM : SEAL_CHACHA20_POLY1305;
    struct seal_limits limits = {3, 100, 1000};
    struct seal *out = NULL, *in = NULL;
    struct stream st = {.n = 0};

    if (!size || seal_new(cipher, key, DATA_MAX, &out) || seal_new(cipher, key, DATA_MAX, &in))
        goto out;
    if (data[0] & 2) {
        seal_set_limits(out, limits);
        seal_set_limits(in, limits);
    }
    for (size_t at = 1; at + 2 <= size;)
        at += 2 + step(&st, out, data + at, size - at);
    open_all(&st, in, 1 + data[0] / 4);
out:
    seal_destroy(&out);
    seal_destroy(&in);
}
