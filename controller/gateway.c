#include "controller/gateway.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "controller/core/body_peek.h"
#include "controller/gateway_state.h"
#include "controller/http_json.h"

/* ---- what the control loop is told ---- */

static struct front_order *make_order(const struct admission_word *w)
{
    struct front_order *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->kind = w->is_traffic ? FRONT_ORDER_TRAFFIC : FRONT_ORDER_UPSTREAM;
    o->instance = w->instance;
    o->epoch = w->epoch;
    o->traffic = w->traffic;
    o->upstream = w->upstream;
    return o;
}

static void log_word(const struct admission_word *w)
{
    static const char *const found[] = {
        [UPSTREAM_REFUSED] = "the port of the coordinator, or of its carrier, refused or reset a connection",
        [UPSTREAM_BROKEN] = "the coordinator answered that it is broken",
        [UPSTREAM_POISON] = "one request made the coordinator abort twice: that one is refused from now on"};

    if (!w->is_traffic)
        log_warn("gateway.upstream", "instance=%s epoch=%" PRIu64 " found=%s", ID128_SHORT(&w->instance), w->epoch,
                 LOG_STR(found[w->upstream]));
}

/* One that is lost is no harm: what it says is said again, or found out in another way. */
static void tell(struct gateway *g, const struct admission_word *w)
{
    struct front_order *o = make_order(w);
    int r = o ? g->deps.submit(g->deps.ctx, o) : err_raise(-ENOMEM);

    log_word(w);
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "gateway.tell", r, "instance=%s", ID128_SHORT(&w->instance));
}

/* ---- decisions ---- */

static void set_timer(struct gateway *g)
{
    uint64_t due_ms = admission_due_ms(g->admission), now_ms;
    struct timeval tv;

    if (due_ms == g->timer_ms)
        return;
    g->timer_ms = due_ms;
    if (due_ms == UINT64_MAX) {
        event_del(g->timer);
        return;
    }
    now_ms = clock_now_ms();
    due_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    tv = (struct timeval){.tv_sec = (time_t)(due_ms / 1000), .tv_usec = (suseconds_t)(due_ms % 1000) * 1000};
    event_add(g->timer, &tv);
}

void gateway_settle(struct gateway *g)
{
    struct admission_decision d;
    struct admission_word w;

    while (admission_next(g->admission, &d))
        passage_decided(&d);
    while (admission_next_word(g->admission, clock_now_ms(), &w))
        tell(g, &w);
    set_timer(g);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct gateway *g = ctx;

    (void)fd;
    (void)what;
    g->timer_ms = UINT64_MAX;
    admission_tick(g->admission, clock_now_ms());
    gateway_settle(g);
}

void gateway_set_view(struct gateway *g, struct view *v)
{
    int r = admission_view(g->admission, v, clock_now_ms());

    if (r < 0) { /* the old picture stands a little longer */
        log_failure(LOG_LEVEL_WARN, "gateway.view", r, "effect=stale");
        return;
    }
    view_unref(&g->view);
    g->view = view_ref(v);
    gateway_settle(g);
}

/* ---- whom is it for ---- */

/* The one that a request without a name can only mean: a name's successor counts as the same. */
static const struct view_instance *only_ready(const struct view *v)
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
    metrics_gateway_request(g->deps.metrics, NULL, status);
    http_reply_error(x, status, "refused", "%s", text);
}

static void refuse_long_name(struct gateway *g, struct http_exchange *x, const char *model)
{
    const struct admission_decision d = {.refusal = ADMISSION_NOT_FOUND};
    struct gateway_refusal r;

    gateway_say(g->view, &d, model, 0, &r);
    refuse(g, x, r.status, r.text);
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
    in = model ? view_find_instance(g->view, model) : only_ready(g->view);
    if (!in && !model)
        refuse(g, x, 400, "\"model\" is missing and there is not exactly one model ready to guess");
    else
        passage_begin(g, x, model ? model : in->name, in);
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

/* ---- its life ---- */

_Static_assert((int)TUNNELS_MAX >= (int)GATEWAY_REQUESTS_MAX, "each request may need a stream");

void gateway_destroy(struct gateway **g)
{
    if (!*g)
        return;
    admission_destroy(&(*g)->admission);
    if ((*g)->timer)
        event_free((*g)->timer);
    view_unref(&(*g)->view);
    tunnels_destroy(&(*g)->tunnels);
    explicit_bzero((*g)->secret, sizeof((*g)->secret));
    free(*g);
    *g = NULL;
}

int gateway_new(const struct gateway_deps *deps, struct gateway **ret)
{
    const struct admission_config config = {.waiting_max = 0};
    CLEANUP(gateway_destroy) struct gateway *g = calloc(1, sizeof(*g));
    int r;

    if (!g)
        return err_raise(-ENOMEM);
    g->deps = *deps;
    g->deps.secret = g->secret;
    memcpy(g->secret, deps->secret, sizeof(g->secret));
    g->timer_ms = UINT64_MAX;
    g->timer = evtimer_new(deps->base, on_timer, g);
    if (!g->timer)
        return err_raise(-ENOMEM);
    r = tunnels_new(deps->base, deps->identity, &g->tunnels);
    if (r < 0)
        return err_pass(r);
    r = admission_new(&config, &g->admission);
    if (r < 0)
        return err_pass(r);
    *ret = g;
    g = NULL;
    return 0;
}
