#include "controller/fanout_fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controller/fanout_request.h"

int fanout_invalid(struct fanout_fields *f, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f->why, f->why_size, fmt, ap);
    va_end(ap);
    return FANOUT_E_INVALID;
}

const json_t *fanout_field(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
}

static bool is_listed(const char *key, const char *const *keys)
{
    for (; *keys; keys++)
        if (strcmp(*keys, key) == 0)
            return true;
    return false;
}

int fanout_check_keys(struct fanout_fields *f, const char *place, const json_t *o, const char *const *keys)
{
    json_t *object = (json_t *)(uintptr_t)o; /* the iterator's signature lacks a const */
    char list[256] = "";
    const char *key;
    json_t *v;

    for (size_t i = 0; keys[i]; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", keys[i]);
    json_object_foreach(object, key, v) if (!is_listed(key, keys)) return fanout_invalid(
        f, "%s%.64s is not a known field; there are: %s", place, key, list);
    return 0;
}

int fanout_read_text(struct fanout_fields *f, const char *place, const json_t *o, const char *key, size_t max,
                     const char **ret)
{
    const json_t *v = fanout_field(o, key);

    if (!v)
        return 0;
    if (!json_is_string(v))
        return fanout_invalid(f, "%s%s must be a string", place, key);
    if (json_string_length(v) > max)
        return fanout_invalid(f, "%s%s has more than %zu bytes", place, key, max);
    if (json_string_length(v))
        *ret = json_string_value(v);
    return 0;
}

int fanout_read_name(struct fanout_fields *f, const char *place, const json_t *o, const char *key, char *buf,
                     size_t size)
{
    const char *text = NULL;
    int r = fanout_read_text(f, place, o, key, size - 1, &text);

    if (!r && text)
        memcpy(buf, text, strlen(text) + 1);
    return r;
}

int fanout_read_seconds(struct fanout_fields *f, const char *place, const json_t *o, const char *key, uint64_t *ret_ms)
{
    const json_t *v = fanout_field(o, key);

    if (!v)
        return 0;
    if (!json_is_number(v) || !(json_number_value(v) >= 0.1 && json_number_value(v) <= 86400))
        return fanout_invalid(f, "%s%s must be a number of seconds from 0.1 to 86400", place, key);
    *ret_ms = (uint64_t)(json_number_value(v) * 1000);
    return 0;
}

int fanout_read_flag(struct fanout_fields *f, const json_t *o, const char *key, bool *ret)
{
    const json_t *v = fanout_field(o, key);

    if (v && !json_is_boolean(v))
        return fanout_invalid(f, "%s must be true or false", key);
    *ret = json_is_true(v);
    return 0;
}

int fanout_read_list(struct fanout_fields *f, const json_t *o, const char *key, size_t min, size_t max,
                     const json_t **ret)
{
    const json_t *v = fanout_field(o, key);

    *ret = v;
    if (!v && !min)
        return 0;
    if (!json_is_array(v) || json_array_size(v) < min || json_array_size(v) > max)
        return fanout_invalid(f, "%s must be a list of %zu to %zu", key, min, max);
    return 0;
}
