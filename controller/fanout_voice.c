#include "controller/fanout_voice.h"

#include <errno.h>
#include <event2/buffer.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sse.h"
#include "common/core/text.h"
#include "controller/json_fields.h"
#include "controller/upstream.h"

enum { REFUSED_MAX = 64 * 1024 };

/* ---- what it says ------------------------------------------------------------------------------------------------- */

static void set_error(struct fanout_voice *v, int status, const char *text)
{
    if (v->error.status)
        return; /* the first one says why */
    v->error.status = status;
    text_copy(v->error.text, sizeof(v->error.text), text);
}

/* {"code", "message", "type"} as llama-server has it. status: where that says none. */
static void take_error(struct fanout_voice *v, const json_t *error, int status)
{
    const char *text = json_string_value(json_object_get(error, "message"));
    const char *type = json_string_value(json_object_get(error, "type"));
    json_int_t code = json_integer_value(json_object_get(error, "code"));

    if (v->error.status)
        return;
    set_error(v, code >= 400 && code <= 599 ? (int)code : status,
              text ? text : "the coordinator answered with an error");
    if (!type)
        return;
    text_copy(v->error_type, sizeof(v->error_type), type);
    v->error.type = v->error_type;
}

/* Returns false where that was too much. */
static bool add_text(struct fanout_voice *v, struct evbuffer *to, const json_t *text)
{
    size_t n = json_string_length(text), n_json = n ? json_dumpb(text, NULL, 0, JSON_ENCODE_ANY) : 0;

    if (!n)
        return true;
    if (v->purse->n_said + n_json > FANOUT_ANSWERS_MAX) {
        set_error(v, 500, "what was answered altogether is too long for one fan-out");
        return false;
    }
    if (!fanout_take(v->purse, n_json)) {
        set_error(v, 503, FANOUT_NO_ROOM);
        return false;
    }
    v->purse->n_said += n_json;
    evbuffer_add(to, json_string_value(text), n);
    return true;
}

/* No second sending is wanted any more: why stays as it is. */
static void give_up(struct fanout_voice *v)
{
    v->given_up = true;
    v->heard(v->ctx, v, FANOUT_EV_CUT);
}

static void take_choice(struct fanout_voice *v, const json_t *choice)
{
    const json_t *delta = json_object_get(choice, "delta");
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));
    const json_t *text = json_object_get(delta, "content"), *thought = json_object_get(delta, "reasoning_content");
    bool fits = add_text(v, v->reasoning, thought) && add_text(v, v->content, text);

    if (reason)
        text_copy(v->finish_reason, sizeof(v->finish_reason), reason);
    if (!fits)
        give_up(v);
    else if (json_string_length(text) || json_string_length(thought))
        v->heard(v->ctx, v, FANOUT_EV_DELTA);
}

static void take_usage(struct fanout_voice *v, const json_t *usage)
{
    json_int_t prompt = json_integer_value(json_object_get(usage, "prompt_tokens"));
    json_int_t completion = json_integer_value(json_object_get(usage, "completion_tokens"));

    if (!json_is_object(usage) || prompt < 0 || completion < 0)
        return;
    v->has_usage = true;
    v->prompt_tokens = (uint64_t)prompt;
    v->completion_tokens = (uint64_t)completion;
}

static void on_event(void *ctx, const struct sse_event *e)
{
    CLEANUP(json_cleanup) json_t *chunk = NULL;
    struct fanout_voice *v = ctx;
    char why[PROTO_TEXT_MAX];

    if (v->error.status)
        return; /* it was told */
    if (strcmp(e->data, "[DONE]") == 0) {
        v->done = true;
        return;
    }
    if (json_parse(e->data, strlen(e->data), &chunk, why, sizeof(why)) || !json_is_object(chunk)) {
        set_error(v, 502, "the coordinator's answer could not be read");
        return;
    }
    if (json_is_object(json_object_get(chunk, "error")))
        take_error(v, json_object_get(chunk, "error"), 500);
    else {
        take_choice(v, json_array_get(json_object_get(chunk, "choices"), 0));
        take_usage(v, json_object_get(chunk, "usage"));
    }
}

/* ---- the passage's calls ------------------------------------------------------------------------------------------ */

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    const char *type = upstream_field(header, n, "Content-Type");
    struct fanout_voice *v = ctx;

    v->status = status;
    v->is_stream = type && strncasecmp(type, "text/event-stream", 17) == 0;
}

/* Comments between events say only that somebody is there. */
static bool is_sign_of_life(const struct fanout_voice *v, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != ':' && bytes[i] != '\n')
            return false;
    return v->is_stream;
}

/* Nothing is handed on that could not be taken back: until it has ended, it can be asked again. */
static enum passage_use on_data(void *ctx, const void *buf, size_t n)
{
    struct fanout_voice *v = ctx;

    if (!v->is_stream) {
        if (evbuffer_get_length(v->refused) < REFUSED_MAX)
            evbuffer_add(v->refused, buf, n);
        return PASSAGE_KEPT;
    }
    if (sse_feed(v->sse, buf, n, on_event, v) && !v->error.status) {
        set_error(v, 502, "the coordinator's answer could not be read");
        give_up(v);
    }
    return is_sign_of_life(v, buf, n) ? PASSAGE_SIGN_OF_LIFE : PASSAGE_KEPT;
}

static void forget(struct evbuffer *b)
{
    evbuffer_drain(b, evbuffer_get_length(b));
}

static void on_again(void *ctx)
{
    struct fanout_voice *v = ctx;

    if (v->given_up)
        return;
    forget(v->content);
    forget(v->reasoning);
    forget(v->refused);
    sse_reset(v->sse);
    v->n_told = 0;
    v->status = 0;
    v->is_stream = v->done = v->has_usage = false;
    v->finish_reason[0] = '\0';
    v->error = (struct gateway_refusal){.status = 0};
    v->heard(v->ctx, v, FANOUT_EV_AGAIN);
}

static void take_refusal(struct fanout_voice *v)
{
    size_t n = evbuffer_get_length(v->refused);
    const char *text = n ? (const char *)evbuffer_pullup(v->refused, -1) : "";
    CLEANUP(json_cleanup) json_t *body = NULL;
    char why[PROTO_TEXT_MAX];

    if (json_parse(text, n, &body, why, sizeof(why)))
        body = NULL;
    take_error(v, json_object_get(body, "error"), v->status >= 400 ? v->status : 502);
}

static void on_end(void *ctx)
{
    struct fanout_voice *v = ctx;

    fanout_voice_look(v);
    v->passage = NULL;
    if (v->status != 200 || !v->is_stream)
        take_refusal(v);
    else if (!v->done && !*v->finish_reason)
        set_error(v, 502, "the answer was cut off");
    v->heard(v->ctx, v, v->error.status ? FANOUT_EV_FAIL : FANOUT_EV_END);
}

static void on_fail(void *ctx, const struct gateway_refusal *r)
{
    struct fanout_voice *v = ctx;

    fanout_voice_look(v);
    v->passage = NULL;
    if (!v->error.status)
        v->error = *r;
    v->heard(v->ctx, v, FANOUT_EV_FAIL);
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

void fanout_voice_look(struct fanout_voice *v)
{
    if (!v->passage)
        return;
    passage_times(v->passage, &v->times);
    v->instance = passage_instance(v->passage);
}

void fanout_voice_ask(struct fanout_voice *v, struct gateway *g, const char *model, const char *body,
                      size_t n_body_bytes, const char *request_id, uint64_t wait_ms)
{
    const struct httpc_header header[] = {
        {"Content-Type", "application/json"}, {"Accept", "text/event-stream"}, {"X-Request-Id", request_id}};
    const struct passage_calls calls = {
        .head = on_head, .data = on_data, .again = on_again, .end = on_end, .fail = on_fail, .ctx = v};
    const struct passage_spec spec = {.model = model,
                                      .method = "POST",
                                      .target = "/v1/chat/completions",
                                      .header = header,
                                      .n_headers = sizeof(header) / sizeof(header[0]),
                                      .body = body,
                                      .n_body_bytes = n_body_bytes,
                                      .wait_ms = wait_ms};

    if (passage_begin(g, &spec, &calls, &v->passage) == 0)
        return;
    set_error(v, 503, "too many requests are under way: try again");
    v->heard(v->ctx, v, FANOUT_EV_FAIL);
}

void fanout_voice_cancel(struct fanout_voice *v)
{
    fanout_voice_look(v);
    passage_cancel(&v->passage);
}

/* ---- its life ----------------------------------------------------------------------------------------------------- */

int fanout_voice_init(struct fanout_voice *v, struct fanout_purse *purse,
                      void (*heard)(void *ctx, struct fanout_voice *v, enum fanout_event ev), void *ctx)
{
    *v = (struct fanout_voice){.purse = purse, .heard = heard, .ctx = ctx};
    v->content = evbuffer_new();
    v->reasoning = evbuffer_new();
    v->refused = evbuffer_new();
    return v->content && v->reasoning && v->refused && sse_new(&v->sse) == 0 ? 0 : err_raise(-ENOMEM);
}

void fanout_voice_clear(struct fanout_voice *v)
{
    passage_cancel(&v->passage);
    sse_destroy(&v->sse);
    if (v->content)
        evbuffer_free(v->content);
    if (v->reasoning)
        evbuffer_free(v->reasoning);
    if (v->refused)
        evbuffer_free(v->refused);
    *v = (struct fanout_voice){.passage = NULL};
}
