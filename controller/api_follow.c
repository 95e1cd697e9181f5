#include "controller/api_follow.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "controller/api_json.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

enum { PROGRESS_MS = 100, PING_MS = 15000 };

/* What makes a change urgent. */
struct milestone {
    enum task_state task;
    enum instance_state instance; /* 0: none */
    uint64_t epoch;
    char step[PROTO_NAME_MAX];
};

struct follower {
    LIST_ENTRY(follower) link;
    struct http_exchange *x;
    uint64_t task_id;
    struct milestone told;
    char *text; /* the last that was sent */
    uint64_t sent_ms;
};

struct api_follow {
    struct event *later, *ping;
    struct view *view;
    LIST_HEAD(, follower) followers;
};

static bool is_over(enum task_state s)
{
    switch (s) {
    case TASK_PENDING:
    case TASK_RUNNING:
        return false;
    case TASK_COMPLETE:
    case TASK_FAILED:
    case TASK_REFUSED:
    case TASK_CANCELLED:
        return true;
    }
    return true;
}

static struct milestone milestone_of(const struct view *v, const struct view_task *t)
{
    const struct view_instance *in = api_find_instance_by_id(v, &t->instance);
    struct milestone m;

    memset(&m, 0, sizeof(m)); /* compared as bytes */
    m.task = t->state;
    m.instance = in ? in->state : (enum instance_state)0;
    m.epoch = in ? in->epoch : 0;
    memcpy(m.step, t->step, strnlen(t->step, sizeof(m.step) - 1));
    return m;
}

static void forget(struct follower *w)
{
    LIST_REMOVE(w, link);
    free(w->text);
    free(w);
}

static void on_gone(void *ctx)
{
    forget(ctx);
}

static void end(struct follower *w)
{
    struct http_exchange *x = w->x;

    forget(w);
    http_watch(x, NULL, NULL, NULL);
    http_end(x);
}

/* Sends what is new to say. Returns whether something waits for later. */
static bool tell(struct follower *w, const struct view *v, uint64_t now_ms)
{
    const struct view_task *t = api_find_task(v, w->task_id);
    CLEANUP(json_cleanup) json_t *j = NULL;
    struct milestone m;
    char *text;

    if (!t) { /* so old that it is no longer kept */
        end(w);
        return false;
    }
    m = milestone_of(v, t);
    if (w->text && memcmp(&m, &w->told, sizeof(m)) == 0 && now_ms - w->sent_ms < PROGRESS_MS)
        return true;
    j = api_json_follow(v, t);
    text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (!text)
        return true;
    if (w->text && strcmp(text, w->text) == 0) {
        free(text);
        return false;
    }
    free(w->text);
    w->text = text;
    w->told = m;
    w->sent_ms = now_ms;
    http_sse_send(w->x, 0, "task", text);
    if (is_over(t->state))
        end(w);
    return false;
}

static void tell_all(struct api_follow *f)
{
    struct timeval tv = {.tv_usec = PROGRESS_MS * 1000};
    struct follower *w, *next;
    bool waits = false;

    for (w = LIST_FIRST(&f->followers); w; w = next) {
        next = LIST_NEXT(w, link);
        waits = tell(w, f->view, clock_now_ms()) || waits;
    }
    if (waits && !event_pending(f->later, EV_TIMEOUT, NULL))
        event_add(f->later, &tv);
}

static void on_later(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    tell_all(ctx);
}

static void on_ping(evutil_socket_t fd, short what, void *ctx)
{
    struct api_follow *f = ctx;
    struct follower *w;

    (void)fd;
    (void)what;
    LIST_FOREACH(w, &f->followers, link)
    http_sse_ping(w->x);
}

int api_follow_new(struct event_base *base, struct api_follow **ret)
{
    struct timeval tv = {.tv_sec = PING_MS / 1000};
    struct api_follow *f = calloc(1, sizeof(*f));

    if (!f)
        return err_raise(-ENOMEM);
    LIST_INIT(&f->followers);
    f->later = evtimer_new(base, on_later, f);
    f->ping = event_new(base, -1, EV_PERSIST, on_ping, f);
    if (!f->later || !f->ping || event_add(f->ping, &tv) < 0) {
        api_follow_destroy(&f);
        return err_raise(-ENOMEM);
    }
    *ret = f;
    return 0;
}

void api_follow_destroy(struct api_follow **f)
{
    if (!*f)
        return;
    if ((*f)->later)
        event_free((*f)->later);
    if ((*f)->ping)
        event_free((*f)->ping);
    view_unref(&(*f)->view);
    free(*f);
    *f = NULL;
}

void api_follow_begin(struct api_follow *f, struct http_exchange *x, const struct view *v, const struct view_task *t)
{
    struct follower *w = calloc(1, sizeof(*w));

    if (!w) {
        http_reply_error(x, 503, "no_memory", "out of memory");
        return;
    }
    if (!http_sse_begin(x)) {
        free(w);
        return;
    }
    *w = (struct follower){.x = x, .task_id = t->id};
    LIST_INSERT_HEAD(&f->followers, w, link);
    http_watch(x, on_gone, NULL, w);
    tell(w, v, clock_now_ms());
}

void api_follow_view(struct api_follow *f, struct view *v)
{
    view_unref(&f->view);
    f->view = view_ref(v);
    tell_all(f);
}
