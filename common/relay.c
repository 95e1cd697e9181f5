#include "common/relay.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"

/* What a direction does with the bytes of its input. */
enum work { CARRY, SEAL, OPEN };

/* One direction. In its buffer: what goes out, [ready, ready_end), and, of a direction that opens, behind it what is still
 * sealed, [raw, raw_end). Nothing is read while something goes out. */
struct way {
    struct relay *relay;
    enum relay_direction direction;
    enum work work;
    struct seal *seal; /* of the relay; NULL with CARRY */
    int in, out;
    struct event *on_readable, *on_writable;
    uint8_t *buf;
    size_t size;
    size_t ready, ready_end;
    size_t raw, raw_end;
    size_t n_record; /* bytes of the record that raw begins with, as far as they are known */
    size_t n_sealed; /* plain bytes in the record that goes out */
    bool ending;     /* the input has ended: behind what is ready comes FIN */
    bool over;
};

struct relay {
    struct way way[RELAY_DIRECTIONS];
    struct relay_calls calls;
    int near, far;
    struct seal *seal, *open;
};

const char *relay_end_name(enum relay_end end)
{
    static const char *const names[] = {
        [RELAY_DONE] = "done",     [RELAY_RESET] = "reset", [RELAY_CUT] = "cut",
        [RELAY_FORGED] = "forged", [RELAY_SPENT] = "spent",
    };

    return names[end];
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

/* Whether the kernel, when it closes fd, lets the other end know that this is not all, and keeps nothing. That is how a
 * relay's sockets are from the start: whoever kills the process ends its streams as whoever destroys the relay. */
static void close_with_reset(int fd, bool reset)
{
    const struct linger how = {.l_onoff = reset, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how));
}

static void close_socket(int *fd, bool reset)
{
    if (*fd < 0)
        return;
    close_with_reset(*fd, reset);
    close(*fd);
    *fd = -1;
}

static void free_event(struct event **ev)
{
    if (*ev)
        event_free(*ev);
    *ev = NULL;
}

static void stop(struct relay *r, bool reset)
{
    for (size_t i = 0; i < RELAY_DIRECTIONS; i++) {
        free_event(&r->way[i].on_readable);
        free_event(&r->way[i].on_writable);
    }
    close_socket(&r->near, reset);
    close_socket(&r->far, reset);
}

/* The relay may be gone when this returns: its callers touch it no more. */
static void end(struct relay *r, enum relay_end how, int error)
{
    stop(r, how != RELAY_DONE);
    r->calls.ended(r->calls.ctx, how, error);
}

/* ---- out ---------------------------------------------------------------------------------------------------------- */

static void tell_sent(struct way *w, size_t n)
{
    const struct relay_calls *calls = &w->relay->calls;

    if (calls->sent && n)
        calls->sent(calls->ctx, w->direction, n);
}

/* Nothing is ready any more. What is sealed moves to the front only where the rest of its record would not fit. */
static void make_room(struct way *w)
{
    size_t n = w->raw_end - w->raw;

    w->ready = w->ready_end = 0;
    if (w->raw && (!n || w->size - w->raw < w->n_record)) {
        memmove(w->buf, w->buf + w->raw, n);
        w->raw = 0;
        w->raw_end = n;
    }
}

/* All is out, and the input has ended. */
static void pass_end(struct way *w)
{
    struct relay *r = w->relay;

    event_del(w->on_readable);
    w->over = true;
    if (r->way[RELAY_OUT].over && r->way[RELAY_BACK].over)
        end(r, RELAY_DONE, 0);
    else if (shutdown(w->out, SHUT_WR) < 0)
        end(r, RELAY_RESET, errno);
}

/* Costs nothing where it is waited for already. */
static void wait_for(struct way *w, struct event *ev)
{
    if (event_add(ev, NULL) < 0)
        end(w->relay, RELAY_RESET, ENOMEM);
}

/* Sends what is ready; waits where not all of it was taken. */
static void send_ready(struct way *w)
{
    while (w->ready < w->ready_end) {
        ssize_t n = send(w->out, w->buf + w->ready, w->ready_end - w->ready, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            end(w->relay, RELAY_RESET, errno);
            return;
        }
        if (n < 0) {
            event_del(w->on_readable);
            wait_for(w, w->on_writable);
            return;
        }
        w->ready += (size_t)n;
        if (w->work != SEAL)
            tell_sent(w, (size_t)n);
    }
    tell_sent(w, w->n_sealed);
    w->n_sealed = 0;
    make_room(w);
    if (w->ending)
        pass_end(w);
    else
        wait_for(w, w->on_readable);
}

static void writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    send_ready(arg);
}

/* ---- in ----------------------------------------------------------------------------------------------------------- */

static void tell_came(struct way *w, size_t at, size_t n)
{
    const struct relay_calls *calls = &w->relay->calls;

    if (calls->came && n)
        calls->came(calls->ctx, w->direction, w->buf + at, n);
}

/* A record of the n bytes that lie behind the place for its head. */
static bool seal_ready(struct way *w, enum seal_kind kind, size_t n)
{
    if (seal_record(w->seal, kind, w->buf, n) != 0) {
        end(w->relay, RELAY_SPENT, 0);
        return false;
    }
    w->n_sealed = n;
    w->ready_end = n + SEAL_OVERHEAD_BYTES;
    return true;
}

/* Opens every whole record and moves their bytes together. False: the relay has ended. */
static bool open_raw(struct way *w)
{
    struct seal_opened o;
    int r = 0;

    while (!w->ending && (r = seal_open(w->seal, w->buf + w->raw, w->raw_end - w->raw, &o)) == 0) {
        size_t data = (size_t)(o.data - w->buf);

        if (w->ready == w->ready_end)
            w->ready = w->ready_end = data;
        else if (o.n_data)
            memmove(w->buf + w->ready_end, o.data, o.n_data);
        w->ready_end += o.n_data;
        w->raw += o.n_record;
        w->ending = o.kind == SEAL_END;
    }
    if (r == SEAL_E_MORE) {
        w->n_record = o.n_record;
    } else if (r || w->raw != w->raw_end) { /* nothing comes behind an end */
        end(w->relay, r < 0 || r == SEAL_E_SPENT ? RELAY_SPENT : RELAY_FORGED, 0);
        return false;
    }
    return true;
}

/* n bytes have come in at the place where they were read to. False: the relay has ended. */
static bool take(struct way *w, size_t at, size_t n)
{
    switch (w->work) {
    case CARRY:
        w->ready_end = n;
        tell_came(w, at, n);
        return true;
    case SEAL:
        tell_came(w, at, n);
        return seal_ready(w, SEAL_DATA, n);
    case OPEN:
        w->raw_end += n;
        if (!open_raw(w))
            return false;
        tell_came(w, w->ready, w->ready_end - w->ready);
        return true;
    }
    return false;
}

/* The input has ended. False: the relay has, too. */
static bool take_end(struct way *w)
{
    w->ending = true;
    switch (w->work) {
    case CARRY:
        return true;
    case SEAL:
        return seal_ready(w, SEAL_END, 0);
    case OPEN:
        break;
    }
    end(w->relay, RELAY_CUT, 0);
    return false;
}

static void readable(evutil_socket_t fd, short what, void *arg)
{
    struct way *w = arg;
    size_t at = w->work == SEAL ? SEAL_HEAD_BYTES : w->raw_end;
    size_t behind = w->work == SEAL ? SEAL_TAG_BYTES : 0;
    ssize_t n = recv(fd, w->buf + at, w->size - at - behind, 0);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        end(w->relay, RELAY_RESET, errno);
    else if (n ? take(w, at, (size_t)n) : take_end(w))
        send_ready(w);
}

/* ---- making it ---------------------------------------------------------------------------------------------------- */

static int way_init(struct way *w, struct event_base *base, size_t data_max)
{
    w->size = w->work == CARRY ? data_max : data_max + SEAL_OVERHEAD_BYTES;
    w->buf = malloc(w->size);
    w->on_readable = event_new(base, w->in, EV_READ | EV_PERSIST, readable, w);
    w->on_writable = event_new(base, w->out, EV_WRITE, writable, w);
    if (!w->buf || !w->on_readable || !w->on_writable || event_add(w->on_readable, NULL) < 0)
        return err_raise(-ENOMEM);
    return 0;
}

static int prepare_socket(int fd)
{
    int on = 1;

    if (evutil_make_socket_nonblocking(fd) < 0)
        return err_raise(-errno);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails where it is no TCP, which has no delay */
    close_with_reset(fd, true);
    return 0;
}

static void set_ways(struct relay *r, const struct relay_sockets *with)
{
    r->way[RELAY_OUT] = (struct way){.relay = r,
                                     .direction = RELAY_OUT,
                                     .work = with->seal ? SEAL : CARRY,
                                     .seal = with->seal,
                                     .in = with->near,
                                     .out = with->far};
    r->way[RELAY_BACK] = (struct way){.relay = r,
                                      .direction = RELAY_BACK,
                                      .work = with->open ? OPEN : CARRY,
                                      .seal = with->open,
                                      .in = with->far,
                                      .out = with->near};
}

int relay_new(struct event_base *base, const struct relay_sockets *with, const struct relay_calls *calls,
              struct relay **ret)
{
    CLEANUP(relay_destroy) struct relay *r = calloc(1, sizeof(*r));
    int res;

    assert(!with->seal == !with->open && with->data_max && with->data_max <= SEAL_DATA_MAX);
    if (!r)
        return err_raise(-ENOMEM);
    r->near = r->far = -1; /* the caller's until all is done */
    r->calls = *calls;
    set_ways(r, with);
    res = prepare_socket(with->near);
    if (res == 0)
        res = prepare_socket(with->far);
    for (size_t i = 0; res == 0 && i < RELAY_DIRECTIONS; i++)
        res = way_init(&r->way[i], base, with->data_max);
    if (res < 0)
        return err_pass(res);
    r->near = with->near;
    r->far = with->far;
    r->seal = with->seal;
    r->open = with->open;
    *ret = r;
    r = NULL;
    return 0;
}

void relay_destroy(struct relay **r)
{
    if (!*r)
        return;
    stop(*r, true);
    for (size_t i = 0; i < RELAY_DIRECTIONS; i++)
        free((*r)->way[i].buf);
    seal_destroy(&(*r)->seal);
    seal_destroy(&(*r)->open);
    free(*r);
    *r = NULL;
}
