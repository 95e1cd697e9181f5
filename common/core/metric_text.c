#include "common/core/metric_text.h"

#include <string.h>

#include "common/core/procfs.h"

void metric_reader_init(struct metric_reader *r, const char *name)
{
    *r = (struct metric_reader){.name = name};
}

/* "NAME 12" or "NAME 12.5 1700000000" */
void metric_reader_end(struct metric_reader *r)
{
    size_t n_name = strlen(r->name), n_line = r->n_line;
    const char *p, *end;
    uint64_t value;

    r->n_line = 0;
    if (n_line > METRIC_LINE_MAX || n_line < n_name + 2 || memcmp(r->line, r->name, n_name) != 0 ||
        r->line[n_name] != ' ')
        return;
    p = r->line + n_name + 1;
    end = r->line + n_line;
    if (!procfs_uint(&p, end, &value))
        return;
    if (p < end && *p != '.' && *p != ' ' && *p != '\r')
        return; /* 1e+06 is not 1 */
    r->found = true;
    r->value = value;
}

static void take(struct metric_reader *r, const char *buf, size_t n)
{
    if (r->n_line + n <= METRIC_LINE_MAX)
        memcpy(r->line + r->n_line, buf, n);
    r->n_line = r->n_line + n <= METRIC_LINE_MAX ? r->n_line + n : METRIC_LINE_MAX + 1;
}

void metric_reader_feed(struct metric_reader *r, const void *buf, size_t n_bytes)
{
    const char *p = buf, *end = p + n_bytes;

    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));

        take(r, p, (size_t)((eol ? eol : end) - p));
        if (!eol)
            return;
        metric_reader_end(r);
        p = eol + 1;
    }
}
