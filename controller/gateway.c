#include "controller/gateway.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"
#include "controller/upstream.h"

struct gateway {
    struct event_base *base;
    uint8_t secret[CRYPTO_KEY_BYTES];
    struct metrics *metrics;
    struct view *view;
    size_t n_requests;
};

/* One request on its way. */
struct passage {
    struct gateway *gateway;
    struct http_exchange *x;
    struct httpc_request *upstream;
    char name[PROTO_MODEL_MAX]; /* of the instance */
    struct upstream_target target;
    int status; /* 0: nothing was sent to the client yet */
    bool is_stream;
    char tail[2]; /* the last bytes that went to the client */
};

int gateway_new(struct event_base *base, const uint8_t secret[CRYPTO_KEY_BYTES], struct metrics *metrics,
                struct gateway **ret)
{
    struct gateway *g = calloc(1, sizeof(*g));

    if (!g)
        return err_raise(-ENOMEM);
    g->base = base;
    g->metrics = metrics;
    memcpy(g->secret, secret, sizeof(g->secret));
    *ret = g;
    return 0;
}

void gateway_destroy(struct gateway **g)
{
    if (!*g)
        return;
    view_unref(&(*g)->view);
    explicit_bzero((*g)->secret, sizeof((*g)->secret));
    free(*g);
    *g = NULL;
}

void gateway_set_view(struct gateway *g, struct view *v)
{
    view_unref(&g->view);
    g->view = view_ref(v);
}

/* ---- passing through ---- */

static void passage_end(struct passage *p, int status)
{
    metrics_gateway_request(p->gateway->metrics, p->name, status);
    p->gateway->n_requests--;
    httpc_cancel(&p->upstream);
    free(p);
}

/* What concerns one connection only, what http.c makes itself, and what the CORS of /v1 has said already. */
static bool is_passed_on(const char *name)
{
    static const char *const dropped[] = {
        "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Content-Type", "Date", "Upgrade",
        "Trailer",    "TE",         "Proxy-Authenticate"};

    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
        if (strcasecmp(name, dropped[i]) == 0)
            return false;
    return strncasecmp(name, "Access-Control-", 15) != 0;
}

static const char *find_header(const struct httpc_header *header, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(header[i].name, name) == 0)
            return header[i].value;
    return NULL;
}

static int64_t content_length(const struct httpc_header *header, size_t n)
{
    const char *text = find_header(header, n, "Content-Length");

    if (!text || !*text || strlen(text) > 18 || text[strspn(text, "0123456789")])
        return -1;
    return strtoll(text, NULL, 10);
}

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    const char *type = find_header(header, n, "Content-Type");
    struct passage *p = ctx;

    for (size_t i = 0; i < n; i++)
        if (is_passed_on(header[i].name))
            http_add_field(p->x, header[i].name, header[i].value);
    p->status = status;
    p->is_stream = type && strncasecmp(type, "text/event-stream", 17) == 0;
    http_begin(p->x, status, type, content_length(header, n));
}

static void on_data(void *ctx, const void *buf, size_t n)
{
    struct passage *p = ctx;
    const char *bytes = buf;

    if (!n)
        return;
    p->tail[0] = n > 1 ? bytes[n - 2] : p->tail[1];
    p->tail[1] = bytes[n - 1];
    if (http_write(p->x, buf, n) == HTTP_FULL)
        httpc_pause(p->upstream);
}

static void failure_text(const struct passage *p, int r, char *buf, size_t size)
{
    const struct view_instance *in = p->gateway->view ? view_find_instance(p->gateway->view, p->name) : NULL;
    bool told = in && id128_equal(&in->id, &p->target.instance) && *in->reason;

    snprintf(buf, size, "instance \"%s\" (epoch %" PRIu64 ") failed: %s%s%s%s", p->name, p->target.epoch,
             upstream_failure_text(r), told ? " (" : "", told ? in->reason : "", told ? ")" : "");
}

/* The stream's last words: an event of its own, even where the cut was in the middle of one. */
static void write_stream_error(struct passage *p, const char *message)
{
    CLEANUP(json_cleanup) json_t *error = http_openai_error(502, message);
    CLEANUP(cleanup_free) char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;

    if (!text)
        return;
    if (p->tail[1] && memcmp(p->tail, "\n\n", 2) != 0)
        http_write(p->x, "\n\n", 2);
    http_write(p->x, "data: ", 6);
    http_write(p->x, text, strlen(text));
    http_write(p->x, "\n\n", 2);
}

static void on_done(void *ctx, int r)
{
    struct passage *p = ctx;
    char text[2 * PROTO_TEXT_MAX];

    p->upstream = NULL;
    http_watch(p->x, NULL, NULL, NULL);
    if (r == 0 && p->status) {
        http_end(p->x);
        passage_end(p, p->status);
        return;
    }
    failure_text(p, r ? r : -EPROTO, text, sizeof(text));
    if (!p->status) {
        http_reply_error(p->x, 502, "bad_gateway", "%s", text);
    } else if (p->is_stream) {
        write_stream_error(p, text);
        http_end(p->x);
    } else {
        http_abort(p->x);
    }
    passage_end(p, 502);
}

static void on_gone(void *ctx)
{
    passage_end(ctx, 499);
}

static void on_drained(void *ctx)
{
    struct passage *p = ctx;

    httpc_resume(p->upstream);
}

/* Path, query and the fields that a coordinator understands; framing is made anew. */
static int start_upstream(struct passage *p)
{
    const struct http_head *head = http_head(p->x);
    const char *type = http_head_field(head, "Content-Type"), *accept = http_head_field(head, "Accept");
    struct httpc_callbacks cb = {.head = on_head, .data = on_data, .done = on_done, .ctx = p};
    struct httpc_header header[2];
    struct httpc_spec spec = {.method = head->method, .header = header};
    CLEANUP(cleanup_free) char *target = NULL;

    if (asprintf(&target, "%s%s%s", head->path, *head->query ? "?" : "", head->query) < 0) {
        target = NULL;
        return err_raise(-ENOMEM);
    }
    if (type)
        header[spec.n_headers++] = (struct httpc_header){"Content-Type", type};
    if (accept)
        header[spec.n_headers++] = (struct httpc_header){"Accept", accept};
    spec.target = target;
    spec.body = http_body(p->x, &spec.n_body_bytes);
    return upstream_start(p->gateway->base, p->gateway->secret, &p->target, &spec, &cb, &p->upstream);
}

static void pass_through(struct gateway *g, struct http_exchange *x, const struct view_instance *in)
{
    struct passage *p = g->n_requests < GATEWAY_REQUESTS_MAX ? calloc(1, sizeof(*p)) : NULL;
    int r;

    if (!p) {
        http_add_field(x, "Retry-After", "1");
        http_reply_error(x, 503, "busy", "too many requests are under way: try again");
        metrics_gateway_request(g->metrics, in->name, 503);
        return;
    }
    *p = (struct passage){.gateway = g, .x = x};
    p->target = (struct upstream_target){.port = in->coordinator_port, .instance = in->id, .epoch = in->epoch};
    memcpy(p->name, in->name, sizeof(p->name));
    memcpy(p->target.addr, in->coordinator_addr, sizeof(p->target.addr));
    g->n_requests++;
    r = start_upstream(p);
    if (r < 0) {
        http_reply_error(x, 502, "bad_gateway", "instance \"%s\" failed: %s", p->name, upstream_failure_text(r));
        passage_end(p, 502);
        return;
    }
    http_watch(x, on_gone, on_drained, p);
}

/* ---- whom is it for ---- */

static void refuse(struct gateway *g, struct http_exchange *x, const char *model, int status, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void refuse(struct gateway *g, struct http_exchange *x, const char *model, int status, const char *fmt, ...)
{
    char text[2 * PROTO_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    metrics_gateway_request(g->metrics, model, status);
    http_reply_error(x, status, "refused", "%s", text);
}

/* The names that a request may say, for the sentence of a 404. */
static void list_names(const struct view *v, char *buf, size_t size)
{
    size_t used = 0;

    snprintf(buf, size, "none");
    for (size_t i = 0; i < v->n_instances && used < size; i++)
        if (v->instance[i].state != INSTANCE_STOPPED)
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", v->instance[i].name);
    for (size_t i = 0; i < v->n_models && used < size; i++)
        if (!view_find_instance(v, v->model[i].name) && !*v->model[i].problem)
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", v->model[i].name);
}

static const struct view_instance *only_ready(const struct view *v)
{
    const struct view_instance *found = NULL;

    for (size_t i = 0; i < v->n_instances; i++) {
        if (v->instance[i].state != INSTANCE_READY)
            continue;
        if (found)
            return NULL;
        found = &v->instance[i];
    }
    return found;
}

static bool is_known_model(const struct view *v, const char *model)
{
    for (size_t i = 0; i < v->n_models; i++)
        if (strcmp(v->model[i].name, model) == 0)
            return true;
    return false;
}

/* It does not come back by itself. */
static void refuse_failed(struct gateway *g, struct http_exchange *x, const struct view_instance *in)
{
    bool alias = strcmp(in->name, in->model) != 0;

    refuse(g, x, in->name, 503, "model \"%s\" has failed: %s; start it again: caravan deploy %s%s%s", in->name,
           *in->reason ? in->reason : "no reason is known", in->model, alias ? " --alias " : "", alias ? in->name : "");
}

static void refuse_not_ready(struct gateway *g, struct http_exchange *x, const struct view_instance *in)
{
    char seconds[16];
    uint64_t eta_s = in->eta_ms == UINT64_MAX ? GATEWAY_RETRY_AFTER_S : in->eta_ms / 1000 + 1;

    snprintf(seconds, sizeof(seconds), "%" PRIu64, eta_s < 3600 ? eta_s : 3600);
    http_add_field(x, "Retry-After", seconds);
    if (in->state == INSTANCE_LOADING)
        refuse(g, x, in->name, 503, "model \"%s\" is loading (%u %%)", in->name, in->progress_permille / 10);
    else if (in->state == INSTANCE_FAILED)
        refuse_failed(g, x, in);
    else
        refuse(g, x, in->name, 503, "model \"%s\" is %s%s%s", in->name, instance_state_name(in->state),
               *in->reason ? ": " : "", in->reason);
}

static void refuse_not_found(struct gateway *g, struct http_exchange *x, const char *model)
{
    char names[PROTO_TEXT_MAX], seconds[16];

    if (is_known_model(g->view, model)) {
        snprintf(seconds, sizeof(seconds), "%d", GATEWAY_RETRY_AFTER_S);
        http_add_field(x, "Retry-After", seconds);
        refuse(g, x, NULL, 503, "model \"%s\" is not running: caravan deploy %s", model, model);
        return;
    }
    list_names(g->view, names, sizeof(names));
    refuse(g, x, NULL, 404, "model \"%.127s\" not found; there is: %s", model, names);
}

/* The value of "model": 0 and *ret (NULL: not said) borrowed from *body; 1: not valid JSON, why says it. Looser than /api:
 * what a coordinator takes (repeated keys, NULs, huge integers) is its business. */
static int read_model(struct http_exchange *x, json_t **body, const char **ret, char *why, size_t why_size)
{
    json_error_t error;
    const json_t *model;
    const char *text;
    size_t n;

    text = http_body(x, &n);
    *body = json_loadb(text, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (!*body || !json_is_object(*body)) {
        snprintf(why, why_size, "the body is not a JSON object%s%s", *body ? "" : ": ", *body ? "" : error.text);
        return 1;
    }
    model = json_object_get(*body, "model");
    *ret = json_string_value(model);
    if (model && !*ret && !json_is_null(model)) {
        snprintf(why, why_size, "\"model\" must be a string");
        return 1;
    }
    return 0;
}

static void handle_completion(void *ctx, struct http_exchange *x)
{
    CLEANUP(json_cleanup) json_t *body = NULL;
    const struct view_instance *in;
    struct gateway *g = ctx;
    const char *model = NULL;
    char why[PROTO_TEXT_MAX];

    if (!g->view) {
        refuse(g, x, NULL, 503, "the controller is starting: try again");
        return;
    }
    if (read_model(x, &body, &model, why, sizeof(why))) {
        refuse(g, x, NULL, 400, "%s", why);
        return;
    }
    in = model ? view_find_instance(g->view, model) : only_ready(g->view);
    if (!in && !model)
        refuse(g, x, NULL, 400, "\"model\" is missing and there is not exactly one model ready to guess");
    else if (!in || in->state == INSTANCE_STOPPED)
        refuse_not_found(g, x, model);
    else if (in->state != INSTANCE_READY || !in->coordinator_port)
        refuse_not_ready(g, x, in);
    else
        pass_through(g, x, in);
}

/* ---- /v1/models ---- */

static json_t *entry(const char *id, uint64_t created_ms, const char *state)
{
    json_t *name = json_text(id);

    return name ? json_pack("{s:o,s:s,s:I,s:s,s:s}", "id", name, "object", "model", "created",
                            (json_int_t)(created_ms / 1000), "owned_by", "caravan", "state", state)
                : NULL;
}

static uint64_t context_length(const struct view_instance *in)
{
    return in->plan ? in->plan->ctx : 0;
}

static int append_instance(json_t *list, const struct view_instance *in)
{
    json_t *o = entry(in->name, in->ready_wall_ms ? in->ready_wall_ms : in->state_since_wall_ms,
                      instance_state_name(in->state));
    int bad = json_array_append_new(list, o);

    bad |= json_put_uint_or_null(o, "context_length", context_length(in));
    bad |= json_put_uint_or_null(o, "size_bytes", in->plan ? in->plan->model_bytes : 0);
    return bad | json_put_text(o, "instance", ID128(&in->id));
}

static int append_model(json_t *list, const struct view_model *m)
{
    json_t *o = entry(m->name, 0, "available");
    int bad = json_array_append_new(list, o);

    bad |= json_put_uint_or_null(o, "context_length", m->n_ctx_train);
    bad |= json_put_uint_or_null(o, "size_bytes", m->size_bytes);
    return bad | json_put_null(o, "instance");
}

/* One entry per name: the instance that a request of that name would reach, else the model that could be deployed. */
static int list_models(json_t *list, const struct view *v)
{
    int bad = 0;

    for (size_t i = 0; !bad && i < v->n_instances; i++)
        if (v->instance[i].state != INSTANCE_STOPPED && view_find_instance(v, v->instance[i].name) == &v->instance[i])
            bad |= append_instance(list, &v->instance[i]);
    for (size_t i = 0; !bad && i < v->n_models; i++) {
        const struct view_instance *in = view_find_instance(v, v->model[i].name);

        if (!*v->model[i].problem && (!in || in->state == INSTANCE_STOPPED || strcmp(in->name, v->model[i].name) != 0))
            bad |= append_model(list, &v->model[i]);
    }
    return bad;
}

static void handle_models(void *ctx, struct http_exchange *x)
{
    struct gateway *g = ctx;
    json_t *list = json_array(), *o = json_pack("{s:s,s:o}", "object", "list", "data", list);

    if (o && g->view && list_models(list, g->view)) {
        json_decref(o);
        o = NULL;
    }
    http_reply_json(x, 200, o);
}

const struct http_route *gateway_routes(void)
{
    static const struct http_route routes[] = {
        {"GET", "/v1/models", handle_models},
        {"POST", "/v1/chat/completions", handle_completion},
        {"POST", "/v1/completions", handle_completion},
        {NULL, NULL, NULL},
    };

    return routes;
}
