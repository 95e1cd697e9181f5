#include "agent/coordinator_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/coordinator_log.h"
#include "common/core/err.h"
#include "common/httpc.h"
#include "common/log.h"

enum {
    HEALTH_MIN_MS = 20,
    HEALTH_MAX_MS = 200,
    HEALTH_TIMEOUT_MS = 2000,
    READ_BYTES = 16 * 1024,
    CATCH_UP_MAX_BYTES = 256 * 1024,    /* read at an exit; the cause stands at the end */
    AT_ONCE_MAX_BYTES = 1024 * 1024,    /* in one turn of the loop */
    BEHIND_MAX_BYTES = 64 * 1024 * 1024 /* more is passed over: no load writes so much between two turns */
};

struct coordinator_watch {
    struct event_base *base;
    char unit_id[PROTO_NAME_MAX];
    char addr[PROTO_ADDR_MAX];
    char key_path[PROTO_PATH_MAX];
    uint16_t port;
    coordinator_told *told;
    void *ctx;
    int log_fd, inotify; /* inotify -1: the log is read at each question for health instead */
    struct event *on_log, *on_health_due;
    struct httpc_request *health;
    uint32_t health_ms;
    int status;                   /* of the answer under way */
    struct metrics_poll *metrics; /* from when it listens */
    struct coordinator_log log;
};

static void ask_health(evutil_socket_t fd, short what, void *ctx);

static void tell(struct coordinator_watch *w, enum agent_event_kind kind)
{
    struct agent_event_facts facts = {.kind = kind};

    facts.n_buffers = w->log.n_buffers;
    memcpy(facts.buffers, w->log.buffers, sizeof(facts.buffers[0]) * w->log.n_buffers);
    w->told(w->ctx, w->unit_id, &facts);
}

static void health_in(struct coordinator_watch *w, uint32_t ms)
{
    struct timeval in = {.tv_usec = (suseconds_t)(ms * 1000)};

    evtimer_add(w->on_health_due, &in);
}

/* What is further behind than behind_bytes is passed over. */
static void skip_ahead(struct coordinator_watch *w, off_t behind_bytes, off_t keep_bytes)
{
    off_t at = lseek(w->log_fd, 0, SEEK_CUR), end = lseek(w->log_fd, 0, SEEK_END);

    lseek(w->log_fd, end - at > behind_bytes ? end - keep_bytes : at, SEEK_SET);
}

/* What has come, as much as one turn of the loop may take: whoever has taken over a llama-server can write faster than we
 * read, or make a hole of 16 TiB of its log. */
static unsigned catch_up(struct coordinator_watch *w, bool *ret_more)
{
    char buf[READ_BYTES];
    unsigned news = 0;
    size_t n_read = 0;
    ssize_t n = 0;

    while (n_read < AT_ONCE_MAX_BYTES && (n = read(w->log_fd, buf, sizeof(buf))) > 0) {
        news |= coordinator_log_feed(&w->log, buf, (size_t)n);
        n_read += (size_t)n;
    }
    *ret_more = n > 0;
    return news;
}

static void read_log(struct coordinator_watch *w)
{
    unsigned news;
    bool more;

    skip_ahead(w, BEHIND_MAX_BYTES, AT_ONCE_MAX_BYTES);
    news = catch_up(w, &more);
    if (more && w->on_log)
        event_active(w->on_log, EV_READ, 0);
    if (news & COORDINATOR_LOG_LOADING)
        tell(w, AGENT_EVENT_LOADING);
    if (news & COORDINATOR_LOG_BUFFERS)
        tell(w, AGENT_EVENT_RANK_BUFFERS);
    if (news & (COORDINATOR_LOG_LOADED | COORDINATOR_LOG_LISTENING) && !w->health) {
        w->health_ms = HEALTH_MIN_MS; /* any moment now */
        health_in(w, 0);
    }
}

static void log_grew(evutil_socket_t fd, short what, void *ctx)
{
    char buf[1024];

    (void)what;
    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    read_log(ctx);
}

static void stop_following(struct coordinator_watch *w)
{
    if (w->on_log)
        event_free(w->on_log);
    w->on_log = NULL;
    cleanup_close(&w->inotify);
}

static void health_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    struct coordinator_watch *w = ctx;

    (void)header;
    (void)n_headers;
    w->status = status;
}

static void health_data(void *ctx, const void *buf, size_t n_bytes)
{
    (void)ctx;
    (void)buf;
    (void)n_bytes;
}

/* "" where it cannot be read: then it answers that it does not know us, which is an answer. */
static void read_key(const char *path, char key[PROTO_KEY_MAX])
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, key, PROTO_KEY_MAX - 1);

    key[n > 0 ? n : 0] = '\0';
    key[strcspn(key, "\r\n")] = '\0';
}

static void follow_metrics(struct coordinator_watch *w)
{
    char key[PROTO_KEY_MAX];
    int r;

    read_key(w->key_path, key);
    r = metrics_poll_new(w->base, w->addr, w->port, key, &w->metrics);
    explicit_bzero(key, sizeof(key));
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "coordinator.metrics", r, "unit=%s", w->unit_id);
}

static void health_done(void *ctx, int r)
{
    struct coordinator_watch *w = ctx;

    w->health = NULL;
    if (r < 0 || w->status != 200) {
        health_in(w, w->health_ms);
        w->health_ms = w->health_ms * 2 < HEALTH_MAX_MS ? w->health_ms * 2 : HEALTH_MAX_MS;
        return;
    }
    read_log(w); /* the last figures come before the word that it serves */
    evtimer_del(w->on_health_due);
    stop_following(w);
    follow_metrics(w);
    tell(w, AGENT_EVENT_LISTENING);
}

static void ask_health(evutil_socket_t fd, short what, void *ctx)
{
    struct coordinator_watch *w = ctx;
    struct httpc_spec spec = {.host = w->addr,
                              .port = w->port,
                              .method = "GET",
                              .target = "/health",
                              .connect_timeout_ms = HEALTH_TIMEOUT_MS,
                              .idle_timeout_ms = HEALTH_TIMEOUT_MS};
    struct httpc_callbacks cb = {.head = health_head, .data = health_data, .done = health_done, .ctx = w};
    int r;

    (void)fd;
    (void)what;
    if (w->inotify < 0)
        read_log(w);
    evtimer_del(w->on_health_due); /* what was read may have set it: this is the question that it meant */
    w->status = 0;
    r = httpc_start(w->base, &spec, &cb, &w->health);
    if (r < 0) {
        log_failure(LOG_LEVEL_WARN, "coordinator.health", r, "unit=%s", w->unit_id);
        health_in(w, HEALTH_MAX_MS);
    }
}

/* The beginning of a long log may be a hole: nothing stands there. */
static void skip_hole(int fd)
{
    off_t data = lseek(fd, 0, SEEK_DATA);

    lseek(fd, data > 0 ? data : 0, SEEK_SET);
}

static int follow(struct coordinator_watch *w, const char *log_path)
{
    w->log_fd = open(log_path, O_RDONLY | O_CLOEXEC);
    if (w->log_fd < 0)
        return err_raise(-errno);
    skip_hole(w->log_fd);
    w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->inotify < 0 || inotify_add_watch(w->inotify, log_path, IN_MODIFY) < 0) {
        cleanup_close(&w->inotify); /* the user's share is used up: slower, not blind */
        return 0;
    }
    w->on_log = event_new(w->base, w->inotify, EV_READ | EV_PERSIST, log_grew, w);
    if (!w->on_log || event_add(w->on_log, NULL) < 0)
        return err_raise(-ENOMEM);
    event_active(w->on_log, EV_READ, 0); /* what is there already */
    return 0;
}

int coordinator_watch_new(struct event_base *base, const char *unit_id, const char *log_path, const char *key_path,
                          const char *addr, uint16_t port, coordinator_told *told, void *ctx,
                          struct coordinator_watch **ret)
{
    CLEANUP(coordinator_watch_destroy) struct coordinator_watch *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return err_raise(-ENOMEM);
    w->base = base;
    w->log_fd = w->inotify = -1;
    w->port = port;
    w->told = told;
    w->ctx = ctx;
    w->health_ms = HEALTH_MIN_MS;
    snprintf(w->unit_id, sizeof(w->unit_id), "%s", unit_id);
    snprintf(w->addr, sizeof(w->addr), "%s", addr);
    snprintf(w->key_path, sizeof(w->key_path), "%s", key_path);
    coordinator_log_init(&w->log);
    w->on_health_due = evtimer_new(base, ask_health, w);
    if (!w->on_health_due)
        return err_raise(-ENOMEM);
    r = follow(w, log_path);
    if (r < 0)
        return err_pass(r);
    health_in(w, HEALTH_MIN_MS);
    *ret = w;
    w = NULL;
    return 0;
}

void coordinator_watch_destroy(struct coordinator_watch **w)
{
    if (!*w)
        return;
    httpc_cancel(&(*w)->health);
    metrics_poll_destroy(&(*w)->metrics);
    stop_following(*w);
    if ((*w)->on_health_due)
        event_free((*w)->on_health_due);
    cleanup_close(&(*w)->log_fd);
    free(*w);
    *w = NULL;
}

bool coordinator_watch_figures(const struct coordinator_watch *w, struct metrics_figures *ret)
{
    if (!w->metrics)
        return false;
    metrics_poll_figures(w->metrics, ret);
    return true;
}

const char *coordinator_watch_cause(struct coordinator_watch *w)
{
    bool more;

    skip_ahead(w, CATCH_UP_MAX_BYTES, CATCH_UP_MAX_BYTES);
    catch_up(w, &more);
    coordinator_log_end(&w->log);
    return coordinator_log_cause(&w->log);
}
