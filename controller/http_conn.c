/* One connection: reads a request, hands it over, writes the answer, reads the next. Nothing is freed and no callback of a
 * handler is made inside a call of that handler: both wait for the connection's own `turn`. */
#include "controller/http_conn.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/bev_write.h"
#include "common/cleanup.h"
#include "common/tls.h"

enum { INPUT_MAX = 128 * 1024, LINGER_MS = 1000 };

static void set_deadline(struct http_conn *c, uint32_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_add(c->deadline, &tv);
}

static size_t n_to_write(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_output(c->bev));
}

static void exchange_clear(struct http_conn *c)
{
    struct http_exchange *x = &c->x;

    c->server->body_bytes -= c->charged;
    c->charged = 0;
    free(x->head);
    free(x->arg);
    if (x->body)
        evbuffer_free(x->body);
    if (x->fields)
        evbuffer_free(x->fields);
    memset(x, 0, sizeof(*x));
    x->conn = c;
}

void http_conn_close(struct http_conn *c)
{
    void (*gone)(void *) = c->x.state == EXCHANGE_OPEN || c->x.state == EXCHANGE_STREAM ? c->x.gone : NULL;

    c->x.state = EXCHANGE_DONE;
    if (gone)
        gone(c->x.ctx);
    exchange_clear(c);
    TAILQ_REMOVE(&c->server->conns, c, link);
    c->server->n_conns--;
    event_free(c->deadline);
    event_free(c->turn);
    bufferevent_free(c->bev);
    free(c);
}

/* ---- reading ---- */

static struct http_exchange *begin_exchange(struct http_conn *c)
{
    c->state = CONN_BUSY;
    event_del(c->deadline);
    c->x.state = EXCHANGE_OPEN;
    return &c->x;
}

/* What cannot be understood is answered once, and nothing after it is read. */
static void refuse(struct http_conn *c, int status, const char *text)
{
    struct http_exchange *x = begin_exchange(c);

    x->keep_alive = false;
    c->server->errors.refuse(c->server->errors.ctx, x, status, text);
}

/* The whole body comes to lie in one piece here, where a lack of memory for it can still be answered. */
static void hand_over(struct http_conn *c)
{
    struct http_exchange *x;

    if (evbuffer_get_length(c->x.body) && !evbuffer_pullup(c->x.body, -1)) {
        refuse(c, 503, "out of memory");
        return;
    }
    x = begin_exchange(c);
    x->route->handle(x->route_ctx, x);
}

/* May it go on? Without it no byte of a body is read: whom we do not know must not make us hold 64 MiB. */
static bool admit(struct http_conn *c, bool has_body)
{
    struct http_exchange *x = begin_exchange(c);

    /* where it is refused, nobody takes the body off the connection */
    x->keep_alive = x->head->keep_alive && !has_body;
    if (!http_admit(c->server, x))
        return false;
    x->keep_alive = x->head->keep_alive;
    c->proven = c->proven || x->route->access != HTTP_FOR_ALL;
    return true;
}

/* Takes room for n more bytes of body. */
static bool charge(struct http_conn *c, size_t n)
{
    const struct http_limits *l = &c->server->limits;

    if (c->charged + n > l->body_bytes) {
        refuse(c, 413, "the request's body is too large");
        return false;
    }
    if (c->server->body_bytes + n > l->body_all_bytes) {
        refuse(c, 503, "too many large requests at once: try again");
        return false;
    }
    c->charged += n;
    c->server->body_bytes += n;
    return true;
}

static void flush(struct http_conn *c)
{
    if (!c->server->tls)
        bev_write_now(c->bev);
}

static void continue_expected(struct http_conn *c)
{
    if (!c->x.head->expect_continue)
        return;
    bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    flush(c);
}

/* The head is read: is there a body? */
static void begin_body(struct http_conn *c)
{
    struct http_head *h = c->x.head;
    bool has_body = h->chunked || h->length;

    c->x.is_head = strcmp(h->method, "HEAD") == 0;
    c->x.body = evbuffer_new();
    if (!c->x.body) {
        refuse(c, 503, "out of memory");
        return;
    }
    if (!admit(c, has_body))
        return;
    if (!has_body) {
        hand_over(c);
        return;
    }
    if (h->length > c->server->limits.body_bytes || c->x.route->access == HTTP_FOR_ALL) {
        refuse(c, 413, "the request's body is too large");
        return;
    }
    c->x.state = EXCHANGE_NONE;
    c->state = CONN_BODY;
    c->body_left = h->length;
    memset(&c->chunks, 0, sizeof(c->chunks));
    set_deadline(c, c->server->limits.body_ms);
    continue_expected(c);
}

/* One empty line before a request is allowed: some clients send one after a body. */
static void skip_empty_line(struct evbuffer *in)
{
    char two[2];

    if (evbuffer_copyout(in, two, 2) == 2 && two[0] == '\r' && two[1] == '\n')
        evbuffer_drain(in, 2);
}

static bool read_head(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = 0, len = 0;
    const char *buf;
    int r;

    if (!c->scanned)
        skip_empty_line(in);
    n = evbuffer_get_length(in);
    n = n < HTTP_REQUEST_HEAD_MAX ? n : HTTP_REQUEST_HEAD_MAX;
    if (!n)
        return false;
    if (!c->begun) {
        c->begun = true;
        set_deadline(c, c->server->limits.head_ms);
    }
    buf = (const char *)evbuffer_pullup(in, (ev_ssize_t)n);
    r = buf ? http_head_find(buf, n, &c->scanned, &len) : HTTP_E_TOO_LARGE;
    if (r == HTTP_E_MORE)
        return false;
    if (!r)
        r = http_head_parse(buf, len, &c->x.head);
    if (r) {
        refuse(c, r < 0 ? 503 : http_outcome_status(r), r < 0 ? "out of memory" : http_outcome_text(r));
        return false;
    }
    evbuffer_drain(in, len);
    begin_body(c);
    return true;
}

static bool read_counted_body(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = evbuffer_get_length(in);

    n = n < c->body_left ? n : (size_t)c->body_left;
    if (!charge(c, n))
        return false;
    if (evbuffer_remove_buffer(in, c->x.body, n) != (int)n) {
        refuse(c, 503, "out of memory");
        return false;
    }
    c->body_left -= n;
    if (c->body_left)
        return false;
    hand_over(c);
    return true;
}

static bool read_chunked_body(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_iovec piece;

    while (evbuffer_peek(in, -1, NULL, &piece, 1) > 0 && piece.iov_len) {
        const char *data = NULL;
        size_t used, n;
        int r = http_chunks_read(&c->chunks, piece.iov_base, piece.iov_len, &used, &data, &n);

        if (n && !charge(c, n))
            return false;
        if (n && evbuffer_add(c->x.body, data, n) < 0) {
            refuse(c, 503, "out of memory");
            return false;
        }
        evbuffer_drain(in, used);
        if (r == HTTP_E_END) {
            hand_over(c);
            return true;
        }
        if (r && r != HTTP_E_MORE) {
            refuse(c, http_outcome_status(r), http_outcome_text(r));
            return false;
        }
    }
    return false;
}

/* While an answer is awaited, reading goes on, or a client that leaves would not be seen. What it sends ahead waits; who sends
 * more than anybody needs loses that, and the connection with the answer. (A read watermark is no way: libevent 2.1.12 calls
 * back without end at one, and under TLS does not always go on reading afterwards.) */
static void bound_input(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);

    if (evbuffer_get_length(in) < INPUT_MAX)
        return;
    c->x.keep_alive = false;
    evbuffer_drain(in, evbuffer_get_length(in));
}

/* Returns whether there may be more to do with what was read. */
static bool read_some(struct http_conn *c)
{
    switch (c->state) {
    case CONN_HEAD:
        return read_head(c);
    case CONN_BODY:
        return c->x.head->chunked ? read_chunked_body(c) : read_counted_body(c);
    case CONN_BUSY:
        bound_input(c);
        return false;
    case CONN_FLUSH:
    case CONN_LINGER:
        evbuffer_drain(bufferevent_get_input(c->bev), evbuffer_get_length(bufferevent_get_input(c->bev)));
        return false;
    }
    return false;
}

static void run(struct http_conn *c)
{
    while (read_some(c))
        ;
}

/* ---- the ends of an exchange ---- */

static void linger(struct http_conn *c)
{
    c->state = CONN_LINGER;
    if (c->server->tls)
        tls_say_end(c->bev);
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
    set_deadline(c, LINGER_MS);
}

static void next_request(struct http_conn *c)
{
    exchange_clear(c);
    c->state = CONN_HEAD;
    c->scanned = 0;
    c->begun = false;
    set_deadline(c, c->server->limits.idle_ms);
    run(c);
}

/* The answer is made. What follows it waits until it is out: who asks ahead and takes nothing holds one answer, not many. */
static void go_on(struct http_conn *c)
{
    if (!c->x.keep_alive)
        c->state = CONN_FLUSH;
    if (n_to_write(c))
        return;
    if (c->x.keep_alive)
        next_request(c);
    else
        linger(c);
}

/* Something of the output is with the client, or on its way there. */
static void on_written(struct http_conn *c)
{
    struct http_exchange *x = &c->x;

    if (x->state == EXCHANGE_DONE && (c->state == CONN_BUSY || c->state == CONN_FLUSH)) {
        go_on(c);
    } else if (x->full && x->state == EXCHANGE_STREAM && n_to_write(c) <= HTTP_OUTPUT_LOW) {
        x->full = false;
        if (x->drained)
            x->drained(x->ctx);
    }
}

/* Whatever a handler wrote in one go goes out in one go. */
static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
    struct http_conn *c = ctx;

    (void)fd;
    (void)what;
    if (c->x.state != EXCHANGE_BROKEN)
        flush(c);
    if (c->x.state == EXCHANGE_BROKEN || n_to_write(c) > HTTP_OUTPUT_MAX)
        http_conn_close(c);
    else
        on_written(c);
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    (void)bev;
    run(ctx);
}

static void on_write(struct bufferevent *bev, void *ctx)
{
    struct http_conn *c = ctx;

    (void)bev;
    flush(c); /* nothing is left, or nearly: the next answer is written at once again */
    on_written(c);
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    struct http_conn *c = ctx;

    (void)bev;
    if (!(what & BEV_EVENT_CONNECTED)) /* end of file, error or a client that takes nothing: it is gone in each case */
        http_conn_close(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *ctx)
{
    struct http_conn *c = ctx;

    (void)fd;
    (void)what;
    if ((c->state == CONN_HEAD && c->begun) || c->state == CONN_BODY)
        refuse(c, 408, "the request did not come in time");
    else
        http_conn_close(c);
}

/* What fails here is let go by who asked for it. */
static bool equip(struct http_conn *c, struct http_server *s, evutil_socket_t fd)
{
    c->bev = s->tls ? tls_accept(s->tls, s->base, fd) : bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->deadline = c->bev ? evtimer_new(s->base, on_deadline, c) : NULL;
    c->turn = c->deadline ? event_new(s->base, -1, 0, on_turn, c) : NULL;
    if (c->turn)
        return true;
    if (c->deadline)
        event_free(c->deadline);
    if (c->bev)
        bufferevent_free(c->bev);
    else
        close(fd);
    return false;
}

void http_conn_accept(struct http_server *s, evutil_socket_t fd, const struct in6_addr *peer)
{
    struct timeval write_tv = {.tv_sec = s->limits.write_ms / 1000,
                               .tv_usec = (suseconds_t)(s->limits.write_ms % 1000) * 1000};
    struct http_conn *c = calloc(1, sizeof(*c));
    int one = 1;

    if (!c) {
        close(fd);
        return;
    }
    *c = (struct http_conn){.server = s, .state = CONN_HEAD, .peer = *peer};
    c->x.conn = c;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* else a stream's small writes wait for ACKs */
    if (!equip(c, s, fd)) {
        free(c);
        return;
    }
    TAILQ_INSERT_TAIL(&s->conns, c, link);
    s->n_conns++;
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_WRITE, HTTP_OUTPUT_LOW, 0);
    bufferevent_set_timeouts(c->bev, NULL, &write_tv);
    set_deadline(c, s->limits.head_ms);
    c->begun = false;
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    flush(c); /* nothing, and from now on nothing goes by itself */
}
