/* GET /v1/models: what can be asked for by name. */
#include <jansson.h>
#include <string.h>

#include "controller/gateway_state.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

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
