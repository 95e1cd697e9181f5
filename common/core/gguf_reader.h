/* The bytes of a GGUF header, one after the other: bounded, hashed as they pass, in a window of 64 KiB. Used by
 * gguf*.c alone. Every getter returns 0; GGUF_E_TRUNCATED or GGUF_E_TOO_LARGE with the sentence written; or a negative
 * errno. */
#ifndef CARAVAN_COMMON_CORE_GGUF_READER_H
#define CARAVAN_COMMON_CORE_GGUF_READER_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/gguf.h"

enum { GGUF_WINDOW = 64 * 1024 };

struct gguf_reader {
    const struct gguf_source *source;
    uint64_t at; /* the next byte to be taken */
    uint64_t window_at;
    size_t window_n;
    uint64_t hash, hashed_to; /* FNV-1a-64 of what lies before hashed_to */
    char *why;
    size_t why_size;
    unsigned char window[GGUF_WINDOW];
};

void gguf_reader_init(struct gguf_reader *r, const struct gguf_source *source, char *why, size_t why_size);
int gguf_reader_bytes(struct gguf_reader *r, void *buf, size_t n);
int gguf_reader_skip(struct gguf_reader *r, uint64_t n);
int gguf_reader_u32(struct gguf_reader *r, uint32_t *ret); /* little endian, as all that llama.cpp reads */
int gguf_reader_u64(struct gguf_reader *r, uint64_t *ret);
/* A string that is kept. Longer than size - 1, or with a NUL inside: GGUF_E_MALFORMED, `what` in the sentence. */
int gguf_reader_text(struct gguf_reader *r, char *buf, size_t size, const char *what);
int gguf_reader_skip_text(struct gguf_reader *r);
/* FNV-1a-64 of all that was taken. */
uint64_t gguf_reader_hash(struct gguf_reader *r);

/* Writes the sentence of an outcome; what is not printable ASCII in it becomes '?', since names come from outside.
 * Returns code. */
int gguf_say(char *why, size_t why_size, int code, const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
