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

static void refuse_model(struct gateway *g, struct http_exchange *x, const char *model, enum admission_refusal refusal)
{
    const struct admission_decision d = {.refusal = refusal};
    struct gateway_refusal r;

    gateway_say(g->view, &d, model, 0, &r);
    gateway_refuse(g, x, NULL, &r);
}

static bool is_starting(struct gateway *g, struct http_exchange *x)
{
    if (!g->view)
        refuse(g, x, 503, "the controller is starting: try again");
    return !g->view;
}

/* A question in JSON, whose `model` says whom it is for. */
static void handle_question(void *ctx, struct http_exchange *x)
{
    const struct view_instance *in;
    struct gateway *g = ctx;
    struct body_peek peek;
    const char *model;
    char why[PROTO_TEXT_MAX];

    if (is_starting(g, x))
        return;
    if (read_model(x, &peek, why, sizeof(why))) {
        refuse(g, x, 400, why);
        return;
    }
    if (peek.cut) {
        refuse_model(g, x, peek.model, ADMISSION_NOT_FOUND);
        return;
    }
    model = peek.has_model ? peek.model : NULL;
    in = model ? view_find_instance(g->view, model) : gateway_only_ready(g->view);
    if (!in && !model)
        refuse(g, x, 400, "\"model\" is missing and there is not exactly one model ready to guess");
    else
        gateway_reply_begin(g, x, model ? model : in->name, in, &peek);
}

/* The rest of what the model's llama-server can do. It is asked as it stands: whoever only looks starts no model. */
static void handle_upstream(void *ctx, struct http_exchange *x)
{
    const struct view_instance *in;
    const char *model = http_arg(x);
    struct gateway *g = ctx;

    if (is_starting(g, x))
        return;
    in = view_find_instance(g->view, model);
    if (in && in->state == INSTANCE_READY)
        gateway_reply_begin(g, x, model, in, NULL);
    else
        refuse_model(g, x, model, in ? ADMISSION_NOT_READY : ADMISSION_NOT_FOUND);
}

/* Under /v1 is what OpenAI, Anthropic and Jina name there; llama-server's own names for it, and the rest of it, are below
 * /upstream. Its methods stand in the table one by one: TRACE would say what key we have added. */
const struct http_route *gateway_routes(void)
{
    static const struct http_route routes[] = {
        {"GET", "/v1/models", gateway_handle_models, HTTP_FOR_INFER},
        {"GET", "/v1/models/:model", gateway_handle_model, HTTP_FOR_INFER},
        {"POST", "/v1/chat/completions", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/completions", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/embeddings", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/rerank", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/responses", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/responses/input_tokens", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/messages", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/messages/count_tokens", handle_question, HTTP_FOR_INFER},
        {"POST", "/v1/fanout", fanout_handle, HTTP_FOR_INFER},
        {"GET", "/upstream/:model/*", handle_upstream, HTTP_FOR_READ},
        {"POST", "/upstream/:model/*", handle_upstream, HTTP_FOR_ADMIN},
        {"PUT", "/upstream/:model/*", handle_upstream, HTTP_FOR_ADMIN},
        {"DELETE", "/upstream/:model/*", handle_upstream, HTTP_FOR_ADMIN},
        {.method = NULL},
    };

    return routes;
}
