/* What this machine has and how busy it is. The memory that counts is what could be taken now: never MemTotal. */
#ifndef CARAVAN_AGENT_SYSTEM_H
#define CARAVAN_AGENT_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { SYSTEM_E_ABSENT = 1 };
enum { SYSTEM_MACHINE_ID = 33 /* 32 hex digits and NUL */, SYSTEM_BOOT_ID = 40 };

struct system_memory {
    uint64_t total_bytes; /* of the machine, or the least limit of a cgroup above us */
    uint64_t free_bytes;  /* min(MemAvailable, limit - usage + inactive file pages of each cgroup above us) */
};

/* root: "", or a directory that has proc and sys below it (tests). cgroup v1, v2 and both at once; one that cannot be
 * read sets no limit. 0 or negative errno. */
int system_memory_read(const char *root, struct system_memory *ret);

/* One-minute load per online processor, in thousandths. 0 or negative errno. */
int system_load_read(const char *root, uint32_t *ret_permille);

/* Since boot, suspended time included. */
uint64_t system_uptime_ms(void);

/* /etc/machine-id. 0, SYSTEM_E_ABSENT (missing, empty or not an id), negative errno. */
int system_machine_id(const char *root, char ret[SYSTEM_MACHINE_ID]);
int system_boot_id(char ret[SYSTEM_BOOT_ID]);

/* Chooses among this machine's addresses. wanted: `address =`, or NULL. rule: `interfaces =`, in order of preference;
 * "!NAME" denies; with no allowing rule all are allowed. A name may end in '*'. Dropped without being asked: loopback
 * (but by name), link-local, bridges and veths of containers. ret[0] is the chosen one, IPv4 before IPv6.
 * 0, SYSTEM_E_ABSENT (none is left, or wanted is not ours), negative errno. */
int system_addresses(const char *wanted, const char *const *rule, size_t n_rules,
                     char ret[PROTO_ADDRS_MAX][PROTO_ADDR_MAX], size_t *ret_n);

/* The pure half of system_addresses. One interface address. */
struct system_address {
    char interface[16];
    char addr[PROTO_ADDR_MAX];
    _Bool v6, up;
};
size_t system_choose_addresses(const struct system_address *have, size_t n_have, const char *wanted,
                               const char *const *rule, size_t n_rules, char ret[PROTO_ADDRS_MAX][PROTO_ADDR_MAX]);

#endif
