/* Whoever stands between a dial and a door: passes bytes on, changes one, cuts, keeps what he has seen; or answers himself.
 * One stream at a time. */
#ifndef CARAVAN_TESTS_UNIT_TUNNEL_MAN_H
#define CARAVAN_TESTS_UNIT_TUNNEL_MAN_H

#include "common/tunnel_handshake.h"
#include "tests/unit/tunnel_harness.h"

enum { MAN_KEEPS = 1024 };
enum man_side { FROM_DIAL, FROM_DOOR };

struct man {
    int listener;
    uint16_t port, door_port; /* of the door; 0: he is alone, and says `play` to a whole first message */
    struct event *on_knock;
    int fd[2];
    struct event *on_readable[2];
    size_t n_came[2];
    uint8_t kept[2][MAN_KEEPS];
    enum { PASS, FLIP, CUT, RESET } what; /* to byte `where` from `side` */
    enum man_side side;
    size_t where;
    const uint8_t *play; /* NULL: what he has heard himself */
    size_t n_play;
    size_t n_streams; /* that are over */
};

static inline void man_close(struct man *m, bool reset)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    for (int i = 0; i < 2; i++) {
        if (m->on_readable[i])
            event_free(m->on_readable[i]);
        m->on_readable[i] = NULL;
        if (m->fd[i] >= 0 && reset)
            setsockopt(m->fd[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        cleanup_close(&m->fd[i]);
    }
    m->n_streams++;
}

/* What goes on of n bytes that have come from a side. */
static inline size_t man_works(struct man *m, enum man_side side, uint8_t *bytes, size_t n)
{
    size_t at = m->n_came[side];

    if (at + n <= MAN_KEEPS)
        memcpy(m->kept[side] + at, bytes, n);
    m->n_came[side] += n;
    if (m->what == PASS || side != m->side || m->where < at || m->where >= at + n)
        return n;
    if (m->what != FLIP)
        return m->where - at;
    bytes[m->where - at] ^= (uint8_t)(1 << m->where % 8);
    return n;
}

static inline void man_readable(evutil_socket_t fd, short what, void *arg)
{
    struct man *m = arg;
    enum man_side side = fd == m->fd[FROM_DIAL] ? FROM_DIAL : FROM_DOOR;
    uint8_t buf[512];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    size_t n_on;

    (void)what;
    if (n <= 0) {
        man_close(m, false);
        return;
    }
    n_on = man_works(m, side, buf, (size_t)n);
    if (m->door_port)
        send(m->fd[!side], buf, n_on, MSG_NOSIGNAL);
    else if (m->n_came[side] == TUNNEL_HELLO_BYTES)
        say(fd, m->play ? m->play : m->kept[side], m->n_play);
    if (n_on < (size_t)n)
        man_close(m, m->what == RESET);
}

static inline void man_knocked(evutil_socket_t fd, short what, void *arg)
{
    struct man *m = arg;

    (void)what;
    assert_true(m->fd[FROM_DIAL] < 0);
    m->fd[FROM_DIAL] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(m->fd[FROM_DIAL] >= 0);
    if (m->door_port)
        m->fd[FROM_DOOR] = connect_from(NULL, m->door_port);
    for (int i = 0; i < 2; i++) {
        m->n_came[i] = 0;
        if (m->fd[i] < 0)
            continue;
        m->on_readable[i] = event_new(base, m->fd[i], EV_READ | EV_PERSIST, man_readable, m);
        event_add(m->on_readable[i], NULL);
    }
}

static inline void man_begin(struct man *m, uint16_t door_port)
{
    *m = (struct man){.door_port = door_port, .fd = {-1, -1}};
    m->listener = listen_anywhere(&m->port);
    m->on_knock = event_new(base, m->listener, EV_READ | EV_PERSIST, man_knocked, m);
    event_add(m->on_knock, NULL);
}

static inline void man_end(struct man *m)
{
    man_close(m, false);
    event_free(m->on_knock);
    close(m->listener);
}

static inline bool man_is_free(void *arg)
{
    return ((struct man *)arg)->fd[FROM_DIAL] < 0;
}

#endif
