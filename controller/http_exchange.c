/* What handlers see of a request, and how they answer it. Nothing here frees or calls back: what an answer means for its
 * connection is done in the connection's next turn (http_conn.c). */
#include <arpa/inet.h>
#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/core/ids.h"
#include "common/crypto.h"
#include "common/socket_reset.h"
#include "controller/http_conn.h"

const struct http_head *http_head(const struct http_exchange *x)
{
    return x->head;
}

const char *http_path(const struct http_exchange *x)
{
    return x->head ? x->head->path : "";
}

bool http_is(const struct http_exchange *x, const char *method)
{
    return x->head && strcmp(x->head->method, method) == 0;
}

void http_exchange_set_arg(struct http_exchange *x, char *arg)
{
    free(x->arg);
    x->arg = arg;
}

char *http_peer(const struct http_exchange *x, char *buf, size_t size)
{
    const struct in6_addr *peer = &x->conn->peer;

    snprintf(buf, size, "local");
    if (IN6_IS_ADDR_V4MAPPED(peer))
        inet_ntop(AF_INET, peer->s6_addr + 12, buf, (socklen_t)size);
    else if (!IN6_IS_ADDR_UNSPECIFIED(peer))
        inet_ntop(AF_INET6, peer, buf, (socklen_t)size);
    return buf;
}

void http_set_sender(struct http_exchange *x, const char *sender)
{
    snprintf(x->sender, sizeof(x->sender), "%s", sender);
}

const char *http_arg(const struct http_exchange *x)
{
    return x->arg ? x->arg : "";
}

const char *http_rest(const struct http_exchange *x)
{
    return x->rest;
}

/* It goes into logs, headers and other people's tools: what could mean something there is not taken. */
static bool is_request_id(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:=+/@";
    size_t n = strspn(text, letters);

    return n && n < HTTP_REQUEST_ID_MAX && !text[n];
}

void http_exchange_name(struct http_exchange *x)
{
    const char *said = http_head_field(x->head, "X-Request-Id");
    struct id128 made;

    if (said && is_request_id(said)) {
        snprintf(x->request_id, sizeof(x->request_id), "%s", said);
        return;
    }
    made = crypto_random_id();
    snprintf(x->request_id, sizeof(x->request_id), "%s", ID128(&made));
}

const char *http_request_id(const struct http_exchange *x)
{
    return x->request_id;
}

int http_query(const struct http_exchange *x, const char *name, char *buf, size_t size)
{
    const char *p = x->head ? x->head->query : "";
    size_t n_name = strlen(name);

    while (*p) {
        size_t n = strcspn(p, "&"), n_key = strcspn(p, "=&");

        if (n_key == n_name && strncmp(p, name, n_name) == 0) {
            const char *value = p + n_key + (p[n_key] == '=');

            return http_percent_decode(value, (size_t)(p + n - value), true, buf, size) ? 0 : -1;
        }
        p += n + (p[n] == '&');
    }
    return 1;
}

static bool is_listed(const char *key, size_t n, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == n && strncmp(key, *names, n) == 0)
            return true;
    return false;
}

bool http_query_unknown(const struct http_exchange *x, const char *const *names, char *buf, size_t size)
{
    const char *p = x->head ? x->head->query : "";

    while (*p) {
        size_t n = strcspn(p, "&"), n_key = strcspn(p, "=&");

        if (n && !is_listed(p, n_key, names)) {
            snprintf(buf, size, "%.*s", (int)n_key, p);
            return true;
        }
        p += n + (p[n] == '&');
    }
    return false;
}

const char *http_body(const struct http_exchange *x, size_t *ret_n)
{
    *ret_n = x->body ? evbuffer_get_length(x->body) : 0;
    return *ret_n ? (const char *)evbuffer_pullup(x->body, -1) : "";
}

void http_add_field(struct http_exchange *x, const char *name, const char *value)
{
    if (strpbrk(value, "\r\n") || strpbrk(name, "\r\n: "))
        return;
    if (!x->fields)
        x->fields = evbuffer_new();
    if (x->fields)
        evbuffer_add_printf(x->fields, "%s: %s\r\n", name, value);
}

void http_close_after(struct http_exchange *x)
{
    x->keep_alive = false;
}

static void write_date(struct evbuffer *out)
{
    char text[64];
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    evbuffer_add_printf(out, "Date: %s\r\n", text);
}

static void write_head(struct http_exchange *x, int status, const char *type, int64_t length)
{
    struct evbuffer *out = bufferevent_get_output(x->conn->bev);

    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
    write_date(out);
    if (type)
        evbuffer_add_printf(out, "Content-Type: %s\r\n", type);
    if (x->fields)
        evbuffer_add_buffer(out, x->fields);
    if (length >= 0)
        evbuffer_add_printf(out, "Content-Length: %" PRId64 "\r\n", length);
    else if (x->chunked)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    if (!x->keep_alive)
        evbuffer_add_printf(out, "Connection: close\r\n");
    else if (x->head->http_1_0)
        evbuffer_add_printf(out, "Connection: keep-alive\r\n");
    evbuffer_add(out, "\r\n", 2);
}

static void finish(struct http_exchange *x, enum http_exchange_state state)
{
    x->state = state;
    x->gone = NULL;
    x->drained = NULL;
    event_active(x->conn->turn, EV_TIMEOUT, 0);
}

void http_reply(struct http_exchange *x, int status, const char *type, const void *body, size_t n)
{
    assert(x->state == EXCHANGE_OPEN);
    write_head(x, status, type, (int64_t)n);
    if (!x->is_head && n)
        bufferevent_write(x->conn->bev, body, n);
    finish(x, EXCHANGE_DONE);
}

void http_begin(struct http_exchange *x, int status, const char *type, int64_t n_bytes)
{
    assert(x->state == EXCHANGE_OPEN);
    x->state = EXCHANGE_STREAM;
    x->left = n_bytes;
    x->chunked = n_bytes < 0 && x->head && !x->head->http_1_0;
    if (n_bytes < 0 && !x->chunked)
        x->keep_alive = false; /* HTTP/1.0 sees the end by the close */
    write_head(x, status, type, n_bytes);
    event_active(x->conn->turn, EV_TIMEOUT, 0);
}

static void break_off(struct http_exchange *x)
{
    x->keep_alive = false;
    if (x->chunked || x->left > 0) { /* the end is missing: a plain close says it */
        finish(x, EXCHANGE_DONE);
        return;
    }
    socket_reset_at_close(bufferevent_getfd(x->conn->bev), true); /* only a reset does */
    finish(x, EXCHANGE_BROKEN);
}

int http_write(struct http_exchange *x, const void *buf, size_t n)
{
    struct evbuffer *out = bufferevent_get_output(x->conn->bev);

    if (x->state != EXCHANGE_STREAM || x->is_head || !n)
        return 0;
    if (x->left >= 0) {
        n = n < (uint64_t)x->left ? n : (size_t)x->left;
        x->left -= (int64_t)n;
    }
    if (x->chunked)
        evbuffer_add_printf(out, "%zx\r\n", n);
    evbuffer_add(out, buf, n);
    if (x->chunked)
        evbuffer_add(out, "\r\n", 2);
    event_active(x->conn->turn, EV_TIMEOUT, 0);
    x->full = x->full || evbuffer_get_length(out) > HTTP_OUTPUT_HIGH;
    return x->full ? HTTP_FULL : 0;
}

void http_end(struct http_exchange *x)
{
    assert(x->state == EXCHANGE_STREAM);
    if (x->left > 0 && !x->is_head) {
        break_off(x);
        return;
    }
    if (x->chunked && !x->is_head)
        bufferevent_write(x->conn->bev, "0\r\n\r\n", 5);
    finish(x, EXCHANGE_DONE);
}

void http_abort(struct http_exchange *x)
{
    assert(x->state == EXCHANGE_STREAM);
    break_off(x);
}

void http_watch(struct http_exchange *x, void (*gone)(void *ctx), void (*drained)(void *ctx), void *ctx)
{
    x->gone = gone;
    x->drained = drained;
    x->ctx = ctx;
}
