/* What lies in the output of a socket's bufferevent goes to the kernel now. Left to the loop it goes in its next turn, and
 * costs two calls of epoll_ctl more: half of what an answer costs otherwise. */
#ifndef CARAVAN_COMMON_BEV_WRITE_H
#define CARAVAN_COMMON_BEV_WRITE_H

struct bufferevent;

/* bev: a socket's, not TLS; until its next call, EV_WRITE is off for it unless something is left: what the kernel does not
 * take now, and what fails, is the loop's as ever. So call it behind whatever was added to the output. */
void bev_write_now(struct bufferevent *bev);

#endif
