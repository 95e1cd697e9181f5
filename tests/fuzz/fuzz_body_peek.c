/* The body of a request to /v1: what body_peek says of it is what jansson says, where the two mean to agree. */
#include <jansson.h>
#include <string.h>

#include "controller/core/body_peek.h"
#include "tests/fuzz/support.h"

/* Jansson refuses numbers that a double cannot hold, and NULs in keys. */
static bool may_take(const json_error_t *error)
{
    return json_error_code(error) == json_error_numeric_overflow ||
           json_error_code(error) == json_error_null_byte_in_key;
}

static int expected(const json_t *j, const char **ret_model, size_t *ret_n)
{
    const json_t *model = json_object_get(j, "model");

    *ret_model = NULL;
    if (!json_is_object(j))
        return BODY_PEEK_E_NOT_OBJECT;
    if (!model || json_is_null(model))
        return 0;
    *ret_model = json_string_value(model);
    *ret_n = json_string_length(model);
    return !*ret_model || strlen(*ret_model) != *ret_n ? BODY_PEEK_E_NOT_TEXT : 0;
}

static void compare(const json_t *j, int r, const struct body_peek *p)
{
    const char *model;
    size_t n = 0;

    FUZZ_CHECK(r == expected(j, &model, &n));
    if (r)
        return;
    FUZZ_CHECK(p->has_model == !!model && p->cut == (n >= sizeof(p->model)));
    FUZZ_CHECK(p->stream == json_is_true(json_object_get(j, "stream")));
    FUZZ_CHECK(!p->timeout_ms || json_is_number(json_object_get(j, "timeout")));
    if (model)
        FUZZ_CHECK(strncmp(p->model, model, strlen(p->model)) == 0 && (p->cut || strlen(p->model) == n));
}

/* Jansson passes over a NUL behind a number or word. */
static bool may_refuse(const uint8_t *data, size_t size, const json_t *j)
{
    return !j || memchr(data, '\0', size) || size >= 2 * BODY_PEEK_DEPTH_MAX;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    json_error_t error;
    json_t *j =
        json_loadb((const char *)data, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, &error);
    struct body_peek p;
    size_t at;
    int r = body_peek((const char *)data, size, &p, &at);

    FUZZ_CHECK(at <= size && strnlen(p.model, sizeof(p.model)) < sizeof(p.model));
    if (r == BODY_PEEK_E_NOT_JSON)
        FUZZ_CHECK(may_refuse(data, size, j));
    else if (j)
        compare(j, r, &p);
    else
        FUZZ_CHECK(may_take(&error));
    json_decref(j);
}
