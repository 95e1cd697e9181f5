/* Children that outlive the agent: each under its own caravan-shim, in its own session, with its record on disk.
 *
 *   STATE_DIR/units/ID/spec     what it is (role, instance, epoch, rank, addr, port): written before it starts
 *                 .../record    by the shim: boot id, shim pid and start time, child pid and start time, then its wait
 *                               status
 *                 .../log       its output, O_APPEND, bounded by hole punching
 *                 .../conf, control, figures      of a carrier: agent/carrier
 *
 * Adoption opens the pidfd first, then compares boot id and start time, then polls it: a zombie keeps both. */
#ifndef CARAVAN_AGENT_PROCESS_H
#define CARAVAN_AGENT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

struct event_base;
struct process_table;

enum {
    PROCESS_LOG_MAX_BYTES = 16 * 1024 * 1024, /* kept of each child's output */
    PROCESS_ARGV_MAX = 160,
    PROCESS_RULES_MAX = 192 /* a carrier has one for each file of a model */
};
enum {
    PROCESS_E_EXISTS = 1,
    PROCESS_E_EXEC, /* the program could not be executed */
    PROCESS_E_UNKNOWN,
    PROCESS_E_SANDBOX /* the child could not be shut in, which was logged: it has not run */
};

/* What a child is to execute; all borrowed, each list NULL-terminated. */
struct process_command {
    const char *const *argv; /* argv[0]: an absolute path; at most PROCESS_ARGV_MAX */
    const char *const *env;  /* "K=V" over the agent's own; may be NULL */
    const char *const *rule; /* of its sandbox (agent/shim/sandbox.h), at most PROCESS_RULES_MAX; NULL: it has none */
};

struct process_callbacks {
    /* The process is gone (pidfd readable) and the shim's word is in, or the shim is gone too. tail: the last lines of
     * its output, borrowed. */
    void (*exited)(void *ctx, const char *id, const struct exit_facts *exit, const char *tail);
    void (*dying)(void *ctx, const char *id); /* PF_EXITING seen by process_sample */
    void *ctx;
};

/* shim_path: caravan-shim. state_dir exists. 0 or negative errno. */
int process_table_new(struct event_base *base, const char *state_dir, const char *shim_path,
                      const struct process_callbacks *cb, struct process_table **ret);
/* Lets the children live. */
void process_table_destroy(struct process_table **t);

/* Writes the spec, starts the command under a shim with SIGPIPE ignored, waits for the shim's word that exec succeeded
 * (bounded, 5 s). unit: id, role, ... as in the spec. *ret_pid: the child's.
 * 0; PROCESS_E_EXISTS; PROCESS_E_EXEC; PROCESS_E_SANDBOX; negative errno. */
int process_spawn(struct process_table *t, const struct unit_facts *unit, const struct process_command *what,
                  int32_t *ret_pid);

/* Writes the spec of a running unit anew: it serves another instance and epoch, or nobody. 0; PROCESS_E_UNKNOWN (gone);
 * negative errno, and the spec is as it was. */
int process_assign(struct process_table *t, const struct unit_facts *unit);

/* To the child's whole process group, through its pidfd where that is possible. 0; PROCESS_E_UNKNOWN (gone). */
int process_signal(struct process_table *t, const char *id, int signal);

/* Reads every record of this boot: for each unit found calls `found` with state RUNNING (now watched) or EXITED (with
 * exit; the record stays until process_forget). Unreadable records are logged and moved aside; a unit of which only the
 * record can be read is ended first. 0 or negative errno: not all were told, and none was taken for ended that may live. */
int process_adopt(struct process_table *t, void (*found)(void *ctx, const struct unit_facts *unit), void *ctx);

/* Deletes the unit's directory. Refused (PROCESS_E_EXISTS) while it runs. */
int process_forget(struct process_table *t, const char *id);

struct process_sample {
    uint64_t rss_bytes, cpu_ms;
    char state;
    bool dying;
};
/* false: unknown unit or gone. Also bounds its log. */
bool process_sample(struct process_table *t, const char *id, struct process_sample *ret);

/* Path of a file of the unit: its output is "log", for the log reader; NULL: its directory. false: unknown unit, or too
 * long. */
bool process_file_path(const struct process_table *t, const char *id, const char *name, char *buf, size_t size);

/* A private file (0600) in the directory of a unit that is about to be spawned, such as a coordinator's key: written
 * before process_spawn, gone with process_forget. name: plain. *ret_path: its absolute path. 0 or negative errno. */
int process_write_file(struct process_table *t, const char *id, const char *name, const void *buf, size_t n_bytes,
                       char *ret_path, size_t size);

/* Ends every child recorded in state_dir, group by group: SIGTERM, SIGKILL after grace_ms, waits until all are gone.
 * For `caravan-agent --purge`; needs no table. Returns the number ended, or negative errno. */
int process_purge(const char *state_dir, uint32_t grace_ms);

#endif
