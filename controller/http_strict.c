#include "controller/http_strict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/parse.h"

static const struct {
    int status;
    const char *text;
} outcomes[] = {
    [HTTP_E_MALFORMED] = {400, "the request's head is not valid HTTP"},
    [HTTP_E_TOO_LARGE] = {431, "the request's head is over 32 KiB or 100 fields"},
    [HTTP_E_LENGTH] = {400, "exactly one Content-Length with a plain number is allowed"},
    [HTTP_E_FRAMING] = {400, "Content-Length and Transfer-Encoding exclude one another"},
    [HTTP_E_CODING] = {501, "the only Transfer-Encoding understood is chunked"},
    [HTTP_E_HOST] = {400, "exactly one Host field with a valid host is needed"},
    [HTTP_E_VERSION] = {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"},
    [HTTP_E_TARGET] = {400, "the request's target must be a plain path"},
    [HTTP_E_CHUNK] = {400, "the chunked body is malformed"},
    [HTTP_E_EXPECT] = {417, "the only expectation understood is 100-continue"},
};

int http_outcome_status(int outcome)
{
    if (outcome <= 0 || (size_t)outcome >= sizeof(outcomes) / sizeof(outcomes[0]) || !outcomes[outcome].status)
        return 500;
    return outcomes[outcome].status;
}

const char *http_outcome_text(int outcome)
{
    return http_outcome_status(outcome) == 500 ? "internal error" : outcomes[outcome].text;
}

int http_head_find(const char *buf, size_t n, size_t *scanned, size_t *ret_len)
{
    const char *lf;

    while ((lf = memchr(buf + *scanned, '\n', n - *scanned))) {
        size_t at = (size_t)(lf - buf);

        if (at < 1 || buf[at - 1] != '\r')
            return HTTP_E_MALFORMED;
        if (at >= 3 && buf[at - 2] == '\n') {
            *ret_len = at + 1;
            return at + 1 > HTTP_REQUEST_HEAD_MAX ? HTTP_E_TOO_LARGE : 0;
        }
        *scanned = at + 1;
    }
    *scanned = n;
    return n >= HTTP_REQUEST_HEAD_MAX ? HTTP_E_TOO_LARGE : HTTP_E_MORE;
}

static bool is_target(const char *s)
{
    for (; *s; s++)
        if (*s <= 0x20 || (unsigned char)*s >= 0x7f || *s == '#')
            return false;
    return true;
}

/* The byte at *p, which moves behind it, with %XX undone; -1: malformed. */
static int next_byte(const char **p)
{
    int hi, lo;

    if (**p != '%')
        return (unsigned char)*(*p)++;
    hi = parse_hex_digit((*p)[1]);
    lo = hi < 0 ? -1 : parse_hex_digit((*p)[2]);
    *p += lo < 0 ? 0 : 3;
    return lo < 0 ? -1 : hi << 4 | lo;
}

/* Whoever stands behind us may decode a path before it looks for "..", or take a backslash for a slash. */
static bool is_plain_path(const char *p)
{
    size_t n_dots = 0, n_segment = 0;

    for (;;) {
        int c = *p ? next_byte(&p) : '/';

        if (c < 0x20 || c == 0x7f)
            return false;
        if (c != '/' && c != '\\') {
            n_dots += c == '.';
            n_segment++;
            continue;
        }
        if (n_segment == n_dots && (n_dots == 1 || n_dots == 2))
            return false;
        n_dots = n_segment = 0;
        if (!*p)
            return true;
    }
}

/* host[:port], an IPv6 literal in brackets. */
static bool is_host(const char *s)
{
    return *s && strlen(s) < 256 &&
           !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]")];
}

/* Cuts the next line off *p and terminates it. */
static char *cut_line(char **p)
{
    char *line = *p, *end = strchr(line, '\r');

    *end = '\0';
    *p = end + 2;
    return line;
}

static int parse_first_line(char *line, struct http_head *h)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL, *query;

    if (!version)
        return HTTP_E_MALFORMED;
    *target++ = '\0';
    *version++ = '\0';
    if (!http_is_token(line) || strlen(line) > 32)
        return HTTP_E_MALFORMED;
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return strncmp(version, "HTTP/", 5) == 0 ? HTTP_E_VERSION : HTTP_E_MALFORMED;
    if (!is_target(target) || (*target != '/' && strcmp(target, "*") != 0))
        return HTTP_E_TARGET;
    query = strchr(target, '?');
    if (query)
        *query++ = '\0';
    if (!is_plain_path(target))
        return HTTP_E_TARGET;
    h->method = line;
    h->path = target;
    h->query = query ? query : "";
    h->http_1_0 = version[7] == '0';
    h->keep_alive = !h->http_1_0;
    return 0;
}

static int parse_field(char *line, struct http_head *h)
{
    char *value = strchr(line, ':'), *end;

    if (!value)
        return HTTP_E_MALFORMED;
    *value++ = '\0';
    if (!http_is_token(line)) /* folded lines and a space before the colon end here */
        return HTTP_E_MALFORMED;
    value += strspn(value, " \t");
    for (end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t'); end--)
        end[-1] = '\0';
    if (!http_is_field_value(value))
        return HTTP_E_MALFORMED;
    if (h->n_fields == HTTP_HEADERS_MAX)
        return HTTP_E_TOO_LARGE;
    h->field[h->n_fields++] = (struct http_field){line, value};
    return 0;
}

static size_t count_fields(const struct http_head *h, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n_fields; i++)
        n += strcasecmp(h->field[i].name, name) == 0;
    return n;
}

const char *http_head_field(const struct http_head *h, const char *name)
{
    return http_field_get(h->field, h->n_fields, name);
}

void http_head_wipe(struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->n_fields; i++)
        if (strcasecmp(h->field[i].name, name) == 0) {
            char *value = h->text + (h->field[i].value - h->text);

            explicit_bzero(value, strlen(value));
        }
}

static int judge_body(struct http_head *h)
{
    size_t n_length = count_fields(h, "Content-Length"), n_coding = count_fields(h, "Transfer-Encoding");
    const char *length = http_head_field(h, "Content-Length");

    if (n_length && n_coding)
        return HTTP_E_FRAMING;
    if (n_coding) {
        if (n_coding > 1 || strcasecmp(http_head_field(h, "Transfer-Encoding"), "chunked") != 0)
            return HTTP_E_CODING;
        if (h->http_1_0)
            return HTTP_E_FRAMING;
        h->chunked = true;
    }
    if (n_length) {
        if (n_length > 1 || !*length || strlen(length) > 18 || length[strspn(length, "0123456789")])
            return HTTP_E_LENGTH;
        h->length = strtoull(length, NULL, 10);
    }
    return 0;
}

/* Connection is a list of words and may come more than once. */
static void judge_connection(struct http_head *h)
{
    bool close = false, keep = false;

    for (size_t i = 0; i < h->n_fields; i++) {
        const char *p = h->field[i].value;

        if (strcasecmp(h->field[i].name, "Connection") != 0)
            continue;
        while (*p) {
            size_t n;

            p += strspn(p, ", \t");
            n = strcspn(p, ", \t");
            close = close || (n == 5 && strncasecmp(p, "close", n) == 0);
            keep = keep || (n == 10 && strncasecmp(p, "keep-alive", n) == 0);
            p += n;
        }
    }
    h->keep_alive = !close && (keep || !h->http_1_0);
}

static int judge_host_and_expect(struct http_head *h)
{
    size_t n_host = count_fields(h, "Host");
    const char *expect = http_head_field(h, "Expect");

    h->host = n_host ? http_head_field(h, "Host") : "";
    if (n_host > 1 || (n_host == 0 && !h->http_1_0) || (n_host && !is_host(h->host)))
        return HTTP_E_HOST;
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return HTTP_E_EXPECT;
    h->expect_continue = expect && !h->http_1_0;
    return 0;
}

int http_head_parse(const char *buf, size_t n, struct http_head **ret)
{
    CLEANUP(cleanup_free) struct http_head *h = NULL;
    char *p;
    int r;

    if (memchr(buf, '\0', n))
        return HTTP_E_MALFORMED;
    h = calloc(1, sizeof(*h) + n + 1);
    if (!h)
        return err_raise(-ENOMEM);
    memcpy(h->text, buf, n);
    for (p = h->text; *p; p++) /* CR belongs before LF and nowhere else: cut_line relies on it */
        if (*p == '\r' && p[1] != '\n')
            return HTTP_E_MALFORMED;
    p = h->text;
    r = parse_first_line(cut_line(&p), h);
    while (!r && *p != '\r')
        r = parse_field(cut_line(&p), h);
    if (!r)
        r = judge_body(h);
    if (!r)
        r = judge_host_and_expect(h);
    if (r)
        return r;
    judge_connection(h);
    *ret = h;
    h = NULL;
    return 0;
}

bool http_percent_decode(const char *s, size_t n, bool plus, char *buf, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        char c = s[i];

        if (c == '%') {
            int hi = i + 2 < n ? parse_hex_digit(s[i + 1]) : -1, lo = i + 2 < n ? parse_hex_digit(s[i + 2]) : -1;

            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (!c || used + 1 >= size)
            return false;
        buf[used++] = c;
    }
    if (!size)
        return false;
    buf[used] = '\0';
    return true;
}

enum {
    CHUNK_SIZE,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF
};

/* "1a\r\n" or "1a;name=value\r\n": at least one digit, and nothing before or after the digits. */
static int read_size_byte(struct http_chunks *c, char b)
{
    int digit = parse_hex_digit(b);

    if (++c->n_line > HTTP_CHUNK_LINE_MAX)
        return HTTP_E_CHUNK;
    if (b == '\r' && c->n_line > 1) {
        c->state = CHUNK_SIZE_LF;
        return 0;
    }
    if (c->state == CHUNK_EXT)
        return (unsigned char)b < 0x20 && b != '\t' ? HTTP_E_CHUNK : 0;
    if (b == ';' && c->n_line > 1) {
        c->state = CHUNK_EXT;
        return 0;
    }
    if (digit < 0 || c->n_line > 15)
        return HTTP_E_CHUNK;
    c->left = c->left << 4 | (uint64_t)digit;
    return 0;
}

/* Trailer fields are dropped; an empty line ends them. left: bytes of the line so far. */
static int read_trailer_byte(struct http_chunks *c, char b)
{
    if (++c->n_line > HTTP_TRAILER_MAX)
        return HTTP_E_TOO_LARGE;
    if (b == '\r')
        c->state = CHUNK_TRAILER_LF;
    else if (b == '\n')
        return HTTP_E_CHUNK;
    else
        c->left++;
    return 0;
}

static int expect_byte(struct http_chunks *c, char b, char wanted, int next)
{
    if (b != wanted)
        return HTTP_E_CHUNK;
    c->state = next;
    c->n_line = 0;
    return 0;
}

static int read_framing_byte(struct http_chunks *c, char b)
{
    switch (c->state) {
    case CHUNK_SIZE:
    case CHUNK_EXT:
        return read_size_byte(c, b);
    case CHUNK_SIZE_LF:
        return expect_byte(c, b, '\n', c->left ? CHUNK_DATA : CHUNK_TRAILER);
    case CHUNK_DATA_CR:
        return expect_byte(c, b, '\r', CHUNK_DATA_LF);
    case CHUNK_DATA_LF:
        return expect_byte(c, b, '\n', CHUNK_SIZE);
    case CHUNK_TRAILER:
        return read_trailer_byte(c, b);
    case CHUNK_TRAILER_LF:
        if (b != '\n')
            return HTTP_E_CHUNK;
        c->state = CHUNK_TRAILER;
        if (!c->left)
            return HTTP_E_END;
        c->left = 0;
        return 0;
    }
    return HTTP_E_CHUNK;
}

int http_chunks_read(struct http_chunks *c, const char *buf, size_t n, size_t *ret_used, const char **ret_data,
                     size_t *ret_n)
{
    *ret_n = 0;
    for (*ret_used = 0; *ret_used < n; ++*ret_used) {
        int r;

        if (c->state == CHUNK_DATA) {
            *ret_data = buf + *ret_used;
            *ret_n = n - *ret_used < c->left ? n - *ret_used : (size_t)c->left;
            *ret_used += *ret_n;
            c->left -= *ret_n;
            if (!c->left)
                c->state = CHUNK_DATA_CR;
            return 0;
        }
        r = read_framing_byte(c, buf[*ret_used]);
        if (r) {
            ++*ret_used;
            return r;
        }
    }
    return HTTP_E_MORE;
}
