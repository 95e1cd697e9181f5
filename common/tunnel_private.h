/* What tunnel_dial.c and tunnel_door.c have in common: a handshake on a non-blocking socket. */
#ifndef CARAVAN_COMMON_TUNNEL_PRIVATE_H
#define CARAVAN_COMMON_TUNNEL_PRIVATE_H

#include "common/tunnel_end.h"
#include "common/tunnel_handshake.h"

/* Reads once, and no byte that is not the handshake's. 0: more is needed; an outcome of tunnel_handshake.h; negative errno:
 * -ECONNRESET also where the peer has ended. */
int tunnel_read(int fd, struct tunnel_handshake *h);

/* Sends what the handshake has to say. 0 or negative errno. */
int tunnel_write(int fd, struct tunnel_handshake *h);

/* After TUNNEL_DONE: the stream, *fd in it (-1 then). 0 or negative errno. */
int tunnel_end_make(struct tunnel_handshake *h, int *fd, struct tunnel_end *ret);

#endif
