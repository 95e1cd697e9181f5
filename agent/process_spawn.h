/* Starts one caravan-shim and hears from it how far it got. */
#ifndef CARAVAN_AGENT_PROCESS_SPAWN_H
#define CARAVAN_AGENT_PROCESS_SPAWN_H

#include "agent/process.h"

enum {
    SHIM_E_EXEC = 1 /* the shim runs, the program could not be executed */,
    SHIM_E_SANDBOX /* or not be shut in (said) */
};

/* what: as process_spawn. Waits up to 5 s; on failure nothing is left running. *ret_pidfd: of the
 * shim, a child of ours to be reaped when it becomes readable. 0; SHIM_E_...; negative errno. */
int shim_start(const char *shim_path, const char *state_dir, const char *id, const struct process_command *what,
               int *ret_pidfd);

#endif
