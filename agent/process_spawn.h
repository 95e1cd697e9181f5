/* Starts one caravan-shim and hears from it how far it got. */
#ifndef CARAVAN_AGENT_PROCESS_SPAWN_H
#define CARAVAN_AGENT_PROCESS_SPAWN_H

enum { SHIM_E_EXEC = 1 /* the shim runs, the program could not be executed */ };

/* argv, env (may be NULL): as process_spawn. Waits up to 5 s; on failure nothing is left running. *ret_pidfd: of the
 * shim, a child of ours to be reaped when it becomes readable. 0; SHIM_E_EXEC; negative errno. */
int shim_start(const char *shim_path, const char *state_dir, const char *id, const char *const *argv,
               const char *const *env, int *ret_pidfd);

#endif
