#include "controller/tunnels.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/seal_bev.h"
#include "common/seldom.h"
#include "common/tunnel_end.h"
#include "controller/upstream.h"

enum stream_state { STREAM_WAITING = 1, STREAM_DIALLING, STREAM_STANDING, STREAM_OVER };

struct stream {
    LIST_ENTRY(stream) link;    /* in its room, while there is one */
    TAILQ_ENTRY(stream) queued; /* WAITING */
    enum stream_state state;
    struct tunnels *room;    /* NULL: gone before the request */
    struct carrier *carrier; /* with room */
    struct tunnel_claim claim;
    struct tunnel_dial *dial; /* DIALLING */
    struct seal_bev sealed;   /* STANDING; its bufferevent is the request's */
    int failure;              /* of one that stood, where we have ended it: negative errno, 0: none */
    void (*done)(void *arg, int fd_or_errno);
    void *arg;
};

/* One that has streams of ours. */
struct carrier {
    LIST_ENTRY(carrier) link;
    uint8_t key[CRYPTO_KEY_BYTES];
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    size_t n_streams, n_dials;
    TAILQ_HEAD(, stream) waiting;
};

struct tunnels {
    struct event_base *base;
    const struct identity *own;
    size_t n;
    LIST_HEAD(, stream) streams;
    LIST_HEAD(, carrier) carriers;
    struct event *turn; /* who waits may be dialled */
    struct seldom refused, forged;
};

/* ---- carriers ----------------------------------------------------------------------------------------------------- */

/* The one there, made where there is none; NULL: no memory. */
static struct carrier *find_carrier(struct tunnels *t, const struct upstream_target *to,
                                    const uint8_t key[CRYPTO_KEY_BYTES])
{
    struct carrier *c;

    LIST_FOREACH(c, &t->carriers, link)
    {
        if (c->port == to->port && strcmp(c->addr, to->addr) == 0 && memcmp(c->key, key, sizeof(c->key)) == 0)
            return c;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    memcpy(c->key, key, sizeof(c->key));
    snprintf(c->addr, sizeof(c->addr), "%s", to->addr);
    c->port = to->port;
    TAILQ_INIT(&c->waiting);
    LIST_INSERT_HEAD(&t->carriers, c, link);
    return c;
}

static void leave_carrier(struct stream *s)
{
    struct carrier *c = s->carrier;

    s->carrier = NULL;
    if (--c->n_streams)
        return;
    LIST_REMOVE(c, link);
    free(c);
}

/* In the loop's next turn, as we may have been called by anybody. */
static void dial_soon(struct tunnels *t)
{
    event_active(t->turn, EV_TIMEOUT, 0);
}

/* ---- a stream that stands ----------------------------------------------------------------------------------------- */

static void on_broken(void *ctx)
{
    struct stream *s = ctx;
    uint64_t n = s->room && s->sealed.end == SEAL_BEV_FORGED ? seldom_count(&s->room->forged, clock_now_ms()) : 0;

    if (n)
        log_warn("tunnel.forged", "instance=%s epoch=%" PRIu64 " addr=%s port=%u times=%" PRIu64,
                 ID128_SHORT(&s->claim.instance), s->claim.epoch, s->carrier->addr, s->carrier->port, n);
}

/* What end holds but its socket is taken. */
static void stand(struct stream *s, struct tunnel_end *end)
{
    s->state = STREAM_STANDING;
    s->sealed = (struct seal_bev){
        .seal = end->seal, .open = end->open, .data_max = end->data_max, .broken = on_broken, .ctx = s};
}

static struct bufferevent *wrap(void *handle, struct event_base *base, int fd)
{
    struct stream *s = handle;

    return seal_bev_new(&s->sealed, base, fd);
}

/* ---- dialling ----------------------------------------------------------------------------------------------------- */

static int errno_of_verdict(enum tunnel_verdict verdict)
{
    switch (verdict) {
    case TUNNEL_BUSY:
        return -EBUSY;
    case TUNNEL_NO_CIPHER:
        return -EOPNOTSUPP;
    case TUNNEL_GRANTED:
    case TUNNEL_NO_GRANT:
    case TUNNEL_OTHER_PEER:
    case TUNNEL_OTHER_DIRECTION:
    case TUNNEL_OTHER_EPOCH:
    case TUNNEL_OTHER_RANK:
    case TUNNEL_ENDED:
    case TUNNEL_VERDICT_N:
        break;
    }
    return -ESTALE; /* also what a later version says */
}

static void say_refused(struct stream *s, const char *why)
{
    uint64_t n = seldom_count(&s->room->refused, clock_now_ms());

    if (n)
        log_warn("tunnel.not_opened", "instance=%s epoch=%" PRIu64 " addr=%s port=%u why=%s times=%" PRIu64,
                 ID128_SHORT(&s->claim.instance), s->claim.epoch, s->carrier->addr, s->carrier->port, why, n);
}

/* Said here in whole: the errno that goes on tells the request no more than it needs. */
static int failure_of_dial(struct stream *s, int r, enum tunnel_verdict verdict)
{
    switch (-r) {
    case EACCES:
        say_refused(s, tunnel_verdict_name(verdict));
        return errno_of_verdict(verdict);
    case ECONNRESET:
    case EPIPE:
        say_refused(s, "hung_up");
        return -ENOLINK;
    case EPROTO:
        say_refused(s, "other_key");
        return -EKEYREJECTED;
    }
    return r;
}

static void leave_dialling(struct stream *s)
{
    s->state = STREAM_OVER;
    s->carrier->n_dials--;
    if (!TAILQ_EMPTY(&s->carrier->waiting))
        dial_soon(s->room);
}

static void on_dialled(void *ctx, int r, struct tunnel_end *end, enum tunnel_verdict verdict)
{
    struct stream *s = ctx;

    s->dial = NULL;
    leave_dialling(s);
    if (r < 0) {
        s->done(s->arg, err_raise(failure_of_dial(s, r, verdict)));
        return;
    }
    stand(s, end);
    s->done(s->arg, end->fd);
}

/* From the loop. s may be gone then. */
static void begin_dial(struct stream *s)
{
    struct carrier *c = s->carrier;
    struct tunnel_dial_spec spec = {.own = s->room->own, .claim = s->claim, .port = c->port};
    int r;

    memcpy(spec.peer, c->key, sizeof(spec.peer));
    memcpy(spec.addr, c->addr, sizeof(spec.addr));
    TAILQ_REMOVE(&c->waiting, s, queued);
    r = tunnel_dial_start(s->room->base, &spec, on_dialled, s, &s->dial);
    if (r < 0) {
        s->state = STREAM_OVER;
        s->done(s->arg, err_pass(r));
        return;
    }
    s->state = STREAM_DIALLING;
    c->n_dials++;
}

static struct stream *next_to_dial(struct tunnels *t)
{
    struct carrier *c;

    LIST_FOREACH(c, &t->carriers, link)
    {
        if (c->n_dials < TUNNELS_DIALS_MAX && !TAILQ_EMPTY(&c->waiting))
            return TAILQ_FIRST(&c->waiting);
    }
    return NULL;
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
    struct stream *s;

    (void)fd;
    (void)what;
    while ((s = next_to_dial(ctx)))
        begin_dial(s);
}

/* ---- the dialler -------------------------------------------------------------------------------------------------- */

static int dial(void *ctx, struct event_base *base, void (*done)(void *arg, int fd_or_errno), void *arg, void **handle)
{
    const struct tunnels_way *way = ctx;
    const struct upstream_target *to = way->target;
    struct tunnels *t = way->tunnels;
    uint8_t key[CRYPTO_KEY_BYTES];
    struct stream *s;

    (void)base;
    if (crypto_key_parse(to->key, key) != 0)
        return err_raise(-EINVAL);
    if (t->n >= TUNNELS_MAX)
        return err_raise(-EAGAIN);
    s = calloc(1, sizeof(*s));
    if (!s)
        return err_raise(-ENOMEM);
    s->carrier = find_carrier(t, to, key);
    if (!s->carrier) {
        free(s);
        return err_raise(-ENOMEM);
    }
    s->room = t;
    s->claim = (struct tunnel_claim){.instance = to->instance, .epoch = to->epoch, .direction = TUNNEL_TO_COORDINATOR};
    s->done = done;
    s->arg = arg;
    s->state = STREAM_WAITING;
    s->carrier->n_streams++;
    TAILQ_INSERT_TAIL(&s->carrier->waiting, s, queued);
    LIST_INSERT_HEAD(&t->streams, s, link);
    t->n++;
    dial_soon(t);
    *handle = s;
    return 0;
}

static int failure(void *handle, int r)
{
    const struct stream *s = handle;

    if (s->failure)
        return s->failure;
    if (r)
        return r;
    switch (s->sealed.end) {
    case SEAL_BEV_OPEN:
        return -ECONNRESET;
    case SEAL_BEV_DONE:
        return 0;
    case SEAL_BEV_FORGED:
        return -EBADMSG;
    case SEAL_BEV_FAILED:
        break;
    }
    return -EIO;
}

/* Whatever it is at. It is in no list then. */
static void end_stream(struct stream *s)
{
    switch (s->state) {
    case STREAM_WAITING:
        TAILQ_REMOVE(&s->carrier->waiting, s, queued);
        break;
    case STREAM_DIALLING:
        tunnel_dial_cancel(&s->dial);
        leave_dialling(s);
        break;
    case STREAM_STANDING:
    case STREAM_OVER:
        break;
    }
    s->state = STREAM_OVER;
    leave_carrier(s);
    LIST_REMOVE(s, link);
    s->room->n--;
    s->room = NULL;
}

static void close_stream(void *handle)
{
    struct stream *s = handle;

    if (s->room)
        end_stream(s);
    seal_bev_clear(&s->sealed);
    free(s);
}

const struct httpc_dialer tunnels_dialer = {.dial = dial, .wrap = wrap, .failure = failure, .close = close_stream};

/* ---- the room ----------------------------------------------------------------------------------------------------- */

int tunnels_new(struct event_base *base, const struct identity *own, struct tunnels **ret)
{
    struct tunnels *t = calloc(1, sizeof(*t));

    if (!t)
        return err_raise(-ENOMEM);
    t->base = base;
    t->own = own;
    LIST_INIT(&t->streams);
    LIST_INIT(&t->carriers);
    t->turn = event_new(base, -1, 0, on_turn, t);
    if (!t->turn) {
        free(t);
        return err_raise(-ENOMEM);
    }
    *ret = t;
    return 0;
}

void tunnels_destroy(struct tunnels **t)
{
    struct stream *s;

    if (!*t)
        return;
    while ((s = LIST_FIRST(&(*t)->streams))) {
        s->failure = -ECANCELED;
        if (s->state == STREAM_STANDING && s->sealed.bev)
            shutdown(bufferevent_getfd(s->sealed.bev), SHUT_RDWR);
        end_stream(s);
    }
    event_free((*t)->turn);
    free(*t);
    *t = NULL;
}
