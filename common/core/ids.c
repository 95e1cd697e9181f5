#include "common/core/ids.h"

#include <string.h>

#include "common/core/parse.h"

static char *format_bytes(const uint8_t *b, size_t n, char *buf)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        buf[2 * i] = hex[b[i] >> 4];
        buf[2 * i + 1] = hex[b[i] & 15];
    }
    buf[2 * n] = '\0';
    return buf;
}

char *id128_format(const struct id128 *id, char *buf)
{
    return format_bytes(id->b, sizeof(id->b), buf);
}

char *id128_short(const struct id128 *id, char *buf)
{
    return format_bytes(id->b, 4, buf);
}

bool id128_parse(const char *text, struct id128 *ret)
{
    struct id128 id;

    if (!text || strnlen(text, ID128_TEXT) != ID128_TEXT - 1)
        return false;
    for (size_t i = 0; i < sizeof(id.b); i++) {
        int hi = parse_hex_digit(text[2 * i]), lo = parse_hex_digit(text[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        id.b[i] = (uint8_t)(hi << 4 | lo);
    }
    *ret = id;
    return true;
}

int id128_compare(const struct id128 *a, const struct id128 *b)
{
    return memcmp(a->b, b->b, sizeof(a->b));
}

bool id128_equal(const struct id128 *a, const struct id128 *b)
{
    return id128_compare(a, b) == 0;
}

bool id128_is_zero(const struct id128 *id)
{
    static const struct id128 zero;

    return id128_equal(id, &zero);
}
