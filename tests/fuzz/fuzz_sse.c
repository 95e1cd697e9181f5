/* Server-sent events as the command line reads them, whole and in pieces: the same events come out. */
#include <string.h>

#include "common/core/sse.h"
#include "tests/fuzz/support.h"

struct told {
    size_t n;
    uint32_t hash;
};

static void add(struct told *t, const char *text)
{
    for (; *text; text++)
        t->hash = t->hash * 31 + (uint8_t)*text;
    t->hash = t->hash * 31 + 7;
}

static void on_event(void *ctx, const struct sse_event *e)
{
    struct told *t = ctx;

    t->n++;
    add(t, e->event);
    add(t, e->id);
    add(t, e->data);
}

static int read_all(const char *text, size_t n, size_t n_piece, struct told *ret)
{
    struct sse *s = NULL;
    int r = sse_new(&s);

    *ret = (struct told){.n = 0};
    for (size_t at = 0; !r && at < n; at += n_piece)
        r = sse_feed(s, text + at, n - at < n_piece ? n - at : n_piece, on_event, ret);
    sse_destroy(&s);
    return r;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct told whole, pieces;
    int r = read_all((const char *)data, size, size ? size : 1, &whole);

    FUZZ_CHECK(r == 0 && read_all((const char *)data, size, size ? 1 + data[0] % 7u : 1, &pieces) == r);
    FUZZ_CHECK(whole.n == pieces.n && whole.hash == pieces.hash);
}
