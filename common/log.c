#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/core/err.h"

static _Atomic enum log_level threshold = LOG_LEVEL_INFO; /* every thread reads it */

void log_set_level(enum log_level level)
{
    threshold = level;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warn";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "?";
}

/* A line that is being made. What comes after `room` bytes is cut; the end is kept free for what must not be lost. */
struct line {
    char text[LOG_LINE_MAX];
    size_t used, room;
};

/* A cut inside a quoted string closes it, so that what follows can still be told apart. */
static void mend_cut(struct line *l)
{
    size_t open = 0; /* behind the last opening quote; 0: outside */

    for (size_t i = 0; i < l->used; i++) {
        if (l->text[i] == '\\' && open)
            i++;
        else if (l->text[i] == '"')
            open = open ? 0 : i + 1;
    }
    if (open && open + 4 > l->used)
        l->used = open - 1;
    else if (open)
        memcpy(l->text + l->used - 4, "...\"", 4);
}

static void append(struct line *l, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void append(struct line *l, const char *fmt, va_list ap)
{
    size_t left = l->room - l->used;
    int n = vsnprintf(l->text + l->used, left, fmt, ap);

    if (n >= 0 && (size_t)n < left) {
        l->used += (size_t)n;
    } else if (n > 0) {
        l->used += left - 1;
        mend_cut(l);
    }
}

static void append_f(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void append_f(struct line *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    append(l, fmt, ap);
    va_end(ap);
}

/* reserve: bytes kept for append_f after the caller's own text. */
static void begin(struct line *l, enum log_level level, const char *msg, size_t reserve)
{
    struct timespec ts;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    l->used = 0;
    l->room = sizeof(l->text) - 1 - reserve; /* the newline */
    append_f(l, "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s msg=%s ", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000, level_name(level), msg);
}

static void finish(struct line *l)
{
    ssize_t n;

    l->text[l->used++] = '\n';
    n = write(STDERR_FILENO, l->text, l->used);
    (void)n; /* nobody is left to tell */
}

void log_line(enum log_level level, const char *msg, const char *fmt, ...)
{
    struct line line;
    va_list ap;

    if (level > threshold)
        return;
    begin(&line, level, msg, 0);
    va_start(ap, fmt);
    append(&line, fmt, ap);
    va_end(ap);
    finish(&line);
}

void log_failure(enum log_level level, const char *msg, int r, const char *fmt, ...)
{
    char cause[768], trace[512];
    const char *text;
    struct line line;
    va_list ap;

    if (level > threshold)
        return;
    text = strerrordesc_np(r < 0 ? -r : r);
    snprintf(cause, sizeof(cause), " error=\"%s\" at=\"%s\"", text ? text : "unknown", err_trace(trace, sizeof(trace)));
    begin(&line, level, msg, strlen(cause));
    va_start(ap, fmt);
    append(&line, fmt, ap);
    va_end(ap);
    line.room = sizeof(line.text) - 1;
    append_f(&line, "%s", cause);
    finish(&line);
}

/* Bytes that c takes within quotes. */
static size_t quoted_length(unsigned char c)
{
    return c == '"' || c == '\\' ? 2 : c < 0x20 || c >= 0x7f ? 4 : 1;
}

char *log_quote(char *buf, size_t size, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/@+%()[]*~";
    size_t used = 0, need = 3, room; /* two quotes, NUL */

    if (size < 8)
        return size ? (buf[0] = '\0', buf) : buf;
    if (!s)
        s = "";
    if (*s && !s[strspn(s, plain)] && strlen(s) < size)
        return memcpy(buf, s, strlen(s) + 1);
    for (const char *p = s; *p && need <= size; p++)
        need += quoted_length((unsigned char)*p);
    room = need <= size ? size - 2 : size - 5; /* "..." too, where it does not fit */
    buf[used++] = '"';
    for (; *s && used + quoted_length((unsigned char)*s) <= room; s++) {
        unsigned char c = (unsigned char)*s;

        if (quoted_length(c) == 4) {
            snprintf(buf + used, 5, "\\x%02x", c);
        } else {
            if (quoted_length(c) == 2)
                buf[used] = '\\';
            buf[used + quoted_length(c) - 1] = (char)c;
        }
        used += quoted_length(c);
    }
    memcpy(buf + used, *s ? "...\"" : "\"", *s ? 5 : 2);
    return buf;
}
