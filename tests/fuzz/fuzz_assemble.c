/* What a coordinator streams, and what a client asks: whole and in pieces the same comes out, and what is asked for is what the client said, as a stream. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/core/assemble.h"
#include "controller/core/body_peek.h"
#include "tests/fuzz/support.h"

struct told {
    int r, status;
    char *text;
    size_t n;
};

static void put_together(const char *text, size_t n, size_t n_piece, struct told *ret)
{
    struct assemble *a = NULL;

    *ret = (struct told){.r = assemble_new(&a)};
    for (size_t at = 0; !ret->r && at < n; at += n_piece)
        ret->r = assemble_feed(a, text + at, n - at < n_piece ? n - at : n_piece);
    if (!ret->r)
        ret->r = assemble_end(a, &ret->status, &ret->text, &ret->n);
    assemble_destroy(&a);
}

static void check_stream(const char *text, size_t n)
{
    struct told whole, pieces;

    put_together(text, n, n ? n : 1, &whole);
    put_together(text, n, n ? 1 + (uint8_t)text[0] % 7u : 1, &pieces);
    FUZZ_CHECK(whole.r >= 0 && whole.r == pieces.r);
    if (!whole.r && !pieces.r) {
        FUZZ_CHECK(whole.n && whole.n == pieces.n && memcmp(whole.text, pieces.text, whole.n) == 0);
        FUZZ_CHECK(whole.status == pieces.status);
        FUZZ_CHECK(whole.status == 200 || (whole.status >= 400 && whole.status <= 599));
    }
    free(whole.text);
    free(pieces.text);
}

/* What is sent is the client's JSON but for the stream that it asks for. */
static void check_request(const char *text, size_t n)
{
    CLEANUP(cleanup_free) char *sent = NULL;
    struct body_peek said, asked;
    size_t n_sent, at;

    if (body_peek(text, n, &said, &at) != 0 || assemble_request(text, n, &sent, &n_sent) != 0)
        return;
    FUZZ_CHECK(!said.stream && body_peek(sent, n_sent, &asked, &at) == 0 && asked.stream);
    FUZZ_CHECK(said.has_model == asked.has_model && strcmp(said.model, asked.model) == 0);
    FUZZ_CHECK(said.timeout_ms == asked.timeout_ms);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    check_stream((const char *)data, size);
    check_request((const char *)data, size);
}
