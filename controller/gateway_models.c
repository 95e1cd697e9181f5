/* GET /v1/models: what can be asked for by name. An entry has what OpenAI's has, llama-server's `meta` as far as it is known
 * here, and of ours: state, start, context_length (of one request), size_bytes, instance. llama-server answers
 * GET /v1/models/NAME with 404; OpenAI's clients ask for it, so it is there. */
#include <jansson.h>
#include <string.h>

#include "controller/gateway_state.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

/* What is known of a name; each may be NULL, not all. */
struct known {
    const char *name;
    const struct view_instance *in; /* that a request of that name would reach */
    const struct view_served *served;
    const struct view_model *model;
};

static const struct view_model *find_model(const struct view *v, const char *name)
{
    for (size_t i = 0; i < v->n_models; i++)
        if (!strcmp(v->model[i].name, name))
            return &v->model[i];
    return NULL;
}

/* name: also an id, or the model of an instance with a name of its own, where nothing else has that name. Returns false where
 * nobody could be meant. */
static bool know(const struct view *v, const char *name, struct known *ret)
{
    const struct view_instance *in = view_find_instance(v, name);

    *ret = (struct known){.name = name, .served = view_find_served(v, name), .model = find_model(v, name)};
    if (in && in->state != INSTANCE_STOPPED && (!strcmp(in->name, name) || (!ret->served && !ret->model))) {
        ret->in = in;
        ret->name = in->name;
        ret->served = view_find_served(v, in->name);
    }
    if (ret->in || ret->served)
        ret->model = find_model(v, ret->in ? in->model : ret->served->model);
    if (ret->model && *ret->model->problem)
        ret->model = NULL;
    return ret->in || ret->served || ret->model;
}

static const char *state_of(const struct known *k)
{
    if (k->in)
        return instance_state_name(k->in->state);
    return k->model ? "available" : "unavailable";
}

/* Each request has a slot of its own. */
static uint64_t context_of(const struct known *k)
{
    const struct plan *plan = k->in ? k->in->plan : NULL;

    return plan ? plan->ctx / (plan->slots ? plan->slots : 1) : 0;
}

static uint64_t created_s(const struct view_instance *in)
{
    return (in->ready_wall_ms ? in->ready_wall_ms : in->state_since_wall_ms) / 1000;
}

/* NULL: no memory. */
static json_t *meta_of(const struct known *k, uint64_t size_bytes)
{
    json_t *o = json_object();
    int bad = context_of(k) ? json_put_uint(o, "n_ctx", context_of(k)) : 0;

    if (k->model)
        bad |= json_put_uint(o, "n_ctx_train", k->model->n_ctx_train);
    bad |= json_put_uint_or_null(o, "size", size_bytes);
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

/* NULL: no memory. */
static json_t *entry(const struct known *k)
{
    uint64_t size_bytes = k->in && k->in->plan ? k->in->plan->model_bytes : k->model ? k->model->size_bytes : 0;
    uint64_t context = context_of(k);
    json_t *o = json_object();
    int bad = json_put_text(o, "id", k->name);

    bad |= json_put_text(o, "object", "model");
    bad |= json_put_uint(o, "created", k->in ? created_s(k->in) : 0);
    bad |= json_put_text(o, "owned_by", "caravan");
    bad |= json_put(o, "meta", meta_of(k, size_bytes));
    bad |= json_put_text(o, "state", state_of(k));
    bad |= json_put_text(o, "start", served_start_name(k->served ? k->served->start : SERVED_MANUAL));
    bad |= json_put_uint_or_null(o, "context_length", context ? context : k->model ? k->model->n_ctx_train : 0);
    bad |= json_put_uint_or_null(o, "size_bytes", size_bytes);
    bad |= k->in ? json_put_text(o, "instance", ID128(&k->in->id)) : json_put_null(o, "instance");
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

static int append(json_t *list, const struct view *v, const char *name)
{
    struct known k;

    return know(v, name, &k) ? json_array_append_new(list, entry(&k)) : 0;
}

static bool has_instance(const struct view *v, const char *name)
{
    const struct view_instance *in = view_find_instance(v, name);

    return in && in->state != INSTANCE_STOPPED && !strcmp(in->name, name);
}

/* Each name once: of several instances with one name the one that a request would reach. */
static int list_models(json_t *list, const struct view *v)
{
    int bad = 0;

    for (size_t i = 0; !bad && i < v->n_instances; i++)
        if (v->instance[i].state != INSTANCE_STOPPED && view_find_instance(v, v->instance[i].name) == &v->instance[i])
            bad |= append(list, v, v->instance[i].name);
    for (size_t i = 0; !bad && i < v->n_served; i++)
        if (!has_instance(v, v->served[i].name))
            bad |= append(list, v, v->served[i].name);
    for (size_t i = 0; !bad && i < v->n_models; i++)
        if (!has_instance(v, v->model[i].name) && !view_find_served(v, v->model[i].name))
            bad |= append(list, v, v->model[i].name);
    return bad;
}

void gateway_handle_models(void *ctx, struct http_exchange *x)
{
    struct gateway *g = ctx;
    json_t *list = json_array(), *o = json_pack("{s:s,s:o}", "object", "list", "data", list);

    if (o && g->view && list_models(list, g->view)) {
        json_decref(o);
        o = NULL;
    }
    http_reply_json(x, 200, o);
}

void gateway_handle_model(void *ctx, struct http_exchange *x)
{
    const struct admission_decision d = {.refusal = ADMISSION_NOT_FOUND};
    struct gateway *g = ctx;
    struct gateway_refusal r;
    struct known k;

    if (g->view && know(g->view, http_arg(x), &k)) {
        http_reply_json(x, 200, entry(&k));
        return;
    }
    gateway_say(g->view, &d, http_arg(x), 0, &r);
    gateway_refuse(g, x, NULL, &r);
}
