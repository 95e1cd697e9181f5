/* POST /v1/fanout: one question to many at once, and their answers in one. What is asked, says fanout_request.h; what is
 * answered, fanout_answer.h; who is asked and given up when, core/fanout_course.h. Each voice has a passage of its own, which
 * waits for a slot as any request does. A client that leaves takes all of them along. All on the HTTP thread. */
#ifndef CARAVAN_CONTROLLER_FANOUT_H
#define CARAVAN_CONTROLLER_FANOUT_H

#include <stddef.h>

struct http_exchange;

enum {
    FANOUTS_MAX = 128,                     /* at once */
    FANOUTS_BYTES_MAX = 256 * 1024 * 1024, /* of what all of them ask */
    FANOUT_PING_MS = 15000
};

/* All that go on, for their bounds. */
struct fanout_book {
    size_t n, n_bytes;
};

void fanout_handle(void *ctx, struct http_exchange *x); /* ctx: the struct gateway */

#endif
