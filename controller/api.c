#include "controller/api.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/parse.h"
#include "controller/api_access.h"
#include "controller/api_follow.h"
#include "controller/api_json.h"
#include "controller/api_names.h"
#include "controller/api_request.h"
#include "controller/api_state.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

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

void api_set_door(struct api *a, const struct door *d)
{
    a->door = *d;
}

void api_set_backends(struct api *a, struct backends *b)
{
    backends_unref(&a->backends);
    b->refs++;
    a->backends = b;
}

/* ---- orders ---- */

static void forget(struct api_pending **p)
{
    if (!*p)
        return;
    LIST_REMOVE(*p, link);
    (*p)->api->n_pending--;
    api_secret_destroy(&(*p)->secret);
    free(*p);
    *p = NULL;
}

static void on_gone(void *ctx)
{
    struct api_pending *p = ctx;

    forget(&p);
}

/* Whoever waits for that answer, still in the list; his exchange is the caller's to answer. NULL: nobody any more. */
static struct api_pending *take_pending(struct api *a, uint64_t id)
{
    struct api_pending *p;

    LIST_FOREACH(p, &a->pending, link)
    if (p->id == id) {
        http_watch(p->x, NULL, NULL, NULL);
        return p;
    }
    return NULL;
}

static void reply_busy(struct http_exchange *x)
{
    http_reply_error(x, 503, "busy", "the controller has too much to do: try again");
}

void api_submit(struct api *a, struct http_exchange *x, struct front_order **order, struct api_secret **secret)
{
    struct api_pending *p = a->n_pending < API_PENDING_MAX ? calloc(1, sizeof(*p)) : NULL;
    struct front_order *o = *order;
    uint64_t id = a->next_id++;
    int r;

    if (!p) {
        reply_busy(x);
        return;
    }
    *order = NULL;
    *p = (struct api_pending){.api = a, .id = id, .x = x};
    if (secret) {
        p->secret = *secret;
        *secret = NULL;
    }
    a->n_pending++;
    snprintf(p->model, sizeof(p->model), "%s", o->request.model);
    o->request_id = id;
    LIST_INSERT_HEAD(&a->pending, p, link);
    http_watch(x, on_gone, NULL, p);
    r = a->deps.submit(a->deps.ctx, o);
    if (r < 0) {
        http_watch(x, NULL, NULL, NULL);
        forget(&p);
        reply_busy(x);
    }
}

int api_new_order(struct http_exchange *x, enum front_order_kind kind, struct front_order **ret)
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

/* Of a wish that is not granted: 409 for good, 503 where it is worth trying again. */
static int status_of(const char *code)
{
    return strcmp(code, "busy") == 0 || strcmp(code, "store_failed") == 0 ? 503 : 409;
}

void api_answer(struct api *a, uint64_t request_id, const struct cluster_answer *answer,
                const struct front_refusal *refusal)
{
    bool missing = strcmp(answer->code, "unknown_model") == 0 || strcmp(answer->code, "not_found") == 0;
    CLEANUP(forget) struct api_pending *p = take_pending(a, request_id);

    if (!p)
        return;
    if (answer->accepted && p->secret)
        api_secret_reply(p->x, p->secret);
    else if (answer->accepted)
        http_reply_json(p->x, answer->task_id ? 202 : 200, api_json_accepted(answer));
    else if (missing && *p->model)
        reply_unknown_model(a, p->x, p->model);
    else if (refusal->machine)
        http_reply_json(p->x, 409, api_json_refused(answer, refusal));
    else
        http_reply_error(p->x, missing ? 404 : status_of(answer->code), answer->code, "%s", answer->text);
}

void api_planned(struct api *a, uint64_t request_id, const struct front_planned *planned)
{
    CLEANUP(forget) struct api_pending *p = take_pending(a, request_id);

    if (!p)
        return;
    if (planned->r < 0)
        http_reply_error(p->x, 503, "no_memory", "the plan could not be made: out of memory");
    else if (planned->r == CLUSTER_E_UNKNOWN_MODEL)
        reply_unknown_model(a, p->x, p->model);
    else
        http_reply_json(p->x, 200, api_json_planned(planned));
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
    if (api_new_order(x, FRONT_ORDER_DEPLOY, &o) == 0 && api_read_deploy(x, body, o))
        api_submit(ctx, x, &o, NULL);
}

void api_order_of_target(struct api *a, struct http_exchange *x, enum front_order_kind kind, const char *what)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;

    if (strlen(http_arg(x)) >= sizeof(o->target)) {
        http_reply_error(x, 404, "not_found", "no %s has so long a name", what);
        return;
    }
    if (api_new_order(x, kind, &o) < 0)
        return;
    snprintf(o->target, sizeof(o->target), "%s", http_arg(x));
    api_submit(a, x, &o, NULL);
}

static void handle_stop(void *ctx, struct http_exchange *x)
{
    api_order_of_target(ctx, x, FRONT_ORDER_STOP, "instance");
}

static void handle_drain(void *ctx, struct http_exchange *x)
{
    api_order_of_target(ctx, x, FRONT_ORDER_DRAIN, "node");
}

static void handle_undrain(void *ctx, struct http_exchange *x)
{
    api_order_of_target(ctx, x, FRONT_ORDER_UNDRAIN, "node");
}

static void handle_retire(void *ctx, struct http_exchange *x)
{
    api_order_of_target(ctx, x, FRONT_ORDER_RETIRE, "node");
}

static void handle_revoke(void *ctx, struct http_exchange *x)
{
    api_order_of_target(ctx, x, FRONT_ORDER_REVOKE, "node");
}

static void handle_lift_brake(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;

    if (api_new_order(x, FRONT_ORDER_LIFT_BRAKE, &o) == 0)
        api_submit(ctx, x, &o, NULL);
}

static void handle_plan(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;

    if (api_new_order(x, FRONT_ORDER_PLAN, &o) == 0 && api_read_plan_query(x, &o->request))
        api_submit(ctx, x, &o, NULL);
}

/* ---- reading ---- */

struct view *api_need_view(struct api *a, struct http_exchange *x)
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
    struct view *v = api_need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_version(v));
}

static void handle_nodes(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_nodes(v, clock_wall_ms()));
}

static void handle_models(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_models(v));
}

static void handle_instances(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_instances(v));
}

static void handle_tasks(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

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
    struct view *v = api_need_view(a, x);
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
        {"GET", "/api/health", handle_health, HTTP_FOR_ALL},
        {"GET", "/api/version", handle_version, HTTP_FOR_READ},
        {"GET", "/api/nodes", handle_nodes, HTTP_FOR_READ},
        {"POST", "/api/nodes/:name/drain", handle_drain, HTTP_FOR_ADMIN},
        {"POST", "/api/nodes/:name/undrain", handle_undrain, HTTP_FOR_ADMIN},
        {"POST", "/api/nodes/:name/retire", handle_retire, HTTP_FOR_ADMIN},
        {"POST", "/api/nodes/:name/revoke", handle_revoke, HTTP_FOR_ADMIN},
        {"POST", "/api/nodes/approve", api_handle_approve, HTTP_FOR_ADMIN},
        {"GET", "/api/tokens", api_handle_tokens, HTTP_FOR_ADMIN},
        {"POST", "/api/tokens", api_handle_new_token, HTTP_FOR_ADMIN},
        {"DELETE", "/api/tokens/:key", api_handle_drop_token, HTTP_FOR_ADMIN},
        {"GET", "/api/keys", api_handle_keys, HTTP_FOR_ADMIN},
        {"POST", "/api/keys", api_handle_new_key, HTTP_FOR_ADMIN},
        {"DELETE", "/api/keys/:name", api_handle_drop_key, HTTP_FOR_ADMIN},
        {"POST", "/api/brake/lift", handle_lift_brake, HTTP_FOR_ADMIN},
        {"GET", "/api/models", handle_models, HTTP_FOR_READ},
        {"GET", "/api/plan", handle_plan, HTTP_FOR_READ},
        {"GET", "/api/instances", handle_instances, HTTP_FOR_READ},
        {"POST", "/api/instances", handle_deploy, HTTP_FOR_ADMIN},
        {"DELETE", "/api/instances/:name", handle_stop, HTTP_FOR_ADMIN},
        {"GET", "/api/tasks", handle_tasks, HTTP_FOR_READ},
        {"GET", "/api/tasks/:id", handle_task, HTTP_FOR_READ},
        {"GET", "/api/rpc_backends", handle_backends, HTTP_FOR_READ},
        {.method = NULL},
    };

    return routes;
}
