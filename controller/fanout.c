#include "controller/fanout.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "controller/fanout_answer.h"
#include "controller/fanout_say.h"
#include "controller/gateway_state.h"
#include "controller/http_json.h"

enum { FANOUTS_MEMBERS_MAX = GATEWAY_REQUESTS_MAX / 2 /* so that others are still let in */ };

struct fanout {
    struct gateway *gateway;
    struct http_exchange *x;
    struct fanout_request *request;
    struct fanout_course *course;
    size_t n_voices;
    struct fanout_voice *voice;
    struct fanout_purse purse;
    struct event
        *turn; /* what follows from what was heard is done in a turn of its own: a voice may not be cancelled, nor
                           * another begin, out of a passage's call */
    struct event *timer;  /* the next deadline */
    struct event *pinger; /* so that a silent stream is not taken for a dead one */
    uint64_t began_us;
};

bool fanout_take(struct fanout_purse *p, size_t n_bytes)
{
    if (p->book->n_bytes + n_bytes > FANOUTS_BYTES_MAX)
        return false;
    p->book->n_bytes += n_bytes;
    p->n_bytes += n_bytes;
    return true;
}

/* ---- its end ------------------------------------------------------------------------------------------------------ */

static void free_event(struct event **ev)
{
    if (*ev)
        event_free(*ev);
    *ev = NULL;
}

static void fanout_destroy(struct fanout **fanout)
{
    struct fanout *f = *fanout;

    if (!f)
        return;
    for (size_t i = f->n_voices; i--;) /* those that wait are the last: none takes a place that becomes free now */
        fanout_voice_clear(&f->voice[i]);
    free_event(&f->turn);
    free_event(&f->timer);
    free_event(&f->pinger);
    fanout_course_destroy(&f->course);
    f->purse.book->n--;
    f->purse.book->n_members -= f->request->n_members;
    f->purse.book->n_bytes -= f->purse.n_bytes;
    fanout_request_destroy(&f->request);
    free(f->voice);
    free(f);
    *fanout = NULL;
}

static void account(struct fanout *f, int status)
{
    const struct gateway_account a = {
        .x = f->x, .status = status, .streamed = f->request->stream, .total_us = clock_now_us() - f->began_us};

    http_watch(f->x, NULL, NULL, NULL);
    gateway_account(f->gateway, &a);
}

static void on_gone(void *ctx)
{
    CLEANUP(fanout_destroy) struct fanout *f = ctx;

    account(f, 499);
}

static struct fanout_told told(const struct fanout *f)
{
    return (struct fanout_told){.request = f->request, .course = f->course, .voice = f->voice};
}

/* Once the client does not read, nobody is asked for more. */
static void set_reading(struct fanout *f, bool on)
{
    for (size_t i = 0; i < f->n_voices; i++) {
        if (f->voice[i].passage && on)
            passage_resume(f->voice[i].passage);
        else if (f->voice[i].passage)
            passage_pause(f->voice[i].passage);
    }
}

/* data: consumed. Returns false where there was no memory for it. */
static bool send_event(struct fanout *f, const char *name, json_t *data)
{
    CLEANUP(cleanup_free) char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;

    json_decref(data);
    if (text && http_sse_send(f->x, 0, name, text) == HTTP_FULL)
        set_reading(f, false);
    return text != NULL;
}

static void finish(struct fanout *fanout)
{
    CLEANUP(fanout_destroy) struct fanout *f = fanout;
    struct fanout_told t = told(f);
    const char *name = "done";
    json_t *whole;

    t.brief = f->request->stream;
    whole = fanout_answer_whole(&t, clock_wall_ms());
    account(f, 200);
    if (!f->request->stream) {
        http_reply_json(f->x, 200, whole);
        return;
    }
    whole = fanout_answer_event(&t, 0, FANOUT_FX_FINISH, whole, &name);
    if (send_event(f, name, whole))
        http_end(f->x);
    else
        http_abort(f->x);
}

/* ---- what is told while it goes on -------------------------------------------------------------------------------- */

/* What it has said since the last time. */
static json_t *news_of(struct fanout_voice *v)
{
    size_t n = evbuffer_get_length(v->content);
    const char *text = n ? (const char *)evbuffer_pullup(v->content, -1) : "";
    json_t *o = json_pack("{s:s%}", "content", text + v->n_told, n - v->n_told);

    v->n_told = n;
    return o;
}

static void tell(struct fanout *f, const struct fanout_effect *fx)
{
    struct fanout_voice *v = &f->voice[fx->voice];
    const struct fanout_told t = told(f);
    const char *name = "";
    json_t *o;

    if (!f->request->stream)
        return;
    if (fx->kind == FANOUT_FX_TELL_DELTA && evbuffer_get_length(v->content) == v->n_told)
        return; /* a thought: the answer has it in the end */
    if (fx->kind == FANOUT_FX_TELL_ENDED)
        o = fanout_answer_voice(&t, fx->voice);
    else
        o = fx->kind == FANOUT_FX_TELL_DELTA ? news_of(v) : json_object();
    o = fanout_answer_event(&t, fx->voice, fx->kind, o, &name);
    send_event(f, name, o);
}

static void on_drained(void *ctx)
{
    set_reading(ctx, true);
}

/* ---- a voice's end ------------------------------------------------------------------------------------------------ */

static void end_voice(struct fanout *f, size_t voice)
{
    const struct fanout_voice_course c = fanout_course_voice(f->course, voice);
    const struct view_instance *in = view_find_instance(f->gateway->view, f->request->voice[voice].model);
    struct fanout_voice *v = &f->voice[voice];

    if (c.state == FANOUT_FAILED)
        fanout_say(f->gateway->view, f->request, &c, voice, &v->error);
    if (c.asked_ms != UINT64_MAX) {
        const struct gateway_account a = {.name = in ? in->name : NULL,
                                          .x = f->x,
                                          .part = true,
                                          .status = c.state == FANOUT_ANSWERED ? 200 : v->error.status,
                                          .streamed = true,
                                          .total_us = (c.ended_ms - c.asked_ms) * 1000,
                                          .times = v->times};
        gateway_account(f->gateway, &a);
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

enum { TOGETHER_E_FULL = 1 };

/* What the members have answered becomes the synthesis' prompt. It is made one at a time, so that the book may be asked
 * once its size is known. 0, TOGETHER_E_FULL, -ENOMEM. */
static int put_together(struct fanout *f)
{
    struct fanout_said said[FANOUT_MEMBERS_MAX];
    size_t n = 0;
    int r;

    for (size_t i = 0; i < f->request->n_members; i++) {
        struct evbuffer *b = f->voice[i].content;

        if (fanout_course_voice(f->course, i).state != FANOUT_ANSWERED)
            continue;
        said[n++] = (struct fanout_said){.name = f->request->voice[i].name,
                                         .text = evbuffer_get_length(b) ? (const char *)evbuffer_pullup(b, -1) : "",
                                         .n_bytes = evbuffer_get_length(b)};
    }
    r = fanout_request_synthesize(f->request, said, n);
    if (r < 0)
        return err_pass(r);
    return fanout_take(&f->purse, f->request->voice[f->request->n_members].n_body_bytes) ? 0 : TOGETHER_E_FULL;
}

static void fail_unasked(struct fanout *f, size_t voice, int status, const char *text)
{
    struct gateway_refusal *e = &f->voice[voice].error;

    e->status = status;
    snprintf(e->text, sizeof(e->text), "%s", text);
    fanout_course_hear(f->course, voice, FANOUT_EV_FAIL, clock_now_ms());
}

static void ask(struct fanout *f, size_t voice)
{
    const struct view_instance *only = gateway_only_ready(f->gateway->view);
    struct fanout_ask *a = &f->request->voice[voice];
    int r = a->body ? 0 : put_together(f);

    if (!*a->model && only)
        memcpy(a->model, only->name, sizeof(a->model));
    if (!*a->model)
        fail_unasked(f, voice, 400, "\"model\" is missing and there is not exactly one model ready to guess");
    else if (r)
        fail_unasked(f, voice, 503, r < 0 ? "out of memory" : FANOUT_NO_ROOM);
    else /* its time is kept here: the admission's own is behind it */
        fanout_voice_ask(&f->voice[voice], f->gateway, a->model, a->body, a->n_body_bytes, http_request_id(f->x),
                         a->timeout_ms + 1000);
}

/* ---- what follows ------------------------------------------------------------------------------------------------- */

/* When it was sent last, if it was: it may be over in a moment. */
static void note_sent(struct fanout *f, size_t voice)
{
    const struct fanout_voice_course c = fanout_course_voice(f->course, voice);
    struct fanout_voice *v = &f->voice[voice];
    uint64_t began_ms = f->began_us / 1000;

    fanout_voice_look(v);
    if (!id128_is_zero(&v->instance))
        fanout_course_sent(f->course, voice, began_ms + c.asked_ms + v->times.sent_us / 1000);
}

static void on_heard(void *ctx, struct fanout_voice *v, enum fanout_event ev)
{
    struct fanout *f = ctx;
    size_t voice = (size_t)(v - f->voice);

    note_sent(f, voice);
    fanout_course_hear(f->course, voice, ev, clock_now_ms());
    event_active(f->turn, EV_TIMEOUT, 0);
}

/* Returns false where f is gone. */
static bool carry_out(struct fanout *f, const struct fanout_effect *fx)
{
    switch (fx->kind) {
    case FANOUT_FX_ASK:
        ask(f, fx->voice);
        return true;
    case FANOUT_FX_CANCEL:
        fanout_voice_cancel(&f->voice[fx->voice]);
        return true;
    case FANOUT_FX_TELL_ENDED:
        end_voice(f, fx->voice);
        tell(f, fx);
        return true;
    case FANOUT_FX_TELL_AGAIN:
    case FANOUT_FX_TELL_DELTA:
        tell(f, fx);
        return true;
    case FANOUT_FX_FINISH:
        finish(f);
        return false;
    }
    return true;
}

static void set_timer(struct fanout *f)
{
    uint64_t due_ms = fanout_course_due_ms(f->course), now_ms = clock_now_ms();
    uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    struct timeval tv = {.tv_sec = (time_t)(left_ms / 1000), .tv_usec = (suseconds_t)(left_ms % 1000) * 1000};

    if (due_ms == UINT64_MAX)
        event_del(f->timer);
    else
        event_add(f->timer, &tv);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
    struct fanout *f = ctx;
    struct fanout_effect fx;

    (void)fd;
    (void)what;
    while (fanout_course_next(f->course, &fx))
        if (!carry_out(f, &fx))
            return;
    set_timer(f);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct fanout *f = ctx;

    for (size_t i = 0; i < f->n_voices; i++)
        note_sent(f, i);
    fanout_course_tick(f->course, clock_now_ms());
    on_turn(fd, what, f);
}

static void on_ping(evutil_socket_t fd, short what, void *ctx)
{
    struct fanout *f = ctx;

    (void)fd;
    (void)what;
    http_sse_ping(f->x);
}

/* ---- its begin ---------------------------------------------------------------------------------------------------- */

static int make_events(struct fanout *f)
{
    struct event_base *base = f->gateway->deps.base;

    f->turn = event_new(base, -1, 0, on_turn, f);
    f->timer = evtimer_new(base, on_timer, f);
    f->pinger = event_new(base, -1, EV_PERSIST, on_ping, f);
    return f->turn && f->timer && f->pinger ? 0 : err_raise(-ENOMEM);
}

static int make_voices(struct fanout *f)
{
    size_t n = f->request->n_members + f->request->synthesis;
    int r = 0;

    f->voice = calloc(n, sizeof(*f->voice));
    if (!f->voice)
        return err_raise(-ENOMEM);
    f->n_voices = n;
    for (size_t i = 0; !r && i < n; i++)
        r = fanout_voice_init(&f->voice[i], &f->purse, on_heard, f);
    return r;
}

static int make_course(struct fanout *f)
{
    struct fanout_course_config config = {
        .n_members = f->request->n_members, .synthesis = f->request->synthesis, .timeout_ms = f->request->timeout_ms};

    for (size_t i = 0; i < f->n_voices; i++)
        config.voice_timeout_ms[i] = f->request->voice[i].timeout_ms;
    return fanout_course_new(&config, f->began_us / 1000, &f->course);
}

/* request: consumed. ret: owned. 0, -ENOMEM. */
static int fanout_new(struct gateway *g, struct http_exchange *x, struct fanout_request **request, struct fanout **ret)
{
    CLEANUP(fanout_destroy) struct fanout *f = calloc(1, sizeof(*f));
    int r;

    if (!f)
        return err_raise(-ENOMEM);
    *f = (struct fanout){
        .gateway = g, .x = x, .request = *request, .purse = {.book = &g->fanouts}, .began_us = clock_now_us()};
    *request = NULL;
    g->fanouts.n++;
    g->fanouts.n_members += f->request->n_members;
    fanout_take(&f->purse, f->request->n_bytes); /* that there is room was seen */
    r = make_events(f);
    if (!r)
        r = make_voices(f);
    if (!r)
        r = make_course(f);
    if (r < 0)
        return err_pass(r);
    *ret = f;
    f = NULL;
    return 0;
}

static void begin(struct fanout *f)
{
    const struct timeval ping = {.tv_sec = FANOUT_PING_MS / 1000};

    http_watch(f->x, on_gone, on_drained, f);
    if (f->request->stream) {
        http_sse_begin(f->x);
        event_add(f->pinger, &ping);
    }
    event_active(f->turn, EV_TIMEOUT, 0);
}

static void refuse(struct gateway *g, struct http_exchange *x, int status, uint64_t retry_after_s, const char *text)
{
    struct gateway_refusal r = {.status = status, .retry_after_s = retry_after_s};

    snprintf(r.text, sizeof(r.text), "%s", text);
    gateway_refuse(g, x, NULL, &r);
}

void fanout_handle(void *ctx, struct http_exchange *x)
{
    CLEANUP(fanout_request_destroy) struct fanout_request *request = NULL;
    struct gateway *g = ctx;
    char why[PROTO_TEXT_MAX];
    struct fanout *f = NULL;
    size_t n;
    const char *text = http_body(x, &n);
    int r;

    if (!g->view) {
        refuse(g, x, 503, 1, "the controller is starting: try again");
        return;
    }
    if (g->fanouts.n >= FANOUTS_MAX) {
        refuse(g, x, 429, 1, "too many fan-outs are under way: try again");
        return;
    }
    r = fanout_request_read(text, n, &request, why, sizeof(why));
    if (r > 0) {
        refuse(g, x, r == FANOUT_E_TOO_LARGE ? 413 : 400, 0, why);
        return;
    }
    if (!r && g->fanouts.n_bytes + request->n_bytes > FANOUTS_BYTES_MAX) {
        refuse(g, x, 429, 1, FANOUT_NO_ROOM);
        return;
    }
    if (!r && g->fanouts.n_members + request->n_members > FANOUTS_MEMBERS_MAX) {
        refuse(g, x, 429, 1, "the members of other fan-outs leave no place for these: try again");
        return;
    }
    if (r < 0 || fanout_new(g, x, &request, &f) < 0)
        refuse(g, x, 503, 1, "out of memory: try again");
    else
        begin(f);
}
