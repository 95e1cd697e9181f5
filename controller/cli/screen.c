#include "controller/cli/screen.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <wchar.h>

/* Length of the UTF-8 character at s in bytes, its columns in *ret_columns. A byte that begins none is one of one. */
static size_t next_char(const char *s, size_t *ret_columns)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t n = mbrtowc(&c, s, strnlen(s, 4), &state);
    int columns;

    *ret_columns = 1;
    if (n == (size_t)-1 || n == (size_t)-2 || n == 0)
        return 1;
    columns = wcwidth(c);
    if (columns >= 0)
        *ret_columns = (size_t)columns;
    return n;
}

size_t screen_fit(const char *s, size_t columns, size_t *ret_columns)
{
    size_t used = 0, at = 0;

    while (s[at]) {
        size_t wide, n = next_char(s + at, &wide);

        if (used + wide > columns)
            break;
        used += wide;
        at += n;
    }
    if (ret_columns)
        *ret_columns = used;
    return at;
}

size_t screen_width(const char *s)
{
    size_t columns = 0;

    while (*s) {
        size_t wide;

        s += next_char(s, &wide);
        columns += wide;
    }
    return columns;
}

/* Whether s (n_left bytes) begins with what would steer a terminal: C0, DEL, or C1 in its UTF-8 form. */
static bool steers(const char *s, size_t n_left)
{
    unsigned char c = (unsigned char)s[0];

    if (c == 0xc2 && n_left > 1)
        return (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0;
    return c < 0x20 || c == 0x7f;
}

void screen_write(FILE *out, const char *s, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        fputc(steers(s + i, n_bytes - i) && s[i] != '\n' && s[i] != '\t' ? '?' : s[i], out);
}

char *screen_clean(char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if (steers(s + i, n - i))
            s[i] = s[i] == '\n' || s[i] == '\t' ? ' ' : '?';
    return s;
}

char *screen_bytes(uint64_t bytes, char *buf)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t i = 0;

    while (n >= 1024 && i + 1 < sizeof(unit) / sizeof(unit[0])) {
        n /= 1024;
        i++;
    }
    snprintf(buf, SCREEN_NUMBER_MAX, i >= 3 || (i == 2 && n < 10) ? "%.1f %s" : "%.0f %s", n, unit[i]);
    return buf;
}

char *screen_duration(uint64_t ms, char *buf)
{
    uint64_t s = ms / 1000;

    if (ms < 1000)
        snprintf(buf, SCREEN_NUMBER_MAX, "%" PRIu64 " ms", ms);
    else if (ms < 10000)
        snprintf(buf, SCREEN_NUMBER_MAX, "%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
    else if (s < 120)
        snprintf(buf, SCREEN_NUMBER_MAX, "%" PRIu64 " s", s);
    else if (s < 7200)
        snprintf(buf, SCREEN_NUMBER_MAX, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        snprintf(buf, SCREEN_NUMBER_MAX, "%" PRIu64 " h", s / 3600);
    else
        snprintf(buf, SCREEN_NUMBER_MAX, "%" PRIu64 " d", s / 86400);
    return buf;
}
