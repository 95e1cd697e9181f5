/* What lies in the output of a socket's bufferevent goes to the kernel now. Left to the loop it goes in its next turn, and
 * costs two calls of epoll_ctl more: half of what an answer costs otherwise. */
#ifndef CARAVAN_COMMON_BEV_WRITE_H
#define CARAVAN_COMMON_BEV_WRITE_H

#include <stddef.h>

struct bufferevent;

/* bev: a socket's, or a filter's on one; no TLS. */

/* What is added to the output from now on stays there until bev_write_now. */
void bev_write_hold(struct bufferevent *bev);
/* And hold again, unless something is left: what the kernel does not take now, and what fails, is the loop's as ever. */
void bev_write_now(struct bufferevent *bev);
/* Bytes that the kernel has not taken yet. */
size_t bev_write_left(struct bufferevent *bev);

#endif
