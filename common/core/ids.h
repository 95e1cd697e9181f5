/* 128-bit names: clusters, nodes and instances. Text form: 32 lower-case hex digits. */
#ifndef CARAVAN_COMMON_CORE_IDS_H
#define CARAVAN_COMMON_CORE_IDS_H

#include <stdbool.h>
#include <stdint.h>

enum { ID128_TEXT = 33 /* with NUL */, ID128_SHORT_TEXT = 9 };

struct id128 {
    uint8_t b[16];
};

/* Writes the text form; buf must hold ID128_TEXT bytes (id128_short: the first 8 digits, ID128_SHORT_TEXT).
 * Both return buf. */
char *id128_format(const struct id128 *id, char *buf);
char *id128_short(const struct id128 *id, char *buf);

/* For one expression: printf("%s", ID128(id)). */
#define ID128(id)       id128_format((id), (char[ID128_TEXT]){0})
#define ID128_SHORT(id) id128_short((id), (char[ID128_SHORT_TEXT]){0})

/* Exactly 32 hex digits of either case. Returns false and leaves *ret alone otherwise. */
bool id128_parse(const char *text, struct id128 *ret);

int id128_compare(const struct id128 *a, const struct id128 *b); /* as memcmp */
bool id128_equal(const struct id128 *a, const struct id128 *b);
bool id128_is_zero(const struct id128 *id); /* all zero means "none" */

#endif
