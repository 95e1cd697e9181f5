#include "common/core/cgroup.h"

#include <string.h>

#include "common/core/procfs.h"

/* v1 writes "no limit" as LONG_MAX rounded down to pages; whatever is that large is no limit. */
#define V1_NO_LIMIT (UINT64_C(1) << 62)

static bool list_has(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;

        if ((size_t)(stop - p) == n && !memcmp(p, word, n))
            return true;
        p = stop + 1;
    }
    return false;
}

static void take_path(char *ret, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);

    if (!n || n >= CGROUP_PATH_MAX || *p != '/' || memmem(p, n, "/..", 3) || memchr(p, '\0', n)) {
        memcpy(ret, "/", 2);
        return;
    }
    memcpy(ret, p, n);
    ret[n] = '\0';
}

/* "4:memory:/a/b": number, controllers, path. The path may hold colons. */
void cgroup_paths_parse(const char *text, size_t n_bytes, struct cgroup_paths *ret)
{
    const char *end = text + n_bytes;

    memset(ret, 0, sizeof(*ret));
    for (const char *p = text; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p)), *list, *path;

        if (!eol)
            return; /* cut off: the last line cannot be trusted */
        list = memchr(p, ':', (size_t)(eol - p));
        path = list ? memchr(list + 1, ':', (size_t)(eol - list - 1)) : NULL;
        if (path && path == list + 1 && list - p == 1 && *p == '0')
            take_path(ret->v2, path + 1, eol);
        else if (path && list_has(list + 1, path, "memory"))
            take_path(ret->v1_memory, path + 1, eol);
        p = eol + 1;
    }
}

bool cgroup_usage_parse(const char *text, size_t n_bytes, uint64_t *ret)
{
    const char *end = text + n_bytes, *p = text;

    return procfs_uint(&p, end, ret) && p < end && *p == '\n';
}

bool cgroup_limit_parse(const char *text, size_t n_bytes, uint64_t *ret)
{
    if (n_bytes >= 4 && !memcmp(text, "max\n", 4)) {
        *ret = UINT64_MAX;
        return true;
    }
    if (!cgroup_usage_parse(text, n_bytes, ret))
        return false;
    if (*ret >= V1_NO_LIMIT)
        *ret = UINT64_MAX;
    return true;
}

static bool stat_line(const char *text, size_t n_bytes, const char *name, uint64_t *ret)
{
    const char *end = text + n_bytes;
    size_t n = strlen(name);

    for (const char *p = text; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));

        if (!eol)
            return false;
        if ((size_t)(eol - p) > n && !memcmp(p, name, n) && p[n] == ' ') {
            p += n + 1;
            return procfs_uint(&p, eol, ret) && p == eol;
        }
        p = eol + 1;
    }
    return false;
}

uint64_t cgroup_inactive_file_parse(const char *text, size_t n_bytes)
{
    uint64_t n;

    if (stat_line(text, n_bytes, "total_inactive_file", &n) || stat_line(text, n_bytes, "inactive_file", &n))
        return n;
    return 0;
}

uint64_t cgroup_free_bytes(uint64_t limit, uint64_t usage, uint64_t inactive)
{
    uint64_t held = usage > inactive ? usage - inactive : 0;

    return held < limit ? limit - held : 0;
}
