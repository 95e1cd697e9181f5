/* Texts of /proc and of cgroup files, each reader on the same bytes: what it takes is whole, what is cut off it refuses. */
#include <string.h>

#include "common/core/cgroup.h"
#include "common/core/procfs.h"
#include "tests/fuzz/support.h"

static void check_sockets(const char *text, size_t n)
{
    struct procfs_socket s, again;

    if (!procfs_socket_parse(text, n, &s))
        return;
    FUZZ_CHECK(s.any == procfs_end_is_any(&s.local));
    FUZZ_CHECK(procfs_socket_parse(text, n, &again) && procfs_end_equal(&s.local, &again.local));
    if (!s.local.v6)
        for (size_t i = 4; i < sizeof(s.local.addr); i++)
            FUZZ_CHECK(!s.local.addr[i]);
}

static void check_cgroup(const char *text, size_t n)
{
    struct cgroup_paths paths;
    uint64_t limit = 1, usage = 2, inactive = cgroup_inactive_file_parse(text, n), left;

    cgroup_paths_parse(text, n, &paths);
    FUZZ_CHECK(strnlen(paths.v2, CGROUP_PATH_MAX) < CGROUP_PATH_MAX && !strstr(paths.v2, "/.."));
    FUZZ_CHECK(strnlen(paths.v1_memory, CGROUP_PATH_MAX) < CGROUP_PATH_MAX && !strstr(paths.v1_memory, "/.."));
    FUZZ_CHECK((!paths.v2[0] || paths.v2[0] == '/') && (!paths.v1_memory[0] || paths.v1_memory[0] == '/'));
    cgroup_limit_parse(text, n, &limit);
    cgroup_usage_parse(text, n, &usage);
    left = cgroup_free_bytes(limit, usage, inactive);
    FUZZ_CHECK(left <= limit);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *p = text;
    struct procfs_stat stat;
    struct procfs_memory memory;
    uint32_t load;
    uint64_t n;

    if (procfs_stat_parse(text, size, &stat))
        FUZZ_CHECK(stat.state >= 'A' && stat.state <= 'z');
    procfs_memory_parse(text, size, &memory);
    procfs_load_parse(text, size, &load);
    if (procfs_uint(&p, text + size, &n))
        FUZZ_CHECK(p > text && p <= text + size);
    check_sockets(text, size);
    check_cgroup(text, size);
}
