#include "controller/events.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/parse.h"
#include "controller/api_json.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

struct listener {
    LIST_ENTRY(listener) link;
    struct http_exchange *x;
};

struct events {
    uint64_t next_id;
    size_t n;
    struct {
        uint64_t id;
        char *text;
    } ring[EVENTS_RING]; /* slot of an id: id % EVENTS_RING */
    LIST_HEAD(, listener) listeners;
    struct event *ping;
};

static void on_ping(evutil_socket_t fd, short what, void *ctx)
{
    struct events *e = ctx;
    struct listener *l;

    (void)fd;
    (void)what;
    LIST_FOREACH(l, &e->listeners, link)
    http_sse_ping(l->x);
}

int events_new(struct event_base *base, uint64_t first_id, struct events **ret)
{
    struct timeval tv = {.tv_sec = EVENTS_PING_MS / 1000};
    struct events *e = calloc(1, sizeof(*e));

    if (!e)
        return err_raise(-ENOMEM);
    e->next_id = first_id ? first_id : 1;
    LIST_INIT(&e->listeners);
    e->ping = event_new(base, -1, EV_PERSIST, on_ping, e);
    if (!e->ping || event_add(e->ping, &tv) < 0) {
        events_destroy(&e);
        return err_raise(-ENOMEM);
    }
    *ret = e;
    return 0;
}

void events_destroy(struct events **e)
{
    if (!*e)
        return;
    if ((*e)->ping)
        event_free((*e)->ping);
    for (size_t i = 0; i < EVENTS_RING; i++)
        free((*e)->ring[i].text);
    free(*e);
    *e = NULL;
}

void events_add(struct events *e, const struct cluster_transition *t, uint64_t wall_ms)
{
    CLEANUP(json_cleanup) json_t *j = api_json_transition(t, wall_ms);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    size_t slot = e->next_id % EVENTS_RING;
    struct listener *l;

    if (!text)
        return;
    free(e->ring[slot].text);
    e->ring[slot].text = text;
    e->ring[slot].id = e->next_id++;
    LIST_FOREACH(l, &e->listeners, link)
    http_sse_send(l->x, e->ring[slot].id, "transition", text);
}

static void on_gone(void *ctx)
{
    struct listener *l = ctx;

    LIST_REMOVE(l, link);
    free(l);
}

/* From the one after `last` on, or all that is left where that is long gone (or of another controller's clock). */
static void replay(const struct events *e, struct http_exchange *x, uint64_t last)
{
    uint64_t oldest = e->next_id > EVENTS_RING ? e->next_id - EVENTS_RING : 1;
    uint64_t from = last >= oldest && last < e->next_id ? last + 1 : oldest;

    for (uint64_t id = from; id < e->next_id; id++)
        if (e->ring[id % EVENTS_RING].id == id)
            http_sse_send(x, id, "transition", e->ring[id % EVENTS_RING].text);
}

void events_handle(void *ctx, struct http_exchange *x)
{
    const char *last = http_head_field(http_head(x), "Last-Event-ID");
    struct events *e = ctx;
    struct listener *l;
    uint64_t last_id;

    if (last && !parse_uint(last, 0, UINT64_MAX, &last_id)) {
        http_reply_error(x, 400, "bad_request", "Last-Event-ID must be a number");
        return;
    }
    l = calloc(1, sizeof(*l));
    if (!l) {
        http_reply_error(x, 503, "no_memory", "out of memory");
        return;
    }
    if (!http_sse_begin(x)) {
        free(l);
        return;
    }
    l->x = x;
    LIST_INSERT_HEAD(&e->listeners, l, link);
    http_watch(x, on_gone, NULL, l);
    http_write(x, ":\n\n", 3); /* the head goes out at once, with a first sign of life */
    if (last)
        replay(e, x, last_id);
}
