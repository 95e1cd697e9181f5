/* How results travel (see dbus-broker's src/util/error.c for the idea).
 *
 *   0          done
 *   positive   an outcome named in the callee's header; its direct caller handles it
 *   negative   an errno that nobody matches on; forwarded with a trace to the owner of the unit
 *              (connection, child, request) or to main, which logs it once
 *
 * err_raise(r) starts a trace, err_pass(r) forwards a negative, err_fold(r) forwards where no positive may be left:
 * a positive there is our own mistake and becomes -ENOTRECOVERABLE (and an assertion in debug builds).
 * The trace is kept per thread, bounded, and read by err_trace(). Pure cores may use this: it does no I/O. */
#ifndef CARAVAN_COMMON_CORE_ERR_H
#define CARAVAN_COMMON_CORE_ERR_H

#include <stddef.h>

#define err_raise(r) err_trace_begin((r), __FILE__, __LINE__, __func__)
#define err_pass(r)  err_trace_add((r), __FILE__, __LINE__, __func__)
#define err_fold(r)  err_trace_fold((r), __FILE__, __LINE__, __func__)

/* Each returns r (err_trace_fold: r, or -ENOTRECOVERABLE for a positive). file, func: static strings. */
int err_trace_begin(int r, const char *file, int line, const char *func);
int err_trace_add(int r, const char *file, int line, const char *func);
int err_trace_fold(int r, const char *file, int line, const char *func);

/* Writes the last trace of this thread as "file:line(func) < file:line(func)" into buf (always terminated).
 * Returns buf. */
char *err_trace(char *buf, size_t size);

#endif
