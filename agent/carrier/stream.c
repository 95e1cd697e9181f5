#include "agent/carrier/stream.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/carrier/feeding.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/event_clear.h"
#include "common/host.h"
#include "common/log.h"
#include "common/socket_reset.h"

/* Until `relay` is there, `dial` or `on_connected` waits for the goal. */
struct stream {
    struct event_base *base;
    const struct stream_goal *goal;
    struct stream_calls calls;
    enum relay_direction requests;
    int near;
    struct tunnel_end far;
    struct tunnel_dial *dial;
    struct event *on_connected;
    struct relay *relay;
    struct rpc_frames frames;
    struct feeding *feeding; /* NULL: nothing is fed */
};

/* ---- both sides stand --------------------------------------------------------------------------------------------- */

static void on_came(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n_bytes)
{
    struct stream *s = ctx;

    if (direction == s->requests)
        rpc_frames_request(&s->frames, data, n_bytes, clock_now_ms());
    else
        rpc_frames_answer(&s->frames, data, n_bytes, clock_now_ms());
}

static void on_sent(void *ctx, enum relay_direction direction, size_t n_bytes)
{
    struct stream *s = ctx;

    if (direction == s->requests)
        rpc_frames_written(&s->frames, n_bytes, clock_now_ms());
}

/* How a load was made up, on the stream that loaded. */
static void say_fed(const struct stream *s)
{
    struct feeding_counts n = s->feeding ? feeding_counts(s->feeding) : (struct feeding_counts){0};

    if (n.n_fed || n.n_wrong || n.n_not_here)
        log_info("feed.ended",
                 "rank=%" PRIu32 " fed=%" PRIu64 " fed_bytes=%" PRIu64 " wrong=%" PRIu64 " not_here=%" PRIu64,
                 s->goal->claim.rank, n.n_fed, n.fed_bytes, n.n_wrong, n.n_not_here);
}

static void on_ended(void *ctx, enum relay_end end, int error)
{
    struct stream *s = ctx;

    say_fed(s);
    s->calls.ended(s->calls.ctx, &(struct stream_ending){.stood = true, .end = end, .error = error});
}

/* Last in its callers: s may be gone. */
static void give_up(struct stream *s, int r, enum tunnel_verdict verdict)
{
    s->calls.ended(s->calls.ctx, &(struct stream_ending){.error = -r, .verdict = verdict});
}

static int take_calls(struct stream *s, struct relay_calls *calls)
{
    int r;

    if (!s->goal->is_rpc)
        return 0;
    calls->came = on_came;
    calls->sent = on_sent;
    if (!s->goal->feed)
        return 0;
    r = feeding_new(s->goal->feed, &s->frames, &s->feeding);
    if (r < 0)
        return err_pass(r);
    calls->filter = feeding_filter(s->feeding);
    return 0;
}

/* As above. */
static void begin_relay(struct stream *s)
{
    const struct relay_sockets sockets = {.near = s->near,
                                          .far = s->far.fd,
                                          .seal = s->far.seal,
                                          .open = s->far.open,
                                          .data_max = s->far.seal ? s->far.data_max : TUNNEL_RANK_DATA_MAX};
    struct relay_calls calls = {.ended = on_ended, .ctx = s};
    int r = take_calls(s, &calls);

    if (r == 0)
        r = relay_new(s->base, &sockets, &calls, &s->relay);
    if (r < 0) {
        give_up(s, err_pass(r), TUNNEL_GRANTED);
        return;
    }
    s->near = -1; /* the relay's now */
    s->far = (struct tunnel_end){.fd = -1};
    s->calls.stands(s->calls.ctx);
}

/* ---- the goal ----------------------------------------------------------------------------------------------------- */

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;
    int error = 0;
    socklen_t n = sizeof(error);

    (void)what;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        error = errno;
    event_clear(&s->on_connected);
    if (error)
        give_up(s, err_raise(-error), TUNNEL_GRANTED);
    else
        begin_relay(s);
}

/* How long it may take is the kernel's to say: a worker that serves another client has room for few. */
static int connect_here(struct stream *s, int *fd)
{
    struct sockaddr_storage to;
    socklen_t n = host_sockaddr(s->goal->addr, s->goal->port, &to);

    if (!n)
        return err_raise(-EINVAL);
    *fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0 || (connect(*fd, (const struct sockaddr *)&to, n) < 0 && errno != EINPROGRESS))
        return err_raise(-errno);
    s->on_connected = event_new(s->base, *fd, EV_WRITE, on_connected, s);
    return s->on_connected && event_add(s->on_connected, NULL) == 0 ? 0 : err_raise(-ENOMEM);
}

static void on_dialled(void *ctx, int r, struct tunnel_end *end, enum tunnel_verdict verdict)
{
    struct stream *s = ctx;

    s->dial = NULL;
    if (r < 0) {
        give_up(s, r, verdict);
        return;
    }
    s->far = *end;
    begin_relay(s);
}

static int dial_peer(struct stream *s, const struct identity *own)
{
    struct tunnel_dial_spec spec = {.own = own, .claim = s->goal->claim, .port = s->goal->port};

    memcpy(spec.peer, s->goal->peer, sizeof(spec.peer));
    memcpy(spec.addr, s->goal->addr, sizeof(spec.addr));
    return tunnel_dial_start(s->base, &spec, on_dialled, s, &s->dial);
}

/* ---- beginning and end -------------------------------------------------------------------------------------------- */

static struct stream *stream_new(struct event_base *base, const struct stream_goal *goal,
                                 const struct stream_calls *calls)
{
    struct stream *s = malloc(sizeof(*s));

    if (!s)
        return NULL;
    *s = (struct stream){.base = base, .goal = goal, .calls = *calls, .near = -1, .far = {.fd = -1}};
    rpc_frames_init(&s->frames);
    return s;
}

int stream_from_near(struct event_base *base, const struct identity *own, const struct stream_goal *goal, int near,
                     const struct stream_calls *calls, struct stream **ret)
{
    CLEANUP(stream_destroy) struct stream *s = stream_new(base, goal, calls);
    int r;

    socket_reset_at_close(near, true); /* wherever it closes, who is there knows that nothing was taken */
    if (!s) {
        close(near);
        return err_raise(-ENOMEM);
    }
    s->near = near;
    s->requests = RELAY_OUT;
    r = goal->peer ? dial_peer(s, own) : connect_here(s, &s->far.fd);
    if (r < 0)
        return err_pass(r);
    *ret = s;
    s = NULL;
    return 0;
}

int stream_from_far(struct event_base *base, const struct stream_goal *goal, struct tunnel_end *far,
                    const struct stream_calls *calls, struct stream **ret)
{
    CLEANUP(stream_destroy) struct stream *s = stream_new(base, goal, calls);
    int r;

    if (!s) {
        tunnel_end_clear(far);
        return err_raise(-ENOMEM);
    }
    s->far = *far;
    s->requests = RELAY_BACK;
    r = connect_here(s, &s->near);
    if (r < 0)
        return err_pass(r);
    *ret = s;
    s = NULL;
    return 0;
}

void stream_destroy(struct stream **s)
{
    if (!*s)
        return;
    tunnel_dial_cancel(&(*s)->dial);
    event_clear(&(*s)->on_connected);
    relay_destroy(&(*s)->relay);
    feeding_destroy(&(*s)->feeding);
    cleanup_close(&(*s)->near);
    tunnel_end_clear(&(*s)->far);
    free(*s);
    *s = NULL;
}

void stream_figures(const struct stream *s, uint64_t now_ms, struct rpc_figures *ret)
{
    rpc_frames_figures(&s->frames, now_ms, ret);
    if (s->feeding)
        feeding_as_carried(s->feeding, ret);
}
