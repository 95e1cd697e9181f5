#include "controller/api_request.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/core/parse.h"
#include "controller/http_json.h"
#include "controller/plan_json.h"

/* ---- POST /api/instances ---- */

/* Owned flags and pinned plans are judged here too, so that a refusal needs no trip. Returns false where it answered. */
static bool judge_deploy(struct http_exchange *x, const struct front_order *o)
{
    for (size_t i = 0; i < o->request.n_args; i++) {
        const char *flag = place_owned_flag(o->request.arg[i]);

        if (flag) {
            http_reply_error(x, 409, "owned_flag", "%s is set by Caravan from the plan: leave it out of the arguments",
                             flag);
            return false;
        }
    }
    if (!o->plan)
        return true;
    if (!o->plan->n_ranks) {
        http_reply_error(x, 409, "no_fit", "the plan holds no ranks: it did not fit when it was made");
        return false;
    }
    if (strcmp(o->plan->model, o->request.model) != 0) {
        http_reply_error(x, 409, "bad_model", "the plan is for model \"%s\", not \"%s\"", o->plan->model,
                         o->request.model);
        return false;
    }
    return true;
}

/* A name is shown on one line and typed back by people. */
static bool judge_alias(struct http_exchange *x, const char *alias)
{
    for (const char *p = alias; *p; p++)
        if (iscntrl((unsigned char)*p)) {
            http_reply_error(x, 400, "bad_request", "\"alias\" must not hold control characters");
            return false;
        }
    return true;
}

bool api_read_deploy(struct http_exchange *x, const json_t *body, struct front_order *o)
{
    static const char *const others[] = {"args", "plan", NULL};
    const json_t *plan = json_object_get(body, "plan"), *ttl = json_object_get(body, "ttl_ms");
    char why[PROTO_TEXT_MAX];
    int r = place_request_read(body, others, &o->request, why, sizeof(why));

    if (!r && json_is_integer(ttl) && !json_integer_value(ttl))
        o->request.ttl_ms = PLACE_TTL_NEVER; /* said, unlike where it is left out */
    if (!r && plan && !json_is_null(plan))
        r = plan_json_read(plan, &o->plan, why, sizeof(why));
    if (r < 0)
        http_reply_error(x, 503, "no_memory", "out of memory");
    else if (r > 0)
        http_reply_error(x, 400, "bad_request", "%s", why);
    return r == 0 && judge_alias(x, o->request.alias) && judge_deploy(x, o);
}

/* ---- GET /api/plan ---- */

/* As in a body, what is misspelt is named: a plan for something else than was meant would mislead. */
static bool query_known(struct http_exchange *x, const char *const *keys)
{
    char key[64];

    if (!http_query_unknown(x, keys, key, sizeof(key)))
        return true;
    http_reply_error(x, 400, "bad_request", "\"%s\" is not a known key", key);
    return false;
}

/* A number or text of the query into the request. false: answered. */
static bool query_number(struct http_exchange *x, const char *name, uint64_t max, uint32_t *ret)
{
    char text[32];
    uint64_t v;
    int r = http_query(x, name, text, sizeof(text));

    if (r > 0)
        return true;
    if (r < 0 || !parse_uint(text, 0, max, &v)) {
        http_reply_error(x, 400, "bad_request", "\"%s\" must be a whole number from 0 to %" PRIu64, name, max);
        return false;
    }
    *ret = (uint32_t)v;
    return true;
}

static bool query_text(struct http_exchange *x, const char *name, char *buf, size_t size)
{
    if (http_query(x, name, buf, size) >= 0)
        return true;
    http_reply_error(x, 400, "bad_request", "\"%s\" is malformed or longer than %zu bytes", name, size - 1);
    return false;
}

static bool query_choice(struct http_exchange *x, const char *name, const char *const *words, int n, int *ret)
{
    char text[16] = "";

    if (!query_text(x, name, text, sizeof(text)))
        return false;
    if (!*text)
        return true;
    for (int i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = i + 1;
            return true;
        }
    http_reply_error(x, 400, "bad_request", "\"%s\" cannot be \"%s\"", name, text);
    return false;
}

bool api_read_plan_query(struct http_exchange *x, struct place_request *req)
{
    static const char *const policies[] = {"fit", "spread"}, *const rank0s[] = {"auto", "local", "rpc"};
    static const char *const keys[] = {"model", "nodes", "policy", "ctx", "slots", "kv_type", "rank0", NULL};
    int policy = 0, rank0 = 0;

    if (!query_known(x, keys) || !query_text(x, "model", req->model, sizeof(req->model)) ||
        !query_text(x, "kv_type", req->kv_type, sizeof(req->kv_type)) ||
        !query_number(x, "nodes", PROTO_RANKS_MAX, &req->nodes) || !query_number(x, "ctx", 1 << 24, &req->ctx) ||
        !query_number(x, "slots", 256, &req->slots) || !query_choice(x, "policy", policies, 2, &policy) ||
        !query_choice(x, "rank0", rank0s, 3, &rank0))
        return false;
    req->policy = (enum place_policy)policy;
    req->rank0 = (enum place_rank0)rank0;
    if (*req->model && (!*req->kv_type || plan_kv_type_known(req->kv_type)))
        return true;
    http_reply_error(x, 400, "bad_request",
                     *req->model ? "\"kv_type\" is none that llama-server knows"
                                 : "\"model\" is missing: /api/plan?model=NAME");
    return false;
}
