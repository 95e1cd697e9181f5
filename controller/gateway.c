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
#include "controller/gateway_state.h"

/* ---- what the control loop is told ---- */

static struct front_order *make_order(const struct admission_word *w)
{
    static const enum front_order_kind kinds[] = {[ADMISSION_SAYS_TRAFFIC] = FRONT_ORDER_TRAFFIC,
                                                  [ADMISSION_SAYS_UPSTREAM] = FRONT_ORDER_UPSTREAM,
                                                  [ADMISSION_SAYS_ENSURE] = FRONT_ORDER_ENSURE};
    struct front_order *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->kind = kinds[w->kind];
    memcpy(o->target, w->name, sizeof(o->target));
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

    if (w->kind == ADMISSION_SAYS_UPSTREAM)
        log_warn("gateway.upstream", "instance=%s epoch=%" PRIu64 " found=%s", ID128_SHORT(&w->instance), w->epoch,
                 LOG_STR(found[w->upstream]));
}

/* One that is lost is no harm: what it says is said again, or found out in another way. */
static void tell(struct gateway *g, const struct admission_word *w)
{
    struct front_order *o = make_order(w);
    int r = o ? 0 : err_raise(-ENOMEM);

    log_word(w);
    if (!r && w->kind == ADMISSION_SAYS_ENSURE)
        r = gateway_asks_begin(&g->asks, w->name, &o->request_id);
    if (!r)
        r = g->deps.submit(g->deps.ctx, o);
    else
        front_order_destroy(&o);
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

    if (g->settling)
        return;
    g->settling = true;
    while (admission_next(g->admission, &d))
        passage_decided(&d);
    while (admission_next_word(g->admission, clock_now_ms(), &w))
        tell(g, &w);
    g->settling = false;
    set_timer(g);
}

void gateway_answer(struct gateway *g, uint64_t request_id, const struct cluster_answer *answer)
{
    char name[PROTO_MODEL_MAX];

    if (!gateway_asks_end(&g->asks, request_id, name))
        return; /* it was asked again since */
    if (!answer->accepted)
        log_warn("gateway.ensure", "model=%s code=%s reason=%s", LOG_STR(name), LOG_STR(answer->code),
                 LOG_STR(answer->text));
    admission_ensured(g->admission, name, answer, clock_now_ms());
    gateway_settle(g);
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
    upstream_places_review(g->places, v);
    gateway_settle(g);
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
    upstream_places_destroy(&(*g)->places);
    tunnels_destroy(&(*g)->tunnels);
    free((*g)->asks.item);
    explicit_bzero((*g)->secret, sizeof((*g)->secret));
    free(*g);
    *g = NULL;
}

int gateway_new(const struct gateway_deps *deps, struct gateway **ret)
{
    const struct admission_config config = {.waiting_max = deps->waiting_max,
                                            .waiting_bytes_max = deps->waiting_bytes_max};
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
    r = upstream_places_new(g->tunnels, g->secret, &g->places);
    if (r < 0)
        return err_pass(r);
    r = admission_new(&config, &g->admission);
    if (r < 0)
        return err_pass(r);
    *ret = g;
    g = NULL;
    return 0;
}
