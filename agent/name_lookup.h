/* Looks a host's name up without making the loop wait: glibc asks in a thread of its own, and the loop looks from time to
 * time whether it is done. */
#ifndef CARAVAN_AGENT_NAME_LOOKUP_H
#define CARAVAN_AGENT_NAME_LOOKUP_H

#include <stddef.h>

#include "common/core/protocol.h"

enum { NAME_LOOKUP_ADDRS_MAX = 4, NAME_LOOKUP_HOST_MAX = 256 };

struct event_base;
struct name_lookup;

/* n = 0: none, and problem says why. All borrowed. The lookup is gone when it is called. */
typedef void name_looked_up(void *ctx, const char (*addr)[PROTO_ADDR_MAX], size_t n, const char *problem);

/* done: once, from the loop, unless name_lookup_cancel came first. 0 or negative errno. */
int name_lookup_start(struct event_base *base, const char *host, name_looked_up *done, void *ctx,
                      struct name_lookup **ret);
/* Never waits. */
void name_lookup_cancel(struct name_lookup **l);

#endif
