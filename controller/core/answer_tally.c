#include "controller/core/answer_tally.h"

#include <string.h>

enum { NUMBER_MAX = 15 /* digits */ };

static void count_events(struct answer_tally *t, const char *p, size_t n)
{
    const char *end = p + n;

    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));

        t->n_events += !t->mid_line && *p == 'd';
        t->mid_line = !line_end;
        p = line_end ? line_end + 1 : end;
    }
}

static void keep_tail(struct answer_tally *t, const char *p, size_t n)
{
    if (n > ANSWER_TAIL_BYTES) {
        t->n_bytes += n - ANSWER_TAIL_BYTES;
        p += n - ANSWER_TAIL_BYTES;
        n = ANSWER_TAIL_BYTES;
    }
    while (n) {
        size_t at = (size_t)(t->n_bytes % ANSWER_TAIL_BYTES);
        size_t n_piece = n < ANSWER_TAIL_BYTES - at ? n : ANSWER_TAIL_BYTES - at;

        memcpy(t->tail + at, p, n_piece);
        t->n_bytes += n_piece;
        p += n_piece;
        n -= n_piece;
    }
}

void answer_tally_feed(struct answer_tally *t, const void *buf, size_t n_bytes)
{
    count_events(t, buf, n_bytes);
    keep_tail(t, buf, n_bytes);
}

/* The ring, straightened. Returns its length. */
static size_t straighten(const struct answer_tally *t, char text[ANSWER_TAIL_BYTES])
{
    size_t at = (size_t)(t->n_bytes % ANSWER_TAIL_BYTES);

    if (t->n_bytes <= ANSWER_TAIL_BYTES) {
        memcpy(text, t->tail, (size_t)t->n_bytes);
        return (size_t)t->n_bytes;
    }
    memcpy(text, t->tail + at, ANSWER_TAIL_BYTES - at);
    memcpy(text + ANSWER_TAIL_BYTES - at, t->tail, at);
    return ANSWER_TAIL_BYTES;
}

/* The number that stands at p; -1: none. */
static int64_t read_number(const char *p, const char *end)
{
    int64_t number = 0;
    int n_digits = 0;

    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    for (; p < end && *p >= '0' && *p <= '9' && n_digits <= NUMBER_MAX; p++, n_digits++)
        number = number * 10 + (*p - '0');
    return n_digits && n_digits <= NUMBER_MAX ? number : -1;
}

/* The last one behind that key; -1: none. */
static int64_t find_number(const char *text, size_t n, const char *key)
{
    const char *p = text, *end = text + n;
    size_t n_key = strlen(key);
    int64_t found = -1;

    while ((p = memmem(p, (size_t)(end - p), key, n_key))) {
        int64_t number = read_number(p + n_key, end);

        found = number >= 0 ? number : found;
        p += n_key;
    }
    return found;
}

int64_t answer_tally_tokens(const struct answer_tally *t, bool is_stream)
{
    static const char *const keys[] = {"\"completion_tokens\":", "\"output_tokens\":", "\"predicted_n\":"};
    char text[ANSWER_TAIL_BYTES];
    size_t n = straighten(t, text);

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t number = find_number(text, n, keys[i]);

        if (number >= 0)
            return number;
    }
    return is_stream && t->n_events ? (int64_t)t->n_events : -1;
}
