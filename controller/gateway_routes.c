/* Which requests the gateway takes, and whom each is for. */
#include <stdio.h>
#include <string.h>

#include "controller/gateway_state.h"
#include "controller/http_json.h"

/* The one that a request without a name can only mean: a name's successor counts as the same. */
const struct view_instance *gateway_only_ready(const struct view *v)
{
    const struct view_instance *found = NULL;

    for (size_t i = 0; i < v->n_instances; i++) {
        if (v->instance[i].state != INSTANCE_READY)
            continue;
        if (found && strcmp(found->name, v->instance[i].name) != 0)
            return NULL;
        found = found ? found : &v->instance[i];
    }
    return found;
}

static int read_model(struct http_exchange *x, struct body_peek *ret, char *why, size_t why_size)
{
    size_t n, at;
    const char *text = http_body(x, &n);

    switch (body_peek(text, n, ret, &at)) {
    case 0:
        return 0;
    case BODY_PEEK_E_NOT_TEXT:
        snprintf(why, why_size, "\"model\" must be a string");
        return 1;
    case BODY_PEEK_E_NOT_OBJECT:
        snprintf(why, why_size, "the body is not a JSON object");
        return 1;
    }
    snprintf(why, why_size, "the body is not a JSON object: not valid JSON at byte %zu", at);
    return 1;
}

static void refuse(struct gateway *g, struct http_exchange *x, int status, const char *text)
{
    struct gateway_refusal r = {.status = status};

    snprintf(r.text, sizeof(r.text), "%s", text);
    gateway_refuse(g, x, NULL, &r);
}

static void refuse_long_name(struct gateway *g, struct http_exchange *x, const char *model)
{
    const struct admission_decision d = {.refusal = ADMISSION_NOT_FOUND};
    struct gateway_refusal r;

    gateway_say(g->view, &d, model, 0, &r);
    gateway_refuse(g, x, NULL, &r);
}

static void handle_completion(void *ctx, struct http_exchange *x)
{
    const struct view_instance *in;
    struct gateway *g = ctx;
    struct body_peek peek;
    const char *model;
    char why[PROTO_TEXT_MAX];

    if (!g->view) {
        refuse(g, x, 503, "the controller is starting: try again");
        return;
    }
    if (read_model(x, &peek, why, sizeof(why))) {
        refuse(g, x, 400, why);
        return;
    }
    if (peek.cut) {
        refuse_long_name(g, x, peek.model);
        return;
    }
    model = peek.has_model ? peek.model : NULL;
    in = model ? view_find_instance(g->view, model) : gateway_only_ready(g->view);
    if (!in && !model)
        refuse(g, x, 400, "\"model\" is missing and there is not exactly one model ready to guess");
    else
        gateway_reply_begin(g, x, model ? model : in->name, in, &peek);
}

const struct http_route *gateway_routes(void)
{
    static const struct http_route routes[] = {
        {"GET", "/v1/models", gateway_handle_models, HTTP_FOR_INFER},
        {"POST", "/v1/chat/completions", handle_completion, HTTP_FOR_INFER},
        {"POST", "/v1/completions", handle_completion, HTTP_FOR_INFER},
        {.method = NULL},
    };

    return routes;
}
