#include "controller/http.h"

#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/log.h"
#include "controller/http_conn.h"

enum {
    ACCEPT_PAUSE_MS = 200,
    LISTEN_BACKLOG = 4096 /* a flood of connections overflows less, or SYNs wait a second */
};

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } words[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].status == status)
            return words[i].text;
    return status < 400 ? "OK" : "Error";
}

int http_server_new(struct event_base *base, const struct http_limits *limits, const struct http_errors *errors,
                    struct http_server **ret)
{
    static const struct http_limits defaults = {
        .connections = 1024,
        .body_bytes = 64 * 1024 * 1024,
        .body_all_bytes = 256 * 1024 * 1024,
        .head_ms = 10000,
        .body_ms = 120000,
        .idle_ms = 60000,
        .write_ms = 60000,
    };
    struct http_server *s = calloc(1, sizeof(*s));
    struct http_limits *l;

    if (!s)
        return err_raise(-ENOMEM);
    *s = (struct http_server){.base = base, .limits = *limits, .errors = *errors};
    l = &s->limits;
    l->connections = l->connections ? l->connections : defaults.connections;
    l->body_bytes = l->body_bytes ? l->body_bytes : defaults.body_bytes;
    l->body_all_bytes = l->body_all_bytes ? l->body_all_bytes : defaults.body_all_bytes;
    l->head_ms = l->head_ms ? l->head_ms : defaults.head_ms;
    l->body_ms = l->body_ms ? l->body_ms : defaults.body_ms;
    l->idle_ms = l->idle_ms ? l->idle_ms : defaults.idle_ms;
    l->write_ms = l->write_ms ? l->write_ms : defaults.write_ms;
    TAILQ_INIT(&s->conns);
    *ret = s;
    return 0;
}

void http_server_destroy(struct http_server **server)
{
    struct http_server *s = *server;
    struct http_conn *c;

    if (!s)
        return;
    for (size_t i = 0; i < s->n_listeners; i++)
        evconnlistener_free(s->listener[i]);
    while ((c = TAILQ_FIRST(&s->conns)))
        http_conn_close(c);
    if (s->accept_again)
        event_free(s->accept_again);
    free(s);
    *server = NULL;
}

void http_server_tls(struct http_server *s, struct tls *tls)
{
    s->tls = tls;
}

/* Let in, and not for one answer that is being made. */
static bool goes_on(const struct http_conn *c)
{
    return c->state == CONN_BODY || (c->state == CONN_BUSY && c->x.state == EXCHANGE_STREAM);
}

void http_server_review(struct http_server *s,
                        bool (*keeps)(void *ctx, const char *sender, const struct http_route *route), void *ctx)
{
    struct http_conn *c, *next;

    for (c = TAILQ_FIRST(&s->conns); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (goes_on(c) && !keeps(ctx, c->x.sender, c->x.route))
            http_conn_close(c);
    }
}

size_t http_server_connections(const struct http_server *s)
{
    return s->n_conns;
}

/* ---- listening ---- */

/* An address of 16 bytes, IPv4 mapped; zero for any other family. */
static struct in6_addr address_of(const struct sockaddr *sa)
{
    struct in6_addr a = IN6ADDR_ANY_INIT;

    if (sa->sa_family == AF_INET6)
        return ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
    if (sa->sa_family == AF_INET) {
        a.s6_addr[10] = a.s6_addr[11] = 0xff;
        memcpy(a.s6_addr + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    }
    return a;
}

/* A host has a whole /64 of IPv6 to call from. */
static bool is_same_place(const struct in6_addr *a, const struct in6_addr *b)
{
    return memcmp(a, b, IN6_IS_ADDR_V4MAPPED(a) ? 16 : 8) == 0;
}

/* Did it say something that we have not read yet? */
static bool has_unread(struct http_conn *c)
{
    int n = 0;

    return ioctl(bufferevent_getfd(c->bev), FIONREAD, &n) == 0 && n > 0;
}

/* Somebody works on its answer. */
static bool is_served(const struct http_conn *c)
{
    return c->state == CONN_BUSY && c->x.state != EXCHANGE_DONE;
}

/* The oldest connection on which nothing was let in; peer: of those from there, NULL: of all. Passed over, where there is
 * another, is one that has just spoken or is to take its answer: many may be accepted before its turn comes, and it would be
 * out before it was heard. */
static struct http_conn *find_silent(struct http_server *s, const struct in6_addr *peer)
{
    struct http_conn *c, *oldest = NULL;

    TAILQ_FOREACH(c, &s->conns, link)
    {
        if (c->proven || is_served(c) || (peer && !is_same_place(&c->peer, peer)))
            continue;
        if (c->state != CONN_BUSY && !has_unread(c))
            return c;
        oldest = oldest ? oldest : c;
    }
    return oldest;
}

/* Whoever means to ask does so within a round trip; to push it out, a stranger must fill all places in that time. */
static bool make_room(struct http_server *s, const struct in6_addr *peer)
{
    struct http_conn *c = find_silent(s, peer);

    if (c)
        http_conn_close(c);
    return c;
}

static size_t count_from(const struct http_server *s, const struct in6_addr *peer)
{
    const struct http_conn *c;
    size_t n = 0;

    TAILQ_FOREACH(c, &s->conns, link)
    {
        n += is_same_place(&c->peer, peer);
    }
    return n;
}

static bool has_room(struct http_server *s, const struct in6_addr *peer)
{
    if (s->limits.per_address && count_from(s, peer) >= s->limits.per_address && !make_room(s, peer))
        return false;
    return s->n_conns < s->limits.connections || make_room(s, NULL);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int n, void *ctx)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                               "Connection: close\r\n\r\n";
    struct in6_addr peer = address_of(addr);
    struct http_server *s = ctx;

    (void)l;
    (void)n;
    if (has_room(s, &peer)) {
        http_conn_accept(s, fd, &peer);
        return;
    }
    if (!s->tls)
        (void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void on_accept_again(evutil_socket_t fd, short what, void *ctx)
{
    struct http_server *s = ctx;

    (void)fd;
    (void)what;
    for (size_t i = 0; i < s->n_listeners; i++)
        evconnlistener_enable(s->listener[i]);
}

/* Out of descriptors: the waiting connection stays readable, and without a pause the loop would spin on it. */
static void on_accept_error(struct evconnlistener *l, void *ctx)
{
    struct timeval tv = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
    struct http_server *s = ctx;

    if (make_room(s, NULL))
        return;
    log_warn("http.accept", "error=%s", LOG_STR(strerrordesc_np(EVUTIL_SOCKET_ERROR())));
    evconnlistener_disable(l);
    if (!s->accept_again)
        s->accept_again = evtimer_new(s->base, on_accept_again, s);
    if (s->accept_again)
        evtimer_add(s->accept_again, &tv);
}

int http_server_listen_fd(struct http_server *s, int fd)
{
    struct evconnlistener *l;

    if (s->n_listeners == HTTP_LISTENERS_MAX)
        return err_raise(-ENOSPC);
    if (evutil_make_socket_nonblocking(fd) < 0 || evutil_make_socket_closeonexec(fd) < 0)
        return err_raise(-errno);
    l = evconnlistener_new(s->base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, LISTEN_BACKLOG, fd);
    if (!l)
        return err_raise(errno ? -errno : -ENOMEM);
    evconnlistener_set_error_cb(l, on_accept_error);
    s->listener[s->n_listeners++] = l;
    return 0;
}

/* "HOST:PORT" into its halves, the brackets of an IPv6 literal dropped. */
static bool split_addr(const char *addr_port, char *host, size_t size, const char **ret_port)
{
    const char *colon = strrchr(addr_port, ':'), *from = addr_port;
    size_t n;

    if (!colon || !colon[1] || colon == addr_port)
        return false;
    n = (size_t)(colon - addr_port);
    if (*from == '[' && colon[-1] == ']') {
        from++;
        n -= 2;
    }
    if (!n || n >= size)
        return false;
    memcpy(host, from, n);
    host[n] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int bind_one(const struct addrinfo *ai, int *ret_fd)
{
    CLEANUP(cleanup_close) int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return err_raise(-errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return errno == EADDRINUSE      ? HTTP_LISTEN_E_IN_USE
               : errno == EADDRNOTAVAIL ? HTTP_LISTEN_E_BAD_ADDR
                                        : err_raise(-errno);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int http_bind(const char *addr_port, int *ret_fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *ai = NULL;
    char host[64];
    const char *port;
    int r;

    if (!split_addr(addr_port, host, sizeof(host), &port) || getaddrinfo(host, port, &hints, &ai) != 0)
        return HTTP_LISTEN_E_BAD_ADDR;
    r = bind_one(ai, ret_fd);
    freeaddrinfo(ai);
    return r < 0 ? err_pass(r) : r;
}

bool http_is_local(int fd)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof(ss);
    struct in6_addr a;

    if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0)
        return false;
    a = address_of((const struct sockaddr *)&ss);
    return ss.ss_family == AF_UNIX || IN6_IS_ADDR_LOOPBACK(&a) || (IN6_IS_ADDR_V4MAPPED(&a) && a.s6_addr[12] == 127);
}
