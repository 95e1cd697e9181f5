/* The responder's end of streams: a listener, and the handshakes that have begun on it and are not over. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/event_clear.h"
#include "common/log.h"
#include "common/seldom.h"
#include "common/socket_reset.h"
#include "common/tunnel_private.h"

/* Before an IPv4 address, where it stands for one of IPv6. */
static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

/* A handshake that is not over. */
struct half {
    struct tunnel_door *door;
    struct source *source;
    int fd;
    struct tunnel_handshake *handshake;
    struct event *on_readable, *on_time;
};

/* An address that has some of them. */
struct source {
    uint8_t addr[16];
    size_t n; /* 0: the place is free */
};

struct tunnel_door {
    struct event_base *base;
    const struct identity *own;
    struct tunnel_door_calls calls;
    struct tunnel_door_counts counts; /* n_half_open is n, n_starved the acceptor's */
    struct timeval deadline;
    struct acceptor *acceptor;
    size_t n;
    struct half *half[TUNNEL_HALF_OPEN_MAX]; /* the oldest first */
    struct source source[TUNNEL_HALF_OPEN_MAX];
    struct seldom given_up;
};

/* ---- those who have begun ----------------------------------------------------------------------------------------- */

/* Its own, or a free one; NULL: all are taken. */
static struct source *find_source(struct tunnel_door *d, const uint8_t addr[16])
{
    struct source *ret = NULL;

    for (size_t i = 0; i < TUNNEL_HALF_OPEN_MAX; i++) {
        struct source *s = &d->source[i];

        if (s->n && memcmp(s->addr, addr, sizeof(s->addr)) == 0)
            return s;
        if (!s->n && !ret)
            ret = s;
    }
    return ret;
}

static size_t most_of_one(const struct tunnel_door *d)
{
    size_t most = 0;

    for (size_t i = 0; i < TUNNEL_HALF_OPEN_MAX; i++)
        if (d->source[i].n > most)
            most = d->source[i].n;
    return most;
}

static void take_out(struct tunnel_door *d, const struct half *h)
{
    size_t i = 0;

    while (d->half[i] != h)
        i++;
    memmove(&d->half[i], &d->half[i + 1], (--d->n - i) * sizeof(*d->half));
}

static void half_free(struct half **h)
{
    if (!*h)
        return;
    event_clear(&(*h)->on_readable);
    event_clear(&(*h)->on_time);
    tunnel_handshake_destroy(&(*h)->handshake);
    socket_hang_up(&(*h)->fd);
    free(*h);
    *h = NULL;
}

static void half_end(struct half *h)
{
    take_out(h->door, h);
    h->source->n--;
    half_free(&h);
}

static void say_given_up(struct tunnel_door *d, const uint8_t addr[16], const char *why)
{
    bool v4 = memcmp(addr, mapped, sizeof(mapped)) == 0;
    char text[INET6_ADDRSTRLEN];
    uint64_t n = seldom_count(&d->given_up, clock_now_ms());

    if (n)
        log_warn("tunnel.handshake_failed", "addr=%s why=%s times=%" PRIu64,
                 inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + sizeof(mapped) : addr, text, sizeof(text)), why, n);
}

/* No answer of ours has ended it. */
static void give_up(struct half *h, uint64_t *count, const char *why)
{
    ++*count;
    say_given_up(h->door, h->source->addr, why);
    half_end(h);
}

/* Makes room for one more of source. */
static void evict_for(struct tunnel_door *d, const struct source *source)
{
    bool own = source && source->n == TUNNEL_HALF_OPEN_PER_ADDR;
    size_t most = most_of_one(d);

    if (!own && d->n < TUNNEL_HALF_OPEN_MAX)
        return;
    for (size_t i = 0; i < d->n; i++)
        if (own ? d->half[i]->source == source : d->half[i]->source->n == most) {
            give_up(d->half[i], &d->counts.n_dropped, "too_many");
            return;
        }
}

/* ---- one handshake ------------------------------------------------------------------------------------------------ */

static void half_stand(struct half *h)
{
    struct tunnel_door *d = h->door;
    const struct tunnel_claim claim = *tunnel_handshake_claim(h->handshake);
    uint8_t peer[CRYPTO_KEY_BYTES];
    struct tunnel_end end;
    int r;

    memcpy(peer, tunnel_handshake_peer(h->handshake), sizeof(peer));
    tunnel_socket_prepare(h->fd);
    r = tunnel_end_make(h->handshake, &h->fd, &end);
    if (r < 0) {
        give_up(h, &d->counts.n_dropped, "no_memory");
        return;
    }
    d->counts.n_opened++;
    half_end(h);
    d->calls.opened(d->calls.ctx, &claim, peer, &end);
}

/* It has been told so; with FIN behind it, since a reset might overtake it. */
static void half_refuse(struct half *h)
{
    h->door->counts.n_refused[tunnel_handshake_verdict(h->handshake)]++;
    event_clear(&h->on_readable);
    cleanup_close(&h->fd);
    half_end(h);
}

/* 0: message 3 is awaited; TUNNEL_REFUSED, TUNNEL_E_BAD; negative errno. */
static int answer(struct half *h)
{
    const struct tunnel_door_calls *calls = &h->door->calls;
    const uint8_t *peer = tunnel_handshake_peer(h->handshake);
    enum tunnel_verdict verdict = calls->asked(calls->ctx, tunnel_handshake_claim(h->handshake), peer);
    int r = tunnel_handshake_answer(h->handshake, verdict, seal_choose(tunnel_handshake_ciphers(h->handshake)));
    int sent = r == TUNNEL_E_BAD ? 0 : tunnel_write(h->fd, h->handshake);

    return r == 0 && sent < 0 ? err_pass(sent) : r;
}

static void half_readable(evutil_socket_t fd, short what, void *arg)
{
    struct half *h = arg;
    int r = tunnel_read(fd, h->handshake);

    (void)what;
    if (r == TUNNEL_ASKED)
        r = answer(h);
    if (r == 0)
        return;
    if (r == TUNNEL_DONE)
        half_stand(h);
    else if (r == TUNNEL_REFUSED)
        half_refuse(h);
    else if (r < 0)
        give_up(h, &h->door->counts.n_left, "cut_off");
    else
        give_up(h, &h->door->counts.n_bad, r == TUNNEL_E_VERSION ? "version" : "not_ours");
}

static void half_late(evutil_socket_t fd, short what, void *arg)
{
    struct half *h = arg;

    (void)fd;
    (void)what;
    give_up(h, &h->door->counts.n_slow, "slow");
}

/* fd: consumed. */
static int half_new(struct tunnel_door *d, int *fd, struct half **ret)
{
    CLEANUP(half_free) struct half *h = calloc(1, sizeof(*h));
    int r;

    if (!h) {
        socket_hang_up(fd);
        return err_raise(-ENOMEM);
    }
    h->door = d;
    h->fd = *fd;
    *fd = -1;
    r = tunnel_responder_new(d->own, &h->handshake);
    if (r < 0)
        return err_pass(r);
    h->on_readable = event_new(d->base, h->fd, EV_READ | EV_PERSIST, half_readable, h);
    h->on_time = evtimer_new(d->base, half_late, h);
    if (!h->on_readable || !h->on_time || event_add(h->on_readable, NULL) < 0 ||
        evtimer_add(h->on_time, &d->deadline) < 0)
        return err_raise(-ENOMEM);
    *ret = h;
    h = NULL;
    return 0;
}

/* ---- the listener ------------------------------------------------------------------------------------------------- */

static void address_of(const struct sockaddr_storage *from, uint8_t ret[16])
{
    if (from->ss_family == AF_INET6) {
        memcpy(ret, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
        return;
    }
    memcpy(ret, mapped, sizeof(mapped));
    memcpy(ret + sizeof(mapped), &((const struct sockaddr_in *)from)->sin_addr, 4);
}

static void admit(void *ctx, int fd, const struct sockaddr_storage *from)
{
    struct tunnel_door *d = ctx;
    uint8_t addr[16];
    struct half *h;

    address_of(from, addr);
    d->counts.n_accepted++;
    evict_for(d, find_source(d, addr));
    if (half_new(d, &fd, &h) < 0) {
        d->counts.n_dropped++;
        return;
    }
    h->source = find_source(d, addr); /* there is one: fewer than so many have begun */
    memcpy(h->source->addr, addr, sizeof(addr));
    h->source->n++;
    d->half[d->n++] = h;
}

int tunnel_door_new(struct event_base *base, const struct identity *own, const char *addr, uint16_t port,
                    const struct tunnel_door_calls *calls, uint16_t *ret_port, struct tunnel_door **ret)
{
    CLEANUP(tunnel_door_destroy) struct tunnel_door *d = calloc(1, sizeof(*d));
    uint16_t got = 0;
    int fd, r;

    if (!d)
        return err_raise(-ENOMEM);
    d->base = base;
    d->own = own;
    d->calls = *calls;
    tunnel_door_set_deadline(d, TUNNEL_DEADLINE_MS);
    r = acceptor_listen(addr, port, &fd, &got);
    if (r == 0)
        r = acceptor_new(base, &fd, "door", admit, d, &d->acceptor);
    if (r < 0)
        return err_pass(r);
    *ret_port = got;
    *ret = d;
    d = NULL;
    return 0;
}

void tunnel_door_set_deadline(struct tunnel_door *d, uint32_t deadline_ms)
{
    d->deadline = (struct timeval){deadline_ms / 1000, deadline_ms % 1000 * 1000};
}

void tunnel_door_counts(const struct tunnel_door *d, struct tunnel_door_counts *ret)
{
    *ret = d->counts;
    ret->n_half_open = d->n;
    ret->n_starved = acceptor_starved(d->acceptor);
}

void tunnel_door_destroy(struct tunnel_door **d)
{
    if (!*d)
        return;
    while ((*d)->n)
        half_end((*d)->half[(*d)->n - 1]);
    acceptor_destroy(&(*d)->acceptor);
    free(*d);
    *d = NULL;
}
