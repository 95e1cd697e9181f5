#include "common/core/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Length of the UTF-8 sequence that first begins, 0 where none does. Table 3-7 of the Unicode standard. */
static size_t announced(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    if (first >= 0xf0 && first <= 0xf4)
        return 4;
    return 0;
}

/* Is p[at] allowed as the byte number at (1..3) of a sequence that p[0] begins? Overlong forms and surrogates are not. */
static int continues(const unsigned char *p, size_t at)
{
    unsigned char low = 0x80, high = 0xbf;

    if (at == 1) {
        if (p[0] == 0xe0)
            low = 0xa0;
        else if (p[0] == 0xed)
            high = 0x9f;
        else if (p[0] == 0xf0)
            low = 0x90;
        else if (p[0] == 0xf4)
            high = 0x8f;
    }
    return p[at] >= low && p[at] <= high;
}

size_t text_sequence(const char *p, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)p;
    size_t length = announced(*bytes);

    for (size_t i = 1; i < length; i++)
        if (i == n || !continues(bytes, i))
            return 0;
    return length;
}

void text_clean(char *s)
{
    unsigned char *p = (unsigned char *)s;

    while (*p) {
        size_t n = announced(*p), have = 1;

        if (n == 1 && (*p < 0x20 || *p == 0x7f) && *p != '\n')
            *p = ' ';
        while (have < n && continues(p, have)) /* the terminator continues nothing */
            have++;
        if (have < n && !p[have]) {
            *p = '\0';
            return;
        }
        if (have < n || !n) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

void text_copy_bytes(char *buf, size_t size, const char *text, size_t n_bytes)
{
    size_t n = strnlen(text, n_bytes < size ? n_bytes : size - 1);

    memcpy(buf, text, n);
    buf[n] = '\0';
    text_clean(buf);
}

void text_copy(char *buf, size_t size, const char *text)
{
    text_copy_bytes(buf, size, text ? text : "", size);
}

void text_format(char *buf, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (vsnprintf(buf, size, format, args) < 0)
        buf[0] = '\0';
    va_end(args);
    text_clean(buf);
}
