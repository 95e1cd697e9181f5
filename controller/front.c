#include "controller/front.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/actor.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "controller/api.h"
#include "controller/events.h"
#include "controller/gateway.h"
#include "controller/http_auth.h"
#include "controller/http_gate.h"
#include "controller/http_json.h"
#include "controller/http_settings.h"

/* One address, a reverse proxy with everybody behind it, may have as many connections as the gateway takes requests; /api,
 * /metrics and followers from elsewhere have the others. */
enum { FRONT_ADDRESS_MAX = GATEWAY_REQUESTS_MAX, FRONT_CONNECTIONS_MAX = FRONT_ADDRESS_MAX + 512 };

/* Made by the control loop's thread, then used by the HTTP thread alone, until that has ended. */
struct world {
    struct event_base *base;
    struct http_server *server;
    const struct http_settings *settings;
    struct http_gate gate;
    struct api *api;
    struct gateway *gateway;
    struct events *events;
    struct metrics *metrics;
    struct metrics_control control;
    struct view *view;
    struct actor_pipe *pipe;
};

struct front {
    struct world world;
    struct actor *actor;
    struct front_callbacks cb;
};

/* ---- what holds for every path ---- */

static bool before(void *ctx, struct http_exchange *x, struct http_head *head, const struct http_route *route)
{
    struct world *w = ctx;

    return http_gate_stops(&w->gate, w->view, x, head, route);
}

static bool keeps(void *ctx, const char *sender, const struct http_route *route)
{
    struct world *w = ctx;

    return http_gate_keeps(&w->gate, w->view, sender, route);
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    static const struct {
        int status;
        const char *code;
    } codes[] = {{404, "not_found"}, {405, "wrong_method"}, {408, "too_slow"}, {413, "too_large"}, {503, "busy"}};
    const char *code = "bad_request";
    struct world *w = ctx;

    metrics_http_refused(w->metrics, status);
    if ((status == 404 || status == 405) && http_speaks_openai(x)) {
        http_reply_as_llama(x, 404); /* to it a wrong method is no route at all */
        return;
    }
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i].status == status)
            code = codes[i].code;
    http_reply_error(x, status, code, "%s", text);
}

static void handle_metrics(void *ctx, struct http_exchange *x)
{
    CLEANUP(cleanup_free) char *text = NULL;
    struct world *w = ctx;
    size_t n = 0;

    if (metrics_print(w->metrics, w->view, &w->control, clock_wall_ms(), &text, &n) < 0)
        http_reply_error(x, 503, "no_memory", "out of memory");
    else
        http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
}

static const struct http_route metrics_routes[] = {{"GET", "/metrics", handle_metrics, HTTP_FOR_READ},
                                                   {.method = NULL}};
static const struct http_route metrics_open_routes[] = {{"GET", "/metrics", handle_metrics, HTTP_FOR_ALL},
                                                        {.method = NULL}};
static const struct http_route events_routes[] = {{"GET", "/api/events", events_handle, HTTP_FOR_READ},
                                                  {.method = NULL}};

/* ---- the thread ---- */

static void take_view(struct world *w, const struct front_note *n)
{
    bool same_keys = http_auth_same_keys(w->view, n->view);

    view_unref(&w->view);
    w->view = view_ref(n->view);
    w->control = n->control;
    gateway_set_view(w->gateway, n->view);
    api_set_door(w->api, &n->door);
    api_set_view(w->api, n->view);
    if (!same_keys)
        http_server_review(w->server, keeps, w);
}

static void take_note(void *ctx, void *object)
{
    struct front_note *n = object;
    struct world *w = ctx;

    switch (n->kind) {
    case FRONT_NOTE_VIEW:
        take_view(w, n);
        break;
    case FRONT_NOTE_BACKENDS:
        api_set_backends(w->api, n->backends);
        break;
    case FRONT_NOTE_TRANSITION:
        events_add(w->events, &n->transition, n->wall_ms);
        break;
    case FRONT_NOTE_ANSWER:
        if (n->request_id & GATEWAY_REQUEST)
            gateway_answer(w->gateway, n->request_id, &n->answer);
        else
            api_answer(w->api, n->request_id, &n->answer, &n->refusal);
        break;
    case FRONT_NOTE_PLANNED:
        api_planned(w->api, n->request_id, &n->planned);
        break;
    }
    front_note_destroy(&n);
}

static void stop(void *ctx)
{
    struct world *w = ctx;

    event_base_loopbreak(w->base);
}

static void run(struct actor_pipe *pipe, void *arg)
{
    struct world *w = arg;
    int r;

    w->pipe = pipe;
    r = actor_pipe_attach(pipe, w->base, take_note, w, stop);
    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "http.pipe", r, "effect=%s", LOG_STR("no HTTP is served"));
    else
        event_base_dispatch(w->base);
    http_server_destroy(&w->server); /* here, so that whoever waits for an answer is let go on this thread */
}

static int submit(void *ctx, struct front_order *order)
{
    struct world *w = ctx;

    return actor_pipe_send(w->pipe, order);
}

static void take_order(void *ctx, void *object)
{
    struct front *f = ctx;

    f->cb.order(f->cb.ctx, object);
}

/* ---- making it ---- */

static void world_clear(struct world *w)
{
    http_server_destroy(&w->server);
    api_destroy(&w->api);
    gateway_destroy(&w->gateway);
    events_destroy(&w->events);
    metrics_destroy(&w->metrics);
    view_unref(&w->view);
    if (w->base) {
        event_base_loop(
            w->base, EVLOOP_NONBLOCK); /* libevent frees a connection that was about to be read in a turn of its own */
        event_base_free(w->base);
    }
    w->base = NULL;
}

static int make_rooms(struct world *w, const struct front_config *config)
{
    const struct http_errors errors = {.refuse = refuse, .before = before, .ctx = w};
    const struct http_limits limits = {.connections = FRONT_CONNECTIONS_MAX, .per_address = FRONT_ADDRESS_MAX};
    const struct api_deps deps = {.base = w->base, .submit = submit, .ctx = w};
    struct gateway_deps gateway_deps = {.base = w->base,
                                        .secret = config->secret,
                                        .identity = config->identity,
                                        .wait_ms = config->wait_ms,
                                        .waiting_max = config->waiting_max,
                                        .waiting_bytes_max = config->waiting_bytes_max,
                                        .submit = submit,
                                        .ctx = w};
    int r = http_server_new(w->base, &limits, &errors, &w->server);

    if (!r)
        r = metrics_new(&w->metrics);
    if (!r)
        r = events_new(w->base, clock_wall_ms(), &w->events);
    if (!r)
        r = api_new(&deps, &w->api);
    if (!r)
        gateway_deps.metrics = w->metrics;
    if (!r)
        r = gateway_new(&gateway_deps, &w->gateway);
    return r;
}

void front_routes(bool metrics_open, const struct http_route *ret[FRONT_TABLES])
{
    ret[0] = api_routes();
    ret[1] = gateway_routes();
    ret[2] = events_routes;
    ret[3] = metrics_open ? metrics_open_routes : metrics_routes;
}

static int open_doors(struct world *w, const int *fds, size_t n_fds)
{
    void *const ctx[FRONT_TABLES] = {w->api, w->gateway, w->events, w};
    const struct http_route *table[FRONT_TABLES];
    int r = 0;

    w->gate = (struct http_gate){.names = &w->settings->names, .metrics = w->metrics, .local = true};
    for (size_t i = 0; i < n_fds; i++)
        w->gate.local = w->gate.local && http_is_local(fds[i]);
    http_server_tls(w->server, w->settings->tls);
    front_routes(w->settings->metrics_open, table);
    for (size_t i = 0; !r && i < FRONT_TABLES; i++)
        r = http_server_route(w->server, table[i], ctx[i]);
    for (size_t i = 0; !r && i < n_fds; i++)
        r = http_server_listen_fd(w->server, fds[i]);
    return r;
}

int front_new(struct event_base *base, const struct front_config *config, const struct front_callbacks *cb,
              struct front **ret)
{
    static const struct http_settings defaults = {.tls = NULL};
    CLEANUP(front_destroy) struct front *f = calloc(1, sizeof(*f));
    int r;

    if (!f)
        return err_raise(-ENOMEM);
    f->cb = *cb;
    f->world.settings = config->settings ? config->settings : &defaults;
    f->world.base = event_base_new();
    if (!f->world.base)
        return err_raise(-ENOMEM);
    r = make_rooms(&f->world, config);
    if (!r)
        r = open_doors(&f->world, config->fds, config->n_fds);
    if (!r)
        r = actor_new(base, run, &f->world, take_order, f, front_note_drop, front_order_drop, &f->actor);
    if (r < 0)
        return err_pass(r);
    *ret = f;
    f = NULL;
    return 0;
}

void front_destroy(struct front **f)
{
    if (!*f)
        return;
    actor_destroy(&(*f)->actor);
    world_clear(&(*f)->world);
    free(*f);
    *f = NULL;
}

int front_send(struct front *f, struct front_note *note)
{
    return actor_send(f->actor, note);
}
