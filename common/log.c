#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/core/err.h"

static enum log_level threshold = LOG_LEVEL_INFO;

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

/* Appends to line[*used..], keeping room for the newline. */
static void append(char *line, size_t *used, const char *fmt, va_list ap)
{
    size_t room = LOG_LINE_MAX - 1 - *used;
    int n = vsnprintf(line + *used, room, fmt, ap);

    if (n > 0)
        *used += (size_t)n < room ? (size_t)n : room - 1;
}

static void append_f(char *line, size_t *used, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void append_f(char *line, size_t *used, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    append(line, used, fmt, ap);
    va_end(ap);
}

static void begin(char *line, size_t *used, enum log_level level, const char *msg)
{
    struct timespec ts;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    append_f(line, used, "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ level=%s msg=%s", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000, level_name(level), msg);
}

static void finish(char *line, size_t used)
{
    ssize_t n;

    line[used++] = '\n';
    n = write(STDERR_FILENO, line, used);
    (void)n; /* nobody is left to tell */
}

void log_line(enum log_level level, const char *msg, const char *fmt, ...)
{
    char line[LOG_LINE_MAX];
    size_t used = 0;
    va_list ap;

    if (level > threshold)
        return;
    begin(line, &used, level, msg);
    append_f(line, &used, " ");
    va_start(ap, fmt);
    append(line, &used, fmt, ap);
    va_end(ap);
    finish(line, used);
}

void log_failure(enum log_level level, const char *msg, int r, const char *fmt, ...)
{
    char line[LOG_LINE_MAX], trace[512];
    const char *text;
    size_t used = 0;
    va_list ap;

    if (level > threshold)
        return;
    text = strerrordesc_np(r < 0 ? -r : r);
    begin(line, &used, level, msg);
    append_f(line, &used, " ");
    va_start(ap, fmt);
    append(line, &used, fmt, ap);
    va_end(ap);
    append_f(line, &used, " error=\"%s\" at=\"%s\"", text ? text : "unknown", err_trace(trace, sizeof(trace)));
    finish(line, used);
}

char *log_quote(char *buf, size_t size, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,:/@+%()[]*~";
    size_t used = 0;

    if (size < 8)
        return size ? (buf[0] = '\0', buf) : buf;
    if (!s)
        s = "";
    if (*s && !s[strspn(s, plain)] && strlen(s) < size)
        return memcpy(buf, s, strlen(s) + 1);
    buf[used++] = '"';
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (used + 9 > size) { /* the longest escape, "...", the quote, NUL */
            memcpy(buf + used, "...", 3);
            used += 3;
            break;
        }
        if (c == '"' || c == '\\') {
            buf[used++] = '\\';
            buf[used++] = (char)c;
        } else if (c < 0x20 || c >= 0x7f) {
            used += (size_t)snprintf(buf + used, 5, "\\x%02x", c);
        } else {
            buf[used++] = (char)c;
        }
    }
    buf[used++] = '"';
    buf[used] = '\0';
    return buf;
}
