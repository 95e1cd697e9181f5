#include "common/core/ip_literal.h"

#include <ctype.h>
#include <string.h>

static bool is_v4(const char *p, const char *end)
{
    for (int part = 0; part < 4; part++) {
        const char *from = p;
        unsigned n = 0;

        while (p < end && isdigit((unsigned char)*p) && p - from < 3)
            n = n * 10 + (unsigned)(*p++ - '0');
        if (p == from || n > 255 || (*from == '0' && p - from > 1))
            return false;
        if (part < 3 && (p == end || *p++ != '.'))
            return false;
    }
    return p == end;
}

/* Groups of up to four digits; "::", once, is one or more of zero; the last two may be written as IPv4. */
static bool is_v6(const char *p, const char *end)
{
    bool gap = end - p >= 2 && p[0] == ':' && p[1] == ':';
    int n_groups = 0;

    if (gap)
        p += 2;
    while (p < end) {
        const char *from = p;

        while (p < end && isxdigit((unsigned char)*p) && p - from < 4)
            p++;
        if (p < end && *p == '.') {
            if (!is_v4(from, end))
                return false;
            n_groups += 2;
            break;
        }
        if (p == from)
            return false;
        n_groups++;
        if (p == end)
            break;
        if (*p++ != ':' || p == end)
            return false;
        if (*p == ':') {
            if (gap)
                return false;
            gap = true;
            p++;
        }
    }
    return gap ? n_groups < 8 : n_groups == 8;
}

bool ip_literal(const char *text, size_t n_bytes)
{
    return n_bytes && memchr(text, ':', n_bytes) ? is_v6(text, text + n_bytes) : is_v4(text, text + n_bytes);
}
