/* An HTTP client and its request. Until something of an answer has reached the client, the request can be sent again. So a
 * short answer is handed on when it is whole, and of a stream only the head and its signs of life (":" lines, which
 * llama-server sends from the first second on while a prompt is computed) are handed on before the first token; the head of a
 * second sending is not. */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "controller/gateway_state.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

enum { HELD_MAX = 256 * 1024 /* a longer answer is handed on as it comes */ };

struct reply {
    struct gateway *gateway;
    struct http_exchange *x;
    struct passage *passage;
    char *target;
    uint64_t began_us;
    char model[PROTO_MODEL_MAX]; /* as asked */
    char name[PROTO_MODEL_MAX];  /* of the instance; empty: there is none */
    /* this sending's answer */
    int status;
    bool is_stream;
    char *type;
    int64_t length;
    struct evbuffer *held;
    /* to the client */
    bool has_fields; /* of the first head that came: those of a second sending are the same */
    bool opened;     /* the head is out */
    bool streaming;  /* and it is one of a stream */
    char tail[2];    /* the last bytes that went out */
};

/* ---- its end ---- */

static void reply_destroy(struct reply **reply)
{
    struct reply *p = *reply;

    if (!p)
        return;
    if (p->held)
        evbuffer_free(p->held);
    free(p->target);
    free(p->type);
    free(p);
    *reply = NULL;
}

/* Before the exchange is answered: it is gone with that. */
static void account(struct reply *p, int status)
{
    struct gateway_account a = {.name = *p->name ? p->name : NULL,
                                .x = p->x,
                                .status = status,
                                .streamed = p->streaming,
                                .total_us = clock_now_us() - p->began_us};

    if (p->passage)
        passage_times(p->passage, &a.times);
    http_watch(p->x, NULL, NULL, NULL);
    gateway_account(p->gateway, &a);
}

static json_t *error_json(const struct gateway_refusal *r)
{
    json_t *error = http_openai_error(r->status, r->text);

    if (error && r->type && json_object_set_new(json_object_get(error, "error"), "type", json_string(r->type)) < 0) {
        json_decref(error);
        return NULL;
    }
    return error;
}

static void reply_refusal(struct http_exchange *x, const struct gateway_refusal *r)
{
    char seconds[24];

    snprintf(seconds, sizeof(seconds), "%" PRIu64, r->retry_after_s);
    if (r->retry_after_s)
        http_add_field(x, "Retry-After", seconds);
    http_reply_json(x, r->status, error_json(r));
}

void gateway_refuse(struct gateway *g, struct http_exchange *x, const char *model, const struct gateway_refusal *r)
{
    const struct gateway_account a = {.name = model, .x = x, .status = r->status};

    gateway_account(g, &a);
    reply_refusal(x, r);
}

/* The stream's last words: an event of its own, even where the cut was in the middle of one. */
static void write_event(struct reply *p, const char *text, size_t n)
{
    if (p->tail[1] && memcmp(p->tail, "\n\n", 2) != 0)
        http_write(p->x, "\n\n", 2);
    http_write(p->x, "data: ", 6);
    http_write(p->x, text, n);
    http_write(p->x, "\n\n", 2);
}

static void end_stream_with(struct reply *p, json_t *error)
{
    CLEANUP(cleanup_free) char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;

    json_decref(error);
    if (text)
        write_event(p, text, strlen(text));
    http_end(p->x);
}

/* Its client is told in the way that is still left. */
static void on_fail(void *ctx, const struct gateway_refusal *r)
{
    CLEANUP(reply_destroy) struct reply *p = ctx;

    account(p, r->status);
    if (!p->opened)
        reply_refusal(p->x, r);
    else if (p->streaming)
        end_stream_with(p, error_json(r));
    else
        http_abort(p->x);
}

/* ---- the answer ---- */

/* Out with the head: of whatever comes from here on, nothing can be taken back. */
static void open_answer(struct reply *p)
{
    http_begin(p->x, p->status, p->type, p->length);
    p->opened = true;
    p->streaming = p->is_stream;
}

static void hand_on(struct reply *p, const void *buf, size_t n)
{
    const char *bytes = buf;

    p->tail[0] = n > 1 ? bytes[n - 2] : p->tail[1];
    p->tail[1] = bytes[n - 1];
    if (http_write(p->x, buf, n) == HTTP_FULL)
        passage_pause(p->passage);
}

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    const char *type = upstream_field(header, n, "Content-Type");
    struct reply *p = ctx;

    p->status = status;
    p->is_stream = type && strncasecmp(type, "text/event-stream", 17) == 0;
    p->length = upstream_length(header, n);
    free(p->type);
    p->type = type ? strdup(type) : NULL;
    for (size_t i = 0; i < n && !p->has_fields; i++)
        if (upstream_passes_on(header[i].name))
            http_add_field(p->x, header[i].name, header[i].value);
    p->has_fields = true;
    if (p->is_stream && !p->opened)
        open_answer(p);
}

/* Does a piece of a stream say nothing but that somebody is there? */
static bool is_sign_of_life(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != ':' && bytes[i] != '\n')
            return false;
    return true;
}

static enum passage_use on_whole_data(struct reply *p, const void *buf, size_t n)
{
    if (p->opened && !p->streaming) {
        hand_on(p, buf, n);
        return PASSAGE_HANDED_ON;
    }
    if (p->opened && evbuffer_get_length(p->held) > HELD_MAX)
        return PASSAGE_KEPT; /* enough of it for the last words of a stream */
    evbuffer_add(p->held, buf, n);
    if (p->opened || evbuffer_get_length(p->held) <= HELD_MAX)
        return PASSAGE_KEPT;
    open_answer(p);
    n = evbuffer_get_length(p->held);
    hand_on(p, evbuffer_pullup(p->held, -1), n);
    evbuffer_drain(p->held, n);
    return PASSAGE_HANDED_ON;
}

static enum passage_use on_data(void *ctx, const void *buf, size_t n)
{
    struct reply *p = ctx;

    if (!p->is_stream)
        return on_whole_data(p, buf, n);
    hand_on(p, buf, n);
    return is_sign_of_life(buf, n) ? PASSAGE_SIGN_OF_LIFE : PASSAGE_HANDED_ON;
}

static void on_again(void *ctx)
{
    struct reply *p = ctx;

    p->status = 0;
    p->is_stream = false;
    evbuffer_drain(p->held, evbuffer_get_length(p->held));
}

static void on_end(void *ctx)
{
    CLEANUP(reply_destroy) struct reply *p = ctx;
    size_t n = evbuffer_get_length(p->held);
    const char *text = n ? (const char *)evbuffer_pullup(p->held, -1) : "";

    account(p, p->status);
    if (!p->opened)
        open_answer(p);
    else if (p->streaming && !p->is_stream) /* the second sending was answered with an error */
        write_event(p, text, n);
    if (n && !p->streaming)
        http_write(p->x, text, n);
    http_end(p->x);
}

/* ---- its begin ---- */

static void on_gone(void *ctx)
{
    CLEANUP(reply_destroy) struct reply *p = ctx;

    account(p, 499);
    passage_cancel(&p->passage);
}

static void on_drained(void *ctx)
{
    struct reply *p = ctx;

    passage_resume(p->passage);
}

/* Path, query and the fields that a coordinator understands; framing is made anew. */
static int begin(struct reply *p)
{
    const struct http_head *head = http_head(p->x);
    const char *type = http_head_field(head, "Content-Type"), *accept = http_head_field(head, "Accept");
    const struct passage_calls calls = {
        .head = on_head, .data = on_data, .again = on_again, .end = on_end, .fail = on_fail, .ctx = p};
    struct httpc_header header[2];
    struct passage_spec spec = {.model = p->model, .method = head->method, .header = header};

    p->held = evbuffer_new();
    if (!p->held || asprintf(&p->target, "%s%s%s", head->path, *head->query ? "?" : "", head->query) < 0) {
        p->target = NULL;
        return err_raise(-ENOMEM);
    }
    if (type)
        header[spec.n_headers++] = (struct httpc_header){"Content-Type", type};
    if (accept)
        header[spec.n_headers++] = (struct httpc_header){"Accept", accept};
    spec.target = p->target;
    spec.body = http_body(p->x, &spec.n_body_bytes);
    http_watch(p->x, on_gone, on_drained, p);
    return passage_begin(p->gateway, &spec, &calls, &p->passage);
}

void gateway_reply_begin(struct gateway *g, struct http_exchange *x, const char *model, const struct view_instance *in)
{
    static const struct gateway_refusal busy = {
        .status = 503, .retry_after_s = 1, .text = "too many requests are under way: try again"};
    CLEANUP(reply_destroy) struct reply *p = calloc(1, sizeof(*p));

    if (!p) {
        gateway_refuse(g, x, in ? in->name : NULL, &busy);
        return;
    }
    *p = (struct reply){.gateway = g, .x = x, .began_us = clock_now_us()};
    snprintf(p->model, sizeof(p->model), "%s", model);
    if (in)
        memcpy(p->name, in->name, sizeof(p->name));
    if (begin(p)) {
        http_watch(x, NULL, NULL, NULL);
        gateway_refuse(g, x, in ? in->name : NULL, &busy);
        return;
    }
    p = NULL;
}
