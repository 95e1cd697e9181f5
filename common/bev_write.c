#include "common/bev_write.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

void bev_write_now(struct bufferevent *bev)
{
    struct evbuffer *out = bufferevent_get_output(bev);

    if (evbuffer_get_length(out)) {
        evbuffer_unfreeze(out, 1); /* as bufferevents do around their own writes */
        evbuffer_write(out, bufferevent_getfd(bev));
        evbuffer_freeze(out, 1);
    }
    if (evbuffer_get_length(out))
        bufferevent_enable(bev, EV_WRITE);
    else if (bufferevent_get_enabled(bev) & EV_WRITE)
        bufferevent_disable(bev, EV_WRITE);
}
