#include "common/knock.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/host.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

enum { ROUNDS = 2 };

/* One connect to one address. */
struct dial {
    struct knock *knock;
    const char *addr;
    struct wire_client *client; /* NULL: ended */
    int fd;                     /* the plain connect that asks why; -1: none */
    struct event *on_fd;
    bool accepted;
};

struct knock {
    struct event_base *base;
    const struct identity *id;
    uint8_t key[CRYPTO_KEY_BYTES];
    uint16_t port;
    knock_done *done;
    void *ctx;
    struct event *on_timer;
    uint64_t nonce;
    size_t n_addrs, n_rounds;
    char addr[KNOCK_ADDRS_MAX][PROTO_ADDR_MAX];
    struct dial dial[ROUNDS][KNOCK_ADDRS_MAX];
    bool kernel_lives; /* an address refused or accepted */
    bool blind;        /* something could not be asked, by our own fault */
};

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void dial_end(struct dial *d)
{
    wire_client_destroy(&d->client);
    if (d->on_fd)
        event_free(d->on_fd);
    d->on_fd = NULL;
    cleanup_close(&d->fd);
}

void knock_cancel(struct knock **k)
{
    if (!*k)
        return;
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < KNOCK_ADDRS_MAX; i++)
            dial_end(&(*k)->dial[round][i]);
    if ((*k)->on_timer)
        event_free((*k)->on_timer);
    free(*k);
    *k = NULL;
}

/* libzmq does not say when it could make no socket. */
static bool has_descriptors(void)
{
    CLEANUP(cleanup_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0;
}

static enum knock_outcome judge(const struct knock *k)
{
    if (k->kernel_lives)
        return KNOCK_REFUSED;
    return k->blind || !has_descriptors() || !host_has_carrier() ? KNOCK_NO_CARRIER : KNOCK_UNANSWERED;
}

/* Last in its callers: k is gone. */
static void finish(struct knock *k, enum knock_outcome outcome)
{
    knock_done *done = k->done;
    void *ctx = k->ctx;

    knock_cancel(&k);
    done(ctx, outcome);
}

/* Nothing is awaited any more: no need for the rest of the time. Last in its callers. */
static void finish_early(struct knock *k)
{
    if (k->n_rounds < ROUNDS)
        return;
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < k->n_addrs; i++)
            if (k->dial[round][i].client || k->dial[round][i].on_fd)
                return;
    finish(k, judge(k));
}

/* ---- why a dial ended before it was accepted --------------------------------------------------------------------- */

static bool says_kernel_lives(int error)
{
    return !error || error == ECONNREFUSED || error == ECONNRESET;
}

static void on_reason(evutil_socket_t fd, short what, void *ctx)
{
    struct dial *d = ctx;
    struct knock *k = d->knock;
    int error = ETIMEDOUT;
    socklen_t n = sizeof(error);

    (void)what;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
    k->kernel_lives = k->kernel_lives || says_kernel_lives(error);
    dial_end(d);
    finish_early(k);
}

/* 0: it is being asked, or has said it at once. */
static int ask_reason(struct dial *d)
{
    struct sockaddr_storage address;
    socklen_t n = host_sockaddr(d->addr, d->knock->port, &address);
    int error;

    d->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return err_raise(-errno);
    error = connect(d->fd, (const struct sockaddr *)&address, n) < 0 ? errno : 0;
    if (error != EINPROGRESS) {
        d->knock->kernel_lives = d->knock->kernel_lives || says_kernel_lives(error);
        return 0;
    }
    d->on_fd = event_new(d->knock->base, d->fd, EV_WRITE, on_reason, d);
    return !d->on_fd || event_add(d->on_fd, NULL) < 0 ? err_raise(-ENOMEM) : 0;
}

/* ---- one dial ---------------------------------------------------------------------------------------------------- */

static void could_not(struct dial *d, int r, const char *what)
{
    d->knock->blind = true;
    log_failure(LOG_LEVEL_WARN, "knock.failed", r, "addr=%s port=%u step=%s", d->addr, (unsigned)d->knock->port, what);
}

static void on_accepted(void *ctx)
{
    struct dial *d = ctx;

    d->accepted = d->knock->kernel_lives = true;
}

static void on_disconnected(void *ctx)
{
    struct dial *d = ctx;
    int r;

    wire_client_destroy(&d->client); /* it would dial again */
    if (!d->accepted) {
        r = ask_reason(d);
        if (r < 0)
            could_not(d, r, "reason");
    }
    finish_early(d->knock);
}

static void on_denied(void *ctx)
{
    finish(((struct dial *)ctx)->knock, KNOCK_ANSWERED);
}

static void on_connected(void *ctx)
{
    struct dial *d = ctx;
    struct message ping = {.kind = MESSAGE_PING, .seq = 1, .nonce = d->knock->nonce};
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;
    int r = message_pack(&ping, &buf, &n);

    if (r == 0)
        r = wire_client_send(d->client, buf, n);
    if (r)
        could_not(d, r < 0 ? r : err_raise(-ENOBUFS), "ping");
}

static void on_message(void *ctx, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct knock *k = ((struct dial *)ctx)->knock;

    if (message_unpack(buf, n_bytes, &m) == 0 && m->kind == MESSAGE_PONG && m->nonce == k->nonce)
        finish(k, KNOCK_ANSWERED);
}

static void dial(struct knock *k, struct dial *d, const char *addr)
{
    const struct wire_client_callbacks cb = {.message = on_message,
                                             .connected = on_connected,
                                             .disconnected = on_disconnected,
                                             .accepted = on_accepted,
                                             .denied = on_denied,
                                             .ctx = d};
    int r;

    d->addr = addr;
    r = wire_client_new(k->base, k->id, addr, k->port, k->key, &cb, &d->client);
    if (r < 0)
        could_not(d, r, "dial"); /* positive: no address, as good as no answer */
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void next_round(struct knock *k)
{
    static const struct timeval again = {.tv_usec = KNOCK_AGAIN_MS * 1000};
    struct dial *dials = k->dial[k->n_rounds++];

    evtimer_add(k->on_timer, &again);
    for (size_t i = 0; i < k->n_addrs; i++)
        dial(k, &dials[i], k->addr[i]);
}

static void on_time(evutil_socket_t fd, short what, void *ctx)
{
    struct knock *k = ctx;

    (void)fd;
    (void)what;
    if (k->n_rounds < ROUNDS)
        next_round(k);
    else
        finish(k, judge(k));
}

int knock_start(struct event_base *base, const struct identity *id, const struct peer_facts *peer, knock_done *done,
                void *ctx, struct knock **ret)
{
    CLEANUP(knock_cancel) struct knock *k = calloc(1, sizeof(*k));

    if (!k)
        return err_raise(-ENOMEM);
    k->base = base;
    k->id = id;
    k->port = peer->port;
    k->done = done;
    k->ctx = ctx;
    crypto_random(&k->nonce, sizeof(k->nonce));
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < KNOCK_ADDRS_MAX; i++) {
            k->dial[round][i].knock = k;
            k->dial[round][i].fd = -1;
        }
    k->n_addrs = host_worth_dialling(peer, k->addr, KNOCK_ADDRS_MAX);
    if (!k->n_addrs || !k->port || crypto_key_parse(peer->key, k->key))
        return err_raise(-EDESTADDRREQ);
    k->on_timer = evtimer_new(base, on_time, k);
    if (!k->on_timer)
        return err_raise(-ENOMEM);
    next_round(k);
    *ret = k;
    k = NULL;
    return 0;
}
