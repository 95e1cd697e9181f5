/* One end of a stream of the rank tunnel as a bufferevent: what is written to it goes out in records of common/seal.h, and
 * what comes in them is read from it. For whoever is that end himself; where both ends are sockets of others, common/relay.h
 * stands between them. */
#ifndef CARAVAN_COMMON_SEAL_BEV_H
#define CARAVAN_COMMON_SEAL_BEV_H

#include <stddef.h>

#include "common/seal.h"

struct bufferevent;
struct event_base;

enum seal_bev_end {
    SEAL_BEV_OPEN,   /* so the socket's end, if it comes, is a cut */
    SEAL_BEV_DONE,   /* the other end has said that it is through */
    SEAL_BEV_FORGED, /* what came is not what the other end has sealed */
    SEAL_BEV_FAILED  /* no memory, or no number is left for another record */
};

/* Its memory is the caller's, and may go after its bufferevent has been freed. */
struct seal_bev {
    struct seal *seal, *open; /* owned, see seal_bev_clear */
    size_t data_max;
    enum seal_bev_end end;
    struct bufferevent *bev; /* NULL: not made yet */
    /* Once, where `end` becomes another than DONE. From within the bufferevent: nothing may be freed. NULL is fine. */
    void (*broken)(void *ctx);
    void *ctx;
};

/* fd: a socket that stands; consumed. ret: owned; NULL: no memory. However it is freed, the socket is closed with a reset. Its callbacks are deferred; BEV_EVENT_EOF comes with each end, see s->end. s: seals, data_max and
 * broken are set. */
struct bufferevent *seal_bev_new(struct seal_bev *s, struct event_base *base, int fd);
void seal_bev_clear(struct seal_bev *s);

#endif
