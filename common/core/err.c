#include "common/core/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TRACE_MAX = 12 };

struct frame {
    const char *file;
    const char *func;
    int line;
};

/* One trace per thread: errors are rare and end where they are logged, so the newest one is the one wanted. */
static _Thread_local struct frame trace[TRACE_MAX];
static _Thread_local size_t n_trace;

int err_trace_begin(int r, const char *file, int line, const char *func)
{
    n_trace = 0;
    return err_trace_add(r, file, line, func);
}

int err_trace_add(int r, const char *file, int line, const char *func)
{
    if (r < 0 && n_trace < TRACE_MAX)
        trace[n_trace++] = (struct frame){.file = file, .func = func, .line = line};
    return r;
}

int err_trace_fold(int r, const char *file, int line, const char *func)
{
    assert(r <= 0);
    if (r > 0)
        return err_trace_begin(-ENOTRECOVERABLE, file, line, func);
    return err_trace_add(r, file, line, func);
}

char *err_trace(char *buf, size_t size)
{
    size_t used = 0;

    if (!size)
        return buf;
    buf[0] = '\0';
    for (size_t i = 0; i < n_trace; i++) {
        const char *slash = strrchr(trace[i].file, '/');
        int n = snprintf(buf + used, size - used, "%s%s:%d(%s)", i ? " < " : "", slash ? slash + 1 : trace[i].file,
                         trace[i].line, trace[i].func);
        if (n < 0 || (size_t)n >= size - used)
            break;
        used += (size_t)n;
    }
    return buf;
}
