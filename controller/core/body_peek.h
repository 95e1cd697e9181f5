/* Whom is a request for, and how is it to be answered? Finds "model", "stream" and "timeout" in the JSON of its body without
 * building the JSON: a tree takes twenty times as much memory as its text, and a body may have 64 MiB. Pure; allocates
 * nothing, and looks at each byte once.
 *
 * As strict as a parser (RFC 8259, UTF-8), so that what is passed on is JSON; as loose as a coordinator where it does not
 * matter here: repeated keys (the last one counts), numbers of any size. */
#ifndef CARAVAN_CONTROLLER_CORE_BODY_PEEK_H
#define CARAVAN_CONTROLLER_CORE_BODY_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { BODY_PEEK_DEPTH_MAX = 512 };
enum {
    BODY_PEEK_E_NOT_JSON = 1, /* or deeper than that */
    BODY_PEEK_E_NOT_OBJECT,
    BODY_PEEK_E_NOT_TEXT /* "model" is neither a string nor null, or holds a NUL */
};

struct body_peek {
    bool has_model;              /* false: not said, or null */
    bool cut;                    /* it is longer than any name; model holds its beginning */
    char model[PROTO_MODEL_MAX]; /* decoded */
    bool stream;                 /* "stream" is true */
    uint64_t timeout_ms;         /* "timeout", which is in seconds; 0: not said, or not a number above 0 */
};

/* 0; BODY_PEEK_E_*: *ret_at is how far it was understood. */
int body_peek(const char *buf, size_t n_bytes, struct body_peek *ret, size_t *ret_at);

#endif
