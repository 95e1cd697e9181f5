/* Private to http*.c: what a server and its connections know of one another. */
#ifndef CARAVAN_CONTROLLER_HTTP_CONN_H
#define CARAVAN_CONTROLLER_HTTP_CONN_H

#include <event2/util.h>
#include <netinet/in.h>
#include <sys/queue.h>

#include "controller/http.h"

struct bufferevent;
struct evbuffer;
struct event;
struct evconnlistener;
struct http_conn;

enum { HTTP_LISTENERS_MAX = 8, HTTP_TABLES_MAX = 8 };

struct http_server {
    struct event_base *base;
    struct http_limits limits;
    struct http_errors errors;
    struct tls *tls; /* NULL: none */
    struct {
        const struct http_route *route;
        void *ctx;
    } table[HTTP_TABLES_MAX];
    size_t n_tables;
    struct evconnlistener *listener[HTTP_LISTENERS_MAX];
    size_t n_listeners;
    struct event *accept_again; /* after the process ran out of descriptors */
    size_t n_conns;
    size_t body_bytes;             /* held by all connections */
    TAILQ_HEAD(, http_conn) conns; /* oldest first */
};

enum http_conn_state {
    CONN_HEAD = 1, /* awaits or reads a head */
    CONN_BODY,
    CONN_BUSY,  /* with a handler; input waits */
    CONN_FLUSH, /* the last answer goes out */
    CONN_LINGER /* said our last; a close now could wipe it out on its way (RST), so input is drained a while */
};

enum http_exchange_state { EXCHANGE_NONE, EXCHANGE_OPEN, EXCHANGE_STREAM, EXCHANGE_DONE, EXCHANGE_BROKEN };

struct http_exchange {
    struct http_conn *conn;
    enum http_exchange_state state;
    struct http_head *head; /* NULL: the request was not valid */
    const struct http_route *route;
    void *route_ctx;
    char *arg;
    const char *rest; /* in head->path */
    char request_id[HTTP_REQUEST_ID_MAX];
    char sender[PROTO_KEY_MAX];
    struct evbuffer *body;
    struct evbuffer *fields; /* of the answer */
    bool is_head, chunked, keep_alive, full;
    int64_t left; /* of a streamed answer of known length; -1: unknown */
    void (*gone)(void *ctx);
    void (*drained)(void *ctx);
    void *ctx;
};

struct http_conn {
    TAILQ_ENTRY(http_conn) link;
    struct http_server *server;
    struct bufferevent *bev;
    struct event *deadline, *turn;
    struct in6_addr peer; /* IPv4 is mapped; all zero: a socket in the file system */
    bool proven;          /* a request was let in that not everybody may make */
    enum http_conn_state state;
    bool begun; /* the deadline of this head runs */
    size_t scanned;
    uint64_t body_left;
    struct http_chunks chunks;
    size_t charged; /* of server->body_bytes */
    struct http_exchange x;
};

/* fd: consumed. On failure the connection is simply not there. */
void http_conn_accept(struct http_server *s, evutil_socket_t fd, const struct in6_addr *peer);
void http_conn_close(struct http_conn *c);
/* Finds the route of x, whose head is there. Returns false where x is answered already. */
bool http_admit(struct http_server *s, struct http_exchange *x);

/* An answer's words. */
const char *http_status_text(int status);
void http_exchange_set_arg(struct http_exchange *x, char *arg /* consumed */);
/* Its http_request_id, from the head that is there. */
void http_exchange_name(struct http_exchange *x);

#endif
