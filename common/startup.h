/* What a daemon does first. */
#ifndef CARAVAN_COMMON_STARTUP_H
#define CARAVAN_COMMON_STARTUP_H

/* Takes nothing over from a careless launcher: closed standard descriptors become /dev/null, no signal is blocked, SIGCHLD
 * is not ignored; SIGPIPE is. Before anything is opened and any thread is there.
 * From then on nobody but root can trace the process or read its memory, and it leaves no core: it holds keys. Programs that
 * it executes are as ever. (Built with AddressSanitizer or ThreadSanitizer it stays as it was.) */
void startup_begin(void);

#endif
