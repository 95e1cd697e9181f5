/* Until something of an answer has reached the client, the request can be sent again. So a short answer is handed on when it
 * is whole, and of a stream only the head and its signs of life (":" lines, which llama-server sends from the first
 * second on while a prompt is computed) are handed on before the first token; the head of a second sending is not. */
#include <errno.h>
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

struct passage {
    struct gateway *gateway;
    struct http_exchange *x;
    struct admission_ticket *ticket;
    struct httpc_request *upstream;
    char model[PROTO_MODEL_MAX]; /* as asked */
    char name[PROTO_MODEL_MAX];  /* of the instance; empty: there is none */
    int failure;                 /* of the last sending; negative errno */
    /* this sending's answer */
    int status; /* 0: nothing came yet that is an answer */
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

static void passage_free(struct passage *p, int status)
{
    metrics_gateway_request(p->gateway->deps.metrics, *p->name ? p->name : NULL, status);
    p->gateway->n_requests--;
    httpc_cancel(&p->upstream);
    if (p->held)
        evbuffer_free(p->held);
    free(p->type);
    free(p);
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

/* The stream's last words: an event of its own, even where the cut was in the middle of one. */
static void write_event(struct passage *p, const char *text, size_t n)
{
    if (p->tail[1] && memcmp(p->tail, "\n\n", 2) != 0)
        http_write(p->x, "\n\n", 2);
    http_write(p->x, "data: ", 6);
    http_write(p->x, text, n);
    http_write(p->x, "\n\n", 2);
}

static void end_stream_with(struct passage *p, json_t *error)
{
    CLEANUP(cleanup_free) char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;

    json_decref(error);
    if (text)
        write_event(p, text, strlen(text));
    http_end(p->x);
}

/* Its client is told in the way that is still left. p is gone. */
static void passage_fail(struct passage *p, const struct gateway_refusal *r)
{
    char seconds[24];

    http_watch(p->x, NULL, NULL, NULL);
    if (!p->opened) {
        snprintf(seconds, sizeof(seconds), "%" PRIu64, r->retry_after_s);
        if (r->retry_after_s)
            http_add_field(p->x, "Retry-After", seconds);
        http_reply_json(p->x, r->status, error_json(r));
    } else if (p->streaming) {
        end_stream_with(p, error_json(r));
    } else {
        http_abort(p->x);
    }
    passage_free(p, r->status);
}

/* ---- the answer ---- */

/* Out with the head: of whatever comes from here on, nothing can be taken back. */
static void open_answer(struct passage *p)
{
    http_begin(p->x, p->status, p->type, p->length);
    p->opened = true;
    p->streaming = p->is_stream;
}

static void hand_on(struct passage *p, const void *buf, size_t n)
{
    const char *bytes = buf;

    p->tail[0] = n > 1 ? bytes[n - 2] : p->tail[1];
    p->tail[1] = bytes[n - 1];
    if (http_write(p->x, buf, n) == HTTP_FULL)
        httpc_pause(p->upstream);
}

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    const char *type = upstream_field(header, n, "Content-Type");
    struct passage *p = ctx;

    if (!upstream_is_answer(status))
        return; /* as if nothing had come */
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

static void on_stream_data(struct passage *p, const void *buf, size_t n, uint64_t now_ms)
{
    hand_on(p, buf, n);
    if (is_sign_of_life(buf, n))
        return;
    admission_committed(p->gateway->admission, p->ticket);
    admission_progress(p->gateway->admission, p->ticket, n, now_ms);
}

static void on_whole_data(struct passage *p, const void *buf, size_t n, uint64_t now_ms)
{
    admission_progress(p->gateway->admission, p->ticket, n, now_ms);
    if (p->opened && !p->streaming) {
        hand_on(p, buf, n);
        return;
    }
    if (p->opened && evbuffer_get_length(p->held) > HELD_MAX)
        return; /* enough of it for the last words of a stream */
    evbuffer_add(p->held, buf, n);
    if (p->opened || evbuffer_get_length(p->held) <= HELD_MAX)
        return;
    admission_committed(p->gateway->admission, p->ticket);
    open_answer(p);
    n = evbuffer_get_length(p->held);
    hand_on(p, evbuffer_pullup(p->held, -1), n);
    evbuffer_drain(p->held, n);
}

static void on_data(void *ctx, const void *buf, size_t n)
{
    struct passage *p = ctx;

    if (!n || !p->status)
        return;
    if (p->is_stream)
        on_stream_data(p, buf, n, clock_now_ms());
    else
        on_whole_data(p, buf, n, clock_now_ms());
    gateway_settle(p->gateway);
}

static void end_answer(struct passage *p)
{
    size_t n = evbuffer_get_length(p->held);
    const char *text = n ? (const char *)evbuffer_pullup(p->held, -1) : "";

    http_watch(p->x, NULL, NULL, NULL);
    if (!p->opened)
        open_answer(p);
    else if (p->streaming && !p->is_stream) /* the second sending was answered with an error */
        write_event(p, text, n);
    if (n && !p->streaming)
        http_write(p->x, text, n);
    http_end(p->x);
}

/* ---- sendings ---- */

static void forget_answer(struct passage *p)
{
    httpc_cancel(&p->upstream);
    p->status = 0;
    p->is_stream = false;
    evbuffer_drain(p->held, evbuffer_get_length(p->held));
}

/* What its end tells of the coordinator. 0: nothing, it is about this request alone. */
static int how_broken(int r, bool answered)
{
    switch (-r) {
    case ECONNREFUSED:
        return ADMISSION_PORT_REFUSED;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case ENXIO:
    case ESTALE: /* what a carrier says, or who else answers there, proves no exit: its agent knows better */
    case EBUSY:
    case ENOLINK:
    case EKEYREJECTED:
    case EBADMSG:
        return answered ? ADMISSION_BROKEN : ADMISSION_UNREACHED;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
        return answered ? ADMISSION_BROKEN : ADMISSION_RESET;
    default:
        return 0;
    }
}

/* p may be gone when the gateway has settled. */
static void sending_failed(struct passage *p, int r)
{
    struct gateway *g = p->gateway;
    int how = how_broken(r, p->status != 0);
    struct gateway_refusal refusal = {.status = 502};

    p->failure = r;
    forget_answer(p);
    if (how) {
        admission_broken(g->admission, p->ticket, (enum admission_break)how, clock_now_ms());
        return;
    }
    snprintf(refusal.text, sizeof(refusal.text), "instance \"%s\" failed: %s", p->name, upstream_failure_text(r));
    admission_done(g->admission, &p->ticket, refusal.status, clock_now_ms());
    passage_fail(p, &refusal);
}

static void on_done(void *ctx, int r)
{
    struct passage *p = ctx;
    struct gateway *g = p->gateway;

    p->upstream = NULL;
    if (r == 0 && !p->status)
        r = err_raise(-EPROTO);
    if (r < 0) {
        sending_failed(p, r);
    } else {
        end_answer(p);
        admission_done(g->admission, &p->ticket, p->status, clock_now_ms());
        passage_free(p, p->status);
    }
    gateway_settle(g);
}

/* Path, query and the fields that a coordinator understands; framing is made anew. */
static int start_upstream(struct passage *p, const struct upstream_target *to)
{
    const struct upstream up = {p->gateway->deps.base, p->gateway->secret, p->gateway->tunnels};
    const struct http_head *head = http_head(p->x);
    const char *type = http_head_field(head, "Content-Type"), *accept = http_head_field(head, "Accept");
    struct httpc_callbacks cb = {.head = on_head, .data = on_data, .done = on_done, .ctx = p};
    struct httpc_header header[2];
    struct httpc_spec spec = {.method = head->method, .header = header};
    CLEANUP(cleanup_free) char *target = NULL;

    if (asprintf(&target, "%s%s%s", head->path, *head->query ? "?" : "", head->query) < 0) {
        target = NULL;
        return err_raise(-ENOMEM);
    }
    if (type)
        header[spec.n_headers++] = (struct httpc_header){"Content-Type", type};
    if (accept)
        header[spec.n_headers++] = (struct httpc_header){"Accept", accept};
    spec.target = target;
    spec.body = http_body(p->x, &spec.n_body_bytes);
    return upstream_start(&up, to, &spec, &cb, &p->upstream);
}

static void go(struct passage *p, const struct admission_decision *d)
{
    struct upstream_target to = {.port = d->port, .instance = d->instance, .epoch = d->epoch};
    int r;

    memcpy(to.addr, d->addr, sizeof(to.addr));
    memcpy(to.key, d->key, sizeof(to.key));
    r = start_upstream(p, &to);
    if (r < 0)
        sending_failed(p, r);
}

static void refused(struct passage *p, const struct admission_decision *d)
{
    struct gateway_refusal r;

    p->ticket = NULL;
    gateway_say(p->gateway->view, d, p->model, p->failure, &r);
    passage_fail(p, &r);
}

void passage_decided(const struct admission_decision *d)
{
    struct passage *p = d->owner;

    forget_answer(p);
    switch (d->verdict) {
    case ADMISSION_GO:
        go(p, d);
        return;
    case ADMISSION_WAIT:
        return;
    case ADMISSION_REFUSE:
        refused(p, d);
        return;
    }
}

/* ---- its begin ---- */

static void on_gone(void *ctx)
{
    struct passage *p = ctx;
    struct gateway *g = p->gateway;

    admission_left(g->admission, &p->ticket, clock_now_ms());
    passage_free(p, 499);
    gateway_settle(g);
}

static void on_drained(void *ctx)
{
    struct passage *p = ctx;

    if (p->upstream)
        httpc_resume(p->upstream);
}

/* A keyed hash, so that nobody can make a body that has another's. */
static struct id128 hash_body(const struct gateway *g, const char *body, size_t n)
{
    uint8_t whole[CRYPTO_KEY_BYTES];
    struct id128 hash;

    crypto_derive(g->secret, body, n, whole);
    memcpy(hash.b, whole, sizeof(hash.b));
    return hash;
}

static int ask(struct passage *p)
{
    struct admission_ask ask = {.model = p->model, .wait_ms = p->gateway->deps.wait_ms, .owner = p};
    const char *body = http_body(p->x, &ask.n_bytes);
    int r;

    p->held = evbuffer_new();
    if (!p->held)
        return err_raise(-ENOMEM);
    ask.body = hash_body(p->gateway, body, ask.n_bytes);
    r = admission_ask(p->gateway->admission, &ask, clock_now_ms(), &p->ticket);
    return r < 0 ? err_pass(r) : r;
}

void passage_begin(struct gateway *g, struct http_exchange *x, const char *model, const struct view_instance *in)
{
    struct passage *p = g->n_requests < GATEWAY_REQUESTS_MAX ? calloc(1, sizeof(*p)) : NULL;
    const struct gateway_refusal busy = {
        .status = 503, .retry_after_s = 1, .text = "too many requests are under way: try again"};

    if (!p) {
        http_add_field(x, "Retry-After", "1");
        http_reply_error(x, busy.status, "busy", "%s", busy.text);
        metrics_gateway_request(g->deps.metrics, in ? in->name : NULL, busy.status);
        return;
    }
    *p = (struct passage){.gateway = g, .x = x};
    g->n_requests++;
    snprintf(p->model, sizeof(p->model), "%s", model);
    if (in)
        memcpy(p->name, in->name, sizeof(p->name));
    http_watch(x, on_gone, on_drained, p);
    if (ask(p) < 0)
        passage_fail(p, &busy);
    else
        gateway_settle(g);
}
