#include "common/tunnel_end.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/socket_reset.h"
#include "common/tunnel_private.h"

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* Linux 6.15; headers are older */
#endif

void tunnel_end_clear(struct tunnel_end *end)
{
    socket_hang_up(&end->fd);
    seal_destroy(&end->seal);
    seal_destroy(&end->open);
}

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

/* With the user timeout the kernel no longer counts retransmissions. Without it, a second between them at most would make
 * the stream give up after a quarter of a minute: so never the one without the other. */
void tunnel_socket_prepare(int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TUNNEL_USER_TIMEOUT_MS) < 0)
        return;
    set(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, TUNNEL_RTO_MAX_MS);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, TUNNEL_KEEPALIVE_S);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, TUNNEL_KEEPALIVE_S);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

int tunnel_read(int fd, struct tunnel_handshake *h)
{
    uint8_t bytes[TUNNEL_HELLO_BYTES];
    ssize_t n = recv(fd, bytes, tunnel_handshake_wanted(h), 0);
    size_t n_taken;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return err_raise(n < 0 ? -errno : -ECONNRESET);
    return tunnel_handshake_feed(h, bytes, (size_t)n, &n_taken);
}

/* A socket that has sent next to nothing yet takes a message as a whole, unless the kernel has no memory. */
int tunnel_write(int fd, struct tunnel_handshake *h)
{
    size_t n_bytes;
    const uint8_t *bytes = tunnel_handshake_take(h, &n_bytes);
    ssize_t n;

    do
        n = send(fd, bytes, n_bytes, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        return err_raise(-errno);
    return n == (ssize_t)n_bytes ? 0 : err_raise(-ENOBUFS);
}

static size_t data_max(enum tunnel_direction direction)
{
    switch (direction) {
    case TUNNEL_TO_RANK:
        return TUNNEL_RANK_DATA_MAX;
    case TUNNEL_TO_COORDINATOR:
        break;
    }
    return TUNNEL_COORDINATOR_DATA_MAX;
}

int tunnel_end_make(struct tunnel_handshake *h, int *fd, struct tunnel_end *ret)
{
    const size_t max = data_max(tunnel_handshake_claim(h)->direction);
    CLEANUP(tunnel_keys_clear) struct tunnel_keys keys;
    CLEANUP(tunnel_end_clear) struct tunnel_end end = {.fd = -1};
    int r;

    tunnel_handshake_keys(h, &keys);
    r = seal_new((enum seal_cipher)keys.cipher, keys.send, max, &end.seal);
    if (r == 0)
        r = seal_new((enum seal_cipher)keys.cipher, keys.receive, max, &end.open);
    if (r < 0)
        return err_pass(r);
    *ret = (struct tunnel_end){.fd = *fd, .seal = end.seal, .open = end.open, .data_max = max};
    end = (struct tunnel_end){.fd = -1};
    *fd = -1;
    return 0;
}
