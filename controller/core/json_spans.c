#include "controller/core/json_spans.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* From a quote to behind the one that closes; NULL: none does. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '"')
            return p + 1;
        if (*p == '\\' && ++p == end)
            return NULL;
    }
    return NULL;
}

/* From a bracket to behind the one that closes. Which kind is not looked at: they come in pairs. */
static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;

    while (p && p < end) {
        char c = *p;

        if (c == '"') {
            p = skip_string(p, end);
            continue;
        }
        p++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return p;
    }
    return NULL;
}

static const char *skip_word(const char *p, const char *end)
{
    const char *from = p;

    while (p < end && !is_space(*p) && !strchr(",:{}[]\"", *p))
        p++;
    return p > from ? p : NULL;
}

static const char *skip_value(const char *p, const char *end)
{
    if (p == end)
        return NULL;
    if (*p == '"')
        return skip_string(p, end);
    return *p == '{' || *p == '[' ? skip_container(p, end) : skip_word(p, end);
}

bool json_spans_open(struct json_spans *ret, struct json_span container)
{
    const char *p = skip_space(container.s, container.s + container.n);

    *ret = (struct json_spans){.p = p + 1, .end = container.s + container.n};
    if (p == ret->end || (*p != '{' && *p != '['))
        return false;
    ret->is_object = *p == '{';
    return true;
}

static bool take_key(struct json_spans *s, struct json_span *ret)
{
    const char *from = s->p, *p;

    p = from < s->end && *from == '"' ? skip_string(from, s->end) : NULL;
    if (!p)
        return false;
    *ret = (struct json_span){from + 1, (size_t)(p - from) - 2};
    p = skip_space(p, s->end);
    if (p == s->end || *p != ':')
        return false;
    s->p = skip_space(p + 1, s->end);
    return true;
}

bool json_spans_next(struct json_spans *s, struct json_span *ret_key, struct json_span *ret_value)
{
    const char *p;

    *ret_key = (struct json_span){"", 0};
    s->p = skip_space(s->p, s->end);
    if (s->is_object && !take_key(s, ret_key))
        return false;
    p = skip_value(s->p, s->end);
    if (!p)
        return false;
    *ret_value = (struct json_span){s->p, (size_t)(p - s->p)};
    s->p = skip_space(p, s->end);
    if (s->p < s->end && *s->p == ',')
        s->p++;
    return true;
}

bool json_spans_ended(const struct json_spans *s)
{
    return s->p < s->end && *s->p == (s->is_object ? '}' : ']');
}

bool json_span_is(struct json_span span, const char *text)
{
    return span.n == strlen(text) && memcmp(span.s, text, span.n) == 0;
}

struct json_span json_span_string(struct json_span value)
{
    if (value.n < 2 || *value.s != '"')
        return (struct json_span){NULL, 0};
    return (struct json_span){value.s + 1, value.n - 2};
}
