#include "controller/core/body_peek.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/parse.h"
#include "common/core/text.h"

/* What a string says, as far as it fits. */
struct sink {
    char *buf; /* NULL: nobody wants to know */
    size_t size, n;
    bool cut, has_nul;
};

enum said { SAID_NOTHING, SAID_TEXT, SAID_NULL, SAID_ELSE };

/* The value that comes is that of which of the outermost object's keys? */
enum at { AT_ELSEWHERE, AT_MODEL, AT_STREAM, AT_TIMEOUT };

enum { NUMBER_MAX = 64, TIMEOUT_MAX_S = 1000000000 };

struct peek {
    const char *p, *end;
    size_t depth;
    uint8_t is_object[BODY_PEEK_DEPTH_MAX]; /* the containers that are open, the outermost first */
    enum at at;
    enum said said; /* of "model" */
    struct body_peek *ret;
};

/* What may come. */
enum step { STEP_VALUE, STEP_FIRST_VALUE, STEP_KEY, STEP_FIRST_KEY, STEP_AFTER, STEP_WRONG };

static void skip_space(struct peek *k)
{
    while (k->p < k->end && (*k->p == ' ' || *k->p == '\t' || *k->p == '\n' || *k->p == '\r'))
        k->p++;
}

static bool take_char(struct peek *k, char c)
{
    if (k->p == k->end || *k->p != c)
        return false;
    k->p++;
    return true;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static void put(struct sink *s, const char *bytes, size_t n)
{
    s->has_nul = s->has_nul || (n == 1 && !*bytes);
    if (!s->buf || s->cut)
        return;
    s->cut = s->n + n >= s->size;
    if (s->cut)
        return;
    memcpy(s->buf + s->n, bytes, n);
    s->n += n;
}

static bool take_hex4(struct peek *k, uint32_t *ret)
{
    uint32_t value = 0;

    if (k->end - k->p < 4)
        return false;
    for (int i = 0; i < 4; i++, k->p++) {
        int digit = parse_hex_digit(*k->p);

        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *ret = value;
    return true;
}

static size_t encode(uint32_t c, char buf[4])
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    buf[0] = (char)(n == 1 ? c : (0xf0u << (4 - n) & 0xff) | c >> (6 * (n - 1)));
    for (size_t i = 1; i < n; i++)
        buf[i] = (char)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
    return n;
}

/* Behind "\u": four digits, or eight of a pair of surrogates. */
static bool take_code_point(struct peek *k, struct sink *s)
{
    uint32_t c, low;
    char bytes[4];

    if (!take_hex4(k, &c) || (c >= 0xdc00 && c <= 0xdfff))
        return false;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (!take_char(k, '\\') || !take_char(k, 'u') || !take_hex4(k, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
    }
    put(s, bytes, encode(c, bytes));
    return true;
}

static bool take_escape(struct peek *k, struct sink *s)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *at;

    if (take_char(k, 'u'))
        return take_code_point(k, s);
    at = k->p < k->end && *k->p ? strchr(letters, *k->p) : NULL;
    if (!at)
        return false;
    k->p++;
    put(s, meant + (at - letters), 1);
    return true;
}

static bool take_string(struct peek *k, struct sink *s)
{
    if (!take_char(k, '"'))
        return false;
    while (k->p < k->end && *k->p != '"') {
        size_t n = text_sequence(k->p, (size_t)(k->end - k->p));

        if (take_char(k, '\\')) {
            if (!take_escape(k, s))
                return false;
        } else if (!n || (unsigned char)*k->p < 0x20) {
            return false;
        } else {
            put(s, k->p, n);
            k->p += n;
        }
    }
    if (s->buf)
        s->buf[s->n] = '\0';
    return take_char(k, '"');
}

/* ---- other values ------------------------------------------------------------------------------------------------ */

static bool take_word(struct peek *k, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(k->end - k->p) < n || memcmp(k->p, word, n) != 0)
        return false;
    k->p += n;
    return true;
}

static bool take_digits(struct peek *k)
{
    const char *from = k->p;

    while (k->p < k->end && *k->p >= '0' && *k->p <= '9')
        k->p++;
    return k->p > from;
}

static bool take_number(struct peek *k)
{
    take_char(k, '-');
    if (!take_char(k, '0') && !take_digits(k))
        return false;
    if (take_char(k, '.') && !take_digits(k))
        return false;
    if (!take_char(k, 'e') && !take_char(k, 'E'))
        return true;
    if (!take_char(k, '+'))
        take_char(k, '-');
    return take_digits(k);
}

/* Whose value this is ends here: the last of repeated keys counts. */
static enum at forget_place(struct peek *k)
{
    enum at at = k->at;

    k->at = AT_ELSEWHERE;
    if (at == AT_STREAM)
        k->ret->stream = false;
    if (at == AT_TIMEOUT)
        k->ret->timeout_ms = 0;
    return at;
}

static void say(struct peek *k, enum said said)
{
    if (forget_place(k) == AT_MODEL)
        k->said = said;
}

static enum step take_text(struct peek *k)
{
    bool at_model = k->at == AT_MODEL;
    struct sink s = {.buf = at_model ? k->ret->model : NULL, .size = sizeof(k->ret->model)};

    if (!take_string(k, &s))
        return STEP_WRONG;
    if (at_model)
        k->ret->cut = s.cut;
    say(k, s.has_nul ? SAID_ELSE : SAID_TEXT);
    return STEP_AFTER;
}

static bool take_truth(struct peek *k)
{
    bool at_stream = k->at == AT_STREAM, is_true = k->p < k->end && *k->p == 't';

    say(k, SAID_ELSE);
    k->ret->stream = at_stream ? is_true : k->ret->stream;
    return take_word(k, is_true ? "true" : "false");
}

/* from..k->p is a number. One that is longer than any sense is none. */
static uint64_t read_seconds(const struct peek *k, const char *from)
{
    char text[NUMBER_MAX];
    size_t n = (size_t)(k->p - from);
    double seconds;

    if (n >= sizeof(text))
        return 0;
    memcpy(text, from, n);
    text[n] = '\0';
    seconds = strtod(text, NULL);
    return seconds > 0 ? (uint64_t)((seconds < TIMEOUT_MAX_S ? seconds : TIMEOUT_MAX_S) * 1000) : 0;
}

static bool take_any_number(struct peek *k)
{
    const char *from = k->p;
    bool at_timeout = k->at == AT_TIMEOUT;

    say(k, SAID_ELSE);
    if (!take_number(k))
        return false;
    if (at_timeout)
        k->ret->timeout_ms = read_seconds(k, from);
    return true;
}

static enum step open_container(struct peek *k, bool is_object)
{
    if (k->depth == BODY_PEEK_DEPTH_MAX)
        return STEP_WRONG;
    say(k, SAID_ELSE);
    k->is_object[k->depth++] = is_object;
    k->p++;
    return is_object ? STEP_FIRST_KEY : STEP_FIRST_VALUE;
}

static enum step take_value(struct peek *k)
{
    if (k->p == k->end)
        return STEP_WRONG;
    switch (*k->p) {
    case '{':
    case '[':
        return open_container(k, *k->p == '{');
    case '"':
        return take_text(k);
    case 'n':
        say(k, SAID_NULL);
        return take_word(k, "null") ? STEP_AFTER : STEP_WRONG;
    case 't':
    case 'f':
        return take_truth(k) ? STEP_AFTER : STEP_WRONG;
    default:
        return take_any_number(k) ? STEP_AFTER : STEP_WRONG;
    }
}

static enum at find_place(const char *key, size_t n)
{
    static const struct {
        const char *key;
        enum at at;
    } places[] = {{"model", AT_MODEL}, {"stream", AT_STREAM}, {"timeout", AT_TIMEOUT}};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (strlen(places[i].key) == n && memcmp(places[i].key, key, n) == 0)
            return places[i].at;
    return AT_ELSEWHERE;
}

static enum step take_key(struct peek *k)
{
    char key[16];
    struct sink s = {.buf = key, .size = sizeof(key)};

    if (!take_string(k, &s))
        return STEP_WRONG;
    k->at = k->depth == 1 && !s.cut ? find_place(key, s.n) : AT_ELSEWHERE;
    skip_space(k);
    return take_char(k, ':') ? STEP_VALUE : STEP_WRONG;
}

static enum step take_end(struct peek *k)
{
    k->p++;
    k->depth--;
    return STEP_AFTER;
}

static enum step take_after(struct peek *k)
{
    bool is_object = k->is_object[k->depth - 1];

    if (k->p == k->end)
        return STEP_WRONG;
    if (*k->p == (is_object ? '}' : ']'))
        return take_end(k);
    if (*k->p++ != ',')
        return STEP_WRONG;
    return is_object ? STEP_KEY : STEP_VALUE;
}

static enum step advance(struct peek *k, enum step step)
{
    bool ends =
        k->p < k->end && ((step == STEP_FIRST_KEY && *k->p == '}') || (step == STEP_FIRST_VALUE && *k->p == ']'));

    if (ends)
        return take_end(k);
    switch (step) {
    case STEP_VALUE:
    case STEP_FIRST_VALUE:
        return take_value(k);
    case STEP_KEY:
    case STEP_FIRST_KEY:
        return take_key(k);
    case STEP_AFTER:
        return take_after(k);
    case STEP_WRONG:
        break;
    }
    return STEP_WRONG;
}

int body_peek(const char *buf, size_t n_bytes, struct body_peek *ret, size_t *ret_at)
{
    struct peek k = {.p = buf, .end = buf + n_bytes, .ret = ret};
    enum step step = STEP_VALUE;
    bool is_object;

    memset(ret, 0, sizeof(*ret));
    skip_space(&k);
    is_object = k.p < k.end && *k.p == '{';
    do {
        step = advance(&k, step);
        skip_space(&k);
    } while (step != STEP_WRONG && (step != STEP_AFTER || k.depth));
    *ret_at = (size_t)(k.p - buf);
    if (step == STEP_WRONG || k.p < k.end)
        return BODY_PEEK_E_NOT_JSON;
    if (!is_object)
        return BODY_PEEK_E_NOT_OBJECT;
    ret->has_model = k.said == SAID_TEXT;
    ret->cut = ret->has_model && ret->cut;
    return k.said == SAID_ELSE ? BODY_PEEK_E_NOT_TEXT : 0;
}
