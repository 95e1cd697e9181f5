#include "common/zmq_watch.h"

#include <czmq.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/core/err.h"

/* Messages per turn: a peer that floods us may not keep timers and the other sockets waiting. */
enum { READ_BATCH = 64 };

struct zmq_watch {
    void *socket;
    zmq_watch_read *read;
    void *ctx;
    struct event *readable;
    struct event *again; /* a timer of no time: the next turn, after the other sockets were polled */
    bool *destroyed;     /* set while read is being called: it may destroy us */
};

void *zmq_watch_context(void)
{
    void *context;

    zsys_handler_set(NULL); /* before zsys_init, which would take SIGINT and SIGTERM */
    context = zsys_init();
    if (!context)
        return NULL;
    zsys_set_logstream(NULL);
    zsys_set_logsystem(false);
    zsys_set_pipehwm(0); /* actor.c counts by itself, so that its word "stop" always fits */
    return context;
}

static bool has_message(void *socket)
{
    int events = 0;
    size_t size = sizeof(events);

    while (zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) < 0)
        if (errno != EINTR)
            return false;
    return events & ZMQ_POLLIN;
}

static void next_turn(struct zmq_watch *w)
{
    static const struct timeval now = {0, 0};

    /* Not event_active: libevent runs what a callback activates before it polls again. */
    event_add(w->again, &now);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct zmq_watch *w = arg;
    bool destroyed = false;

    (void)fd;
    (void)what;
    w->destroyed = &destroyed;
    for (int i = 0; i < READ_BATCH; i++) {
        bool more = has_message(w->socket) && w->read(w->ctx);

        if (destroyed)
            return;
        if (!more) {
            w->destroyed = NULL;
            return;
        }
    }
    w->destroyed = NULL;
    next_turn(w);
}

int zmq_watch_new(struct event_base *base, void *socket, zmq_watch_read *read, void *ctx, struct zmq_watch **ret)
{
    CLEANUP(zmq_watch_destroy) struct zmq_watch *w = calloc(1, sizeof(*w));
    int fd = -1;
    size_t size = sizeof(fd);

    if (!w)
        return err_raise(-ENOMEM);
    w->socket = socket;
    w->read = read;
    w->ctx = ctx;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) < 0)
        return err_raise(-errno);
    w->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_ready, w);
    w->again = event_new(base, -1, 0, on_ready, w);
    if (!w->readable || !w->again || event_add(w->readable, NULL) < 0)
        return err_raise(-ENOMEM);
    next_turn(w); /* what came before we watched made its edge already */
    *ret = w;
    w = NULL;
    return 0;
}

void zmq_watch_destroy(struct zmq_watch **w)
{
    if (!*w)
        return;
    if ((*w)->destroyed)
        *(*w)->destroyed = true;
    if ((*w)->readable)
        event_free((*w)->readable);
    if ((*w)->again)
        event_free((*w)->again);
    free(*w);
    *w = NULL;
}

void zmq_watch_sent(struct zmq_watch *w)
{
    if (has_message(w->socket))
        next_turn(w);
}
