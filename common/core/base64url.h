/* URL-safe base64 without padding (RFC 4648, section 5): how keys and join tokens are written. Reading is strict: one
 * string of bytes has one text. */
#ifndef CARAVAN_COMMON_CORE_BASE64URL_H
#define CARAVAN_COMMON_CORE_BASE64URL_H

#include <stddef.h>
#include <stdint.h>

/* Characters of n bytes, with NUL. */
#define BASE64URL_TEXT(n) (((n)*8 + 5) / 6 + 1)

enum {
    BASE64URL_E_CHARACTER = 1, /* the one at base64url_span() stands in no such text */
    BASE64URL_E_LENGTH,        /* no number of bytes has a text of this length */
    BASE64URL_E_END            /* the last character says more than whole bytes */
};

/* buf: room for BASE64URL_TEXT(n_bytes). Returns buf. */
char *base64url_format(const void *bytes, size_t n_bytes, char *buf);
/* How many characters at the beginning of text, of at most n, belong to the alphabet. */
size_t base64url_span(const char *text, size_t n);
/* buf: room for n bytes, written to whatever is returned; *ret_n of them count. 0 or an outcome. */
int base64url_parse(const char *text, size_t n, uint8_t *buf, size_t *ret_n);

#endif
