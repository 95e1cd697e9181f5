#include "common/wire_monitor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/zmq_watch.h"

struct wire_monitor {
    void *watched, *socket;
    struct zmq_watch *watch;
    void (*closed)(void *ctx, int fd);
    void *ctx;
};

/* An event is two frames, the first of 16 bits of number and 32 of value, in our own byte order. */
static bool read_event(void *ctx)
{
    struct wire_monitor *m = ctx;
    uint8_t head[6], endpoint[1];
    uint16_t number;
    int32_t fd;

    if (zmq_recv(m->socket, head, sizeof(head), ZMQ_DONTWAIT) != (int)sizeof(head))
        return false;
    zmq_recv(m->socket, endpoint, sizeof(endpoint), ZMQ_DONTWAIT); /* ours: it tells nothing of the peer */
    memcpy(&number, head, sizeof(number));
    memcpy(&fd, head + sizeof(number), sizeof(fd));
    if (number == ZMQ_EVENT_DISCONNECTED)
        m->closed(m->ctx, fd);
    return true;
}

int wire_monitor_new(struct event_base *base, void *zmq_context, void *socket, void (*closed)(void *ctx, int fd),
                     void *ctx, struct wire_monitor **ret)
{
    static const char name[] = "inproc://caravan.wire.closed"; /* one watched socket per context */
    CLEANUP(wire_monitor_destroy) struct wire_monitor *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return err_raise(-ENOMEM);
    m->closed = closed;
    m->ctx = ctx;
    m->socket = zmq_socket(zmq_context, ZMQ_PAIR);
    if (!m->socket || zmq_socket_monitor(socket, name, ZMQ_EVENT_DISCONNECTED) < 0)
        return err_raise(-errno);
    m->watched = socket;
    if (zmq_connect(m->socket, name) < 0)
        return err_raise(-errno);
    r = zmq_watch_new(base, m->socket, read_event, m, &m->watch);
    if (r < 0)
        return err_pass(r);
    *ret = m;
    m = NULL;
    return 0;
}

void wire_monitor_destroy(struct wire_monitor **m)
{
    if (!*m)
        return;
    zmq_watch_destroy(&(*m)->watch);
    if ((*m)->watched)
        zmq_socket_monitor((*m)->watched, NULL, 0);
    if ((*m)->socket)
        zmq_close((*m)->socket);
    free(*m);
    *m = NULL;
}

void wire_monitor_catch_up(struct wire_monitor *m)
{
    while (m && read_event(m))
        ;
}
