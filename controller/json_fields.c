#include "controller/json_fields.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/ids.h"
#include "common/core/text.h"

static int invalid(char *why, size_t why_size, const char *key, const char *what)
{
    snprintf(why, why_size, "\"%.64s\" %s", key, what);
    return JSON_E_INVALID;
}

static bool parse_hex64(const char *s, uint64_t *ret)
{
    if (strlen(s) != 16 || s[strspn(s, "0123456789abcdef")])
        return false;
    *ret = strtoull(s, NULL, 16);
    return true;
}

static int read_number(const json_t *v, const struct json_field *f, void *at, char *why, size_t why_size)
{
    uint64_t max = f->max ? f->max : f->type == JSON_FIELD_U32 ? UINT32_MAX : INT64_MAX;
    char text[64];
    uint64_t n;

    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max) {
        snprintf(text, sizeof(text), "must be a whole number from 0 to %" PRIu64, max);
        return invalid(why, why_size, f->key, text);
    }
    n = (uint64_t)json_integer_value(v);
    if (f->type == JSON_FIELD_U32)
        *(uint32_t *)at = (uint32_t)n;
    else
        *(uint64_t *)at = n;
    return 0;
}

static int read_word(const char *s, const struct json_field *f, void *at, char *why, size_t why_size)
{
    char text[256] = "must be one of";

    for (int i = 1; i <= f->n_words; i++)
        if (strcmp(s, f->word(i)) == 0) {
            *(unsigned int *)at = (unsigned int)i;
            return 0;
        }
    for (int i = 1; i <= f->n_words; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s %s", i > 1 ? "," : "", f->word(i));
    return invalid(why, why_size, f->key, text);
}

static int read_string(const json_t *v, const struct json_field *f, void *at, char *why, size_t why_size)
{
    const char *s = json_string_value(v);
    char text[64];

    if (!s)
        return invalid(why, why_size, f->key, "must be a string");
    if (f->type == JSON_FIELD_WORD)
        return read_word(s, f, at, why, why_size);
    if (f->type == JSON_FIELD_HEX64)
        return parse_hex64(s, at) ? 0 : invalid(why, why_size, f->key, "must be 16 lower-case hex digits");
    if (f->type == JSON_FIELD_ID)
        return id128_parse(s, at) ? 0 : invalid(why, why_size, f->key, "must be 32 hex digits");
    if (strlen(s) >= f->size) {
        snprintf(text, sizeof(text), "is longer than %zu bytes", f->size - 1);
        return invalid(why, why_size, f->key, text);
    }
    memcpy(at, s, strlen(s) + 1);
    return 0;
}

static int read_field(const json_t *v, const struct json_field *f, void *at, char *why, size_t why_size)
{
    switch (f->type) {
    case JSON_FIELD_U32:
    case JSON_FIELD_U64:
        return read_number(v, f, at, why, why_size);
    case JSON_FIELD_BOOL:
        if (!json_is_boolean(v))
            return invalid(why, why_size, f->key, "must be true or false");
        *(bool *)at = json_is_true(v);
        return 0;
    case JSON_FIELD_TEXT:
    case JSON_FIELD_HEX64:
    case JSON_FIELD_ID:
    case JSON_FIELD_WORD:
        return read_string(v, f, at, why, why_size);
    }
    return invalid(why, why_size, f->key, "cannot be read");
}

static bool is_known(const char *key, const struct json_field *fields, const char *const *others)
{
    for (; fields->key; fields++)
        if (strcmp(key, fields->key) == 0)
            return true;
    for (; *others; others++)
        if (strcmp(key, *others) == 0)
            return true;
    return false;
}

int json_fields_read(const json_t *o, const struct json_field *fields, const char *const *others, void *base, char *why,
                     size_t why_size)
{
    json_t *object = (json_t *)(uintptr_t)o; /* the iterator's signature lacks a const */
    const char *key;
    json_t *v;

    if (!json_is_object(o)) {
        snprintf(why, why_size, "a JSON object was expected");
        return JSON_E_INVALID;
    }
    if (others)
        json_object_foreach(object, key, v) if (!is_known(key, fields, others)) return invalid(why, why_size, key,
                                                                                               "is not a known key");
    for (; fields->key; fields++) {
        int r;

        v = json_object_get(o, fields->key);
        if (!v && fields->required)
            return invalid(why, why_size, fields->key, "is missing");
        if (!v || (json_is_null(v) && !fields->required))
            continue;
        r = read_field(v, fields, (char *)base + fields->offset, why, why_size);
        if (r)
            return r;
    }
    return 0;
}

static json_t *field_value(const struct json_field *f, const void *at)
{
    char text[ID128_TEXT];

    switch (f->type) {
    case JSON_FIELD_TEXT:
        return json_text(at);
    case JSON_FIELD_U32:
        return json_integer(*(const uint32_t *)at);
    case JSON_FIELD_U64:
        return json_integer(*(const uint64_t *)at > INT64_MAX ? INT64_MAX : (json_int_t) * (const uint64_t *)at);
    case JSON_FIELD_BOOL:
        return json_boolean(*(const bool *)at);
    case JSON_FIELD_HEX64:
        snprintf(text, sizeof(text), "%016" PRIx64, *(const uint64_t *)at);
        return json_string(text);
    case JSON_FIELD_ID:
        return json_string(id128_format(at, text));
    case JSON_FIELD_WORD:
        return json_string(f->word((int)*(const unsigned int *)at));
    }
    return NULL;
}

int json_fields_write(json_t *o, const struct json_field *fields, const void *base)
{
    for (; fields->key; fields++) {
        const void *at = (const char *)base + fields->offset;
        int r;

        if (fields->type == JSON_FIELD_WORD && *(const unsigned int *)at == 0)
            continue;
        r = json_put(o, fields->key, field_value(fields, at));
        if (r < 0)
            return err_pass(r);
    }
    return 0;
}

int json_put(json_t *o, const char *key, json_t *value)
{
    return json_object_set_new(o, key, value) < 0 ? err_raise(-ENOMEM) : 0;
}

json_t *json_text(const char *text)
{
    CLEANUP(cleanup_free) char *copy = NULL;
    json_t *j = json_string(text);

    if (j)
        return j;
    copy = strdup(text);
    if (!copy)
        return NULL;
    text_clean(copy);
    return json_string(copy);
}

int json_put_text(json_t *o, const char *key, const char *text)
{
    return json_put(o, key, json_text(text));
}

int json_put_text_or_null(json_t *o, const char *key, const char *text)
{
    return *text ? json_put_text(o, key, text) : json_put_null(o, key);
}

int json_put_uint(json_t *o, const char *key, uint64_t v)
{
    return json_put(o, key, json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v));
}

int json_put_uint_or_null(json_t *o, const char *key, uint64_t v)
{
    return v ? json_put_uint(o, key, v) : json_put_null(o, key);
}

int json_put_bool(json_t *o, const char *key, bool v)
{
    return json_put(o, key, json_boolean(v));
}

int json_put_null(json_t *o, const char *key)
{
    return json_put(o, key, json_null());
}

int json_parse(const char *buf, size_t n_bytes, json_t **ret, char *why, size_t why_size)
{
    json_error_t error;
    json_t *j;

    if (n_bytes > JSON_TEXT_MAX) {
        snprintf(why, why_size, "longer than %d KiB", JSON_TEXT_MAX / 1024);
        return JSON_E_INVALID;
    }
    if (memchr(buf, '\0', n_bytes)) { /* jansson passes over one behind a number or word */
        snprintf(why, why_size, "not valid JSON: it holds a NUL");
        return JSON_E_INVALID;
    }
    j = json_loadb(buf, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!j) {
        snprintf(why, why_size, "not valid JSON: %s (line %d, column %d)", error.text, error.line, error.column);
        return JSON_E_INVALID;
    }
    *ret = j;
    return 0;
}

void json_cleanup(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}
