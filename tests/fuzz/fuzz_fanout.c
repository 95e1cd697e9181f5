/* The body of POST /v1/fanout. What is taken keeps its bounds, and each member's body is JSON with what a fan-out sets. */
#include <jansson.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/fanout_request.h"
#include "controller/json_fields.h"
#include "tests/fuzz/support.h"

static void check_body(const struct fanout_ask *a)
{
    CLEANUP(json_cleanup) json_t *j = json_loads(a->body, 0, NULL);

    FUZZ_CHECK(j && strlen(a->body) == a->n_body_bytes);
    FUZZ_CHECK(json_is_true(json_object_get(j, "stream")) && json_array_size(json_object_get(j, "messages")) >= 1);
    FUZZ_CHECK(!*a->model || strcmp(json_string_value(json_object_get(j, "model")), a->model) == 0);
}

static void check_request(struct fanout_request *r)
{
    static const struct fanout_said said[] = {{"one", "yes", 3}, {"two", "", 0}};

    FUZZ_CHECK(r->n_members >= 1 && r->n_members <= FANOUT_MEMBERS_MAX);
    for (size_t i = 0; i < r->n_members; i++) {
        FUZZ_CHECK(*r->voice[i].name && r->voice[i].timeout_ms >= 75);
        check_body(&r->voice[i]);
    }
    if (!r->synthesis)
        return;
    FUZZ_CHECK(fanout_request_synthesize(r, said, 2) == 0);
    if (r->voice[r->n_members].body)
        check_body(&r->voice[r->n_members]);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(fanout_request_destroy) struct fanout_request *r = NULL;
    char why[512] = "";
    int e = fanout_request_read((const char *)data, size, &r, why, sizeof(why));

    FUZZ_CHECK(e >= 0 && (e == 0) == (r != NULL));
    FUZZ_CHECK(e == 0 || *why);
    if (r)
        check_request(r);
}
