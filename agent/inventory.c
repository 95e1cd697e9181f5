#include "agent/inventory.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/actor.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/log.h"

enum { LOOK_S = 10, SETTLE_MS = 200 /* a copy makes many events */ };
enum { WATCHED = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ATTRIB };

struct inventory_room {
    struct actor *actor;
    const char *const *dir;
    size_t n_dirs;
    inventory_changed *changed;
    void *ctx;
};

/* What lives in the thread. */
struct scanner {
    const struct inventory_room *room;
    struct actor_pipe *pipe;
    struct event_base *base;
    struct inventory_cache *cache;
    int inotify; /* -1: none to be had; the timer does it then */
    struct event *on_change, *on_time;
};

static void drop(void *object)
{
    struct inventory *i = object;

    inventory_destroy(&i);
}

static void look_in(struct scanner *s, time_t seconds, suseconds_t ms)
{
    struct timeval in = {.tv_sec = seconds, .tv_usec = ms * 1000};

    evtimer_add(s->on_time, &in);
}

/* Directories may come and go: watched anew at each look, which costs nothing for one that is watched. */
static void look(evutil_socket_t fd, short what, void *ctx)
{
    struct scanner *s = ctx;
    struct inventory *found = NULL;
    int r;

    (void)fd;
    (void)what;
    for (size_t i = 0; s->inotify >= 0 && i < s->room->n_dirs; i++)
        inotify_add_watch(s->inotify, s->room->dir[i], WATCHED);
    r = inventory_scan(s->cache, &found);
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "inventory.scan", r, "dirs=%zu", s->room->n_dirs);
    if (found)
        actor_pipe_send(s->pipe, found);
    look_in(s, LOOK_S, 0);
}

static void changed(evutil_socket_t fd, short what, void *ctx)
{
    char buf[4096];

    (void)what;
    while (read(fd, buf, sizeof(buf)) > 0)
        ; /* whatever it was, everything is looked at */
    look_in(ctx, 0, SETTLE_MS);
}

static void nothing_to_receive(void *ctx, void *object)
{
    (void)ctx;
    (void)object;
}

static void stop(void *ctx)
{
    struct scanner *s = ctx;

    event_base_loopbreak(s->base);
}

static int scanner_begin(struct scanner *s)
{
    int r;

    s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    s->base = event_base_new();
    if (!s->base)
        return err_raise(-ENOMEM);
    s->on_time = evtimer_new(s->base, look, s);
    if (!s->on_time)
        return err_raise(-ENOMEM);
    if (s->inotify >= 0) {
        s->on_change = event_new(s->base, s->inotify, EV_READ | EV_PERSIST, changed, s);
        if (!s->on_change || event_add(s->on_change, NULL) < 0)
            return err_raise(-ENOMEM);
    }
    r = inventory_cache_new(s->room->dir, s->room->n_dirs, &s->cache);
    if (r < 0)
        return err_pass(r);
    look_in(s, 0, 0);
    r = actor_pipe_attach(s->pipe, s->base, nothing_to_receive, s, stop);
    return r < 0 ? err_pass(r) : 0;
}

static void scanner_main(struct actor_pipe *pipe, void *arg)
{
    struct scanner s = {.room = arg, .pipe = pipe, .inotify = -1};
    int r = scanner_begin(&s);

    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "inventory.start", r, "text=\"this node offers no models\"");
    else
        event_base_dispatch(s.base);
    if (s.on_change)
        event_free(s.on_change);
    if (s.on_time)
        event_free(s.on_time);
    inventory_cache_destroy(&s.cache);
    if (s.base)
        event_base_free(s.base);
    cleanup_close(&s.inotify);
}

static void received(void *ctx, void *object)
{
    struct inventory_room *room = ctx;

    room->changed(room->ctx, object);
}

int inventory_room_new(struct event_base *base, const char *const *dir, size_t n_dirs, inventory_changed *on_changed,
                       void *ctx, struct inventory_room **ret)
{
    CLEANUP(inventory_room_destroy) struct inventory_room *room = calloc(1, sizeof(*room));
    int r;

    if (!room)
        return err_raise(-ENOMEM);
    room->dir = dir;
    room->n_dirs = n_dirs;
    room->changed = on_changed;
    room->ctx = ctx;
    r = actor_new(base, scanner_main, room, received, room, drop, drop, &room->actor);
    if (r < 0)
        return err_pass(r);
    *ret = room;
    room = NULL;
    return 0;
}

void inventory_room_destroy(struct inventory_room **r)
{
    if (!*r)
        return;
    if ((*r)->actor)
        actor_destroy(&(*r)->actor);
    free(*r);
    *r = NULL;
}
