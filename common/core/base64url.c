#include "common/core/base64url.h"

char *base64url_format(const void *bytes, size_t n_bytes, char *buf)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *from = bytes;
    unsigned n_bits = 0;
    uint32_t bits = 0;
    char *to = buf;

    for (size_t i = 0; i < n_bytes; i++) {
        bits = (bits << 8 | from[i]) & 0xffff;
        for (n_bits += 8; n_bits >= 6; n_bits -= 6)
            *to++ = digit[bits >> (n_bits - 6) & 63];
    }
    if (n_bits)
        *to++ = digit[bits << (6 - n_bits) & 63];
    *to = '\0';
    return buf;
}

/* -1: none. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

size_t base64url_span(const char *text, size_t n)
{
    size_t i = 0;

    while (i < n && value_of(text[i]) >= 0)
        i++;
    return i;
}

int base64url_parse(const char *text, size_t n, uint8_t *buf, size_t *ret_n)
{
    unsigned n_bits = 0;
    uint32_t bits = 0;
    size_t used = 0;

    if (base64url_span(text, n) < n)
        return BASE64URL_E_CHARACTER;
    for (size_t i = 0; i < n; i++) {
        bits = (bits << 6 | (uint32_t)value_of(text[i])) & 0xffff;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            buf[used++] = (uint8_t)(bits >> n_bits);
        }
    }
    if (n_bits >= 6)
        return BASE64URL_E_LENGTH;
    if (bits & ((1u << n_bits) - 1))
        return BASE64URL_E_END;
    *ret_n = used;
    return 0;
}
