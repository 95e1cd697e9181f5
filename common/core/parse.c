#include "common/core/parse.h"

#include <stddef.h>
#include <string.h>

/* Digits at the start of text. Returns what follows them, NULL where there are none or too many. */
static const char *digits(const char *text, uint64_t *ret)
{
    uint64_t n = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
            return NULL;
    }
    *ret = n;
    return p == text ? NULL : p;
}

struct unit {
    const char *name; /* NULL ends a table */
    uint64_t factor;
};

static bool with_unit(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t n;
    const char *rest = text ? digits(text, &n) : NULL;

    if (!rest)
        return false;
    if (*rest == '\0' && n == 0) {
        *ret = 0;
        return true;
    }
    for (; units->name; units++) {
        if (strcmp(rest, units->name) == 0)
            return !__builtin_mul_overflow(n, units->factor, &n) && (*ret = n, true);
    }
    return false;
}

bool parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t n;
    const char *rest = text ? digits(text, &n) : NULL;

    if (!rest || *rest || n < min || n > max)
        return false;
    *ret = n;
    return true;
}

bool parse_bytes(const char *text, uint64_t *ret)
{
    static const struct unit units[] = {
        {"", 1},
        {"K", UINT64_C(1) << 10},
        {"M", UINT64_C(1) << 20},
        {"G", UINT64_C(1) << 30},
        {"T", UINT64_C(1) << 40},
        {NULL, 0},
    };

    return with_unit(text, units, ret);
}

bool parse_duration_ms(const char *text, uint64_t *ret)
{
    static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {NULL, 0}};

    return with_unit(text, units, ret);
}

int parse_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}
