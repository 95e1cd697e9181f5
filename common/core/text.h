/* Text for people, made of what a process, a file or a peer said: always terminated, always valid UTF-8 (a message
 * with anything else is refused by its reader), without control characters but line feeds, cut at whole characters. */
#ifndef CARAVAN_COMMON_CORE_TEXT_H
#define CARAVAN_COMMON_CORE_TEXT_H

#include <stddef.h>

/* Length of the UTF-8 sequence at p, of which n > 0 bytes are there; 0: none is. */
size_t text_sequence(const char *p, size_t n);

/* Bytes that are not UTF-8 become '?', control characters blanks; a character that is cut off at the end is dropped. */
void text_clean(char *s);

/* text: borrowed, NULL is empty; need not be clean. n_bytes: need not be terminated either. size > 0. */
void text_copy(char *buf, size_t size, const char *text);
void text_copy_bytes(char *buf, size_t size, const char *text, size_t n_bytes);

__attribute__((format(printf, 3, 4))) void text_format(char *buf, size_t size, const char *format, ...);

#endif
