/* Reads one HTTP/1.x response from bytes as they come: head, then the dechunked body in pieces, then the end. Pure.
 *
 * Strict where leniency has hurt others: CRLF only, no folded headers, one Content-Length and none beside Transfer-Encoding,
 * `chunked` and nothing else, chunk sizes of hex digits alone. Interim answers (1xx) are read and left out. A body that ends
 * early is an error, not an end. */
#ifndef CARAVAN_COMMON_CORE_HTTP_PARSE_H
#define CARAVAN_COMMON_CORE_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEAD_MAX = 64 * 1024, HTTP_HEADERS_MAX = 100, HTTP_CHUNK_LINE_MAX = 256 };

enum {
    HTTP_E_MALFORMED = 1,
    HTTP_E_TOO_LARGE, /* a head over HTTP_HEAD_MAX or HTTP_HEADERS_MAX, trailers too */
    HTTP_E_CUT        /* the connection ended before the answer did */
};

struct http_field {
    const char *name; /* as sent; compare without case */
    const char *value;
};

enum http_part_kind {
    HTTP_PART_NONE = 1, /* all bytes are used, more are needed */
    HTTP_PART_HEAD,     /* status and fields, borrowed until http_parser_destroy */
    HTTP_PART_DATA,     /* data, n_bytes: within the caller's buffer */
    HTTP_PART_END       /* the answer is whole; bytes that follow are not its own */
};

struct http_part {
    enum http_part_kind kind;
    int status;
    const struct http_field *field;
    size_t n_fields;
    const char *data;
    size_t n_bytes;
};

struct http_parser;

/* head_only: the answer to a HEAD request has no body, whatever its head says. 0 or -ENOMEM. */
int http_parser_new(bool head_only, struct http_parser **ret);
void http_parser_destroy(struct http_parser **p);

/* Takes bytes from buf up to the end of one part. *ret_used bytes were taken. To be called again until HTTP_PART_NONE or
 * HTTP_PART_END (with n_bytes = 0 too: an end may be known without more bytes). 0; HTTP_E_MALFORMED, HTTP_E_TOO_LARGE, and then
 * nothing more may be parsed; -ENOMEM. */
int http_parse(struct http_parser *p, const char *buf, size_t n_bytes, size_t *ret_used, struct http_part *ret);

/* The connection was closed in good order. 0: the answer was whole. HTTP_E_CUT: it was not. */
int http_parse_eof(const struct http_parser *p);

/* After HTTP_PART_END: may the connection carry another answer? It told the end of this one itself, and does not say that it
 * closes. */
bool http_parse_reusable(const struct http_parser *p);

/* The first field of that name, case ignored; NULL: none. */
const char *http_field_get(const struct http_field *field, size_t n, const char *name);

/* For requests: whether it can stand in a head without breaking it. */
bool http_is_token(const char *text); /* methods, names */
bool http_is_field_value(const char *text);
bool http_is_target(const char *text);

#endif
