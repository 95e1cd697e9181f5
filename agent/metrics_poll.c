#include "agent/metrics_poll.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/metric_text.h"
#include "common/core/protocol.h"
#include "common/core/text.h"
#include "common/httpc.h"

enum { CALM_MS = 1000, BODY_MAX_BYTES = 256 * 1024 };

struct metrics_poll {
    struct event_base *base;
    char addr[PROTO_ADDR_MAX], authorization[PROTO_KEY_MAX + 16];
    uint16_t port;
    struct event *on_due; /* with a request: its limit; else the next one */
    struct httpc_request *request;
    int status;
    struct metric_reader reader;
    uint64_t asked_ms, n_decode;
    uint64_t silent_since_ms; /* when the first question without an answer was asked; 0: the last one was answered */
};

static void due_in(struct metrics_poll *p, uint32_t ms)
{
    struct timeval in = {.tv_sec = ms / 1000};

    evtimer_add(p->on_due, &in);
}

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    struct metrics_poll *p = ctx;

    (void)header;
    (void)n_headers;
    p->status = status;
}

static void on_data(void *ctx, const void *buf, size_t n_bytes)
{
    metric_reader_feed(&((struct metrics_poll *)ctx)->reader, buf, n_bytes);
}

static void not_answered(struct metrics_poll *p)
{
    if (!p->silent_since_ms)
        p->silent_since_ms = p->asked_ms;
}

/* Whatever it says, it says something: a key that is wrong or a build without metrics is no silence. */
static void on_done(void *ctx, int r)
{
    struct metrics_poll *p = ctx;

    p->request = NULL;
    due_in(p, METRICS_POLL_MS);
    if (r < 0 && !p->status) {
        not_answered(p);
        return;
    }
    p->silent_since_ms = 0;
    metric_reader_end(&p->reader);
    if (p->status == 200 && p->reader.found)
        p->n_decode = p->reader.value;
}

static void ask(struct metrics_poll *p)
{
    const struct httpc_header header[] = {{"Authorization", p->authorization}};
    const struct httpc_callbacks cb = {.head = on_head, .data = on_data, .done = on_done, .ctx = p};
    const struct httpc_spec spec = {.host = p->addr,
                                    .port = p->port,
                                    .method = "GET",
                                    .target = "/metrics",
                                    .header = header,
                                    .n_headers = p->authorization[0] ? 1 : 0,
                                    .connect_timeout_ms = 2 * METRICS_POLL_LIMIT_MS, /* on_due is sooner */
                                    .max_body_bytes = BODY_MAX_BYTES};

    p->status = 0;
    p->asked_ms = clock_now_ms();
    metric_reader_init(&p->reader, "llamacpp:n_decode_total");
    due_in(p, METRICS_POLL_LIMIT_MS);
    if (httpc_start(p->base, &spec, &cb, &p->request) < 0)
        p->request = NULL; /* our own want of a descriptor or memory: nothing is learnt */
}

static void on_due(evutil_socket_t fd, short what, void *ctx)
{
    struct metrics_poll *p = ctx;

    (void)fd;
    (void)what;
    if (p->request) {
        httpc_cancel(&p->request);
        not_answered(p);
    }
    ask(p);
}

int metrics_poll_new(struct event_base *base, const char *addr, uint16_t port, const char *key,
                     struct metrics_poll **ret)
{
    CLEANUP(metrics_poll_destroy) struct metrics_poll *p = calloc(1, sizeof(*p));

    if (!p)
        return err_raise(-ENOMEM);
    p->base = base;
    p->port = port;
    text_copy(p->addr, sizeof(p->addr), addr);
    if (key[0])
        snprintf(p->authorization, sizeof(p->authorization), "Bearer %s", key);
    p->on_due = evtimer_new(base, on_due, p);
    if (!p->on_due)
        return err_raise(-ENOMEM);
    ask(p);
    *ret = p;
    p = NULL;
    return 0;
}

void metrics_poll_destroy(struct metrics_poll **p)
{
    if (!*p)
        return;
    httpc_cancel(&(*p)->request);
    if ((*p)->on_due)
        event_free((*p)->on_due);
    explicit_bzero((*p)->authorization, sizeof((*p)->authorization));
    free(*p);
    *p = NULL;
}

void metrics_poll_figures(const struct metrics_poll *p, struct metrics_figures *ret)
{
    uint64_t since = p->silent_since_ms, ms;

    if (!since && p->request)
        since = p->asked_ms;
    ms = since ? clock_now_ms() - since : 0;
    *ret = (struct metrics_figures){.n_decode = p->n_decode, .silent_ms = ms < CALM_MS ? 0 : ms};
}
