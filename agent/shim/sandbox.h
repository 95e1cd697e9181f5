/* What a child may still do, once it runs llama.cpp: rpc-server has known memory bugs and listens on the network, so it
 * is taken for somebody else's program. Everything here is done to the calling process and cannot be undone.
 *
 * Files (Landlock, Linux 5.13): the system's programs and libraries, a few files of /etc, GPU devices, and what its
 * rules name. In particular not the agent's state directory with its key, and no other child's. A rule is one of
 *   read=PATH        a file or a tree, to read
 *   run=PATH         the same, and to execute
 *   write=PATH       a tree in which it may do as it likes
 *   listen=PORT      TCP (Linux 6.7): where any such rule stands, it binds these ports alone (0: any of the kernel's
 *                    choice),
 *   connect=PORT     and connects to these alone
 * A path that is not there is passed over. Where the kernel can (Linux 6.12), it cannot signal anybody outside either.
 * Landlock does not see who listens without a bind: a port of the kernel's choice can be had so.
 *
 * System calls (seccomp): a list of those that llama.cpp and GPU drivers have no use for, and of those that go around
 * the rules above. See sandbox_calls.c. */
#ifndef CARAVAN_AGENT_SHIM_SANDBOX_H
#define CARAVAN_AGENT_SHIM_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* Shuts the calling process in. rule: n of them. What this kernel lacks is said in a line on standard error; what it has
 * and refuses is a failure: false, errno is set, *ret_step names what failed (static). For between fork and exec of a
 * process without threads; no_new_privs must be set. */
bool sandbox_enter(char *const *rule, size_t n, const char **ret_step);

/* The half of it in sandbox_calls.c. false: errno; ENOSYS where this kernel or processor has no such filter. */
bool sandbox_filter_calls(void);

#endif
