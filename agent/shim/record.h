/* What a shim writes down about its child, and the agent (this one or the next) reads: lines of key=value, the version
 * first. Pure text work; who writes replaces the whole file at once, so that a reader never sees half of it. */
#ifndef CARAVAN_AGENT_SHIM_RECORD_H
#define CARAVAN_AGENT_SHIM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_VERSION = 1, RECORD_TEXT_MAX = 512, RECORD_BOOT_ID_MAX = 40 };

struct record {
    char boot_id[RECORD_BOOT_ID_MAX]; /* start times repeat from boot to boot */
    int32_t shim_pid;
    uint64_t shim_start_ticks;
    int32_t child_pid;
    uint64_t child_start_ticks;
    int32_t exec_errno; /* 0: the program was executed, or will be */
    bool ended;         /* the child's wait status is known: */
    int32_t exit_code;
    int32_t exit_signal; /* 0: it exited by itself */
};

/* Returns the length, without the NUL that is there too. */
size_t record_format(const struct record *r, char buf[RECORD_TEXT_MAX]);

/* Keys that this version does not know are passed over. false: another version, a missing or malformed value. */
bool record_parse(const char *text, size_t n_bytes, struct record *ret);

#endif
