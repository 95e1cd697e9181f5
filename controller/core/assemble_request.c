/* Which requests' answers can be put together, and what is sent for them. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "controller/core/assemble.h"
#include "controller/core/json_spans.h"

/* Keys under which anything may stand: the answer has the same form whatever it is. */
static const char *const free_keys[] = {
    "model",
    "user",
    "metadata",
    "service_tier",
    "store",
    "timeout",
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "top_n_sigma",
    "typical_p",
    "min_keep",
    "n_keep",
    "dynatemp_range",
    "dynatemp_exponent",
    "xtc_probability",
    "xtc_threshold",
    "dry_multiplier",
    "repeat_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "samplers",
    "logit_bias",
    "ignore_eos",
    "grammar",
    "json_schema",
    "response_format",
    "t_max_predict_ms",
    "cache_prompt",
    "id_slot",
    "chat_template_kwargs",
    "reasoning_effort",
};

/* Keys that change the answer's form, and the values with which they do not. */
static const struct {
    const char *key, *value[2];
} bound_keys[] = {
    {"stream", {"false", "null"}}, {"stream_options", {"null"}},    {"n", {"1"}},
    {"stop", {"null", "[]"}},      {"logprobs", {"false", "null"}}, {"top_logprobs", {"null"}},
    {"tools", {"null", "[]"}},     {"tool_choice", {"null"}},
};

/* Of repeated keys the last counts with llama-server: these stand behind whatever the client has said. */
static const char asked[] = ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}";

static bool is_free(struct json_span key)
{
    for (size_t i = 0; i < sizeof(free_keys) / sizeof(free_keys[0]); i++)
        if (json_span_is(key, free_keys[i]))
            return true;
    return false;
}

static bool is_harmless(struct json_span key, struct json_span value)
{
    for (size_t i = 0; i < sizeof(bound_keys) / sizeof(bound_keys[0]); i++)
        for (size_t j = 0; j < 2 && bound_keys[i].value[j]; j++)
            if (json_span_is(key, bound_keys[i].key) && json_span_is(value, bound_keys[i].value[j]))
                return true;
    return false;
}

/* It is over before its client could leave, and a connection that carried a stream cannot be used again. */
static bool is_short(struct json_span key, struct json_span value)
{
    bool counts =
        json_span_is(key, "max_tokens") || json_span_is(key, "max_completion_tokens") || json_span_is(key, "n_predict");

    return counts && value.n == 1 && *value.s >= '0' && *value.s < '0' + ASSEMBLE_TOKENS_MIN;
}

/* The assistant's own last words would begin the whole answer. */
static bool is_of_another(struct json_span message)
{
    struct json_span key, value;
    struct json_spans members;
    bool found = false;

    if (!json_spans_open(&members, message) || !members.is_object)
        return false;
    while (json_spans_next(&members, &key, &value)) {
        if (memchr(key.s, '\\', key.n))
            return false;
        if (!json_span_is(key, "role"))
            continue;
        if (!json_span_is(value, "\"user\"") && !json_span_is(value, "\"tool\"") && !json_span_is(value, "\"system\""))
            return false;
        found = true;
    }
    return found;
}

static bool ends_with_another(struct json_span messages)
{
    struct json_span key, value, last = {"", 0};
    struct json_spans elements;

    if (!json_spans_open(&elements, messages) || elements.is_object)
        return false;
    while (json_spans_next(&elements, &key, &value))
        last = value;
    return is_of_another(last);
}

/* ret_end: behind the last member. */
static bool is_known(struct json_span body, const char **ret_end)
{
    struct json_span key, value;
    struct json_spans members;
    bool has_messages = false;

    if (!json_spans_open(&members, body) || !members.is_object)
        return false;
    while (json_spans_next(&members, &key, &value)) {
        bool is_messages = json_span_is(key, "messages");

        if (is_messages ? !ends_with_another(value)
                        : is_short(key, value) || (!is_free(key) && !is_harmless(key, value)))
            return false;
        has_messages = has_messages || is_messages;
        *ret_end = value.s + value.n;
    }
    return has_messages;
}

int assemble_request(const char *body, size_t n_bytes, char **ret, size_t *ret_n_bytes)
{
    const char *end = body;
    char *text;
    size_t n;

    if (n_bytes > ASSEMBLE_REQUEST_MAX || !is_known((struct json_span){body, n_bytes}, &end))
        return ASSEMBLE_E_OTHER;
    n = (size_t)(end - body);
    text = malloc(n + sizeof(asked));
    if (!text)
        return err_raise(-ENOMEM);
    memcpy(text, body, n);
    memcpy(text + n, asked, sizeof(asked));
    *ret = text;
    *ret_n_bytes = n + sizeof(asked) - 1;
    return 0;
}
