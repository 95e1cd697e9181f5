#include "controller/api.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/parse.h"
#include "controller/api_follow.h"
#include "controller/api_json.h"
#include "controller/api_names.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"
#include "controller/plan_json.h"

/* Somebody who waits for the control loop. */
struct pending {
    LIST_ENTRY(pending) link;
    uint64_t id;
    struct http_exchange *x;
    char model[PROTO_MODEL_MAX]; /* of a plan asked for */
};

struct api {
    struct api_deps deps;
    struct view *view; /* NULL: none yet */
    struct backends *backends;
    struct api_follow *follow;
    uint64_t next_id;
    LIST_HEAD(, pending) pending;
};

int api_new(const struct api_deps *deps, struct api **ret)
{
    struct api *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_raise(-ENOMEM);
    a->deps = *deps;
    a->next_id = 1;
    LIST_INIT(&a->pending);
    r = api_follow_new(deps->base, &a->follow);
    if (r < 0) {
        free(a);
        return err_pass(r);
    }
    *ret = a;
    return 0;
}

void api_destroy(struct api **a)
{
    if (!*a)
        return;
    api_follow_destroy(&(*a)->follow);
    view_unref(&(*a)->view);
    backends_unref(&(*a)->backends);
    free(*a);
    *a = NULL;
}

void api_set_view(struct api *a, struct view *v)
{
    view_unref(&a->view);
    a->view = view_ref(v);
    api_follow_view(a->follow, v);
}

void api_set_backends(struct api *a, struct backends *b)
{
    backends_unref(&a->backends);
    b->refs++;
    a->backends = b;
}

/* ---- orders ---- */

static void on_gone(void *ctx)
{
    struct pending *p = ctx;

    LIST_REMOVE(p, link);
    free(p);
}

static struct http_exchange *take_pending(struct api *a, uint64_t id, char model[PROTO_MODEL_MAX])
{
    struct pending *p;

    LIST_FOREACH(p, &a->pending, link)
    if (p->id == id) {
        struct http_exchange *x = p->x;

        memcpy(model, p->model, sizeof(p->model));
        http_watch(x, NULL, NULL, NULL);
        on_gone(p);
        return x;
    }
    return NULL;
}

/* Sends the order and lets x wait for its answer. order: consumed. */
static void submit(struct api *a, struct http_exchange *x, struct front_order **order)
{
    struct pending *p = calloc(1, sizeof(*p));
    struct front_order *o = *order;
    uint64_t id = a->next_id++;
    int r;

    *order = NULL;
    if (!p) {
        front_order_destroy(&o);
        http_reply_error(x, 503, "no_memory", "out of memory");
        return;
    }
    *p = (struct pending){.id = id, .x = x};
    snprintf(p->model, sizeof(p->model), "%s", o->request.model);
    o->request_id = id;
    LIST_INSERT_HEAD(&a->pending, p, link);
    http_watch(x, on_gone, NULL, p);
    r = a->deps.submit(a->deps.ctx, o);
    if (r < 0) {
        http_watch(x, NULL, NULL, NULL);
        on_gone(p);
        http_reply_error(x, 503, "busy", "the controller has too much to do: try again");
    }
}

static int new_order(struct http_exchange *x, enum front_order_kind kind, struct front_order **ret)
{
    struct front_order *o = calloc(1, sizeof(*o));

    if (!o) {
        http_reply_error(x, 503, "no_memory", "out of memory");
        return -ENOMEM;
    }
    o->kind = kind;
    *ret = o;
    return 0;
}

static void reply_unknown_model(struct api *a, struct http_exchange *x, const char *model)
{
    char names[512];

    http_reply_error(x, 404, "unknown_model", "no node has a model named \"%s\"; there is: %s", model,
                     a->view ? api_near_names(a->view, model, names, sizeof(names)) : "none yet");
}

void api_answer(struct api *a, uint64_t request_id, const struct cluster_answer *answer)
{
    char model[PROTO_MODEL_MAX];
    struct http_exchange *x = take_pending(a, request_id, model);
    bool missing = strcmp(answer->code, "unknown_model") == 0 || strcmp(answer->code, "not_found") == 0;

    if (!x)
        return;
    if (answer->accepted)
        http_reply_json(x, 202,
                        json_pack("{s:I,s:s,s:b}", "task", (json_int_t)answer->task_id, "instance",
                                  ID128(&answer->instance), "attached", answer->attached));
    else if (missing && *model)
        reply_unknown_model(a, x, model);
    else
        http_reply_error(x, missing ? 404 : 409, answer->code, "%s", answer->text);
}

void api_planned(struct api *a, uint64_t request_id, const struct front_planned *planned)
{
    char model[PROTO_MODEL_MAX];
    struct http_exchange *x = take_pending(a, request_id, model);

    if (!x)
        return;
    if (planned->r < 0)
        http_reply_error(x, 503, "no_memory", "the plan could not be made: out of memory");
    else if (planned->r == CLUSTER_E_UNKNOWN_MODEL)
        reply_unknown_model(a, x, model);
    else
        http_reply_json(x, 200, api_json_planned(planned));
}

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

/* The order from the body of POST /api/instances; false where it has answered. */
static bool read_deploy(struct http_exchange *x, const json_t *body, struct front_order *o)
{
    static const char *const others[] = {"args", "plan", "replicas", "ttl", NULL};
    static const char *const later[] = {"replicas", "ttl"};
    const json_t *plan = json_object_get(body, "plan");
    char why[PROTO_TEXT_MAX];
    int r;

    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        const json_t *v = json_object_get(body, later[i]);

        if (v && !json_is_null(v)) {
            http_reply_error(x, 501, "not_yet", "\"%s\" acts from the gateway on: leave it out until then", later[i]);
            return false;
        }
    }
    r = place_request_read(body, others, &o->request, why, sizeof(why));
    if (!r && plan && !json_is_null(plan))
        r = plan_json_read(plan, &o->plan, why, sizeof(why));
    if (r < 0)
        http_reply_error(x, 503, "no_memory", "out of memory");
    else if (r > 0)
        http_reply_error(x, 400, "bad_request", "%s", why);
    return r == 0 && judge_alias(x, o->request.alias) && judge_deploy(x, o);
}

static void handle_deploy(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;
    CLEANUP(json_cleanup) json_t *body = NULL;
    char why[PROTO_TEXT_MAX];
    const char *text;
    size_t n;

    text = http_body(x, &n);
    if (json_parse(text, n, &body, why, sizeof(why))) {
        http_reply_error(x, 400, "bad_json", "%s", why);
        return;
    }
    if (new_order(x, FRONT_ORDER_DEPLOY, &o) == 0 && read_deploy(x, body, o))
        submit(ctx, x, &o);
}

static void handle_stop(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;

    if (strlen(http_arg(x)) >= PROTO_MODEL_MAX) {
        http_reply_error(x, 404, "not_found", "no instance has so long a name");
        return;
    }
    if (new_order(x, FRONT_ORDER_STOP, &o) < 0)
        return;
    snprintf(o->target, sizeof(o->target), "%s", http_arg(x));
    submit(ctx, x, &o);
}

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

static bool read_plan_query(struct http_exchange *x, struct place_request *req)
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

static void handle_plan(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;

    if (new_order(x, FRONT_ORDER_PLAN, &o) == 0 && read_plan_query(x, &o->request))
        submit(ctx, x, &o);
}

/* ---- reading ---- */

/* The newest view, or NULL and an answer. */
static struct view *need_view(struct api *a, struct http_exchange *x)
{
    if (!a->view)
        http_reply_error(x, 503, "starting", "the controller is starting: try again");
    return a->view;
}

static void handle_health(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    http_reply_json(x, 200, json_pack("{s:s}", "status", "ok"));
}

static void handle_version(void *ctx, struct http_exchange *x)
{
    struct view *v = need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_version(v));
}

static void handle_nodes(void *ctx, struct http_exchange *x)
{
    struct view *v = need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_nodes(v, clock_wall_ms()));
}

static void handle_models(void *ctx, struct http_exchange *x)
{
    struct view *v = need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_models(v));
}

static void handle_instances(void *ctx, struct http_exchange *x)
{
    struct view *v = need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_instances(v));
}

static void handle_tasks(void *ctx, struct http_exchange *x)
{
    struct view *v = need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_tasks(v));
}

static bool wants_events(struct http_exchange *x)
{
    const char *accept = http_head_field(http_head(x), "Accept");

    return accept && strcasestr(accept, "text/event-stream");
}

static void handle_task(void *ctx, struct http_exchange *x)
{
    struct api *a = ctx;
    struct view *v = need_view(a, x);
    const struct view_task *t;
    uint64_t id;

    if (!v)
        return;
    t = parse_uint(http_arg(x), 0, UINT64_MAX, &id) ? api_find_task(v, id) : NULL;
    if (!t)
        http_reply_error(x, 404, "unknown_task", "no task has this number; the newest 256 are kept");
    else if (wants_events(x))
        api_follow_begin(a->follow, x, v, t);
    else
        http_reply_json(x, 200, api_json_task(t));
}

static void handle_backends(void *ctx, struct http_exchange *x)
{
    static const struct backends none;
    struct api *a = ctx;

    http_reply_json(x, 200, api_json_backends(a->backends ? a->backends : &none));
}

const struct http_route *api_routes(void)
{
    static const struct http_route routes[] = {
        {"GET", "/api/health", handle_health},
        {"GET", "/api/version", handle_version},
        {"GET", "/api/nodes", handle_nodes},
        {"GET", "/api/models", handle_models},
        {"GET", "/api/plan", handle_plan},
        {"GET", "/api/instances", handle_instances},
        {"POST", "/api/instances", handle_deploy},
        {"DELETE", "/api/instances/:name", handle_stop},
        {"GET", "/api/tasks", handle_tasks},
        {"GET", "/api/tasks/:id", handle_task},
        {"GET", "/api/rpc_backends", handle_backends},
        {NULL, NULL, NULL},
    };

    return routes;
}
