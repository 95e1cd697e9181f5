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
#include "common/event_clear.h"
#include "common/relay_private.h"
#include "common/socket_reset.h"

const char *relay_end_name(enum relay_end end)
{
    static const char *const names[] = {
        [RELAY_DONE] = "done",     [RELAY_RESET] = "reset", [RELAY_CUT] = "cut",
        [RELAY_FORGED] = "forged", [RELAY_SPENT] = "spent",
    };

    return names[end];
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

/* A relay's sockets are closed with a reset from the start on: whoever kills the process ends its streams as whoever destroys
 * the relay. */
static void close_socket(int *fd, bool reset)
{
    if (*fd < 0)
        return;
    socket_reset_at_close(*fd, reset);
    close(*fd);
    *fd = -1;
}

static void stop(struct relay *r, bool reset)
{
    for (size_t i = 0; i < RELAY_DIRECTIONS; i++) {
        event_clear(&r->way[i].on_readable);
        event_clear(&r->way[i].on_writable);
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

    if (calls->sent && n && !w->untold)
        calls->sent(calls->ctx, w->direction, n);
}

/* Nothing is ready any more. What is sealed moves to the front only where the rest of its record would not fit. */
static void make_room(struct way *w)
{
    size_t n = w->raw_end - w->raw;

    w->ready_in = w->buf;
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

bool relay_wait_for(struct way *w, struct event *ev)
{
    if (event_add(ev, NULL) == 0)
        return true;
    end(w->relay, RELAY_RESET, ENOMEM);
    return false;
}

/* False: not all of it was taken, and it waits, or the relay has ended. */
static bool send_all(struct way *w)
{
    while (w->ready < w->ready_end) {
        ssize_t n = send(w->out, w->ready_in + w->ready, w->ready_end - w->ready, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            end(w->relay, RELAY_RESET, errno);
            return false;
        }
        if (n < 0) {
            event_del(w->on_readable);
            relay_wait_for(w, w->on_writable);
            return false;
        }
        w->ready += (size_t)n;
        if (w->work != SEAL)
            tell_sent(w, (size_t)n);
    }
    tell_sent(w, w->n_sealed);
    w->n_sealed = 0;
    w->untold = false;
    return true;
}

static void read_on(struct way *w)
{
    make_room(w);
    if (w->ending)
        pass_end(w);
    else
        relay_wait_for(w, w->on_readable);
}

/* Sends what is ready, and goes on as far as that leads without waiting. */
static void send_ready(struct way *w)
{
    while (send_all(w)) {
        switch (w->relay->calls.filter.judge ? relay_filter_next(w) : RELAY_READ) {
        case RELAY_SEND:
            continue;
        case RELAY_READ:
            read_on(w);
            return;
        case RELAY_WAIT:
        case RELAY_GONE:
            return;
        }
    }
}

static void writable(evutil_socket_t fd, short what, void *arg)
{
    struct way *w = arg;

    (void)fd;
    (void)what;
    if (relay_is_filtered(w))
        relay_filter_turn(w);
    send_ready(w);
}

/* ---- in ----------------------------------------------------------------------------------------------------------- */

void relay_tell_came(struct way *w, const uint8_t *data, size_t n)
{
    const struct relay_calls *calls = &w->relay->calls;

    if (calls->came && n)
        calls->came(calls->ctx, w->direction, data, n);
}

size_t relay_head_bytes(const struct way *w)
{
    return w->work == SEAL ? SEAL_HEAD_BYTES : 0;
}

bool relay_make_ready(struct way *w, enum seal_kind kind, size_t n)
{
    w->ready = 0;
    w->ready_end = n;
    if (w->work != SEAL)
        return true;
    if (seal_record(w->seal, kind, w->buf, n) != 0) {
        end(w->relay, RELAY_SPENT, 0);
        return false;
    }
    w->n_sealed = n;
    w->ready_end = n + SEAL_OVERHEAD_BYTES;
    return true;
}

/* It goes out next, unless it is to be judged first. */
static void take_plain(struct way *w)
{
    if (relay_is_filtered(w))
        relay_filter_take(w);
    else
        relay_tell_came(w, w->buf + w->ready, w->ready_end - w->ready);
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
        take_plain(w);
        return true;
    case SEAL:
        relay_tell_came(w, w->buf + at, n);
        return relay_make_ready(w, SEAL_DATA, n);
    case OPEN:
        w->raw_end += n;
        if (!open_raw(w))
            return false;
        take_plain(w);
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
        return relay_make_ready(w, SEAL_END, 0);
    case OPEN:
        break;
    }
    end(w->relay, RELAY_CUT, 0);
    return false;
}

static void readable(evutil_socket_t fd, short what, void *arg)
{
    struct way *w = arg;
    size_t at = w->work == SEAL ? SEAL_HEAD_BYTES : w->raw_end; /* CARRY: 0 */
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
    w->ready_in = w->buf;
    if (!w->buf || !w->on_readable || !w->on_writable || event_add(w->on_readable, NULL) < 0)
        return err_raise(-ENOMEM);
    return 0;
}

static int make_insertion_buffer(struct relay *r, size_t data_max)
{
    assert(data_max >= RELAY_ANSWER_MAX);
    r->inserted_size = data_max;
    r->inserted = malloc(data_max);
    return r->inserted ? 0 : err_raise(-ENOMEM);
}

static int prepare_socket(int fd)
{
    int on = 1;

    if (evutil_make_socket_nonblocking(fd) < 0)
        return err_raise(-errno);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails where it is no TCP, which has no delay */
    socket_reset_at_close(fd, true);
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
    if (res == 0 && calls->filter.judge)
        res = make_insertion_buffer(r, with->data_max);
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
    free((*r)->inserted);
    seal_destroy(&(*r)->seal);
    seal_destroy(&(*r)->open);
    free(*r);
    *r = NULL;
}
