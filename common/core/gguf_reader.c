#include "common/core/gguf_reader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/fnv.h"
#include "common/core/le.h"
#include "common/core/units.h"

int gguf_say(char *why, size_t why_size, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, why_size, format, args);
    va_end(args);
    for (char *c = why; why_size && *c; c++) {
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    return code;
}

void gguf_reader_init(struct gguf_reader *r, const struct gguf_source *source, char *why, size_t why_size)
{
    r->source = source;
    r->at = r->window_at = r->hashed_to = 0;
    r->window_n = 0;
    r->hash = FNV1A_BASIS;
    r->why = why;
    r->why_size = why_size;
}

uint64_t gguf_reader_hash(struct gguf_reader *r)
{
    r->hash = fnv1a(r->hash, r->window + (r->hashed_to - r->window_at), (size_t)(r->at - r->hashed_to));
    r->hashed_to = r->at;
    return r->hash;
}

/* Loads the window that begins at the next byte; all of the old one has been taken. */
static int refill(struct gguf_reader *r)
{
    uint64_t left = r->source->size_bytes - r->at;
    int result;

    gguf_reader_hash(r);
    r->window_at = r->at;
    r->window_n = 0;
    result = r->source->read(r->source->ctx, r->at, r->window, left < GGUF_WINDOW ? (size_t)left : GGUF_WINDOW);
    if (result < 0)
        return err_pass(result);
    r->window_n = left < GGUF_WINDOW ? (size_t)left : GGUF_WINDOW;
    return 0;
}

/* May n more bytes be taken? */
static int claim(struct gguf_reader *r, uint64_t n)
{
    if (n > r->source->size_bytes - r->at)
        return gguf_say(r->why, r->why_size, GGUF_E_TRUNCATED,
                        "the file ends inside its header (at %s): copy or download it again",
                        UNITS_FILE(r->source->size_bytes));
    if (n > GGUF_HEADER_MAX - r->at)
        return gguf_say(r->why, r->why_size, GGUF_E_TOO_LARGE,
                        "the header is longer than %d MiB: this is not a model that llama.cpp can use",
                        GGUF_HEADER_MAX / 1024 / 1024);
    return 0;
}

/* Passes over n bytes, a window at a time; copies them where buf is not NULL. */
static int take(struct gguf_reader *r, unsigned char *buf, uint64_t n)
{
    int result = claim(r, n);

    while (!result && n) {
        size_t have = r->window_n - (size_t)(r->at - r->window_at);
        size_t step = n < have ? (size_t)n : have;

        if (!have) {
            result = refill(r);
            continue;
        }
        if (buf) {
            memcpy(buf, r->window + (r->at - r->window_at), step);
            buf += step;
        }
        r->at += step;
        n -= step;
    }
    return result;
}

int gguf_reader_bytes(struct gguf_reader *r, void *buf, size_t n)
{
    return take(r, buf, n);
}

int gguf_reader_skip(struct gguf_reader *r, uint64_t n)
{
    return take(r, NULL, n);
}

int gguf_reader_u32(struct gguf_reader *r, uint32_t *ret)
{
    unsigned char b[4];
    int result = take(r, b, sizeof(b));

    if (!result)
        *ret = (uint32_t)le_get(b, sizeof(b));
    return result;
}

int gguf_reader_u64(struct gguf_reader *r, uint64_t *ret)
{
    unsigned char b[8];
    int result = take(r, b, sizeof(b));

    if (!result)
        *ret = le_get(b, sizeof(b));
    return result;
}

int gguf_reader_text(struct gguf_reader *r, char *buf, size_t size, const char *what)
{
    uint64_t n;
    int result = gguf_reader_u64(r, &n);

    if (result)
        return result;
    if (n >= size)
        return gguf_say(r->why, r->why_size, GGUF_E_MALFORMED,
                        "%s is %" PRIu64 " bytes long (at most %zu): the file is damaged", what, n, size - 1);
    result = take(r, (unsigned char *)buf, n);
    if (result)
        return result;
    buf[n] = '\0';
    if (strlen(buf) != n)
        return gguf_say(r->why, r->why_size, GGUF_E_MALFORMED, "%s has a zero byte inside: the file is damaged", what);
    return 0;
}

int gguf_reader_skip_text(struct gguf_reader *r)
{
    uint64_t n;
    int result = gguf_reader_u64(r, &n);

    return result ? result : gguf_reader_skip(r, n);
}
