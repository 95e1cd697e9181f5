#include "common/bev_write.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

static struct bufferevent *socket_of(struct bufferevent *bev)
{
    struct bufferevent *socket = bufferevent_get_underlying(bev);

    return socket ? socket : bev;
}

void bev_write_hold(struct bufferevent *bev)
{
    struct bufferevent *socket = socket_of(bev);

    if (bufferevent_get_enabled(socket) & EV_WRITE)
        bufferevent_disable(socket, EV_WRITE);
}

size_t bev_write_left(struct bufferevent *bev)
{
    struct bufferevent *socket = socket_of(bev);
    size_t n = evbuffer_get_length(bufferevent_get_output(bev));

    return socket == bev ? n : n + evbuffer_get_length(bufferevent_get_output(socket));
}

void bev_write_now(struct bufferevent *bev)
{
    struct bufferevent *socket = socket_of(bev);
    struct evbuffer *out = bufferevent_get_output(socket);

    if (evbuffer_get_length(out)) {
        evbuffer_unfreeze(out, 1); /* as bufferevents do around their own writes */
        evbuffer_write(out, bufferevent_getfd(socket));
        evbuffer_freeze(out, 1);
    }
    if (evbuffer_get_length(out))
        bufferevent_enable(socket, EV_WRITE);
    else
        bev_write_hold(bev);
}
