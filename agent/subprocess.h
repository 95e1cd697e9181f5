/* Runs a program to its end and reads what it says: bounded in time and in bytes. For llama-server --version and the
 * like, at start and outside of the control loop. */
#ifndef CARAVAN_AGENT_SUBPROCESS_H
#define CARAVAN_AGENT_SUBPROCESS_H

#include <stddef.h>
#include <stdint.h>

enum {
    SUBPROCESS_E_EXEC = 1, /* it could not be executed */
    SUBPROCESS_E_TIMEOUT,  /* killed */
    SUBPROCESS_E_FAILED    /* it exited with another code than 0, or by a signal */
};

/* argv[0]: a path. Standard output and standard error go to ret together, the first size - 1 bytes, terminated; what is
 * more is read and dropped. ret holds what came on every positive too. 0, SUBPROCESS_E_..., negative errno. */
int subprocess_run(const char *const *argv, uint32_t timeout_ms, char *ret, size_t size);

#endif
