#include "agent/shim/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/core/procfs.h"

size_t record_format(const struct record *r, char buf[RECORD_TEXT_MAX])
{
    int n = snprintf(buf, RECORD_TEXT_MAX,
                     "version=%d\nboot_id=%s\nshim_pid=%" PRId32 "\nshim_start=%" PRIu64 "\nchild_pid=%" PRId32
                     "\nchild_start=%" PRIu64 "\nexec_errno=%" PRId32 "\n",
                     RECORD_VERSION, r->boot_id, r->shim_pid, r->shim_start_ticks, r->child_pid, r->child_start_ticks,
                     r->exec_errno);

    if (r->ended)
        n += snprintf(buf + n, RECORD_TEXT_MAX - (size_t)n, "exit_code=%" PRId32 "\nexit_signal=%" PRId32 "\n",
                      r->exit_code, r->exit_signal);
    return (size_t)n; /* at most 300: ten numbers, the keys and a boot id */
}

/* The value of the line "key=value\n", once. */
static const char *find(const char *text, const char *end, const char *key, const char **ret_eol)
{
    size_t n_key = strlen(key);

    for (const char *p = text; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));

        if (!eol)
            return NULL;
        if ((size_t)(eol - p) > n_key && !memcmp(p, key, n_key) && p[n_key] == '=') {
            *ret_eol = eol;
            return p + n_key + 1;
        }
        p = eol + 1;
    }
    return NULL;
}

static bool number(const char *text, const char *end, const char *key, uint64_t max, uint64_t *ret)
{
    const char *eol, *p = find(text, end, key, &eol);

    return p && procfs_uint(&p, eol, ret) && p == eol && *ret <= max;
}

static bool small(const char *text, const char *end, const char *key, int32_t *ret)
{
    uint64_t n;

    if (!number(text, end, key, INT32_MAX, &n))
        return false;
    *ret = (int32_t)n;
    return true;
}

bool record_parse(const char *text, size_t n_bytes, struct record *ret)
{
    const char *end = text + n_bytes, *eol, *boot_id = find(text, end, "boot_id", &eol);
    struct record r = {0};
    int32_t version;

    if (!small(text, end, "version", &version) || version != RECORD_VERSION || !boot_id ||
        eol - boot_id >= RECORD_BOOT_ID_MAX || memchr(boot_id, '\0', (size_t)(eol - boot_id)))
        return false;
    memcpy(r.boot_id, boot_id, (size_t)(eol - boot_id));
    if (!small(text, end, "shim_pid", &r.shim_pid) || !small(text, end, "child_pid", &r.child_pid) || r.shim_pid <= 1 ||
        r.child_pid <= 1 || !number(text, end, "shim_start", UINT64_MAX, &r.shim_start_ticks) ||
        !number(text, end, "child_start", UINT64_MAX, &r.child_start_ticks) ||
        !small(text, end, "exec_errno", &r.exec_errno))
        return false;
    r.ended = find(text, end, "exit_code", &eol) || find(text, end, "exit_signal", &eol);
    if (r.ended && (!small(text, end, "exit_code", &r.exit_code) || !small(text, end, "exit_signal", &r.exit_signal)))
        return false;
    *ret = r;
    return true;
}
