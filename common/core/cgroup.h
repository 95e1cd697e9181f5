/* What a memory cgroup leaves to its processes, from the text of its files: v1 and v2, also both at once (hybrid).
 * Opens nothing; agent/system.c walks the tree. */
#ifndef CARAVAN_COMMON_CORE_CGROUP_H
#define CARAVAN_COMMON_CORE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CGROUP_PATH_MAX = 512 };

/* /proc/self/cgroup: the path on line "0::", and on the line that names `memory`. Empty: there is none. */
struct cgroup_paths {
    char v2[CGROUP_PATH_MAX];
    char v1_memory[CGROUP_PATH_MAX];
};

/* Paths that are too long, relative or climbing ("/../x": the process lies outside of its cgroup namespace) count as
 * "/", what is always there. */
void cgroup_paths_parse(const char *text, size_t n_bytes, struct cgroup_paths *ret);

/* memory.max, memory.limit_in_bytes: UINT64_MAX where there is no limit ("max", or v1's PAGE_COUNTER_MAX). */
bool cgroup_limit_parse(const char *text, size_t n_bytes, uint64_t *ret);
/* memory.current, memory.usage_in_bytes. */
bool cgroup_usage_parse(const char *text, size_t n_bytes, uint64_t *ret);
/* memory.stat: file pages that can go at once; v1 counts the whole subtree under total_inactive_file. 0: not said. */
uint64_t cgroup_inactive_file_parse(const char *text, size_t n_bytes);

/* limit - usage + inactive, never over limit, never under 0. */
uint64_t cgroup_free_bytes(uint64_t limit, uint64_t usage, uint64_t inactive);

#endif
