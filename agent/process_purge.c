/* `caravan-agent --purge`: ends what any life of the agent has left running, by record. Needs no loop and no table. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/process.h"
#include "agent/process_unit.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"

enum {
    PURGE_UNITS_MAX = 256,
    PURGE_KILL_WAIT_MS = 60000, /* a process of 100 GB takes its time to go */
    PURGE_SHIM_WAIT_MS = 5000
};

struct victim {
    char id[PROTO_NAME_MAX];
    int child, shim; /* pidfds, -1: gone already */
    int32_t child_pid;
};

struct purge {
    const char *state_dir;
    char boot_id[RECORD_BOOT_ID_MAX];
    int r; /* of a unit that had to be left */
    size_t n;
    struct victim victim[PURGE_UNITS_MAX];
};

static void purge_free(struct purge **p)
{
    for (size_t i = 0; *p && i < (*p)->n; i++) {
        cleanup_close(&(*p)->victim[i].child);
        cleanup_close(&(*p)->victim[i].shim);
    }
    free(*p);
}

static void collect(void *ctx, const char *id)
{
    struct purge *p = ctx;
    struct victim *v;
    struct record record;
    int r = unit_read_record(p->state_dir, id, &record);

    if (p->n == PURGE_UNITS_MAX)
        return;
    if (r && r != UNIT_E_ABSENT) { /* perhaps the only trace of a process that runs: not to be wiped out */
        log_warn("purge.unreadable", "unit=%s text=\"its record cannot be read: left as it is\"", id);
        return;
    }
    v = &p->victim[p->n++];
    *v = (struct victim){.child = -1, .shim = -1};
    memcpy(v->id, id, strlen(id) + 1);
    if (r || strcmp(record.boot_id, p->boot_id) != 0)
        return;
    v->child_pid = record.child_pid;
    r = process_open(record.shim_pid, record.shim_start_ticks, &v->shim);
    if (r == 0 && !record.ended)
        r = process_open(record.child_pid, record.child_start_ticks, &v->child);
    if (r == 0)
        return;
    log_error("purge.unknown", "unit=%s pid=%d text=\"whether it runs cannot be found out: left as it is: %s\"", id,
              (int)record.child_pid, strerrordesc_np(-r));
    cleanup_close(&v->shim);
    p->r = r;
    p->n--;
}

/* Until all children are gone, or the time is over. */
static void wait_all(const struct purge *p, uint64_t for_ms)
{
    uint64_t end = clock_now_ms() + for_ms;

    for (size_t i = 0; i < p->n; i++) {
        uint64_t now = clock_now_ms();

        if (p->victim[i].child >= 0)
            process_wait_gone(p->victim[i].child, now < end ? (int)(end - now) : 0);
    }
}

static void signal_all(const struct purge *p, int signal)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->victim[i].child >= 0 && !process_gone(p->victim[i].child))
            process_signal_group(p->victim[i].child, p->victim[i].child_pid, signal);
}

int process_purge(const char *state_dir, uint32_t grace_ms)
{
    CLEANUP(purge_free) struct purge *p = calloc(1, sizeof(*p));
    int n_ended = 0, r;

    if (!p)
        return err_raise(-ENOMEM);
    p->state_dir = state_dir;
    r = boot_id_read(p->boot_id);
    if (r < 0)
        return err_pass(r);
    r = unit_each(state_dir, collect, p);
    if (r < 0)
        return err_pass(r);
    signal_all(p, SIGTERM);
    signal_all(p, SIGCONT); /* a stopped process hears SIGTERM only then */
    wait_all(p, grace_ms);
    signal_all(p, SIGKILL);
    wait_all(p, PURGE_KILL_WAIT_MS);
    for (size_t i = 0; i < p->n; i++) {
        struct victim *v = &p->victim[i];

        if (v->child >= 0 && !process_gone(v->child)) {
            log_error("purge.stays", "unit=%s pid=%d", v->id, (int)v->child_pid);
            continue;
        }
        if (v->shim >= 0)
            process_wait_gone(v->shim, PURGE_SHIM_WAIT_MS); /* it writes once more */
        n_ended += v->child >= 0;
        r = unit_remove(state_dir, v->id);
        if (r < 0)
            log_failure(LOG_LEVEL_WARN, "purge.remove", r, "unit=%s", v->id);
    }
    return p->r < 0 ? err_pass(p->r) : n_ended;
}
