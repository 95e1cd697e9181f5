/* One event, one line: a fixed message name, then key=value (logfmt) on standard error.
 *
 *   log_info("instance.state", "instance=%s epoch=%" PRIu64 " from=%s", id, epoch, from);
 *   ts=2026-11-21T09:40:02.118Z level=info msg=instance.state instance=... epoch=4 from=loading
 *
 * error: a person must act; warn: refused or degraded; info: state changes; debug: the rest. Who ends an error logs
 * it; who forwards it does not. Strings from outside go through LOG_STR(), which quotes and escapes them. No secrets. */
#ifndef CARAVAN_COMMON_LOG_H
#define CARAVAN_COMMON_LOG_H

#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum { LOG_LINE_MAX = 4096, LOG_STR_MAX = 768 };

/* Lines above level are dropped. Default: LOG_LEVEL_INFO. Set once, before threads start. */
void log_set_level(enum log_level level);

/* Writes one line with a single write(2), cut at LOG_LINE_MAX (a quoted string that is cut is closed). msg: a static
 * dotted name. Thread-safe. */
void log_line(enum log_level level, const char *msg, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As log_line, with error=, errno text and the trace of err.h at the end, which a long line does not push out. r: negative
 * errno. */
void log_failure(enum log_level level, const char *msg, int r, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(msg, ...) log_line(LOG_LEVEL_ERROR, msg, __VA_ARGS__)
#define log_warn(msg, ...)  log_line(LOG_LEVEL_WARN, msg, __VA_ARGS__)
#define log_info(msg, ...)  log_line(LOG_LEVEL_INFO, msg, __VA_ARGS__)
#define log_debug(msg, ...) log_line(LOG_LEVEL_DEBUG, msg, __VA_ARGS__)

/* Quotes s where it holds anything but plain characters; control bytes and non-ASCII bytes become \xNN.
 * s: borrowed, NULL counts as empty. Returns buf, always terminated, cut with "..." where it does not fit. */
char *log_quote(char *buf, size_t size, const char *s);

/* For use inside one log call. */
#define LOG_STR(s) log_quote((char[LOG_STR_MAX]){0}, LOG_STR_MAX, (s))

#endif
