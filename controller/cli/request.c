#include "controller/cli/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"

static const struct {
    size_t option;
    const char *key;
    bool number;
} fields[] = {
    {REQUEST_NODES, "nodes", true}, {REQUEST_POLICY, "policy", false},   {REQUEST_CTX, "ctx", true},
    {REQUEST_SLOTS, "slots", true}, {REQUEST_KV_TYPE, "kv_type", false}, {REQUEST_RANK0, "rank0", false},
};

json_t *request_new(const struct cli *c)
{
    CLEANUP(json_release) json_t *o = json_pack("{s:s}", "model", c->word[0]);
    json_t *whole;

    for (size_t i = 0; o && i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_t *value;

        if (!options_is_set(c->options, fields[i].option))
            continue;
        value = fields[i].number ? json_integer((json_int_t)options_uint(c->options, fields[i].option))
                                 : json_string(options_string(c->options, fields[i].option));
        if (json_object_set_new(o, fields[i].key, value) < 0)
            return NULL;
    }
    whole = o;
    o = NULL;
    return whole;
}

char *request_target(const struct cli *c, const char *path)
{
    CLEANUP(cleanup_free) char *format = NULL;
    char *target;

    if (asprintf(&format, "%s?model=%%s", path) < 0)
        return NULL;
    target = api_target(format, c->word[0]);
    for (size_t i = 0; target && i < sizeof(fields) / sizeof(fields[0]); i++) {
        CLEANUP(cleanup_free) char *before = target;
        CLEANUP(cleanup_free) char *value = NULL;
        char number[24];

        if (!options_is_set(c->options, fields[i].option)) {
            before = NULL;
            continue;
        }
        if (fields[i].number)
            snprintf(number, sizeof(number), "%" PRIu64, options_uint(c->options, fields[i].option));
        value = api_target("%s", fields[i].number ? number : options_string(c->options, fields[i].option));
        if (!value || asprintf(&target, "%s&%s=%s", before, fields[i].key, value) < 0)
            return NULL;
    }
    return target;
}
