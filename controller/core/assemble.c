#include "controller/core/assemble.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/parse.h"
#include "common/core/sse.h"
#include "controller/core/json_spans.h"

/* Pieces of JSON as they came, escapes and all. */
enum part {
    PART_ROLE,
    PART_CONTENT,
    PART_REASONING,
    PART_FINISH_REASON,
    PART_CREATED,
    PART_MODEL,
    PART_FINGERPRINT,
    PART_USAGE,
    PART_ID,
    PART_TIMINGS,
    PART_ERROR, /* the whole event */
    PART_N
};

struct piece {
    char *s;
    size_t n, room;
};

struct assemble {
    struct sse *sse;
    struct piece part[PART_N];
    bool done; /* its last event has come */
    int error_status;
    int failed; /* since when nothing is taken any more */
};

int assemble_new(struct assemble **ret)
{
    struct assemble *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_raise(-ENOMEM);
    r = sse_new(&a->sse);
    if (r < 0) {
        free(a);
        return err_pass(r);
    }
    *ret = a;
    return 0;
}

void assemble_destroy(struct assemble **a)
{
    if (!*a)
        return;
    for (size_t i = 0; i < PART_N; i++)
        free((*a)->part[i].s);
    sse_destroy(&(*a)->sse);
    free(*a);
    *a = NULL;
}

void assemble_reset(struct assemble *a)
{
    sse_reset(a->sse);
    for (size_t i = 0; i < PART_N; i++)
        a->part[i].n = 0;
    a->done = false;
    a->error_status = a->failed = 0;
}

/* ---- taking apart ---- */

static int add(struct piece *p, const char *s, size_t n)
{
    size_t room = p->room ? p->room : 64;
    char *grown;

    if (n > ASSEMBLE_MAX - p->n)
        return ASSEMBLE_E_TOO_LARGE;
    while (room < p->n + n)
        room *= 2;
    if (room != p->room) {
        grown = realloc(p->s, room);
        if (!grown)
            return err_raise(-ENOMEM);
        p->s = grown;
        p->room = room;
    }
    if (n)
        memcpy(p->s + p->n, s, n);
    p->n += n;
    return 0;
}

static int add_text(struct piece *p, struct json_span value)
{
    struct json_span text = json_span_string(value);

    if (!text.s)
        return json_span_is(value, "null") ? 0 : ASSEMBLE_E_STRANGE;
    return add(p, text.s, text.n);
}

/* What each event says anew, and the last one counts. */
static int set(struct piece *p, struct json_span value)
{
    p->n = 0;
    return add(p, value.s, value.n);
}

static int ended(const struct json_spans *s)
{
    return json_spans_ended(s) ? 0 : ASSEMBLE_E_STRANGE;
}

/* What a later llama-server adds is left out; a call of a tool that nobody offered is not. */
static int take_delta(struct assemble *a, struct json_span delta)
{
    struct json_span key, value;
    struct json_spans members;
    int r = 0;

    if (!json_spans_open(&members, delta) || !members.is_object)
        return ASSEMBLE_E_STRANGE;
    while (!r && json_spans_next(&members, &key, &value)) {
        if (json_span_is(key, "role"))
            r = set(&a->part[PART_ROLE], value);
        else if (json_span_is(key, "content"))
            r = add_text(&a->part[PART_CONTENT], value);
        else if (json_span_is(key, "reasoning_content"))
            r = add_text(&a->part[PART_REASONING], value);
        else if (json_span_is(key, "tool_calls"))
            r = ASSEMBLE_E_STRANGE;
    }
    return r ? r : ended(&members);
}

static int take_choice(struct assemble *a, struct json_span choice)
{
    struct json_span key, value;
    struct json_spans members;
    int r = 0;

    if (!json_spans_open(&members, choice) || !members.is_object)
        return ASSEMBLE_E_STRANGE;
    while (!r && json_spans_next(&members, &key, &value)) {
        if (json_span_is(key, "delta"))
            r = take_delta(a, value);
        else if (json_span_is(key, "index"))
            r = json_span_is(value, "0") ? 0 : ASSEMBLE_E_STRANGE;
        else if (json_span_is(key, "finish_reason") && !json_span_is(value, "null"))
            r = set(&a->part[PART_FINISH_REASON], value);
    }
    return r ? r : ended(&members);
}

static int take_choices(struct assemble *a, struct json_span choices)
{
    struct json_span key, value;
    struct json_spans elements;
    int r = 0;

    if (!json_spans_open(&elements, choices) || elements.is_object)
        return ASSEMBLE_E_STRANGE;
    while (!r && json_spans_next(&elements, &key, &value))
        r = take_choice(a, value);
    return r ? r : ended(&elements);
}

/* The same that is said as a status where no stream was asked for; without a sensible one it is the server's fault. */
static int status_of(struct json_span error)
{
    struct json_span key, value;
    struct json_spans members;
    uint64_t status = 500;
    char text[8];

    if (!json_spans_open(&members, error))
        return 500;
    while (json_spans_next(&members, &key, &value)) {
        if (!json_span_is(key, "code") || value.n >= sizeof(text))
            continue;
        memcpy(text, value.s, value.n);
        text[value.n] = '\0';
        if (!parse_uint(text, 400, 599, &status))
            status = 500;
    }
    return (int)status;
}

static int take_member(struct assemble *a, struct json_span event, struct json_span key, struct json_span value)
{
    static const struct {
        const char *key;
        enum part part;
    } kept[] = {{"created", PART_CREATED}, {"model", PART_MODEL}, {"system_fingerprint", PART_FINGERPRINT},
                {"usage", PART_USAGE},     {"id", PART_ID},       {"timings", PART_TIMINGS}};

    if (json_span_is(key, "choices"))
        return take_choices(a, value);
    if (json_span_is(key, "error")) {
        a->error_status = status_of(value);
        return set(&a->part[PART_ERROR], event);
    }
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if (json_span_is(key, kept[i].key))
            return set(&a->part[kept[i].part], value);
    return 0;
}

static int take_event(struct assemble *a, struct json_span event)
{
    struct json_span key, value;
    struct json_spans members;
    int r = 0;

    if (a->done || a->error_status)
        return 0;
    if (json_span_is(event, "[DONE]")) {
        a->done = true;
        return 0;
    }
    if (!json_spans_open(&members, event) || !members.is_object)
        return ASSEMBLE_E_STRANGE;
    while (!r && json_spans_next(&members, &key, &value))
        r = take_member(a, event, key, value);
    return r ? r : ended(&members);
}

static void on_event(void *ctx, const struct sse_event *e)
{
    struct assemble *a = ctx;

    if (!a->failed)
        a->failed = take_event(a, (struct json_span){e->data, strlen(e->data)});
}

int assemble_feed(struct assemble *a, const char *buf, size_t n_bytes)
{
    int r = a->failed ? 0 : sse_feed(a->sse, buf, n_bytes, on_event, a);

    if (r && !a->failed)
        a->failed = r == SSE_E_TOO_LARGE ? ASSEMBLE_E_TOO_LARGE : r;
    return a->failed;
}

/* ---- putting together ---- */

static int add_words(struct piece *out, const char *words)
{
    return add(out, words, strlen(words));
}

/* A part with what stands before and behind it; nothing where the stream has not said it. */
static int add_part(struct piece *out, const char *before, const struct piece *part, const char *behind)
{
    int r;

    if (!part->n)
        return 0;
    r = add_words(out, before);
    r = r ? r : add(out, part->s, part->n);
    return r ? r : add_words(out, behind);
}

static int add_message(struct piece *out, const struct piece *part)
{
    int r = add_part(out, "{\"choices\":[{\"finish_reason\":", &part[PART_FINISH_REASON], ",\"index\":0,\"message\":{");

    r = r ? r : add_part(out, "\"role\":", &part[PART_ROLE], ",");
    r = r ? r : add_words(out, "\"content\":\"");
    r = r ? r : add(out, part[PART_CONTENT].s, part[PART_CONTENT].n);
    r = r ? r : add_words(out, "\"");
    r = r ? r : add_part(out, ",\"reasoning_content\":\"", &part[PART_REASONING], "\"");
    return r ? r : add_words(out, "}}]");
}

/* In llama-server's order. */
static int add_all(struct piece *out, const struct piece *part)
{
    int r = add_message(out, part);

    r = r ? r : add_part(out, ",\"created\":", &part[PART_CREATED], "");
    r = r ? r : add_part(out, ",\"model\":", &part[PART_MODEL], "");
    r = r ? r : add_part(out, ",\"system_fingerprint\":", &part[PART_FINGERPRINT], "");
    r = r ? r : add_words(out, ",\"object\":\"chat.completion\"");
    r = r ? r : add_part(out, ",\"usage\":", &part[PART_USAGE], "");
    r = r ? r : add_part(out, ",\"id\":", &part[PART_ID], "");
    r = r ? r : add_part(out, ",\"timings\":", &part[PART_TIMINGS], "");
    return r ? r : add_words(out, "}");
}

int assemble_end(struct assemble *a, int *ret_status, char **ret_text, size_t *ret_n_bytes)
{
    struct piece out = {.s = NULL};
    int r;

    if (a->failed)
        return a->failed;
    if (a->error_status)
        r = add(&out, a->part[PART_ERROR].s, a->part[PART_ERROR].n);
    else if (!a->done || !a->part[PART_FINISH_REASON].n)
        return ASSEMBLE_E_CUT;
    else
        r = add_all(&out, a->part);
    if (r) {
        free(out.s);
        return r;
    }
    *ret_status = a->error_status ? a->error_status : 200;
    *ret_text = out.s;
    *ret_n_bytes = out.n;
    return 0;
}
