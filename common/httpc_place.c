#include "common/httpc_place.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/httpc_conn.h"

struct httpc_place {
    size_t n_refs; /* its owner's, until it is left, and those of requests */
    bool left;
    struct httpc_spec where;
    char *host;
    struct httpc_dialer dialer;
    struct httpc_conn *prepared; /* does not stand yet; NULL: none */
    size_t n_idle;
    TAILQ_HEAD(idle_list, httpc_conn) idle; /* the one used last comes first */
};

struct httpc_place *httpc_place_ref(struct httpc_place *p)
{
    p->n_refs++;
    return p;
}

void httpc_place_unref(struct httpc_place **place)
{
    struct httpc_place *p = *place;

    *place = NULL;
    if (!p || --p->n_refs)
        return;
    free(p->host);
    free(p);
}

int httpc_place_new(const struct httpc_spec *spec, struct httpc_place **ret)
{
    struct httpc_place *p = calloc(1, sizeof(*p));

    if (!p)
        return err_raise(-ENOMEM);
    p->n_refs = 1;
    TAILQ_INIT(&p->idle);
    p->host = strdup(spec->host);
    if (!p->host) {
        httpc_place_unref(&p);
        return err_raise(-ENOMEM);
    }
    if (spec->dialer)
        p->dialer = *spec->dialer;
    p->where = (struct httpc_spec){.host = p->host,
                                   .port = spec->port,
                                   .dialer = spec->dialer ? &p->dialer : NULL,
                                   .connect_timeout_ms = spec->connect_timeout_ms};
    *ret = p;
    return 0;
}

const struct httpc_spec *httpc_place_where(const struct httpc_place *p)
{
    return p->left ? NULL : &p->where;
}

size_t httpc_place_idle(const struct httpc_place *p)
{
    return p->n_idle;
}

/* ---- connections that wait -------------------------------------------------------------------------------------- */

static void remove_idle(struct httpc_place *p, struct httpc_conn *c)
{
    TAILQ_REMOVE(&p->idle, c, idle);
    p->n_idle--;
}

static void drop_idle(struct httpc_place *p, struct httpc_conn *c)
{
    remove_idle(p, c);
    httpc_conn_close(&c);
}

static void on_idle_end(void *ctx)
{
    struct httpc_conn *c = ctx;

    drop_idle(c->place, c);
}

static void on_idle_ended(void *ctx, int r)
{
    (void)r;
    on_idle_end(ctx);
}

/* What nobody asked for belongs to no answer. */
static void on_idle_readable(void *ctx)
{
    struct httpc_conn *c = ctx;

    if (evbuffer_get_length(bufferevent_get_input(c->bev)))
        on_idle_end(c);
}

void httpc_place_keep(struct httpc_place *p, struct httpc_conn **conn)
{
    struct httpc_conn *c = *conn;

    if (p->left || p->n_idle >= HTTPC_IDLE_MAX) {
        httpc_conn_close(conn);
        return;
    }
    *conn = NULL;
    c->place = p;
    c->calls = (struct httpc_conn_calls){
        .readable = on_idle_readable, .ended = on_idle_ended, .timed_out = on_idle_end, .ctx = c};
    TAILQ_INSERT_HEAD(&p->idle, c, idle);
    p->n_idle++;
    bufferevent_enable(c->bev, EV_READ);
    httpc_conn_arm(c, HTTPC_IDLE_MS);
}

/* ---- one ahead -------------------------------------------------------------------------------------------------- */

static void on_prepared(void *ctx)
{
    struct httpc_place *p = ctx;
    struct httpc_conn *c = p->prepared;

    p->prepared = NULL;
    httpc_place_keep(p, &c);
}

/* Whoever needs one hears of it then. */
static void on_not_prepared(void *ctx)
{
    struct httpc_place *p = ctx;

    httpc_conn_close(&p->prepared);
}

static void on_prepared_ended(void *ctx, int r)
{
    (void)r;
    on_not_prepared(ctx);
}

void httpc_place_prepare(struct httpc_place *p, struct event_base *base)
{
    const struct httpc_conn_calls calls = {
        .opened = on_prepared, .ended = on_prepared_ended, .timed_out = on_not_prepared, .ctx = p};

    if (!p->left && !p->n_idle && !p->prepared && httpc_conn_open(base, &p->where, &calls, &p->prepared) < 0)
        p->prepared = NULL;
}

/* ---- taking ----------------------------------------------------------------------------------------------------- */

/* Its end may have come without the loop's having told yet. */
static bool is_over(const struct httpc_conn *c)
{
    char byte;

    return recv(bufferevent_getfd(c->bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

struct httpc_conn *httpc_place_take(struct httpc_place *p, const struct httpc_conn_calls *calls)
{
    struct httpc_conn *c;

    while ((c = TAILQ_FIRST(&p->idle))) {
        if (is_over(c)) {
            drop_idle(p, c);
            continue;
        }
        remove_idle(p, c);
        c->calls = *calls;
        return c;
    }
    return NULL;
}

void httpc_place_leave(struct httpc_place **place)
{
    struct httpc_place *p = *place;
    struct httpc_conn *c;

    if (!p)
        return;
    p->left = true;
    httpc_conn_close(&p->prepared);
    while ((c = TAILQ_FIRST(&p->idle)))
        drop_idle(p, c);
    httpc_place_unref(place);
}
