#include "agent/rank_sockets.h"

#include <arpa/inet.h>
#include <string.h>

#include "agent/endpoint.h"

static bool make_end(const char *addr, uint16_t port, struct procfs_end *ret)
{
    *ret = (struct procfs_end){.port = port};
    if (inet_pton(AF_INET, addr, ret->addr) == 1)
        return true;
    ret->v6 = true;
    return inet_pton(AF_INET6, addr, ret->addr) == 1;
}

bool rank_sockets_of_worker(struct rank_sockets *r, const char *addr, uint16_t port)
{
    *r = (struct rank_sockets){.role = UNIT_WORKER};
    return make_end(addr, port, &r->own);
}

static bool parse_end(const char *text, size_t n, struct procfs_end *ret)
{
    char addr[PROTO_ADDR_MAX];
    uint16_t port;

    return endpoint_parse(text, n, addr, &port) && make_end(addr, port, ret);
}

static void take_endpoints(struct rank_sockets *r, const char *list, size_t n)
{
    const char *end = list + n;

    while (list < end && r->n_endpoints < PROTO_RANKS_MAX) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t n_one = (size_t)((comma ? comma : end) - list);

        if (parse_end(list, n_one, &r->endpoint[r->n_endpoints].end))
            r->n_endpoints++;
        list += n_one + 1;
    }
}

void rank_sockets_of_coordinator(struct rank_sockets *r, const char *cmdline, size_t n_bytes)
{
    const char *end = cmdline + n_bytes, *nul;
    bool is_list = false;

    *r = (struct rank_sockets){.role = UNIT_COORDINATOR};
    for (const char *arg = cmdline; arg < end; arg = nul + 1) {
        nul = memchr(arg, '\0', (size_t)(end - arg));
        if (!nul)
            return; /* cut off: an endpoint may be, too */
        if (is_list)
            take_endpoints(r, arg, (size_t)(nul - arg));
        is_list = !strcmp(arg, "--rpc");
    }
}

bool rank_sockets_need_v6(const struct rank_sockets *r)
{
    bool v6 = r->own.v6;

    for (size_t i = 0; i < r->n_endpoints; i++)
        v6 = v6 || r->endpoint[i].end.v6;
    for (size_t i = 0; i < r->n_far; i++)
        v6 = v6 || r->far[i].v6;
    return v6;
}

bool rank_sockets_need_left(const struct rank_sockets *r)
{
    for (size_t i = 0; i < r->n_endpoints; i++)
        for (size_t k = 0; k < RANK_STREAMS_MAX; k++)
            if (r->endpoint[i].stream[k].n_missing)
                return true;
    return false;
}

void rank_sockets_begin(struct rank_sockets *r)
{
    r->n_far = r->n_accepted = 0;
    r->unread_bytes = r->waiting_bytes = 0;
    r->retransmits = false;
    for (size_t i = 0; i < r->n_endpoints; i++)
        for (size_t k = 0; k < RANK_STREAMS_MAX; k++) {
            struct rank_stream *stream = &r->endpoint[i].stream[k];

            stream->open = stream->closed = stream->left = false;
        }
}

void rank_sockets_add_far(struct rank_sockets *r, const char *addr, uint16_t port)
{
    if (r->n_far < PROTO_RANKS_MAX && make_end(addr, port, &r->far[r->n_far]))
        r->n_far++;
}

/* (one that is nobody's any more sends what it has left, and concerns nobody) */
static void take_far(struct rank_sockets *r, const struct procfs_socket *s)
{
    const struct procfs_end *end = r->role == UNIT_WORKER ? &s->local : &s->remote;

    if (!s->retransmits || !s->inode || (s->state != PROCFS_TCP_ESTABLISHED && s->state != PROCFS_TCP_CLOSE_WAIT))
        return;
    for (size_t i = 0; i < r->n_far; i++)
        r->retransmits = r->retransmits || procfs_end_equal(end, &r->far[i]);
}

/* A worker serves one client at a time. Another one's connection stands in its queue, unread for as long as that lasts:
 * that is no sign of anything, unless nobody is being served. */
static void take_workers(struct rank_sockets *r, const struct procfs_socket *s)
{
    if (s->state != PROCFS_TCP_ESTABLISHED || !procfs_end_equal(&s->local, &r->own))
        return;
    if (s->inode) {
        r->n_accepted++;
        r->unread_bytes += s->unread_bytes;
        r->retransmits = r->retransmits || s->retransmits;
    } else {
        r->waiting_bytes += s->unread_bytes;
    }
}

/* NULL: none of that port, or none is free (port 0). */
static struct rank_stream *find_stream(struct rank_endpoint *e, uint16_t port)
{
    for (size_t i = 0; i < RANK_STREAMS_MAX; i++)
        if (e->stream[i].port == port)
            return &e->stream[i];
    return NULL;
}

static void take_stream(struct rank_sockets *r, struct rank_endpoint *e, const struct procfs_socket *s)
{
    struct rank_stream *stream = find_stream(e, s->local.port);

    switch (s->state) {
    case PROCFS_TCP_ESTABLISHED:
    case PROCFS_TCP_CLOSE_WAIT:
        if (!s->inode)
            return; /* nobody's any more */
        r->retransmits = r->retransmits || s->retransmits;
        if (!stream)
            stream = find_stream(e, 0);
        if (!stream)
            return;
        stream->port = s->local.port;
        stream->open = true;
        stream->closed = s->state == PROCFS_TCP_CLOSE_WAIT;
        return;
    case PROCFS_TCP_FIN_WAIT1:
    case PROCFS_TCP_FIN_WAIT2:
    case PROCFS_TCP_TIME_WAIT:
        if (stream)
            stream->left = true;
        return;
    }
}

void rank_sockets_take(struct rank_sockets *r, const struct procfs_socket *s)
{
    if (r->role == UNIT_WORKER)
        take_workers(r, s);
    for (size_t i = 0; i < r->n_endpoints; i++)
        if (procfs_end_equal(&s->remote, &r->endpoint[i].end))
            take_stream(r, &r->endpoint[i], s);
    take_far(r, s);
}

/* A stream that the other side has reset leaves the table. It counts when it was there twice in a row while the
 * coordinator served, has been missing twice since, and was not closed by the coordinator itself (one that puts its model
 * to sleep does): the table is read while it changes, and a load makes connections for moments. */
static bool stream_is_closed(struct rank_stream *stream, bool listening)
{
    if (!stream->port)
        return false;
    if (stream->open) {
        stream->n_missing = 0;
        stream->n_served = listening && stream->n_served < 2 ? stream->n_served + 1 : stream->n_served;
        return stream->closed;
    }
    if (stream->left || stream->n_served < 2) {
        *stream = (struct rank_stream){0};
        return false;
    }
    stream->n_missing = stream->n_missing < 2 ? stream->n_missing + 1 : 2;
    return stream->n_missing == 2;
}

void rank_sockets_end(struct rank_sockets *r, bool listening, struct rank_figures *ret)
{
    *ret = (struct rank_figures){.retransmits = r->retransmits,
                                 .unread_bytes = r->n_accepted ? r->unread_bytes : r->waiting_bytes};
    for (size_t i = 0; i < r->n_endpoints; i++)
        for (size_t k = 0; k < RANK_STREAMS_MAX; k++)
            ret->closed_streams += stream_is_closed(&r->endpoint[i].stream[k], listening);
}
