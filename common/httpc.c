/* evhttp's client was looked at and left: it tells no errno, hands on a body that was cut short as if it were whole when no
 * length was given, takes two Content-Lengths and a chunk size of 0x2, and cannot be paused. */
#include "common/httpc.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/bev_write.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/http_parse.h"
#include "common/httpc_conn.h"
#include "common/httpc_head.h"
#include "common/httpc_place.h"

struct httpc_request {
    struct event_base *base;
    struct httpc_callbacks cb;
    struct httpc_conn *conn;
    struct httpc_place *place; /* NULL: none */
    bool kept;                 /* conn has carried another answer before, and nothing of this one */
    int stale;                 /* how a kept one ended, in whose place conn came; negative errno, 0: it did not */
    struct evbuffer *head;     /* what is sent */
    struct http_parser *parser;
    uint32_t idle_timeout_ms;
    size_t max_body_bytes, n_body_bytes;
    bool is_event_stream, paused;
    bool ended; /* the connection is over; what lies in the buffer is still to be handed on */
    int end_result;
    bool *gone; /* set while callbacks are being called: they may cancel us */
};

static void request_free(struct httpc_request **request)
{
    struct httpc_request *r = *request;

    if (!r)
        return;
    if (r->gone)
        *r->gone = true;
    httpc_conn_close(&r->conn);
    httpc_place_unref(&r->place);
    if (r->head)
        evbuffer_free(r->head);
    http_parser_destroy(&r->parser);
    free(r);
    *request = NULL;
}

/* Last in its callers. */
static void finish(struct httpc_request *r, int result)
{
    struct httpc_callbacks cb = r->cb;

    request_free(&r);
    cb.done(cb.ctx, result);
}

/* ---- the answer ------------------------------------------------------------------------------------------------- */

static int outcome_to_errno(int outcome)
{
    switch (outcome) {
    case HTTP_E_MALFORMED:
        return -EPROTO;
    case HTTP_E_TOO_LARGE:
        return -EMSGSIZE;
    case HTTP_E_CUT:
        return -ECONNRESET;
    }
    return outcome;
}

static bool is_event_stream(const struct http_part *head)
{
    const char *type = http_field_get(head->field, head->n_fields, "Content-Type");

    return type && strncasecmp(type, "text/event-stream", 17) == 0;
}

/* Hands one part on. 0: go on; 1: the answer is whole; negative errno. The request may be gone after it. */
static int hand_on(struct httpc_request *r, const struct http_part *part)
{
    switch (part->kind) {
    case HTTP_PART_HEAD:
        r->is_event_stream = is_event_stream(part);
        if (r->cb.head) /* our struct httpc_header is the parser's struct http_field */
            r->cb.head(r->cb.ctx, part->status, (const struct httpc_header *)part->field, part->n_fields);
        return 0;
    case HTTP_PART_DATA:
        r->n_body_bytes += part->n_bytes;
        if (r->max_body_bytes && r->n_body_bytes > r->max_body_bytes)
            return -EMSGSIZE;
        if (r->is_event_stream && r->place && r->n_body_bytes == part->n_bytes)
            httpc_place_prepare(r->place, r->base);
        if (r->cb.data)
            r->cb.data(r->cb.ctx, part->data, part->n_bytes);
        return 0;
    case HTTP_PART_END:
        return 1;
    case HTTP_PART_NONE:
        return 0;
    }
    return 0;
}

_Static_assert(sizeof(struct httpc_header) == sizeof(struct http_field) &&
                   offsetof(struct httpc_header, value) == offsetof(struct http_field, value),
               "hand_on gives one as the other");

/* Parses the piece of input that lies together in memory; also where there is none, for an end that needs no more bytes. As
 * hand_on. */
static int take_piece(struct httpc_request *r, struct evbuffer *input, const bool *gone)
{
    size_t n = evbuffer_get_contiguous_space(input), used = 0;
    const char *piece = n ? (const char *)evbuffer_pullup(input, (ev_ssize_t)n) : "";
    struct http_part part;
    int result;

    do {
        size_t n_step;

        result = http_parse(r->parser, piece + used, n - used, &n_step, &part);
        used += n_step;
        result = result ? outcome_to_errno(result) : hand_on(r, &part);
        if (*gone)
            return 0;
    } while (!result && part.kind != HTTP_PART_NONE && !r->paused);
    evbuffer_drain(input, used);
    return result;
}

static int result_at_end(const struct httpc_request *r)
{
    if (r->end_result < 0)
        return r->end_result;
    return http_parse_eof(r->parser) == 0 ? 0 : -ECONNRESET;
}

/* llama-server closes behind an event stream, though it says that it does not. */
static bool can_be_kept(const struct httpc_request *r)
{
    return r->place && !r->ended && !r->is_event_stream && http_parse_reusable(r->parser) &&
           !evbuffer_get_length(bufferevent_get_input(r->conn->bev)) && !bev_write_left(r->conn->bev);
}

static void on_readable(void *ctx)
{
    struct httpc_request *r = ctx;
    struct evbuffer *input = bufferevent_get_input(r->conn->bev);
    bool gone = false;
    int result = 0;

    if (r->paused)
        return;
    r->gone = &gone;
    r->kept = r->kept && !evbuffer_get_length(input);
    httpc_conn_arm(r->conn, r->idle_timeout_ms);
    do {
        result = take_piece(r, input, &gone);
        if (gone)
            return;
    } while (!result && !r->paused && evbuffer_get_length(input));
    r->gone = NULL;
    if (!result && (!r->ended || r->paused))
        return;
    if (result > 0 && can_be_kept(r))
        httpc_place_keep(r->place, &r->conn);
    if (!result)
        result = result_at_end(r);
    finish(r, result < 0 ? err_raise(result) : 0);
}

void httpc_pause(struct httpc_request *r)
{
    r->paused = true;
    if (!r->conn->stands)
        return;
    bufferevent_disable(r->conn->bev, EV_READ);
    httpc_conn_arm(r->conn, 0);
}

void httpc_resume(struct httpc_request *r)
{
    if (!r->paused)
        return;
    r->paused = false;
    if (!r->conn->stands)
        return;
    httpc_conn_arm(r->conn, r->idle_timeout_ms);
    if (!r->ended)
        bufferevent_enable(r->conn->bev, EV_READ);
    /* What came before the pause lies in the buffer, and nothing else would wake us for it. */
    bufferevent_trigger(r->conn->bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

/* ---- the connection --------------------------------------------------------------------------------------------- */

/* Where the connection was kept, its copy stays here: it may have to be sent on another one. */
static void send_head(struct httpc_request *r)
{
    struct evbuffer *out = bufferevent_get_output(r->conn->bev);

    if (!r->conn->secured)
        bev_write_hold(r->conn->bev);
    if (!r->kept)
        evbuffer_add_buffer(out, r->head);
    else if (evbuffer_add_buffer_reference(out, r->head) < 0)
        bufferevent_trigger_event(r->conn->bev, BEV_EVENT_EOF,
                                  BEV_TRIG_DEFER_CALLBACKS); /* no memory: as if it had gone */
    if (!r->conn->secured)
        bev_write_now(r->conn->bev);
}

static void on_opened(void *ctx)
{
    struct httpc_request *r = ctx;

    send_head(r);
    if (r->paused)
        return;
    httpc_conn_arm(r->conn, r->idle_timeout_ms);
    bufferevent_enable(r->conn->bev, EV_READ);
}

/* Did a kept connection go between two answers, as it may at any time? Then no more is known of its other end than that. */
static bool is_stale(const struct httpc_request *r, int result)
{
    return r->kept && (!result || result == -ECONNRESET || result == -EPIPE) &&
           !evbuffer_get_length(bufferevent_get_input(r->conn->bev));
}

static void on_ended(void *ctx, int result);
static void on_timed_out(void *ctx);

static int open_conn(struct httpc_request *r, const struct httpc_spec *where)
{
    const struct httpc_conn_calls calls = {on_opened, on_readable, on_ended, on_timed_out, r};
    int result = httpc_conn_open(r->base, where, &calls, &r->conn);

    return result < 0 ? err_pass(result) : result;
}

/* Once, as the other one is not kept. */
static void send_again(struct httpc_request *r, int result)
{
    const struct httpc_spec *where = httpc_place_where(r->place);

    r->kept = false;
    r->stale = result ? result : err_raise(-ECONNRESET);
    httpc_conn_close(&r->conn);
    if (!where || open_conn(r, where) < 0)
        finish(r, r->stale);
}

/* The connection is over, in good order or not. */
static void on_ended(void *ctx, int result)
{
    struct httpc_request *r = ctx;

    if (is_stale(r, result)) {
        send_again(r, result);
        return;
    }
    if (!r->conn->stands) { /* its other end is gone, and may have gone over this very request */
        finish(r, r->stale ? r->stale : result);
        return;
    }
    r->ended = true;
    r->end_result = result;
    if (r->paused)
        return; /* deferred callbacks can bring the last bytes and the end in one go; httpc_resume hands on both */
    result = result_at_end(r);
    finish(r, result < 0 ? err_raise(result) : 0);
}

static void on_timed_out(void *ctx)
{
    struct httpc_request *r = ctx;

    finish(r, r->stale && !r->conn->stands ? r->stale : err_raise(-ETIMEDOUT));
}

/* ---- the request ------------------------------------------------------------------------------------------------ */

static int connect_first(struct httpc_request *r, const struct httpc_spec *where)
{
    const struct httpc_conn_calls calls = {on_opened, on_readable, on_ended, on_timed_out, r};

    r->conn = r->place ? httpc_place_take(r->place, &calls) : NULL;
    if (!r->conn)
        return err_fold(open_conn(r, where));
    r->kept = true;
    on_opened(r);
    return 0;
}

int httpc_start(struct event_base *base, const struct httpc_spec *spec, const struct httpc_callbacks *cb,
                struct httpc_request **ret)
{
    CLEANUP(request_free) struct httpc_request *request = NULL;
    const struct httpc_spec *where = spec->place ? httpc_place_where(spec->place) : spec;
    int r;

    if (!where || !httpc_head_is_valid(spec, where))
        return err_raise(-EINVAL);
    request = calloc(1, sizeof(*request));
    if (!request)
        return err_raise(-ENOMEM);
    request->base = base;
    request->cb = *cb;
    request->place = spec->place ? httpc_place_ref(spec->place) : NULL;
    request->idle_timeout_ms = spec->idle_timeout_ms;
    request->max_body_bytes = spec->max_body_bytes;
    request->head = evbuffer_new();
    if (!request->head)
        return err_raise(-ENOMEM);
    r = http_parser_new(strcmp(spec->method, "HEAD") == 0, &request->parser);
    if (r < 0)
        return err_pass(r);
    r = httpc_head_write(request->head, spec, where);
    if (r < 0)
        return err_pass(r);
    r = connect_first(request, where);
    if (r < 0)
        return err_pass(r);
    *ret = request;
    request = NULL;
    return 0;
}

void httpc_cancel(struct httpc_request **r)
{
    request_free(r);
}
