#include "agent/name_lookup.h"

#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { LOOK_MS = 20 };

/* What glibc's thread writes to. */
struct query {
    struct gaicb request;
    struct addrinfo hints;
    char host[NAME_LOOKUP_HOST_MAX];
};

struct name_lookup {
    struct query *query;
    struct event *on_look;
    name_looked_up *done;
    void *ctx;
};

/* One that cannot be called back is left to its thread: waiting for a silent name server would hold up the agent's end. */
static void query_free(struct query **q)
{
    if (!*q)
        return;
    if (gai_error(&(*q)->request) == EAI_INPROGRESS && gai_cancel(&(*q)->request) == EAI_NOTCANCELED)
        return;
    if ((*q)->request.ar_result)
        freeaddrinfo((*q)->request.ar_result);
    free(*q);
    *q = NULL;
}

void name_lookup_cancel(struct name_lookup **l)
{
    if (!*l)
        return;
    query_free(&(*l)->query);
    if ((*l)->on_look)
        event_free((*l)->on_look);
    free(*l);
    *l = NULL;
}

static size_t take_addresses(const struct addrinfo *list, char ret[NAME_LOOKUP_ADDRS_MAX][PROTO_ADDR_MAX])
{
    size_t n = 0;

    for (; list && n < NAME_LOOKUP_ADDRS_MAX; list = list->ai_next)
        if (getnameinfo(list->ai_addr, list->ai_addrlen, ret[n], PROTO_ADDR_MAX, NULL, 0, NI_NUMERICHOST) == 0)
            n++;
    return n;
}

static void look_again(struct name_lookup *l)
{
    static const struct timeval in = {.tv_usec = LOOK_MS * 1000};

    evtimer_add(l->on_look, &in);
}

static void look(evutil_socket_t fd, short what, void *ctx)
{
    char addr[NAME_LOOKUP_ADDRS_MAX][PROTO_ADDR_MAX];
    struct name_lookup *l = ctx;
    int r = gai_error(&l->query->request);
    name_looked_up *done = l->done;
    void *done_ctx = l->ctx;
    size_t n = 0;

    (void)fd;
    (void)what;
    if (r == EAI_INPROGRESS) {
        look_again(l);
        return;
    }
    if (r == 0)
        n = take_addresses(l->query->request.ar_result, addr);
    name_lookup_cancel(&l);
    done(done_ctx, addr, n, n ? "" : r ? gai_strerror(r) : "it has no address");
}

int name_lookup_start(struct event_base *base, const char *host, name_looked_up *done, void *ctx,
                      struct name_lookup **ret)
{
    CLEANUP(name_lookup_cancel) struct name_lookup *l = calloc(1, sizeof(*l));
    CLEANUP(cleanup_free) struct query *q = calloc(1, sizeof(*q));
    struct gaicb *list[1];
    int r;

    if (!l || !q)
        return err_raise(-ENOMEM);
    if (strlen(host) >= sizeof(q->host))
        return err_raise(-ENAMETOOLONG);
    strcpy(q->host, host);
    q->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    q->request = (struct gaicb){.ar_name = q->host, .ar_request = &q->hints};
    l->done = done;
    l->ctx = ctx;
    l->on_look = evtimer_new(base, look, l);
    if (!l->on_look)
        return err_raise(-ENOMEM);
    list[0] = &q->request;
    r = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (r)
        return err_raise(r == EAI_MEMORY ? -ENOMEM : -EAGAIN);
    l->query = q;
    q = NULL;
    look_again(l);
    *ret = l;
    l = NULL;
    return 0;
}
