/* A message of one's own, made of somebody else's: for who passes it on while its owner keeps it. */
#ifndef CARAVAN_COMMON_CORE_MESSAGE_COPY_H
#define CARAVAN_COMMON_CORE_MESSAGE_COPY_H

#include "common/core/protocol.h"

/* m: borrowed. ret: owned, with all that it points to. 0, -ENOMEM. */
int message_copy(const struct message *m, struct message **ret);

#endif
