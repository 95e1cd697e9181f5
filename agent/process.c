#include "agent/process.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/process_log.h"
#include "agent/process_spawn.h"
#include "agent/process_spec.h"
#include "agent/process_unit.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/event_clear.h"
#include "common/log.h"

enum {
    SHIM_GRACE_MS = 2000, /* a shim that does not end after its child is stopped or stuck: the status counts as lost */
    ADOPT_SHIM_MS = 1000, /* the same while adopting, which waits */
    KILLED_MS = 500       /* what SIGKILL needs, unless the process hangs in the kernel */
};

struct unit {
    struct process_table *table;
    struct unit *next;
    char id[PROTO_NAME_MAX];
    int32_t pid, shim_pid;
    int pidfd, shim_pidfd; /* -1: gone */
    struct event *on_child, *on_shim, *on_grace;
    bool running; /* false: ended and told, until it is forgotten */
    bool dying_told, bound_failed;
};

struct process_table {
    struct event_base *base;
    char state_dir[UNIT_PATH_MAX];
    char shim_path[UNIT_PATH_MAX];
    char boot_id[RECORD_BOOT_ID_MAX];
    struct process_callbacks cb;
    uint64_t tick_hz, page_bytes;
    struct unit *units;
};

static void unit_unwatch(struct unit *u)
{
    event_clear(&u->on_child);
    event_clear(&u->on_shim);
    event_clear(&u->on_grace);
    cleanup_close(&u->pidfd);
    cleanup_close(&u->shim_pidfd);
}

static void unit_destroy(struct unit **u)
{
    if (!*u)
        return;
    unit_unwatch(*u);
    free(*u);
    *u = NULL;
}

static struct unit *find(const struct process_table *t, const char *id)
{
    struct unit *u = t->units;

    while (u && strcmp(u->id, id) != 0)
        u = u->next;
    return u;
}

int process_table_new(struct event_base *base, const char *state_dir, const char *shim_path,
                      const struct process_callbacks *cb, struct process_table **ret)
{
    CLEANUP(cleanup_free) struct process_table *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return err_raise(-ENOMEM);
    if (strlen(state_dir) >= sizeof(t->state_dir) || strlen(shim_path) >= sizeof(t->shim_path))
        return err_raise(-ENAMETOOLONG);
    r = boot_id_read(t->boot_id);
    if (r < 0)
        return err_pass(r);
    t->base = base;
    strcpy(t->state_dir, state_dir);
    strcpy(t->shim_path, shim_path);
    t->cb = *cb;
    t->tick_hz = (uint64_t)sysconf(_SC_CLK_TCK);
    t->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    *ret = t;
    t = NULL;
    return 0;
}

void process_table_destroy(struct process_table **t)
{
    if (!*t)
        return;
    while ((*t)->units) {
        struct unit *u = (*t)->units;

        (*t)->units = u->next;
        unit_destroy(&u);
    }
    free(*t);
    *t = NULL;
}

/* How it ended, as far as anybody knows. A program that could not be executed exits 127, as in a shell. */
static struct exit_facts exit_of(const struct process_table *t, const char *id)
{
    struct exit_facts exit = {0};
    struct record record;

    if (unit_read_record(t->state_dir, id, &record) == 0 && record.ended)
        exit = (struct exit_facts){.known = true, .code = record.exit_code, .signal = record.exit_signal};
    return exit;
}

static void ended(struct unit *u)
{
    struct process_table *t = u->table;
    struct exit_facts exit = exit_of(t, u->id);
    char path[UNIT_PATH_MAX], tail[PROTO_TEXT_MAX] = "";

    unit_unwatch(u);
    u->running = false;
    if (unit_path(path, t->state_dir, u->id, "log") == 0)
        process_log_tail_file(path, tail, sizeof(tail));
    t->cb.exited(t->cb.ctx, u->id, &exit, tail); /* may forget u */
}

static void child_readable(evutil_socket_t fd, short what, void *ctx)
{
    static const struct timeval grace = {.tv_sec = SHIM_GRACE_MS / 1000};
    struct unit *u = ctx;

    (void)fd;
    (void)what;
    cleanup_close(&u->pidfd);
    if (u->shim_pidfd < 0)
        ended(u);
    else
        evtimer_add(u->on_grace, &grace);
}

static void shim_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct unit *u = ctx;

    (void)fd;
    (void)what;
    waitpid((pid_t)u->shim_pid, NULL, WNOHANG); /* ECHILD where an earlier agent was its parent */
    cleanup_close(&u->shim_pidfd);
    if (u->pidfd < 0)
        ended(u);
    else
        log_warn("shim.lost", "unit=%s pid=%d text=\"its wait status will not be known\"", u->id, (int)u->pid);
}

/* Ends a shim whose word is not waited for any more, and reaps it where it is our child. */
static void end_shim(int pidfd, int32_t pid)
{
    if (pidfd < 0)
        return;
    pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    process_wait_gone(pidfd, KILLED_MS);
    waitpid((pid_t)pid, NULL, WNOHANG);
}

/* Or both were gone already when they were to be watched. */
static void grace_over(evutil_socket_t fd, short what, void *ctx)
{
    struct unit *u = ctx;

    (void)fd;
    (void)what;
    if (u->shim_pidfd >= 0)
        log_warn("shim.stuck", "unit=%s shim_pid=%d", u->id, (int)u->shim_pid);
    end_shim(u->shim_pidfd, u->shim_pid);
    ended(u);
}

/* Watches what is still there of child and shim. Takes both pidfds when it succeeds: on failure the caller needs them. */
static int unit_watch(struct process_table *t, const char *id, const struct record *record, int *pidfd, int *shim_pidfd)
{
    CLEANUP(unit_destroy) struct unit *u = calloc(1, sizeof(*u));

    if (!u)
        return err_raise(-ENOMEM);
    u->table = t;
    u->running = true;
    u->pid = record->child_pid;
    u->shim_pid = record->shim_pid;
    u->pidfd = u->shim_pidfd = -1;
    memcpy(u->id, id, strlen(id) + 1);
    u->on_grace = evtimer_new(t->base, grace_over, u);
    if (!u->on_grace)
        return err_raise(-ENOMEM);
    if (*pidfd >= 0) {
        u->on_child = event_new(t->base, *pidfd, EV_READ, child_readable, u);
        if (!u->on_child || event_add(u->on_child, NULL) < 0)
            return err_raise(-ENOMEM);
    }
    if (*shim_pidfd >= 0) {
        u->on_shim = event_new(t->base, *shim_pidfd, EV_READ, shim_readable, u);
        if (!u->on_shim || event_add(u->on_shim, NULL) < 0)
            return err_raise(-ENOMEM);
    }
    u->pidfd = *pidfd;
    u->shim_pidfd = *shim_pidfd;
    *pidfd = *shim_pidfd = -1;
    if (u->pidfd < 0 && u->shim_pidfd < 0) /* gone already: told from the loop, never from within a call */
        event_active(u->on_grace, EV_TIMEOUT, 0);
    u->next = t->units;
    t->units = u;
    u = NULL;
    return 0;
}

/* Whose keeper cannot be had: the child's group first, so that its shim ends by itself. */
static void end_unit(const struct record *record, int pidfd, int shim_pidfd)
{
    if (pidfd >= 0 && process_signal_group(pidfd, record->child_pid, SIGKILL))
        process_wait_gone(pidfd, KILLED_MS);
    if (shim_pidfd >= 0)
        process_wait_gone(shim_pidfd, KILLED_MS);
    end_shim(shim_pidfd, record->shim_pid);
}

int process_write_file(struct process_table *t, const char *id, const char *name, const void *buf, size_t n_bytes,
                       char *ret_path, size_t size)
{
    char path[UNIT_PATH_MAX];
    int r;

    if (!process_id_valid(id) || !process_id_valid(name))
        return err_raise(-EINVAL);
    r = unit_path(path, t->state_dir, id, name);
    if (r < 0)
        return err_pass(r);
    if (strlen(path) >= size)
        return err_raise(-ENAMETOOLONG);
    r = unit_write_file(t->state_dir, id, name, buf, n_bytes);
    if (r < 0)
        return err_pass(r);
    memcpy(ret_path, path, strlen(path) + 1);
    return 0;
}

int process_spawn(struct process_table *t, const struct unit_facts *unit, const struct process_command *what,
                  int32_t *ret_pid)
{
    CLEANUP(cleanup_close) int pidfd = -1, shim_pidfd = -1;
    char spec[PROCESS_SPEC_TEXT_MAX];
    struct record record;
    int r;

    if (!process_id_valid(unit->id))
        return err_raise(-EINVAL);
    if (find(t, unit->id) || unit_read_record(t->state_dir, unit->id, &record) != UNIT_E_ABSENT)
        return PROCESS_E_EXISTS;
    r = unit_write_file(t->state_dir, unit->id, "spec", spec, process_spec_format(unit, spec));
    if (r < 0)
        goto undo;
    r = shim_start(t->shim_path, t->state_dir, unit->id, what, &shim_pidfd);
    if (r)
        goto undo;
    r = unit_read_record(t->state_dir, unit->id, &record);
    if (r) {
        r = err_raise(-EPROTO); /* it said that the record stands */
        goto undo;
    }
    r = process_open(record.child_pid, record.child_start_ticks, &pidfd);
    if (r < 0)
        kill(-record.child_pid, SIGKILL); /* by number, which is its own until its shim has seen it end */
    else
        r = unit_watch(t, unit->id, &record, &pidfd, &shim_pidfd);
    if (r < 0) {
        end_unit(&record, pidfd, shim_pidfd);
        goto undo;
    }
    *ret_pid = record.child_pid;
    return 0;
undo:
    unit_remove(t->state_dir, unit->id); /* the reason of the failure is what counts */
    if (r == SHIM_E_EXEC)
        return PROCESS_E_EXEC;
    return r == SHIM_E_SANDBOX ? PROCESS_E_SANDBOX : err_fold(r);
}

int process_assign(struct process_table *t, const struct unit_facts *unit)
{
    char spec[PROCESS_SPEC_TEXT_MAX], from[UNIT_PATH_MAX], to[UNIT_PATH_MAX];
    struct unit *u = find(t, unit->id);
    int r;

    if (!u || !u->running)
        return PROCESS_E_UNKNOWN;
    r = unit_write_file(t->state_dir, unit->id, "spec.new", spec, process_spec_format(unit, spec));
    if (r < 0)
        return err_pass(r);
    if (unit_path(from, t->state_dir, unit->id, "spec.new") < 0 || unit_path(to, t->state_dir, unit->id, "spec") < 0)
        return err_raise(-ENAMETOOLONG);
    return rename(from, to) < 0 ? err_raise(-errno) : 0;
}

int process_signal(struct process_table *t, const char *id, int signal)
{
    struct unit *u = find(t, id);

    if (!u || !u->running || u->pidfd < 0 || !process_signal_group(u->pidfd, u->pid, signal))
        return PROCESS_E_UNKNOWN;
    return 0;
}

int process_forget(struct process_table *t, const char *id)
{
    struct unit **at = &t->units;
    int r;

    while (*at && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    if (*at && (*at)->running)
        return PROCESS_E_EXISTS;
    if (!process_id_valid(id))
        return err_raise(-EINVAL);
    r = unit_remove(t->state_dir, id);
    if (r < 0)
        return err_pass(r);
    if (*at) {
        struct unit *u = *at;

        *at = u->next;
        unit_destroy(&u);
    }
    return 0;
}

bool process_file_path(const struct process_table *t, const char *id, const char *name, char *buf, size_t size)
{
    char path[UNIT_PATH_MAX];

    if (!find(t, id) || unit_path(path, t->state_dir, id, name) < 0 || strlen(path) >= size)
        return false;
    memcpy(buf, path, strlen(path) + 1);
    return true;
}

static void bound_log(struct unit *u)
{
    char path[UNIT_PATH_MAX];
    int r;

    if (u->bound_failed || unit_path(path, u->table->state_dir, u->id, "log") < 0)
        return;
    r = process_log_bound(path, PROCESS_LOG_MAX_BYTES);
    if (r < 0) {
        u->bound_failed = true; /* said once */
        log_failure(LOG_LEVEL_WARN, "log.bound", r, "unit=%s", u->id);
    }
}

bool process_sample(struct process_table *t, const char *id, struct process_sample *ret)
{
    struct unit *u = find(t, id);
    struct procfs_stat stat;

    if (!u || !u->running || u->pidfd < 0 || process_gone(u->pidfd) || !process_stat_read(u->pid, &stat))
        return false;
    bound_log(u);
    *ret = (struct process_sample){.rss_bytes = stat.rss_pages * t->page_bytes,
                                   .cpu_ms = stat.ticks * 1000 / t->tick_hz,
                                   .state = stat.state,
                                   .dying = stat.exiting};
    if (stat.exiting && !u->dying_told) {
        u->dying_told = true;
        t->cb.dying(t->cb.ctx, u->id);
    }
    return true;
}

struct adoption {
    struct process_table *table;
    void (*found)(void *ctx, const struct unit_facts *unit);
    void *ctx;
    int r;
};

/* Out of the way, but kept for whoever wants to know. */
static void set_aside(const struct process_table *t, const char *id)
{
    char from[UNIT_PATH_MAX], to[UNIT_PATH_MAX], name[PROTO_NAME_MAX + 16];

    snprintf(name, sizeof(name), ".%s.unreadable", id);
    log_warn("record.unreadable", "unit=%s text=\"set aside as units/%s\"", id, name);
    unit_remove(t->state_dir, name);
    if (unit_path(from, t->state_dir, id, NULL) == 0 && unit_path(to, t->state_dir, name, NULL) == 0)
        (void)rename(from, to);
}

/* Of another boot, or never begun: its process is gone for certain. */
static void discard(const struct process_table *t, const char *id)
{
    int r = unit_remove(t->state_dir, id);

    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "record.remove", r, "unit=%s", id);
}

static int adopt(struct adoption *a, const char *id, const struct record *record, struct unit_facts *unit)
{
    CLEANUP(cleanup_close) int pidfd = -1, shim_pidfd = -1;
    struct process_table *t = a->table;
    int r = process_open(record->shim_pid, record->shim_start_ticks, &shim_pidfd);

    if (r == 0 && !record->ended)
        r = process_open(record->child_pid, record->child_start_ticks, &pidfd);
    if (r < 0)
        return err_pass(r);
    if (pidfd < 0 || process_gone(pidfd)) {
        if (shim_pidfd >= 0)
            process_wait_gone(shim_pidfd, ADOPT_SHIM_MS); /* it is about to write the status */
        unit->state = UNIT_EXITED;
        unit->exit = exit_of(t, id);
        return 0;
    }
    r = unit_watch(t, id, record, &pidfd, &shim_pidfd);
    if (r < 0)
        return err_pass(r);
    unit->state = UNIT_RUNNING;
    unit->pid = record->child_pid;
    return 0;
}

/* Its record is there, but what it is for is lost: nobody could ever lead it, and its memory is promised to nobody. */
static int end_stranger(const char *id, const struct record *record)
{
    CLEANUP(cleanup_close) int shim_pidfd = -1, pidfd = -1;
    int r = process_open(record->shim_pid, record->shim_start_ticks, &shim_pidfd);

    if (r == 0 && !record->ended)
        r = process_open(record->child_pid, record->child_start_ticks, &pidfd);
    if (r < 0)
        return err_pass(r);
    if (pidfd >= 0)
        log_warn("unit.lost", "unit=%s pid=%d text=\"what it is for cannot be read: it is ended\"", id,
                 (int)record->child_pid);
    end_unit(record, pidfd, shim_pidfd);
    return 0;
}

static void adopt_one(void *ctx, const char *id)
{
    struct adoption *a = ctx;
    struct unit_facts unit;
    struct record record;
    int r;

    if (a->r < 0 || find(a->table, id))
        return;
    r = unit_read_record(a->table->state_dir, id, &record);
    if (r == UNIT_E_ABSENT || (r == 0 && strcmp(record.boot_id, a->table->boot_id) != 0)) {
        discard(a->table, id);
        return;
    }
    if (r == 0) {
        r = unit_read_spec(a->table->state_dir, id, &unit);
        if (r > 0)
            a->r = end_stranger(id, &record);
        if (a->r < 0)
            return;
    }
    if (r > 0) {
        set_aside(a->table, id);
        return;
    }
    if (r == 0)
        r = adopt(a, id, &record, &unit);
    a->r = r;
    if (r < 0)
        return;
    unit.adopted = true;
    a->found(a->ctx, &unit);
}

int process_adopt(struct process_table *t, void (*found)(void *ctx, const struct unit_facts *unit), void *ctx)
{
    struct adoption a = {.table = t, .found = found, .ctx = ctx};
    int r = unit_each(t->state_dir, adopt_one, &a);

    return err_fold(r < 0 ? r : a.r);
}
