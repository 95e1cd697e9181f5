#include "controller/fanout_answer.h"

#include <event2/buffer.h>

#include "controller/api_json_put.h"
#include "controller/http_json.h"

static json_t *text_of(struct evbuffer *b)
{
    size_t n = evbuffer_get_length(b);

    return json_stringn(n ? (const char *)evbuffer_pullup(b, -1) : "", n);
}

static int put_error(json_t *o, const struct gateway_refusal *e)
{
    json_t *error = json_object();
    int bad = json_put(o, "error", error);

    if (bad)
        return bad;
    bad |= json_put_uint(error, "code", (uint64_t)e->status);
    bad |= json_put_text(error, "message", e->text);
    return bad | json_put_text(error, "type", e->type ? e->type : http_openai_type(e->status));
}

static int put_content(json_t *o, const struct fanout_voice *v, bool success)
{
    int bad = success ? json_put(o, "content", text_of(v->content)) : json_put_null(o, "content");

    if (success && evbuffer_get_length(v->reasoning))
        bad |= json_put(o, "reasoning_content", text_of(v->reasoning));
    return bad;
}

static int put_said(json_t *o, const struct fanout_voice *v, bool success, bool brief)
{
    int bad = json_put_bool(o, "success", success);

    if (!brief)
        bad |= put_content(o, v, success);
    bad |= success ? json_put_null(o, "error") : put_error(o, &v->error);
    return bad | json_put_text_or_null(o, "finish_reason", success ? v->finish_reason : "");
}

/* UINT64_MAX, either of them: null. */
static int put_since(json_t *o, const char *key, uint64_t at_ms, uint64_t asked_ms)
{
    if (at_ms == UINT64_MAX || asked_ms == UINT64_MAX)
        return json_put_null(o, key);
    return json_put_uint(o, key, at_ms > asked_ms ? at_ms - asked_ms : 0);
}

static int put_times(json_t *o, const struct fanout_voice_course *c)
{
    int bad = put_since(o, "queued_ms", c->sent_ms, c->asked_ms);

    bad |= put_since(o, "first_token_ms", c->first_ms, c->asked_ms);
    return bad | put_since(o, "total_ms", c->ended_ms, c->asked_ms);
}

static int put_tokens(json_t *o, const struct fanout_voice *v)
{
    json_t *tokens;
    int bad;

    if (!v->has_usage)
        return json_put_null(o, "tokens");
    tokens = json_object();
    bad = json_put(o, "tokens", tokens);
    if (bad)
        return bad;
    bad |= json_put_uint(tokens, "prompt", v->prompt_tokens);
    return bad | json_put_uint(tokens, "completion", v->completion_tokens);
}

json_t *fanout_answer_voice(const struct fanout_told *t, size_t voice)
{
    const struct fanout_voice_course c = fanout_course_voice(t->course, voice);
    const struct fanout_ask *a = &t->request->voice[voice];
    const struct fanout_voice *v = &t->voice[voice];
    json_t *o = json_object();
    int bad = 0;

    if (!o)
        return NULL;
    if (voice < t->request->n_members) {
        bad |= json_put_uint(o, "index", voice);
        bad |= json_put_text(o, "name", a->name);
    }
    bad |= json_put_text_or_null(o, "model", a->model);
    bad |= put_said(o, v, c.state == FANOUT_ANSWERED, t->brief);
    bad |= put_times(o, &c);
    bad |= put_tokens(o, v);
    return whole(o, bad | put_id_or_null(o, "instance", &v->instance));
}

static int put_members(json_t *o, const struct fanout_told *t)
{
    json_t *list = json_array();
    int bad = json_put(o, "members", list);

    for (size_t i = 0; !bad && i < t->request->n_members; i++)
        bad |= append(list, fanout_answer_voice(t, i));
    return bad;
}

static int put_sum(json_t *o, const struct fanout_sum *sum)
{
    int bad = json_put_uint(o, "success_count", sum->n_answered);

    bad |= json_put_uint(o, "failure_count", sum->n_failed);
    bad |= json_put_uint(o, "members_ms", sum->members_ms);
    bad |= json_put_uint(o, "wall_ms", sum->wall_ms);
    if (sum->efficiency_permille == UINT32_MAX)
        return bad | json_put_null(o, "parallel_efficiency");
    return bad | json_put(o, "parallel_efficiency", json_real(sum->efficiency_permille / 1000.0));
}

json_t *fanout_answer_whole(const struct fanout_told *t, uint64_t wall_ms)
{
    const struct fanout_sum sum = fanout_course_sum(t->course);
    json_t *o = json_object();
    int bad = 0;

    if (!o)
        return NULL;
    bad |= json_put_text(o, "object", "fanout");
    bad |= json_put_uint(o, "created", wall_ms / 1000);
    bad |= put_members(o, t);
    bad |= put_sum(o, &sum);
    if (t->request->synthesis)
        bad |= json_put(o, "synthesis", fanout_answer_voice(t, t->request->n_members));
    else
        bad |= json_put_null(o, "synthesis");
    return whole(o, bad);
}

json_t *fanout_answer_event(const struct fanout_told *t, size_t voice, enum fanout_effect_kind what, json_t *o,
                            const char **ret_name)
{
    static const char *const names[][2] = {[FANOUT_FX_TELL_AGAIN] = {"member.again", "synthesis.again"},
                                           [FANOUT_FX_TELL_DELTA] = {"member.delta", "synthesis.delta"},
                                           [FANOUT_FX_TELL_ENDED] = {"member.done", "synthesis.done"},
                                           [FANOUT_FX_FINISH] = {"done", "done"}};
    bool member = what != FANOUT_FX_FINISH && voice < t->request->n_members;
    int bad = 0;

    if (!o)
        return NULL;
    *ret_name = names[what][!member];
    bad |= json_put_text(o, "type", *ret_name);
    if (member)
        bad |= json_put_uint(o, "index", voice);
    return whole(o, bad);
}
