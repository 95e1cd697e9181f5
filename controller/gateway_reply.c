/* An HTTP client and its request. Until something of an answer has reached the client, the request can be sent again. So a
 * short answer is handed on when it is whole, and of a stream only the head and its signs of life (":" lines, which
 * llama-server sends from the first second on while a prompt is computed) are handed on before the first token; the head of a
 * second sending is not.
 *
 * A client that has asked for a stream and waits gets the head and a comment after 5 s, and then every 5 s, so that it and
 * whatever lies between see that somebody is there. From then on all that goes wrong is an event of that stream. */
#include <event2/buffer.h>
#include <event2/event.h>
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
enum { NOTE_MS = 5000 };

struct reply {
    struct gateway *gateway;
    struct http_exchange *x;
    struct passage *passage;
    char *target;
    char *body;                /* what is sent for the client's; NULL: that itself */
    struct assemble *assembly; /* goes with it: a stream is asked for, and the client is told the whole; or NULL */
    uint64_t began_us;
    char model[PROTO_MODEL_MAX]; /* as asked */
    char name[PROTO_MODEL_MAX];  /* of the instance; empty: there is none */
    /* this sending's answer */
    int status;
    bool is_stream;  /* and goes on as one */
    bool assembling; /* it is one, and goes on as a whole */
    char *type;
    int64_t length;
    struct evbuffer *held;
    struct answer_tally tally;
    /* to the client */
    bool anthropic;     /* asked on /v1/messages */
    struct event *note; /* NULL: it has not asked for a stream */
    bool full;          /* it does not read */
    bool has_fields;    /* of the first head that came: those of a second sending are the same */
    bool opened;        /* the head is out */
    bool streaming;     /* and it is one of a stream */
    char tail[2];       /* the last bytes that went out */
};

/* ---- its end ---- */

static void reply_destroy(struct reply **reply)
{
    struct reply *p = *reply;

    if (!p)
        return;
    if (p->held)
        evbuffer_free(p->held);
    if (p->note)
        event_free(p->note);
    assemble_destroy(&p->assembly);
    free(p->body);
    free(p->target);
    free(p->type);
    free(p);
    *reply = NULL;
}

/* Before the exchange is answered: it is gone with that. */
static void account(struct reply *p, int status)
{
    struct gateway_account a = {.name = *p->name ? p->name : NULL,
                                .asked = p->model,
                                .x = p->x,
                                .status = status,
                                .streamed = p->streaming,
                                .tally = &p->tally,
                                .total_us = clock_now_us() - p->began_us};

    if (p->passage) {
        passage_times(p->passage, &a.times);
        a.instance = passage_instance(p->passage);
    }
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

/* What follows is an event of its own, even where the cut was in the middle of one. */
static void end_event(struct reply *p)
{
    if (!p->tail[1] || memcmp(p->tail, "\n\n", 2) == 0)
        return;
    http_write(p->x, "\n\n", 2);
    memcpy(p->tail, "\n\n", 2);
}

/* The stream's last words. llama-server's, in an Anthropic one: an event by its name, and in it the error alone. */
static void write_event(struct reply *p, const char *text, size_t n)
{
    end_event(p);
    if (p->anthropic)
        http_write(p->x, "event: error\n", 13);
    http_write(p->x, "data: ", 6);
    http_write(p->x, text, n);
    http_write(p->x, "\n\n", 2);
}

static void write_error(struct reply *p, json_t *error)
{
    const json_t *said = p->anthropic ? json_object_get(error, "error") : error;
    CLEANUP(cleanup_free) char *text = said ? json_dumps(said, JSON_COMPACT) : NULL;

    json_decref(error);
    if (text)
        write_event(p, text, strlen(text));
}

/* What a second sending was answered with in place of a stream: handed on as it is where that will do. */
static void write_refusal(struct reply *p, const char *text, size_t n)
{
    CLEANUP(json_cleanup) json_t *error = NULL;
    char why[PROTO_TEXT_MAX];

    if (p->anthropic && !json_parse(text, n, &error, why, sizeof(why)) && json_object_get(error, "error"))
        write_error(p, json_incref(error));
    else
        write_event(p, text, n);
}

/* Its client is told in the way that is still left. */
static void on_fail(void *ctx, const struct gateway_refusal *r)
{
    CLEANUP(reply_destroy) struct reply *p = ctx;

    account(p, r->status);
    if (!p->opened)
        reply_refusal(p->x, r);
    else if (p->streaming) {
        write_error(p, error_json(r));
        http_end(p->x);
    } else
        http_abort(p->x);
}

/* ---- its head, and what follows it ---- */

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
    p->full = http_write(p->x, buf, n) == HTTP_FULL;
    if (p->full)
        passage_pause(p->passage);
}

/* ---- the wait ---- */

/* The fields are those which a coordinator's own stream has. */
static void open_early(struct reply *p)
{
    http_add_field(p->x, "X-Accel-Buffering", "no");
    p->has_fields = true;
    http_begin(p->x, 200, "text/event-stream", -1);
    p->opened = p->streaming = true;
}

/* Once the coordinator has answered, its own signs of life are enough. */
static void on_note(evutil_socket_t fd, short what, void *ctx)
{
    char waits_for[PROTO_TEXT_MAX], text[PROTO_TEXT_MAX + 16];
    struct reply *p = ctx;

    (void)fd;
    (void)what;
    if (p->status || p->full)
        return;
    if (!p->opened)
        open_early(p);
    passage_say_waiting(p->passage, waits_for, sizeof(waits_for));
    hand_on(p, text, (size_t)snprintf(text, sizeof(text), ": waiting: %s\n\n", waits_for));
}

static int watch_the_wait(struct reply *p)
{
    uint64_t ms = p->gateway->deps.note_ms ? p->gateway->deps.note_ms : NOTE_MS;
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    p->note = event_new(p->gateway->deps.base, -1, EV_PERSIST, on_note, p);
    return !p->note || event_add(p->note, &tv) < 0 ? err_raise(-ENOMEM) : 0;
}

/* ---- the answer ---- */

/* A whole answer has none of the fields that a stream has. */
static bool passes_on(const struct reply *p, const char *name)
{
    return upstream_passes_on(name) && !(p->assembling && strcasecmp(name, "X-Accel-Buffering") == 0);
}

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    const char *type = upstream_field(header, n, "Content-Type");
    struct reply *p = ctx;
    bool streams = type && strncasecmp(type, "text/event-stream", 17) == 0;

    p->status = status;
    p->is_stream = streams && !p->assembly;
    p->assembling = streams && p->assembly;
    p->length = upstream_length(header, n);
    free(p->type);
    p->type = strdup(p->assembling ? "application/json; charset=utf-8" : gateway_type(type));
    for (size_t i = 0; i < n && !p->has_fields; i++)
        if (passes_on(p, header[i].name))
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

    answer_tally_feed(&p->tally, buf, n);
    if (p->assembling) {
        (void)assemble_feed(p->assembly, buf, n); /* its end says what went wrong */
        return is_sign_of_life(buf, n) ? PASSAGE_SIGN_OF_LIFE : PASSAGE_KEPT;
    }
    if (!p->is_stream)
        return on_whole_data(p, buf, n);
    hand_on(p, buf, n);
    return is_sign_of_life(buf, n) ? PASSAGE_SIGN_OF_LIFE : PASSAGE_HANDED_ON;
}

static void on_again(void *ctx)
{
    struct reply *p = ctx;

    p->status = 0;
    p->is_stream = p->assembling = false;
    p->tally = (struct answer_tally){.n_bytes = 0};
    if (p->assembly)
        assemble_reset(p->assembly);
    if (p->streaming)
        end_event(p); /* a sign of life may have been cut behind its ":", which would swallow the next line */
    evbuffer_drain(p->held, evbuffer_get_length(p->held));
}

static void end_assembled(struct reply *p)
{
    struct gateway_refusal refusal = {.status = 502};
    CLEANUP(cleanup_free) char *text = NULL;
    int status = 0, r;
    size_t n = 0;

    r = assemble_end(p->assembly, &status, &text, &n);
    account(p, r ? refusal.status : status);
    if (r) {
        snprintf(refusal.text, sizeof(refusal.text), "%s", gateway_say_not_whole(r));
        reply_refusal(p->x, &refusal);
    } else {
        http_reply(p->x, status, p->type, text, n);
    }
}

static void on_end(void *ctx)
{
    CLEANUP(reply_destroy) struct reply *p = ctx;
    size_t n = evbuffer_get_length(p->held);
    const char *text = n ? (const char *)evbuffer_pullup(p->held, -1) : "";

    if (p->assembling) {
        end_assembled(p);
        return;
    }
    account(p, p->status);
    if (!p->opened)
        open_answer(p);
    else if (p->streaming && !p->is_stream) /* the second sending was answered with an error */
        write_refusal(p, text, n);
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

    p->full = false;
    passage_resume(p->passage);
}

/* Path, query and the fields that a coordinator understands; framing is made anew. */
static int begin(struct reply *p, const struct body_peek *peek)
{
    const struct http_head *head = http_head(p->x);
    const char *path = http_rest(p->x) ? http_rest(p->x) : head->path;
    const struct passage_calls calls = {
        .head = on_head, .data = on_data, .again = on_again, .end = on_end, .fail = on_fail, .ctx = p};
    struct httpc_header header[GATEWAY_FIELDS_MAX];
    struct passage_spec spec = {
        .model = p->model, .method = head->method, .header = header, .timeout_ms = gateway_timeout_ms(head, peek)};

    p->anthropic = strcmp(path, "/v1/messages") == 0;
    p->held = evbuffer_new();
    if (!p->held || asprintf(&p->target, "%s%s%s", path, *head->query ? "?" : "", head->query) < 0) {
        p->target = NULL;
        return err_raise(-ENOMEM);
    }
    if (peek && peek->stream && watch_the_wait(p) < 0)
        return err_raise(-ENOMEM);
    spec.n_headers = gateway_fields(p->x, header);
    spec.target = p->target;
    spec.slotless = !gateway_takes_slot(head->method, path);
    spec.body = http_body(p->x, &spec.n_body_bytes);
    if (gateway_assembly(path, peek, &spec, &p->body, &p->assembly) < 0)
        return err_raise(-ENOMEM);
    http_watch(p->x, on_gone, on_drained, p);
    return passage_begin(p->gateway, &spec, &calls, &p->passage);
}

/* By which its requests are counted: of the instance, or of what will serve it. Returns "" where it is nobody's. */
static const char *find_name(const struct gateway *g, const char *model, const struct view_instance *in)
{
    const struct view_served *s = in ? NULL : view_find_served(g->view, model);

    return in ? in->name : s ? s->name : "";
}

void gateway_reply_begin(struct gateway *g, struct http_exchange *x, const char *model, const struct view_instance *in,
                         const struct body_peek *peek)
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
    snprintf(p->name, sizeof(p->name), "%s", find_name(g, model, in));
    if (begin(p, peek)) {
        http_watch(x, NULL, NULL, NULL);
        gateway_refuse(g, x, in ? in->name : NULL, &busy);
        return;
    }
    p = NULL;
}
