/* evhttp's client was looked at and left: it tells no errno, hands on a body that was cut short as if it were whole when no
 * length was given, takes two Content-Lengths and a chunk size of 0x2, and cannot be paused. */
#include "common/httpc.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/http_parse.h"
#include "common/httpc_head.h"

enum { CONNECT_TIMEOUT_MS = 5000 };

struct httpc_request {
    struct event_base *base;
    struct httpc_callbacks cb;
    struct addrinfo *addresses;
    struct addrinfo *next_address; /* to be tried if this one fails */
    struct bufferevent *bev;
    const struct httpc_secure *secure; /* NULL: plain */
    char *host;                        /* whom that must prove */
    struct httpc_dialer dialer;
    void *dialled;         /* its handle; NULL: we connect ourselves */
    bool secured;          /* bev is what it has made */
    struct evbuffer *head; /* what is sent, kept until a connection stands */
    struct event *timer;   /* connect, then idle */
    struct http_parser *parser;
    uint32_t connect_timeout_ms, idle_timeout_ms;
    size_t max_body_bytes, n_body_bytes;
    bool connected, paused;
    bool ended; /* the connection is over; what lies in the buffer is still to be handed on */
    int end_result;
    bool *gone; /* set while callbacks are being called: they may cancel us */
};

static void request_free(struct httpc_request **request)
{
    struct httpc_request *r = *request;

    if (!r)
        return;
    if (r->gone)
        *r->gone = true;
    if (r->bev)
        bufferevent_free(r->bev);
    if (r->dialled)
        r->dialer.close(r->dialled);
    if (r->head)
        evbuffer_free(r->head);
    if (r->timer)
        event_free(r->timer);
    if (r->addresses)
        freeaddrinfo(r->addresses);
    free(r->host);
    http_parser_destroy(&r->parser);
    free(r);
    *request = NULL;
}

/* Last in its callers. */
static void finish(struct httpc_request *r, int result)
{
    struct httpc_callbacks cb = r->cb;

    request_free(&r);
    cb.done(cb.ctx, result);
}

static void arm_timer(struct httpc_request *r, uint32_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    if (ms)
        event_add(r->timer, &tv);
    else
        event_del(r->timer);
}

/* ---- the answer ------------------------------------------------------------------------------------------------- */

static int outcome_to_errno(int outcome)
{
    switch (outcome) {
    case HTTP_E_MALFORMED:
        return -EPROTO;
    case HTTP_E_TOO_LARGE:
        return -EMSGSIZE;
    case HTTP_E_CUT:
        return -ECONNRESET;
    }
    return outcome;
}

/* Hands one part on. 0: go on; 1: the answer is whole; negative errno. The request may be gone after it. */
static int hand_on(struct httpc_request *r, const struct http_part *part)
{
    switch (part->kind) {
    case HTTP_PART_HEAD:
        if (r->cb.head) /* our struct httpc_header is the parser's struct http_field */
            r->cb.head(r->cb.ctx, part->status, (const struct httpc_header *)part->field, part->n_fields);
        return 0;
    case HTTP_PART_DATA:
        r->n_body_bytes += part->n_bytes;
        if (r->max_body_bytes && r->n_body_bytes > r->max_body_bytes)
            return -EMSGSIZE;
        if (r->cb.data)
            r->cb.data(r->cb.ctx, part->data, part->n_bytes);
        return 0;
    case HTTP_PART_END:
        return 1;
    case HTTP_PART_NONE:
        return 0;
    }
    return 0;
}

_Static_assert(sizeof(struct httpc_header) == sizeof(struct http_field) &&
                   offsetof(struct httpc_header, value) == offsetof(struct http_field, value),
               "hand_on gives one as the other");

/* Parses the piece of input that lies together in memory; also where there is none, for an end that needs no more bytes. As
 * hand_on. */
static int take_piece(struct httpc_request *r, struct evbuffer *input, const bool *gone)
{
    size_t n = evbuffer_get_contiguous_space(input), used = 0;
    const char *piece = n ? (const char *)evbuffer_pullup(input, (ev_ssize_t)n) : "";
    struct http_part part;
    int result;

    do {
        size_t n_step;

        result = http_parse(r->parser, piece + used, n - used, &n_step, &part);
        used += n_step;
        result = result ? outcome_to_errno(result) : hand_on(r, &part);
        if (*gone)
            return 0;
    } while (!result && part.kind != HTTP_PART_NONE && !r->paused);
    evbuffer_drain(input, used);
    return result;
}

static int result_at_end(const struct httpc_request *r)
{
    if (r->end_result < 0)
        return r->end_result;
    return http_parse_eof(r->parser) == 0 ? 0 : -ECONNRESET;
}

static void on_readable(struct bufferevent *bev, void *arg)
{
    struct httpc_request *r = arg;
    struct evbuffer *input = bufferevent_get_input(bev);
    bool gone = false;
    int result = 0;

    if (r->paused)
        return;
    r->gone = &gone;
    arm_timer(r, r->idle_timeout_ms);
    do {
        result = take_piece(r, input, &gone);
        if (gone)
            return;
    } while (!result && !r->paused && evbuffer_get_length(input));
    r->gone = NULL;
    if (!result && (!r->ended || r->paused))
        return;
    if (!result)
        result = result_at_end(r);
    finish(r, result < 0 ? err_raise(result) : 0);
}

void httpc_pause(struct httpc_request *r)
{
    r->paused = true;
    if (!r->connected)
        return;
    bufferevent_disable(r->bev, EV_READ);
    event_del(r->timer);
}

void httpc_resume(struct httpc_request *r)
{
    if (!r->paused)
        return;
    r->paused = false;
    if (!r->connected)
        return;
    arm_timer(r, r->idle_timeout_ms);
    if (!r->ended)
        bufferevent_enable(r->bev, EV_READ);
    /* What came before the pause lies in the buffer, and nothing else would wake us for it. */
    bufferevent_trigger(r->bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

/* ---- the connection --------------------------------------------------------------------------------------------- */

static int connect_next(struct httpc_request *r);

static void on_event(struct bufferevent *bev, short what, void *arg);

/* The connection stands; a new bufferevent takes it over for the handshake, for which there is as much time again. */
static int make_secure(struct httpc_request *r)
{
    int fd = bufferevent_getfd(r->bev);
    struct bufferevent *bev;

    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    bev = fd < 0 ? NULL : r->secure->connect(r->secure->ctx, r->base, fd, r->host);
    if (!bev) {
        if (fd >= 0)
            close(fd);
        return err_raise(-ENOMEM);
    }
    bufferevent_free(r->bev);
    r->bev = bev;
    r->secured = true;
    bufferevent_setcb(bev, on_readable, NULL, on_event, r);
    bufferevent_enable(bev, EV_WRITE);
    arm_timer(r, r->connect_timeout_ms);
    return 0;
}

static void on_connected(struct httpc_request *r)
{
    int on = 1;

    setsockopt(bufferevent_getfd(r->bev), IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof(on)); /* else a stream costs 36 ms more */
    if (r->secure && !r->secured) {
        if (make_secure(r) < 0)
            finish(r, -ENOMEM);
        return;
    }
    r->connected = true;
    bufferevent_write_buffer(r->bev, r->head);
    if (!r->paused) {
        arm_timer(r, r->idle_timeout_ms);
        bufferevent_enable(r->bev, EV_READ);
    }
}

static int dial_failure(const struct httpc_request *r)
{
    return r->dialled ? r->dialer.failure(r->dialled) : 0;
}

/* The connection is over, in good order or not. */
static void on_end(struct httpc_request *r, int result)
{
    r->ended = true;
    r->end_result = result;
    if (r->paused && r->connected)
        return; /* deferred callbacks can bring the last bytes and the end in one go; httpc_resume hands on both */
    result = result_at_end(r);
    finish(r, result < 0 ? err_raise(result) : 0);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct httpc_request *r = arg;
    int error = EVUTIL_SOCKET_ERROR(), result;

    if (what & BEV_EVENT_CONNECTED) {
        on_connected(r);
        return;
    }
    if (r->secured && (what & BEV_EVENT_ERROR))
        error = -r->secure->failure(r->secure->ctx, bev);
    if (!r->connected && !r->secured && r->next_address && connect_next(r) == 0)
        return;
    if (r->connected && !r->secured && (what & BEV_EVENT_WRITING)) {
        /* It does not want the rest of our body; its reason (413) may be on the way, or reading will fail as well. */
        evbuffer_drain(bufferevent_get_output(bev), evbuffer_get_length(bufferevent_get_output(bev)));
        return;
    }
    result = dial_failure(r);
    if (!result && !(what & BEV_EVENT_EOF))
        result = error ? -error : -ECONNRESET;
    on_end(r, result);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct httpc_request *r = arg;

    (void)fd;
    (void)what;
    if (!r->connected && !r->secured && r->next_address && connect_next(r) == 0)
        return;
    finish(r, err_raise(-ETIMEDOUT));
}

static int connect_to(struct httpc_request *r, const struct addrinfo *address)
{
    if (r->bev)
        bufferevent_free(r->bev);
    /* Deferred: no callback comes out of our own calls. */
    r->bev = bufferevent_socket_new(r->base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!r->bev)
        return err_raise(-ENOMEM);
    bufferevent_setcb(r->bev, on_readable, NULL, on_event, r);
    if (bufferevent_socket_connect(r->bev, address->ai_addr, (int)address->ai_addrlen) < 0)
        return err_raise(errno ? -errno : -ECONNREFUSED);
    arm_timer(r, r->connect_timeout_ms);
    return 0;
}

/* Starts on the next address that can be tried at all. */
static int connect_next(struct httpc_request *r)
{
    int result = -ENXIO;

    while (r->next_address) {
        struct addrinfo *address = r->next_address;

        r->next_address = address->ai_next;
        result = connect_to(r, address);
        if (result == 0)
            return 0;
    }
    return err_pass(result);
}

/* ---- the request ------------------------------------------------------------------------------------------------ */

static int look_up(const struct httpc_spec *spec, struct addrinfo **ret)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    int r;

    snprintf(port, sizeof(port), "%u", spec->port);
    r = getaddrinfo(spec->host, port, &hints, ret);
    if (r == 0)
        return 0;
    return err_raise(r == EAI_MEMORY ? -ENOMEM : -ENXIO);
}

static int connect_unix(struct httpc_request *r, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const struct addrinfo address = {.ai_addr = (struct sockaddr *)&sa, .ai_addrlen = sizeof(sa)};
    int result;

    if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path) >= (int)sizeof(sa.sun_path))
        return err_raise(-ENAMETOOLONG);
    result = connect_to(r, &address);
    return result < 0 ? err_pass(result) : 0;
}

static void on_dialled(void *arg, int fd)
{
    struct httpc_request *r = arg;

    if (fd < 0) {
        finish(r, err_pass(fd));
        return;
    }
    r->bev = bufferevent_socket_new(r->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!r->bev) {
        close(fd);
        finish(r, err_raise(-ENOMEM));
        return;
    }
    bufferevent_setcb(r->bev, on_readable, NULL, on_event, r);
    on_connected(r);
}

static int dial(struct httpc_request *r, const struct httpc_dialer *dialer)
{
    int result;

    r->dialer = *dialer;
    result = dialer->dial(dialer->ctx, r->base, on_dialled, r, &r->dialled);
    if (result < 0) {
        r->dialled = NULL; /* whatever it has set it to */
        return err_pass(result);
    }
    arm_timer(r, r->connect_timeout_ms);
    return 0;
}

static int connect_first(struct httpc_request *r, const struct httpc_spec *spec)
{
    int result;

    if (spec->dialer)
        return err_fold(dial(r, spec->dialer));
    if (spec->unix_path)
        return err_fold(connect_unix(r, spec->unix_path));
    result = look_up(spec, &r->addresses);
    if (result < 0)
        return err_pass(result);
    r->next_address = r->addresses;
    return err_fold(connect_next(r));
}

int httpc_start(struct event_base *base, const struct httpc_spec *spec, const struct httpc_callbacks *cb,
                struct httpc_request **ret)
{
    CLEANUP(request_free) struct httpc_request *request = NULL;
    int r;

    if (!httpc_head_is_valid(spec))
        return err_raise(-EINVAL);
    request = calloc(1, sizeof(*request));
    if (!request)
        return err_raise(-ENOMEM);
    request->base = base;
    request->secure = spec->secure;
    request->host = strdup(spec->host);
    request->cb = *cb;
    request->connect_timeout_ms = spec->connect_timeout_ms ? spec->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    request->idle_timeout_ms = spec->idle_timeout_ms;
    request->max_body_bytes = spec->max_body_bytes;
    request->head = evbuffer_new();
    request->timer = event_new(base, -1, 0, on_timer, request);
    if (!request->host || !request->head || !request->timer)
        return err_raise(-ENOMEM);
    r = http_parser_new(strcmp(spec->method, "HEAD") == 0, &request->parser);
    if (r < 0)
        return err_pass(r);
    r = httpc_head_write(request->head, spec);
    if (r < 0)
        return err_pass(r);
    r = connect_first(request, spec);
    if (r < 0)
        return err_pass(r);
    *ret = request;
    request = NULL;
    return 0;
}

void httpc_cancel(struct httpc_request **r)
{
    request_free(r);
}
