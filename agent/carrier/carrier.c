#include "agent/carrier/carrier.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier/control_socket.h"
#include "agent/carrier/figures.h"
#include "agent/carrier/own_user.h"
#include "agent/carrier/streams.h"
#include "common/acceptor.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/grant.h"
#include "common/event_clear.h"
#include "common/log.h"
#include "common/seldom.h"
#include "common/socket_reset.h"
#include "common/tunnel_end.h"

enum { IDLE_EVERY_MS = 1000 };
_Static_assert((int)IDLE_EVERY_MS < (int)FIGURES_LATE_MS, "the next one comes before it is late");

/* Stands for a rank that is elsewhere: what a coordinator dials. */
struct route {
    struct carrier *carrier;
    struct acceptor *acceptor;
    char name[16]; /* "rank 3" */
    uint16_t port;
};

struct carrier {
    struct event_base *base;
    const struct carrier_conf *conf;
    struct grant_book grants;
    struct streams *streams;
    struct tunnel_door *door;
    struct route route[PROTO_RANKS_MAX];
    struct event *on_tick;
    struct own_user own_user; /* of routes */
    struct control_socket *control;
    struct figures_writer *writer;
    struct figures written; /* without its due_ms */
    bool rests;             /* and that nothing has changed since was written, too */
    bool is_ticking;        /* as often as while there are streams */
    struct seldom refused, unwritten;
};

/* ---- figures ------------------------------------------------------------------------------------------------------ */

static void gather(const struct carrier *c, uint64_t now_ms, struct figures *ret)
{
    struct tunnel_door_counts door;
    struct streams_counts streams;

    tunnel_door_counts(c->door, &door);
    streams_counts(c->streams, &streams);
    memset(ret, 0, sizeof(*ret)); /* compared below, with what lies between its fields */
    ret->n_accepted = door.n_opened;
    ret->n_dialled = streams.n_dialled;
    ret->n_unreached = streams.n_unreached;
    ret->n_half_open_dropped = door.n_dropped;
    memcpy(ret->n_refused, door.n_refused, sizeof(ret->n_refused));
    ret->n_bad_handshakes = door.n_bad + door.n_slow;
    ret->n_strangers = c->own_user.n_refused + (c->control ? control_socket_refused(c->control) : 0);
    ret->n_without_room = streams.n_without_room;
    ret->n_forged = streams.n_forged;
    ret->n_cut = streams.n_cut;
    ret->n_flows = streams_flows(c->streams, now_ms, ret->flow);
}

/* They are written again at the next tick. */
static void say_unwritten(struct carrier *c, int r, uint64_t now_ms)
{
    uint64_t n = seldom_count(&c->unwritten, now_ms);

    c->written.n_flows = SIZE_MAX; /* like nothing that follows */
    if (n)
        log_failure(LOG_LEVEL_WARN, "figures.write", r, "n=%" PRIu64, n);
}

/* What has changed is written; and then, once, that nothing has changed any more. */
static void write_figures(struct carrier *c)
{
    uint64_t now_ms = clock_now_ms();
    struct figures now;
    bool changed;
    int r;

    gather(c, now_ms, &now);
    changed = memcmp(&c->written, &now, sizeof(now)) != 0;
    if (!changed && c->rests)
        return;
    c->written = now;
    c->rests = !changed;
    now.due_ms = changed ? now_ms + FIGURES_LATE_MS : 0;
    r = figures_write(c->writer, &now);
    if (r < 0)
        say_unwritten(c, r, now_ms);
}

/* Once it has begun it goes on, at the pace that it has, whatever fails. */
static int set_pace(struct carrier *c, bool fast)
{
    const unsigned ms = fast ? FIGURES_EVERY_MS : IDLE_EVERY_MS;
    const struct timeval every = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    if (event_add(c->on_tick, &every) < 0)
        return err_raise(-ENOMEM);
    c->is_ticking = fast;
    return 0;
}

static void want_pace(struct carrier *c, bool fast)
{
    int r = c->is_ticking == fast ? 0 : set_pace(c, fast);

    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "figures.pace", r, "fast=%d", fast);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct carrier *c = arg;

    (void)fd;
    (void)what;
    write_figures(c);
    want_pace(c, streams_open(c->streams) > 0);
}

/* ---- who comes from elsewhere ------------------------------------------------------------------------------------- */

static int grant_all(struct carrier *c)
{
    const struct carrier_conf *conf = c->conf;
    struct tunnel_claim claim = {.instance = conf->instance, .epoch = conf->epoch, .direction = TUNNEL_TO_COORDINATOR};
    int r = 0;

    for (size_t i = 0; r == 0 && conf->coordinator_port && i < conf->n_gateways; i++)
        r = grant_book_add(&c->grants, &claim, conf->gateway[i]);
    if (r == 0 && conf->rank >= 0) {
        claim.direction = TUNNEL_TO_RANK;
        claim.rank = (uint32_t)conf->rank;
        r = grant_book_add(&c->grants, &claim, conf->peer);
    }
    return err_fold(r); /* it has room for more than a conf names */
}

static enum tunnel_verdict on_asked(void *ctx, const struct tunnel_claim *claim, const uint8_t peer[CRYPTO_KEY_BYTES])
{
    struct carrier *c = ctx;
    enum tunnel_verdict verdict = grant_book_check(&c->grants, claim, peer);
    char hex[CRYPTO_KEY_HEX];
    uint64_t n;

    if (verdict == TUNNEL_GRANTED && !streams_have_room(c->streams, claim))
        verdict = TUNNEL_BUSY;
    if (verdict == TUNNEL_GRANTED)
        return verdict;
    n = seldom_count(&c->refused, clock_now_ms());
    if (n)
        log_warn("door.refused", "peer=%.16s instance=%s epoch=%" PRIu64 " rank=%" PRIu32 " verdict=%s n=%" PRIu64,
                 crypto_key_format(peer, hex), ID128_SHORT(&claim->instance), claim->epoch, claim->rank,
                 tunnel_verdict_name(verdict), n);
    return verdict;
}

static void on_opened(void *ctx, const struct tunnel_claim *claim, const uint8_t peer[CRYPTO_KEY_BYTES],
                      struct tunnel_end *end)
{
    struct carrier *c = ctx;

    (void)peer;
    streams_add_far(c->streams, claim, end);
    want_pace(c, true);
}

static int open_door(struct carrier *c, const struct identity *own)
{
    const struct tunnel_door_calls calls = {.asked = on_asked, .opened = on_opened, .ctx = c};
    uint16_t port;
    int r = tunnel_door_new(c->base, own, c->conf->addr, c->conf->port, &calls, &port, &c->door);

    if (r == 0)
        return 0;
    log_error("carrier.listen", "addr=%s port=%u text=%s", c->conf->addr, c->conf->port, LOG_STR(strerrordesc_np(-r)));
    return err_pass(r);
}

/* ---- who comes from this machine ---------------------------------------------------------------------------------- */

static void on_came(void *ctx, int fd, const struct sockaddr_storage *from)
{
    struct route *route = ctx;
    struct carrier *c = route->carrier;

    if (!own_user_has(&c->own_user, from, route->port, clock_now_ms())) {
        socket_hang_up(&fd);
        return;
    }
    streams_add_near(c->streams, (size_t)(route - c->route), fd);
    want_pace(c, true);
}

static int open_route(struct carrier *c, struct route *route, int32_t rank)
{
    int fd, r = acceptor_listen("127.0.0.1", 0, &fd, &route->port);

    if (r < 0)
        return err_pass(r);
    route->carrier = c;
    snprintf(route->name, sizeof(route->name), "rank %" PRId32, rank);
    r = acceptor_new(c->base, &fd, route->name, on_came, route, &route->acceptor);
    return r < 0 ? err_pass(r) : 0;
}

static int open_routes(struct carrier *c)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->conf->n_routes; i++)
        r = open_route(c, &c->route[i], c->conf->route[i].rank);
    if (r == 0 && c->conf->n_routes)
        own_user_init(&c->own_user, c->route[0].port);
    return err_fold(r);
}

/* ---- control ------------------------------------------------------------------------------------------------------ */

static void say_hello(const struct carrier *c, struct control_answer *a)
{
    a->ok = true;
    a->version = CONTROL_VERSION;
    a->n_routes = c->conf->n_routes;
    for (size_t i = 0; i < a->n_routes; i++) {
        const struct conf_route *r = &c->conf->route[i];

        a->route[i] = (struct control_route){.rank = r->rank, .port = c->route[i].port};
        snprintf(a->route[i].endpoint, sizeof(a->route[i].endpoint), "%s:%u", r->addr, r->port);
    }
}

static void on_control(void *ctx, const struct control_question *q, struct control_answer *a)
{
    switch (q->kind) {
    case CONTROL_HELLO:
        say_hello(ctx, a);
        return;
    }
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

static int start(struct carrier *c, const struct identity *own)
{
    int r = streams_new(c->base, c->conf, own, &c->streams);

    if (r == 0)
        r = grant_all(c);
    if (r == 0)
        r = open_routes(c);
    if (r == 0)
        r = open_door(c, own);
    if (r == 0)
        r = figures_create("figures", &c->writer);
    if (r == 0)
        r = control_socket_new(c->base, "control", on_control, c, &c->control);
    return err_fold(r);
}

int carrier_new(struct event_base *base, const struct carrier_conf *conf, const struct identity *own,
                struct carrier **ret)
{
    CLEANUP(carrier_destroy) struct carrier *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return err_raise(-ENOMEM);
    c->base = base;
    c->conf = conf;
    c->on_tick = event_new(base, -1, EV_PERSIST, on_tick, c);
    r = c->on_tick ? set_pace(c, false) : err_raise(-ENOMEM);
    if (r == 0)
        r = start(c, own);
    if (r < 0)
        return err_fold(r);
    c->written.n_flows = SIZE_MAX; /* like nothing that follows */
    write_figures(c);
    *ret = c;
    c = NULL;
    return 0;
}

void carrier_destroy(struct carrier **c)
{
    if (!*c)
        return;
    control_socket_destroy(&(*c)->control);
    tunnel_door_destroy(&(*c)->door);
    for (size_t i = 0; i < (*c)->conf->n_routes; i++)
        acceptor_destroy(&(*c)->route[i].acceptor);
    streams_destroy(&(*c)->streams);
    event_clear(&(*c)->on_tick);
    figures_writer_destroy(&(*c)->writer);
    free(*c);
    *c = NULL;
}
