/* Server-sent events out of bytes as they come. Pure. */
#ifndef CARAVAN_COMMON_CORE_SSE_H
#define CARAVAN_COMMON_CORE_SSE_H

#include <stddef.h>

enum { SSE_EVENT_MAX = 4 * 1024 * 1024 };

enum { SSE_E_TOO_LARGE = 1 };

struct sse;

struct sse_event {
    const char *event; /* "" where it has no name */
    const char *id;    /* the last that was sent, "" before the first */
    const char *data;  /* lines joined by newlines */
};

/* 0 or -ENOMEM. */
int sse_new(struct sse **ret);
void sse_destroy(struct sse **s);
/* As new: another stream begins. */
void sse_reset(struct sse *s);

/* Calls on_event for each event that is whole; comments are left out. buf, event: borrowed. 0, SSE_E_TOO_LARGE, -ENOMEM. */
int sse_feed(struct sse *s, const char *buf, size_t n_bytes, void (*on_event)(void *ctx, const struct sse_event *e),
             void *ctx);

#endif
