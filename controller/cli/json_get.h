/* Members of an answer that may be missing, null or of another type: then the stated value. */
#ifndef CARAVAN_CONTROLLER_CLI_JSON_GET_H
#define CARAVAN_CONTROLLER_CLI_JSON_GET_H

#include <jansson.h>
#include <stdint.h>

/* For CLEANUP. */
static inline void json_release(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}

static inline const char *json_text_of(const json_t *o, const char *key, const char *otherwise)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : otherwise;
}

/* Negative numbers count as missing. */
static inline uint64_t json_uint_of(const json_t *o, const char *key, uint64_t otherwise)
{
    const json_t *v = json_object_get(o, key);

    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : otherwise;
}

#endif
