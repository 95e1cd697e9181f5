/* POST /v1/fanout: one question to many at once, and their answers in one. What is asked, says fanout_request.h; what is
 * answered, fanout_answer.h; who is asked and given up when, core/fanout_course.h. Each voice has a passage of its own, which
 * waits for a slot as any request does. A client that leaves takes all of them along. All on the HTTP thread. */
#ifndef CARAVAN_CONTROLLER_FANOUT_H
#define CARAVAN_CONTROLLER_FANOUT_H

#include <stdbool.h>
#include <stddef.h>

struct http_exchange;

enum {
    FANOUTS_MAX = 128,                     /* at once */
    FANOUTS_BYTES_MAX = 256 * 1024 * 1024, /* of what all of them ask and are answered */
    FANOUT_PING_MS = 15000
};

/* All that go on, for their bounds. */
struct fanout_book {
    size_t n, n_bytes;
    size_t n_members; /* each takes a place among the gateway's requests; a synthesis takes one that they have left */
};

/* What one of them has taken of the book. */
struct fanout_purse {
    struct fanout_book *book;
    size_t n_bytes; /* given back at its end, not before */
    size_t n_said;  /* of these: by all its voices, as JSON, what was taken back included */
};

/* Returns false, and takes nothing, where the book has no room for it. */
bool fanout_take(struct fanout_purse *p, size_t n_bytes);

#define FANOUT_NO_ROOM "what is asked and answered in other fan-outs leaves no room for this: try again"

void fanout_handle(void *ctx, struct http_exchange *x); /* ctx: the struct gateway */

#endif
