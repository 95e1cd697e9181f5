#include "common/seal_bev.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "common/socket_reset.h"

static void end(struct seal_bev *s, enum seal_bev_end how)
{
    s->end = how;
    if (how != SEAL_BEV_DONE && s->broken)
        s->broken(s->ctx);
    bufferevent_trigger_event(s->bev, BEV_EVENT_READING | BEV_EVENT_EOF, BEV_TRIG_DEFER_CALLBACKS);
}

/* The next record, opened where it lies. Returns as seal_open; also SEAL_E_MORE for what is not there yet. */
static int next_record(struct seal_bev *s, struct evbuffer *in, struct seal_opened *ret)
{
    size_t n = evbuffer_get_contiguous_space(in);
    int r;

    *ret = (struct seal_opened){.n_record = SEAL_HEAD_BYTES};
    r = n < SEAL_HEAD_BYTES ? SEAL_E_MORE : seal_open(s->open, evbuffer_pullup(in, (ev_ssize_t)n), n, ret);
    while (r == SEAL_E_MORE && evbuffer_get_length(in) >= ret->n_record) {
        uint8_t *bytes = evbuffer_pullup(in, (ev_ssize_t)ret->n_record);

        if (!bytes)
            return -1;
        r = seal_open(s->open, bytes, ret->n_record, ret);
    }
    return r;
}

static enum seal_bev_end end_of(int r)
{
    return r == SEAL_E_BAD ? SEAL_BEV_FORGED : SEAL_BEV_FAILED;
}

static enum bufferevent_filter_result open_all(struct evbuffer *in, struct evbuffer *out, ev_ssize_t limit,
                                               enum bufferevent_flush_mode mode, void *ctx)
{
    struct seal_bev *s = ctx;
    bool any = false;

    (void)limit; /* what has come is no more than one read has given, and a record that waited for its rest */
    (void)mode;
    while (s->end == SEAL_BEV_OPEN) {
        struct seal_opened record;
        int r = next_record(s, in, &record);

        if (r == SEAL_E_MORE)
            break;
        if (!r && record.n_data && evbuffer_add(out, record.data, record.n_data) < 0)
            r = -1;
        if (r)
            end(s, end_of(r));
        else if (record.kind == SEAL_END)
            end(s, SEAL_BEV_DONE);
        any = any || (!r && record.n_data);
        if (!r)
            evbuffer_drain(in, record.n_record);
    }
    if (s->end != SEAL_BEV_OPEN)
        evbuffer_drain(in, evbuffer_get_length(in));
    return any ? BEV_OK : BEV_NEED_MORE;
}

static enum bufferevent_filter_result seal_all(struct evbuffer *in, struct evbuffer *out, ev_ssize_t limit,
                                               enum bufferevent_flush_mode mode, void *ctx)
{
    struct seal_bev *s = ctx;
    size_t n;

    (void)limit;
    (void)mode;
    while ((n = evbuffer_get_length(in))) {
        size_t n_data = n < s->data_max ? n : s->data_max;
        struct evbuffer_iovec room;
        uint8_t *record;

        if (evbuffer_reserve_space(out, (ev_ssize_t)(n_data + SEAL_OVERHEAD_BYTES), &room, 1) != 1)
            return BEV_ERROR;
        record = room.iov_base;
        evbuffer_remove(in, record + SEAL_HEAD_BYTES, n_data);
        if (seal_record(s->seal, SEAL_DATA, record, n_data)) {
            if (s->end == SEAL_BEV_OPEN)
                end(s, SEAL_BEV_FAILED);
            return BEV_ERROR;
        }
        room.iov_len = n_data + SEAL_OVERHEAD_BYTES;
        evbuffer_commit_space(out, &room, 1);
    }
    return BEV_OK;
}

struct bufferevent *seal_bev_new(struct seal_bev *s, struct event_base *base, int fd)
{
    struct bufferevent *socket;

    socket_reset_at_close(fd, true);
    socket = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!socket) {
        close(fd);
        return NULL;
    }
    s->bev =
        bufferevent_filter_new(socket, open_all, seal_all, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS, NULL, s);
    if (!s->bev) {
        bufferevent_free(socket);
        return NULL;
    }
    return s->bev;
}

void seal_bev_clear(struct seal_bev *s)
{
    seal_destroy(&s->seal);
    seal_destroy(&s->open);
}
