/* Numbers, sizes and times as people write them, and hex digits. Pure; shared by options and whoever else reads such
 * text. */
#ifndef CARAVAN_COMMON_CORE_PARSE_H
#define CARAVAN_COMMON_CORE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* Each: false where text (may be NULL) is anything but one such value; *ret is then left alone. No signs, no spaces, no
 * fractions; what does not fit 64 bits is not valid. */
bool parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *ret); /* decimal; min..max */
bool parse_bytes(const char *text, uint64_t *ret);                            /* 0, 1024, 4G: K, M, G, T of 1024 */
bool parse_duration_ms(const char *text, uint64_t *ret);                      /* 0, 500ms, 10s, 5m, 1h */

/* The value of a hex digit of either case; -1: c is none. */
int parse_hex_digit(char c);

#endif
