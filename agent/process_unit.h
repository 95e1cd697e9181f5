/* What process.c and process_purge.c share: a unit's directory, and its processes found again by record. */
#ifndef CARAVAN_AGENT_PROCESS_UNIT_H
#define CARAVAN_AGENT_PROCESS_UNIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/shim/record.h"
#include "common/core/procfs.h"
#include "common/core/protocol.h"

enum { UNIT_PATH_MAX = PROTO_PATH_MAX };

/* STATE_DIR/units/ID, and /NAME where it is not NULL. 0, or -ENAMETOOLONG. */
int unit_path(char buf[UNIT_PATH_MAX], const char *state_dir, const char *id, const char *name);

int unit_write_file(const char *state_dir, const char *id, const char *name, const void *buf, size_t n_bytes);

enum { UNIT_E_ABSENT = 1, UNIT_E_MALFORMED };
int unit_read_record(const char *state_dir, const char *id, struct record *ret);
int unit_read_spec(const char *state_dir, const char *id, struct unit_facts *ret);

/* Deletes the files of the directory and itself; it has no folders. One that is not there is fine. */
int unit_remove(const char *state_dir, const char *id);

/* Calls visit for each directory whose name may be an id. */
int unit_each(const char *state_dir, void (*visit)(void *ctx, const char *id), void *ctx);

int boot_id_read(char ret[RECORD_BOOT_ID_MAX]);
bool process_stat_read(int32_t pid, struct procfs_stat *ret);

/* Opens a pidfd and then makes sure that it is the one which was recorded: another start time is another process. *ret: the
 * pidfd, or -1: gone. A zombie is still the one; its pidfd is readable: process_gone. 0; negative errno: it could not be
 * found out (too few descriptors), which is no death; *ret is then -1, too. */
int process_open(int32_t pid, uint64_t start_ticks, int *ret);
bool process_gone(int pidfd);
/* Waits until it is gone. false: not within timeout_ms. */
bool process_wait_gone(int pidfd, int timeout_ms);

/* To the process group that pid leads; pidfd: of pid. false: gone. */
bool process_signal_group(int pidfd, int32_t pid, int signal);

#endif
