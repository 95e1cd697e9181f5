/* Private to httpc*.c: the bytes that a request begins with. */
#ifndef CARAVAN_COMMON_HTTPC_HEAD_H
#define CARAVAN_COMMON_HTTPC_HEAD_H

#include <stdbool.h>

#include "common/httpc.h"

struct evbuffer;

/* where: whose host and port count. Nothing of it can end its line, or begin another. */
bool httpc_head_is_valid(const struct httpc_spec *spec, const struct httpc_spec *where);
/* Head and body. 0, -ENOMEM. */
int httpc_head_write(struct evbuffer *out, const struct httpc_spec *spec, const struct httpc_spec *where);

#endif
