#include "tests/lib/http_lab.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { PATIENCE_S = 20 };

int lab_listen(uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &n), 0);
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

static bool has(const struct lab_client *c, const char *text)
{
    return memmem(c->got, c->n_got, text, strlen(text)) != NULL;
}

static void take(struct lab_client *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = evbuffer_get_length(in);

    c->got = realloc(c->got, c->n_got + n + 1);
    assert_non_null(c->got);
    evbuffer_remove(in, c->got + c->n_got, n);
    c->n_got += n;
    c->got[c->n_got] = '\0';
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    struct lab_client *c = ctx;

    (void)bev;
    take(c);
    if (c->until && has(c, c->until))
        event_base_loopbreak(c->base);
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    struct lab_client *c = ctx;

    if (what & BEV_EVENT_CONNECTED)
        return;
    (void)bev;
    take(c);
    c->closed = true;
    event_base_loopbreak(c->base);
}

void lab_connect(struct lab_client *c, struct event_base *base, uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};

    *c = (struct lab_client){.base = base, .got = calloc(1, 1)};
    c->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    assert_non_null(c->bev);
    bufferevent_setcb(c->bev, on_read, NULL, on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    assert_int_equal(bufferevent_socket_connect(c->bev, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

void lab_send_bytes(struct lab_client *c, const void *buf, size_t n)
{
    bufferevent_write(c->bev, buf, n);
}

void lab_send(struct lab_client *c, const char *text)
{
    lab_send_bytes(c, text, strlen(text));
}

static void on_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    *(bool *)ctx = true;
}

/* One round of the loop; fails after PATIENCE_S without the event that is waited for. */
static struct event *begin_patience(struct event_base *base, bool *late)
{
    struct timeval tv = {.tv_sec = PATIENCE_S};
    struct event *ev = evtimer_new(base, on_late, late);

    *late = false;
    event_add(ev, &tv);
    return ev;
}

void lab_until_closed(struct lab_client *c)
{
    bool late;
    struct event *patience = begin_patience(c->base, &late);

    c->until = NULL;
    while (!c->closed && !late)
        event_base_loop(c->base, EVLOOP_ONCE);
    event_free(patience);
    if (!c->closed)
        fail_msg("the server did not close; it said: %s", c->got);
}

void lab_until(struct lab_client *c, const char *text)
{
    bool late;
    struct event *patience = begin_patience(c->base, &late);

    c->until = text;
    while (!has(c, text) && !c->closed && !late)
        event_base_loop(c->base, EVLOOP_ONCE);
    c->until = NULL;
    event_free(patience);
    if (!has(c, text))
        fail_msg("\"%s\" did not come, but: %s", text, c->got);
}

void lab_until_true(struct event_base *base, const bool *flag)
{
    bool late;
    struct event *patience = begin_patience(base, &late);

    while (!*flag && !late)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(patience);
    assert_true(*flag);
}

static char *dechunk(const char *p)
{
    char *out = calloc(1, strlen(p) + 1), *to = out;

    for (;;) {
        char *end;
        size_t n = strtoul(p, &end, 16);

        if (!n || end == p)
            return out;
        p = end + 2;
        if (strlen(p) < n)
            n = strlen(p);
        memcpy(to, p, n);
        to += n;
        p += n + 2;
    }
}

char *lab_body(const struct lab_client *c)
{
    const char *text = c->got, *end = strstr(text, "\r\n\r\n");

    if (!end)
        return strdup("");
    return strcasestr(text, "Transfer-Encoding: chunked\r\n") ? dechunk(end + 4) : strdup(end + 4);
}

void lab_stop_reading(struct lab_client *c)
{
    bufferevent_disable(c->bev, EV_READ);
}

void lab_start_reading(struct lab_client *c)
{
    bufferevent_enable(c->bev, EV_READ);
}

void lab_close(struct lab_client *c)
{
    if (c->bev)
        bufferevent_free(c->bev);
    free(c->got);
    c->bev = NULL;
    c->got = NULL;
}

char *lab_ask(struct event_base *base, uint16_t port, const char *request)
{
    struct lab_client c;
    char *text;

    lab_connect(&c, base, port);
    lab_send(&c, request);
    lab_until_closed(&c);
    text = strdup(c.got);
    lab_close(&c);
    return text;
}
