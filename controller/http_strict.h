/* Reads HTTP/1.x requests as strictly as a gateway must: what two parsers could read in two ways is refused, never
 * guessed, so that no second request can hide in a body. Pure: bytes in, facts out; the sockets are http.c's.
 *
 * Refused: bare LF, folded lines, space before a colon, control bytes, more than one Content-Length or Host,
 * Content-Length with Transfer-Encoding, any coding but chunked, chunk sizes that are not plain hex digits; targets that are
 * no path, and paths that hold a "." or ".." segment or a control byte once they are decoded. */
#ifndef CARAVAN_CONTROLLER_HTTP_STRICT_H
#define CARAVAN_CONTROLLER_HTTP_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/http_parse.h"

/* Beside those of http_parse.h: HTTP_E_MALFORMED, HTTP_E_TOO_LARGE. */
enum {
    HTTP_E_MORE = 16, /* not whole yet */
    HTTP_E_END,       /* of a chunked body */
    HTTP_E_LENGTH,    /* more than one Content-Length, or not a number */
    HTTP_E_FRAMING,   /* Content-Length with Transfer-Encoding */
    HTTP_E_CODING,    /* a Transfer-Encoding other than chunked */
    HTTP_E_HOST,      /* none, two, or not a host */
    HTTP_E_VERSION,   /* not HTTP/1.0 or 1.1 */
    HTTP_E_TARGET,    /* not a path */
    HTTP_E_CHUNK,     /* a chunk's size or end */
    HTTP_E_EXPECT
};

/* Less than what http_parse.h allows answers: strangers send heads too. A browser's cookies for "localhost", which all
 * ports share, can be a good part of it. */
enum { HTTP_REQUEST_HEAD_MAX = 32 * 1024, HTTP_TRAILER_MAX = 8192 };

/* Status code and sentence for the answer to an outcome. */
int http_outcome_status(int outcome);
const char *http_outcome_text(int outcome);

/* The head of a request. All strings point into one copy that the head owns. */
struct http_head {
    const char *method;
    const char *path;  /* as sent, percent-encoded, from the '/' on */
    const char *query; /* without '?'; empty where there is none */
    const char *host;  /* empty with HTTP/1.0 without one */
    bool http_1_0;
    bool keep_alive;
    bool chunked;
    bool expect_continue;
    uint64_t length; /* of the body, where it is not chunked */
    size_t n_fields;
    struct http_field field[HTTP_HEADERS_MAX];
    char text[];
};

/* Is the head whole? *scanned: how far it was looked at before, 0 at first. 0: it is *ret_len bytes long, the empty line
 * included; HTTP_E_MORE; HTTP_E_TOO_LARGE; HTTP_E_MALFORMED (a bare LF). */
int http_head_find(const char *buf, size_t n, size_t *scanned, size_t *ret_len);
/* buf: borrowed, n = what http_head_find said. ret: owned (free). 0; HTTP_E_*; -ENOMEM. */
int http_head_parse(const char *buf, size_t n, struct http_head **ret);
/* The first field of that name in any case; NULL: none. */
const char *http_head_field(const struct http_head *h, const char *name);
/* Overwrites the values of all fields of that name: they are "" from then on. */
void http_head_wipe(struct http_head *h, const char *name);

/* Undoes %XX. Returns false where that is malformed, has a NUL or does not fit. plus: '+' is a space (queries). */
bool http_percent_decode(const char *s, size_t n, bool plus, char *buf, size_t size);

/* A chunked body, taken apart as it comes. Zeroed at first. */
struct http_chunks {
    int state;
    uint64_t left;   /* bytes to come of the chunk */
    uint32_t n_line; /* bytes of the size line, or of the trailer */
};

/* Looks at buf; *ret_used bytes of it are done with, *ret_n of them, from *ret_data on, belong to the body. 0: call again
 * with the rest; HTTP_E_MORE: all was used; HTTP_E_END; HTTP_E_CHUNK; HTTP_E_TOO_LARGE (the trailer). */
int http_chunks_read(struct http_chunks *c, const char *buf, size_t n, size_t *ret_used, const char **ret_data,
                     size_t *ret_n);

#endif
