/* The HTTP server: listeners, connections, routes and answers, on plain libevent buffers. One loop, one thread.
 *
 * Not evhttp: 2.1 ends the process (event_errx) on a byte that comes while an answer is awaited with reading on, and
 * without reading on a departed client goes unseen; it takes two Content-Length fields and a chunk size of 0x2.
 *
 * Bounded: connections in all and of one address, head, body, all bodies together, time for TLS, head and body, output to
 * a client that does not read. A connection on which nothing was let in yet makes room, the oldest first, when all are taken:
 * whoever holds connections open without a key never keeps out those who have one.
 * An exchange is one request and its answer. A handler answers at once or keeps the exchange and answers later; it is
 * gone when http_reply, http_end or http_abort was called, or when `gone` was. */
#ifndef CARAVAN_CONTROLLER_HTTP_H
#define CARAVAN_CONTROLLER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "controller/http_strict.h"

struct event_base;
struct http_server;
struct http_exchange;
struct http_route;
struct tls;

enum { HTTP_OUTPUT_HIGH = 1024 * 1024, HTTP_OUTPUT_LOW = 256 * 1024, HTTP_OUTPUT_MAX = 8 * 1024 * 1024 };
enum { HTTP_REQUEST_ID_MAX = 129 };
enum { HTTP_FULL = 1 /* of http_write: pause your source until `drained` */ };
enum { HTTP_LISTEN_E_IN_USE = 1, HTTP_LISTEN_E_BAD_ADDR };

struct http_limits {
    size_t connections;    /* 0: 1024 */
    size_t per_address;    /* of those, from one address (of IPv6: one /64); 0: any */
    size_t body_bytes;     /* of one request; 0: 64 MiB */
    size_t body_all_bytes; /* of all requests together; 0: 256 MiB */
    uint32_t head_ms;      /* from the first byte, or from the connection on, to the end of the head; 0: 10000 */
    uint32_t body_ms;      /* for the whole body; 0: 120000 */
    uint32_t idle_ms;      /* between requests; 0: 60000 */
    uint32_t write_ms;     /* without a byte taken by the client; 0: 60000 */
};

/* Who may use a route: the least scope that a request's key must have. */
enum http_access {
    HTTP_FOR_ADMIN = 1,
    HTTP_FOR_READ,
    HTTP_FOR_INFER,
    HTTP_FOR_ALL /* without a key too; such a request must have no body */
};

struct http_route {
    const char *method; /* NULL ends a table. HEAD is answered by the GET route, without a body */
    /* "/api/tasks/:id": the segment with ':', one at most, takes any, see http_arg. "/upstream/:model/" and '*': what follows
     * that segment is taken too, see http_rest */
    const char *pattern;
    void (*handle)(void *ctx, struct http_exchange *x);
    enum http_access access;
};

/* The answer to what no route takes, and to what is no valid request (x is then without method and path). */
struct http_errors {
    /* status: 404, 405, or http_outcome_status. Must reply. */
    void (*refuse)(void *ctx, struct http_exchange *x, int status, const char *text);
    /* Called when the head is there and nothing of the body is. route: what will handle it, NULL: nothing does. Returns true
     * where it has replied. Its work is to know who asks: head is its to wipe secrets from. May be NULL. */
    bool (*before)(void *ctx, struct http_exchange *x, struct http_head *head, const struct http_route *route);
    void *ctx;
};

/* limits, errors: copied. 0, -ENOMEM. */
int http_server_new(struct event_base *base, const struct http_limits *limits, const struct http_errors *errors,
                    struct http_server **ret);
/* Closes every connection; `gone` is called for each unanswered exchange. */
void http_server_destroy(struct http_server **s);
/* routes: borrowed for the server's life. 0, -ENOMEM. */
int http_server_route(struct http_server *s, const struct http_route *routes, void *ctx);
/* fd: a bound stream socket, consumed on success. 0, negative errno. */
int http_server_listen_fd(struct http_server *s, int fd);
/* From now on connections begin with TLS. tls: borrowed for the server's life. */
void http_server_tls(struct http_server *s, struct tls *tls);
/* Ends what goes on and is let in no more: a body on its way, an answer that has begun. Who awaits his answer gets it: it may
 * be the one to this very change. keeps: sender as http_set_sender said. Not out of a handler. */
void http_server_review(struct http_server *s,
                        bool (*keeps)(void *ctx, const char *sender, const struct http_route *route), void *ctx);
size_t http_server_connections(const struct http_server *s);

/* "127.0.0.1:8080", "[::1]:8080". ret_fd: bound and listening. 0, HTTP_LISTEN_E_*, negative errno. */
int http_bind(const char *addr_port, int *ret_fd);
/* Can only this host reach it? fd: a bound socket. */
bool http_is_local(int fd);

/* ---- the request ---- */
const struct http_head *http_head(const struct http_exchange *x); /* borrowed while the exchange lives */
const char *http_path(const struct http_exchange *x);             /* "" where the head was not valid */
bool http_is(const struct http_exchange *x, const char *method);
/* The client's address without its port, "local" for a socket in the file system. Returns buf. */
char *http_peer(const struct http_exchange *x, char *buf, size_t size);
/* Who asks, for http_server_review; `before` says it. Cut to what fits. */
void http_set_sender(struct http_exchange *x, const char *sender);
/* By which the request is found again in logs, here and at its client: its X-Request-Id, where that is 1 to 128 letters, digits
 * and "-._:=+/@", else one that is made. "" where the head was not valid. */
const char *http_request_id(const struct http_exchange *x);
const char *http_arg(const struct http_exchange *x); /* the decoded segment that ':' took; "" without one */
/* What '*' took, as sent, from the '/' on; NULL without one. Borrowed while the exchange lives. */
const char *http_rest(const struct http_exchange *x);
/* Decoded value of a query parameter into buf. 0; 1: not there; -1: malformed or too long. */
int http_query(const struct http_exchange *x, const char *name, char *buf, size_t size);
/* Is there a parameter that names (ends with NULL) lacks? buf: the first such, as sent, cut to fit. */
bool http_query_unknown(const struct http_exchange *x, const char *const *names, char *buf, size_t size);
const char *http_body(const struct http_exchange *x, size_t *ret_n); /* borrowed */

/* ---- the answer ---- */
/* A field of the answer to come; before http_reply or http_begin. What is not valid in a field is dropped. */
void http_add_field(struct http_exchange *x, const char *name, const char *value);
/* The connection ends with this answer; before http_reply or http_begin. */
void http_close_after(struct http_exchange *x);
/* The whole answer. type NULL: none. */
void http_reply(struct http_exchange *x, int status, const char *type, const void *body, size_t n);
/* A streamed answer of n_bytes, or chunked (closed at the end for HTTP/1.0) where n_bytes is -1. */
void http_begin(struct http_exchange *x, int status, const char *type, int64_t n_bytes);
/* 0; HTTP_FULL. Over HTTP_OUTPUT_MAX the client is dropped in the next turn of the loop. */
int http_write(struct http_exchange *x, const void *buf, size_t n);
void http_end(struct http_exchange *x);
/* Ends a begun answer so that the client sees it is not whole. */
void http_abort(struct http_exchange *x);
/* gone: the client left first; x is invalid from then on. drained: output is under HTTP_OUTPUT_LOW again after a
 * HTTP_FULL. Either may be NULL. */
void http_watch(struct http_exchange *x, void (*gone)(void *ctx), void (*drained)(void *ctx), void *ctx);

#endif
