/* JSON that is asked of /api: a plan that comes back, and a wish for one. What is taken is written and read again alike. */
#include <string.h>

#include "common/cleanup.h"
#include "controller/json_fields.h"
#include "controller/plan_json.h"
#include "tests/fuzz/support.h"

static void check_plan(const json_t *j)
{
    CLEANUP(json_cleanup) json_t *one = NULL, *two = NULL;
    CLEANUP(cleanup_free) struct plan *p = NULL, *back = NULL;
    char why[512];
    int r = plan_json_read(j, &p, why, sizeof(why));

    FUZZ_CHECK(r >= 0 && (r == 0) == (p != NULL));
    if (r)
        return;
    FUZZ_CHECK(p->n_ranks <= PROTO_RANKS_MAX && p->n_notes <= PLACE_NOTES_MAX);
    r = plan_json_write(p, &one);
    FUZZ_CHECK(r == 0);
    r = r ? r : plan_json_read(one, &back, why, sizeof(why));
    FUZZ_CHECK(r == 0);
    r = r ? r : plan_json_write(back, &two);
    FUZZ_CHECK(r == 0 && json_equal(one, two));
}

static void check_request(const json_t *j)
{
    static const char *const others[] = {"args", NULL};
    CLEANUP(place_request_clear) struct place_request req = {.nodes = 0}, copy = {.nodes = 0};
    CLEANUP(json_cleanup) json_t *written = json_object();
    char why[512];
    int r = place_request_read(j, others, &req, why, sizeof(why));

    FUZZ_CHECK(r >= 0);
    if (r || !written)
        return;
    r = place_request_copy(&req, &copy);
    FUZZ_CHECK(r == 0 && copy.n_args == req.n_args);
    r = place_request_write(written, &req);
    FUZZ_CHECK(r == 0);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(json_cleanup) json_t *j = NULL;
    char why[512];

    if (json_parse((const char *)data, size, &j, why, sizeof(why)))
        return;
    check_plan(j);
    check_request(j);
}
