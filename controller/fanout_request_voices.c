/* Members and synthesis of a fan-out's request, and the bodies of their completions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/fanout_reader.h"
#include "controller/json_fields.h"

#define SYNTHESIS_SYSTEM                                                                                                \
    "Several answers to the same question follow it. Give the one best answer to the question: put together what they " \
    "agree on and what each adds, judge by their reasons where they differ, and say so where that cannot be decided. "  \
    "Do not speak of the answers or of who gave them unless that is asked."

int fanout_say_prompt(struct fanout_reader *rd, int r, const char *what)
{
    switch (r) {
    case FANOUT_PROMPT_E_NO_USER:
        return fanout_invalid(&rd->fields, "messages: none has the role user, where %s would stand", what);
    case FANOUT_PROMPT_E_CONTENT:
        return fanout_invalid(
            &rd->fields,
            "messages: the content of the message where %s would stand must be a string or a list of parts", what);
    }
    return err_fold(r);
}

/* ---- a voice: what else its completion shall say ------------------------------------------------------------------ */

static int set(json_t *o, const char *key, json_t *value)
{
    return json_put(o, key, value);
}

static int check_extra(struct fanout_reader *rd, const char *place, const json_t *extra)
{
    static const struct {
        const char *key, *why;
    } refused[] = {{"model", "stands beside extra"},
                   {"messages", "are those of all"},
                   {"temperature", "stands beside extra"},
                   {"max_tokens", "stands beside extra"},
                   {"stream", "is set by the fan-out"},
                   {"stream_options", "are set by the fan-out"},
                   {"n", "is 1: add a member"},
                   {"tools", "are not called here: a member answers in text"},
                   {"functions", "are not called here: a member answers in text"}};

    if (extra && !json_is_object(extra))
        return fanout_invalid(&rd->fields, "%sextra must be an object", place);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (json_object_get(extra, refused[i].key))
            return fanout_invalid(&rd->fields, "%sextra.%s: %s %s", place, refused[i].key, refused[i].key,
                                  refused[i].why);
    return 0;
}

static int put_numbers(struct fanout_reader *rd, const char *place, const json_t *o, json_t *settings)
{
    const json_t *temperature = fanout_field(o, "temperature"), *max_tokens = fanout_field(o, "max_tokens");

    if (temperature && !(json_is_number(temperature) && json_number_value(temperature) >= 0))
        return fanout_invalid(&rd->fields, "%stemperature must be a number from 0 on", place);
    if (max_tokens && !(json_is_integer(max_tokens) && json_integer_value(max_tokens) >= 1 &&
                        json_integer_value(max_tokens) <= INT32_MAX))
        return fanout_invalid(&rd->fields, "%smax_tokens must be a whole number from 1 on", place);
    if (temperature && json_object_set(settings, "temperature", (json_t *)(uintptr_t)temperature) < 0)
        return err_raise(-ENOMEM);
    if (max_tokens && json_object_set(settings, "max_tokens", (json_t *)(uintptr_t)max_tokens) < 0)
        return err_raise(-ENOMEM);
    return 0;
}

/* A completion's body without its messages; ret: owned. */
static int read_settings(struct fanout_reader *rd, const char *place, const json_t *o, const char *model, json_t **ret)
{
    const json_t *extra = fanout_field(o, "extra");
    CLEANUP(json_cleanup) json_t *settings = NULL;
    int r = check_extra(rd, place, extra);

    if (r)
        return r;
    settings = extra ? json_copy((json_t *)(uintptr_t)extra) : json_object();
    if (!settings)
        return err_raise(-ENOMEM);
    r = *model ? set(settings, "model", json_string(model)) : 0;
    if (!r)
        r = put_numbers(rd, place, o, settings);
    if (!r)
        r = set(settings, "stream", json_true());
    if (!r)
        r = set(settings, "stream_options", json_pack("{s:b}", "include_usage", 1));
    if (r)
        return r;
    *ret = settings;
    settings = NULL;
    return 0;
}

/* What members and a synthesis have in common; ret: owned. */
static int read_voice(struct fanout_reader *rd, const char *place, const json_t *o, struct fanout_ask *a, json_t **ret)
{
    int r;

    memcpy(a->model, rd->model, sizeof(a->model));
    r = fanout_read_name(&rd->fields, place, o, "model", a->model, sizeof(a->model));
    if (!r)
        r = fanout_read_seconds(&rd->fields, place, o, "timeout", &a->timeout_ms);
    if (!r)
        r = read_settings(rd, place, o, a->model, ret);
    return r;
}

/* settings, messages: borrowed. */
static int make_body(struct fanout_reader *rd, const json_t *settings, json_t *messages, const char *system,
                     struct fanout_ask *a)
{
    CLEANUP(json_cleanup) json_t *said = NULL, *body = NULL;
    int r = 0;

    if (system)
        r = fanout_prompt_system(messages, system, &said);
    else
        said = json_incref(messages);
    if (r > 0)
        return fanout_say_prompt(rd, r, "a system text");
    body = r ? NULL : json_copy((json_t *)(uintptr_t)settings);
    if (!body || json_object_set(body, "messages", said) < 0)
        return err_raise(-ENOMEM);
    a->body = json_dumps(body, JSON_COMPACT);
    if (!a->body)
        return err_raise(-ENOMEM);
    a->n_body_bytes = strlen(a->body);
    rd->request->n_bytes += a->n_body_bytes;
    return 0;
}

/* ---- members ------------------------------------------------------------------------------------------------------ */

static int check_name(struct fanout_reader *rd, size_t at)
{
    struct fanout_ask *a = &rd->request->voice[at];

    if (!*a->name)
        snprintf(a->name, sizeof(a->name), "member %zu", at + 1);
    for (size_t i = 0; i < at; i++)
        if (strcmp(rd->request->voice[i].name, a->name) == 0)
            return fanout_invalid(&rd->fields, "members[%zu].name: members[%zu] has the same", at, i);
    return 0;
}

static int read_member(struct fanout_reader *rd, size_t at, const json_t *o, json_t *question)
{
    static const char *const keys[] = {"name",       "model",   "system", "temperature",
                                       "max_tokens", "timeout", "extra",  NULL};
    struct fanout_ask *a = &rd->request->voice[at];
    CLEANUP(json_cleanup) json_t *settings = NULL;
    const char *system = NULL;
    char place[40];
    int r;

    snprintf(place, sizeof(place), "members[%zu].", at);
    if (!json_is_object(o))
        return fanout_invalid(&rd->fields, "members[%zu] must be an object", at);
    a->timeout_ms = rd->member_timeout_ms;
    r = fanout_check_keys(&rd->fields, place, o, keys);
    if (!r)
        r = fanout_read_name(&rd->fields, place, o, "name", a->name, sizeof(a->name));
    if (!r)
        r = check_name(rd, at);
    if (!r)
        r = fanout_read_text(&rd->fields, place, o, "system", JSON_TEXT_MAX, &system);
    if (!r)
        r = read_voice(rd, place, o, a, &settings);
    return r ? r : make_body(rd, settings, question, system, a);
}

/* All that is shared comes once per member: known before any of it is made. */
static int check_sizes(struct fanout_reader *rd, const json_t *members, const json_t *question)
{
    size_t n_shared = json_dumpb(question, NULL, 0, JSON_COMPACT), n_all = 0;
    const json_t *m;
    size_t i;

    json_array_foreach(members, i, m) n_all += n_shared + json_dumpb(m, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    if (n_all <= FANOUT_BODIES_MAX)
        return 0;
    fanout_invalid(
        &rd->fields,
        "what %zu members would be asked has %zu KiB, as each gets all messages, context and documents: at most %d KiB",
        json_array_size(members), n_all / 1024, FANOUT_BODIES_MAX / 1024);
    return FANOUT_E_TOO_LARGE;
}

int fanout_read_members(struct fanout_reader *rd, json_t *question)
{
    const json_t *members, *m;
    size_t i;
    int r = fanout_read_list(&rd->fields, rd->root, "members", 1, FANOUT_MEMBERS_MAX, &members);

    if (!r)
        r = check_sizes(rd, members, question);
    if (r)
        return r;
    rd->request->n_members = json_array_size(members);
    json_array_foreach(members, i, m)
    {
        r = read_member(rd, i, m, question);
        if (r)
            return r;
    }
    return 0;
}

/* ---- the synthesis ------------------------------------------------------------------------------------------------ */

/* So that it can be read again. */
static int keep_text(struct fanout_reader *rd, const json_t *j, char **ret)
{
    size_t n;

    *ret = json_dumps(j, JSON_COMPACT);
    if (!*ret)
        return err_raise(-ENOMEM);
    n = strlen(*ret);
    rd->request->n_bytes += n;
    if (n <= JSON_TEXT_MAX)
        return 0;
    fanout_invalid(&rd->fields, "what the synthesis would be asked has %zu KiB: at most %d", n / 1024,
                   JSON_TEXT_MAX / 1024);
    return FANOUT_E_TOO_LARGE;
}

/* The question with its system text, and the settings, are kept as texts: that takes less than half of what values would. */
static int keep_synthesis(struct fanout_reader *rd, json_t *question, const json_t *settings, const char *system)
{
    CLEANUP(json_cleanup) json_t *messages = NULL;
    int r = fanout_prompt_system(question, system ? system : SYNTHESIS_SYSTEM, &messages);

    if (r)
        return fanout_say_prompt(rd, r, "a system text");
    r = keep_text(rd, messages, &rd->request->question);
    return r ? r : keep_text(rd, settings, &rd->request->settings);
}

/* That there is a place for the answers must be known before anybody is asked. */
static int try_answers(struct fanout_reader *rd, const json_t *question)
{
    CLEANUP(json_cleanup) json_t *tried = NULL;
    int r = fanout_prompt_answers(question, NULL, 0, &tried);

    return r ? fanout_say_prompt(rd, r, "the answers") : 0;
}

int fanout_read_synthesis(struct fanout_reader *rd, json_t *question)
{
    static const char *const keys[] = {"model", "system", "temperature", "max_tokens", "timeout", "extra", NULL};
    struct fanout_ask *a = &rd->request->voice[rd->request->n_members];
    const json_t *o = fanout_field(rd->root, "synthesis");
    CLEANUP(json_cleanup) json_t *settings = NULL;
    const char *system = NULL;
    int r;

    if (!o)
        return 0;
    if (!json_is_object(o))
        return fanout_invalid(&rd->fields, "synthesis must be an object");
    rd->request->synthesis = true;
    snprintf(a->name, sizeof(a->name), "synthesis");
    a->timeout_ms = rd->request->timeout_ms;
    r = fanout_check_keys(&rd->fields, "synthesis.", o, keys);
    if (!r)
        r = fanout_read_text(&rd->fields, "synthesis.", o, "system", JSON_TEXT_MAX, &system);
    if (!r)
        r = read_voice(rd, "synthesis.", o, a, &settings);
    if (!r)
        r = try_answers(rd, question);
    return r ? r : keep_synthesis(rd, question, settings, system);
}

static int read_kept(const char *text, json_t **ret)
{
    char why[PROTO_TEXT_MAX];

    return json_parse(text, strlen(text), ret, why, sizeof(why)) ? err_raise(-ENOMEM) : 0; /* it was read before */
}

int fanout_request_synthesize(struct fanout_request *r, const struct fanout_said *said, size_t n)
{
    CLEANUP(json_cleanup) json_t *question = NULL, *body = NULL, *messages = NULL;
    struct fanout_ask *a = &r->voice[r->n_members];
    int e = read_kept(r->question, &question);

    if (!e)
        e = read_kept(r->settings, &body);
    if (!e)
        e = fanout_prompt_answers(question, said, n, &messages); /* that there is a place for them was tried */
    if (e || json_object_set(body, "messages", messages) < 0)
        return err_raise(-ENOMEM);
    a->body = json_dumps(body, JSON_COMPACT);
    if (!a->body)
        return err_raise(-ENOMEM);
    a->n_body_bytes = strlen(a->body);
    return 0;
}
