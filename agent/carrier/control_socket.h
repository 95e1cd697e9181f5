/* Where a carrier is asked: a socket of whole packets (SOCK_SEQPACKET) of its own, for its own user and root. */
#ifndef CARAVAN_AGENT_CARRIER_CONTROL_SOCKET_H
#define CARAVAN_AGENT_CARRIER_CONTROL_SOCKET_H

#include "agent/carrier/control.h"

struct event_base;
struct control_socket;

enum { CONTROL_CLIENTS_MAX = 8 /* one more: the one that has been silent longest is hung up on */ };

typedef void control_asked(void *ctx, const struct control_question *q, struct control_answer *ret);

/* path: what stands there is replaced; short enough for a socket's name. ret: owned. 0; negative errno. */
int control_socket_new(struct event_base *base, const char *path, control_asked *asked, void *ctx,
                       struct control_socket **ret);
uint64_t control_socket_refused(const struct control_socket *s); /* how many of other users were hung up on */
void control_socket_destroy(struct control_socket **c);          /* NULL is fine */

#endif
