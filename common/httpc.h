/* An HTTP/1.1 client on libevent: for the gateway (towards coordinators), agents (health of their own coordinator) and
 * the command line. Streams bodies; a request can be given up at any time, which closes its connection. That closes as well
 * behind each answer, unless the request names a place (common/httpc_place.h). */
#ifndef CARAVAN_COMMON_HTTPC_H
#define CARAVAN_COMMON_HTTPC_H

#include <stddef.h>
#include <stdint.h>

struct bufferevent;
struct event_base;
struct httpc_place;
struct httpc_request;

/* How a connection is made secure; common/tls.h has one. What speaks plain HTTP alone need not load OpenSSL for it. */
struct httpc_secure {
    /* fd: a connection that stands, the result's then; NULL: no memory. BEV_EVENT_CONNECTED ends the handshake; callbacks are
     * deferred. */
    struct bufferevent *(*connect)(void *ctx, struct event_base *base, int fd, const char *host);
    int (*failure)(void *ctx, struct bufferevent *bev); /* after BEV_EVENT_ERROR: a negative errno */
    void *ctx;
};

/* Makes the connection in place of TCP to host and port: through the rank tunnel. */
struct httpc_dialer {
    /* Calls done once from the loop, never before it returns: fd (the request's then) or a negative errno. ctx: borrowed for
     * this call. handle: not NULL, valid until close. 0 or negative errno (neither done nor close is then called). */
    int (*dial)(void *ctx, struct event_base *base, void (*done)(void *arg, int fd_or_errno), void *arg, void **handle);
    /* What speaks over fd, which it consumes; its callbacks are deferred, and it is a filter on a socket's bufferevent. NULL: no
     * memory. Where this is NULL itself: plain bytes. */
    struct bufferevent *(*wrap)(void *handle, struct event_base *base, int fd);
    /* What the connection's end is, of which the socket says r: a negative errno, or 0 for one in good order. Only this tells an
     * answer that was cut from one that is whole. */
    int (*failure)(void *handle, int r);
    /* The request is over, behind its socket: once, whatever became of it; also from inside done, and before it, which is
     * then not called. */
    void (*close)(void *handle);
    void *ctx;
};

struct httpc_header {
    const char *name;
    const char *value;
};

struct httpc_spec {
    struct httpc_place *place; /* where it goes, in place of host to dialer and connect_timeout_ms; or NULL */
    const char *host;          /* IP literal or name */
    uint16_t port;
    const char
        *unix_path; /* a socket in the file system in place of host and port, which are then named only; or NULL */
    const struct httpc_secure *secure; /* borrowed for the request's life; NULL: plain */
    const struct httpc_dialer *dialer; /* borrowed during httpc_start; NULL: TCP, or unix_path */
    const char *method;
    const char *target;                /* path and query */
    const struct httpc_header *header; /* Host, Content-Length and Connection are made here */
    size_t n_headers;
    const void *body; /* borrowed during httpc_start */
    size_t n_body_bytes;
    uint32_t connect_timeout_ms; /* for each address, or the whole of a dial; 0: 5000 */
    uint32_t idle_timeout_ms;    /* no byte for so long; 0: never */
    size_t max_body_bytes;       /* of the answer, where it is not streamed to `data`; 0: 16 MiB */
};

struct httpc_callbacks {
    /* Once, with the status line and headers; header: borrowed. */
    void (*head)(void *ctx, int status, const struct httpc_header *header, size_t n_headers);
    /* Each piece of the (dechunked) body as it comes. borrowed. */
    void (*data)(void *ctx, const void *buf, size_t n_bytes);
    /* Exactly once, unless httpc_cancel came first: r = 0 complete, else negative errno (-ECONNREFUSED, -ECONNRESET,
     * -ETIMEDOUT, -EPROTO, ...; with secure: those of its failure). The request is gone when it returns. */
    void (*done)(void *ctx, int r);
    void *ctx;
};

/* 0 or negative errno (done is then not called). ret: borrowed handle, valid until done or httpc_cancel. */
int httpc_start(struct event_base *base, const struct httpc_spec *spec, const struct httpc_callbacks *cb,
                struct httpc_request **ret);
/* No callback comes after it. NULL is fine; sets *r to NULL. */
void httpc_cancel(struct httpc_request **r);
/* Back-pressure: stops and resumes reading of the answer. */
void httpc_pause(struct httpc_request *r);
void httpc_resume(struct httpc_request *r);

#endif
