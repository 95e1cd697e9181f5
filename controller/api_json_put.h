/* What the files of api_json have in common. Objects are put together with `bad |= json_put...`: each gives 0 or a negative,
 * and one check at the end is enough. */
#ifndef CARAVAN_CONTROLLER_API_JSON_PUT_H
#define CARAVAN_CONTROLLER_API_JSON_PUT_H

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "common/core/protocol.h"
#include "controller/json_fields.h"

static inline json_t *whole(json_t *o, int bad)
{
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

static inline int append(json_t *list, json_t *value)
{
    return json_array_append_new(list, value) < 0 ? -ENOMEM : 0;
}

static inline int put_id(json_t *o, const char *key, const struct id128 *id)
{
    return json_put_text(o, key, ID128(id));
}

static inline int put_id_or_null(json_t *o, const char *key, const struct id128 *id)
{
    return id128_is_zero(id) ? json_put_null(o, key) : put_id(o, key, id);
}

static inline int put_rpc(json_t *o, const char *key, const struct rpc_version *v)
{
    char text[16];

    if (!v->major)
        return json_put_null(o, key);
    snprintf(text, sizeof(text), "%u.%u.%u", v->major, v->minor, v->patch);
    return json_put_text(o, key, text);
}

static inline int put_names(json_t *o, const char *key, size_t n, const char *first, size_t stride)
{
    json_t *list = json_array();
    int bad = json_put(o, key, list);

    for (size_t i = 0; !bad && i < n; i++)
        bad |= append(list, json_text(first + i * stride));
    return bad;
}

#endif
