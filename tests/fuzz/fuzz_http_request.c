/* A request from anybody: its head, then its body, whole and byte by byte. What was understood can be read in one way
 * only: one length or chunks, one host, a path, no control bytes. */
#include <string.h>
#include <strings.h>

#include "controller/http_strict.h"
#include "tests/fuzz/support.h"

static size_t count(const struct http_head *h, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n_fields; i++)
        n += strcasecmp(h->field[i].name, name) == 0;
    return n;
}

static void check_head(const struct http_head *h)
{
    char buf[256];

    FUZZ_CHECK(http_is_token(h->method) && (*h->path == '/' || strcmp(h->path, "*") == 0));
    FUZZ_CHECK(!strpbrk(h->path, " \r\n") && !strpbrk(h->query, " \r\n"));
    FUZZ_CHECK(count(h, "Host") <= 1 && (h->http_1_0 || *h->host));
    FUZZ_CHECK(count(h, "Content-Length") + count(h, "Transfer-Encoding") <= 1);
    FUZZ_CHECK(!(h->chunked && h->length));
    for (size_t i = 0; i < h->n_fields; i++)
        FUZZ_CHECK(http_is_token(h->field[i].name) && http_is_field_value(h->field[i].value));
    if (http_percent_decode(h->path, strlen(h->path), false, buf, sizeof(buf)))
        FUZZ_CHECK(strlen(buf) <= strlen(h->path));
    http_percent_decode(h->query, strlen(h->query), true, buf, 4);
}

/* All of a chunked body in pieces of at most n_piece bytes; a hash of its data, and how it ended. */
static int read_chunks(const char *buf, size_t n, size_t n_piece, uint32_t *ret_hash)
{
    struct http_chunks c = {.state = 0};
    int r = HTTP_E_MORE;

    *ret_hash = 1;
    while (n && (r == 0 || r == HTTP_E_MORE)) {
        size_t used = 0, n_data = 0, piece = n < n_piece ? n : n_piece;
        const char *data = NULL;

        r = http_chunks_read(&c, buf, piece, &used, &data, &n_data);
        FUZZ_CHECK(used <= piece && n_data <= used && (used || r));
        for (size_t i = 0; i < n_data; i++)
            *ret_hash = *ret_hash * 31 + (uint8_t)data[i];
        buf += used;
        n -= used;
    }
    FUZZ_CHECK(http_outcome_status(r) >= 400 && http_outcome_text(r)[0]);
    return r == 0 ? HTTP_E_MORE : r;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t scanned = 0, again = 0, len = 0, len_again = 0;
    struct http_head *h = NULL;
    uint32_t whole, pieces;
    int r = http_head_find(text, size, &scanned, &len), slow = HTTP_E_MORE;

    for (size_t n = 1; n <= size && slow == HTTP_E_MORE; n++)
        slow = http_head_find(text, n, &again, &len_again);
    FUZZ_CHECK(r == slow && len == len_again && len <= size);
    if (r) {
        FUZZ_CHECK(http_outcome_status(r) >= 400 && http_outcome_text(r)[0]);
        return;
    }
    r = http_head_parse(text, len, &h);
    FUZZ_CHECK(r >= 0 && (r == 0) == (h != NULL));
    if (h) {
        check_head(h);
        if (h->chunked) {
            r = read_chunks(text + len, size - len, SIZE_MAX, &whole);
            FUZZ_CHECK(read_chunks(text + len, size - len, 1, &pieces) == r && whole == pieces);
        }
    }
    free(h);
}
