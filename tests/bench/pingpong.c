/* pingpong serve PORT | ask HOST PORT COUNT IDLE_US | relay PORT HOST PORT
 *
 * What a token does to one rank, without the computing: a SET_TENSOR of 4 KB and a GET_TENSOR, answered with 4 KB, in the
 * frames of RPC 8. `serve` is the worker; `ask` prints the microseconds of each round trip, IDLE_US after the one before.
 * Plain sockets and blocking calls: the baseline must not cost anything itself. `relay` copies what one connection at a time
 * brings, and does nothing else: what of a carrier's cost is the machine's. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 14, SET_TENSOR = 6, GET_TENSOR = 8 };
enum { HEAD = 9, CAPS = 24, TENSOR_HEAD = 305, GET = 312, DATA = 4096, SET = TENSOR_HEAD + DATA };

static bool receive(int fd, uint8_t *buf, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t r = recv(fd, buf + at, n - at, 0);

        if (r <= 0)
            return false;
        at += (size_t)r;
    }
    return true;
}

static bool transmit(int fd, const uint8_t *buf, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t r = send(fd, buf + at, n - at, MSG_NOSIGNAL);

        if (r <= 0)
            return false;
        at += (size_t)r;
    }
    return true;
}

static void write_size(uint8_t *to, uint64_t n)
{
    memcpy(to, &n, sizeof(n)); /* as llama.cpp: of the host */
}

static void no_delay(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- the worker ---- */

static bool answer(int fd, size_t n)
{
    static uint8_t out[8 + DATA] = {[8] = 8}; /* to HELLO: version 8.0.0 */

    write_size(out, n);
    return transmit(fd, out, 8 + n);
}

static void serve_one(int fd)
{
    static uint8_t in[SET];
    uint64_t n;

    while (receive(fd, in, HEAD)) {
        uint8_t command = in[0];

        memcpy(&n, in + 1, sizeof(n));
        if (n > sizeof(in) || !receive(fd, in, (size_t)n))
            return;
        if (command != SET_TENSOR && !answer(fd, command == HELLO ? 3 + CAPS : DATA))
            return;
    }
}

static int listen_at(uint16_t port)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 8) < 0) {
        perror("pingpong");
        return -1;
    }
    return listener;
}

static int connect_to(const char *host, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (inet_pton(AF_INET, host, &at.sin_addr) != 1 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        perror("pingpong");
        return -1;
    }
    no_delay(fd);
    return fd;
}

static int serve(uint16_t port)
{
    int listener = listen_at(port), fd;

    while (listener >= 0 && (fd = accept(listener, NULL, NULL)) >= 0) {
        no_delay(fd);
        serve_one(fd);
        close(fd);
    }
    return 1;
}

/* ---- a relay that only copies ---- */

static bool copy(int from, int to)
{
    static uint8_t buf[256 * 1024];
    ssize_t n = recv(from, buf, sizeof(buf), 0);

    return n > 0 && transmit(to, buf, (size_t)n);
}

static void relay_one(int near, int far)
{
    struct pollfd p[2] = {{.fd = near, .events = POLLIN}, {.fd = far, .events = POLLIN}};

    while (poll(p, 2, -1) > 0)
        if ((p[0].revents && !copy(near, far)) || (p[1].revents && !copy(far, near)))
            return;
}

static int relay(uint16_t port, const char *host, uint16_t to)
{
    int listener = listen_at(port), near, far;

    while (listener >= 0 && (near = accept(listener, NULL, NULL)) >= 0) {
        no_delay(near);
        far = connect_to(host, to);
        if (far < 0)
            return 1;
        relay_one(near, far);
        close(near);
        close(far);
    }
    return 1;
}

/* ---- the coordinator ---- */

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static bool say_hello(int fd)
{
    uint8_t out[HEAD + CAPS] = {HELLO}, in[8 + 3 + CAPS];

    write_size(out + 1, CAPS);
    return transmit(fd, out, sizeof(out)) && receive(fd, in, sizeof(in));
}

static bool round_trip(int fd)
{
    static uint8_t out[HEAD + SET + HEAD + GET] = {SET_TENSOR}, in[8 + DATA];

    write_size(out + 1, SET);
    out[HEAD + SET] = GET_TENSOR;
    write_size(out + HEAD + SET + 1, GET);
    return transmit(fd, out, sizeof(out)) && receive(fd, in, sizeof(in));
}

static int ask(const char *host, uint16_t port, long count, long idle_us)
{
    const struct timespec idle = {.tv_nsec = idle_us * 1000};
    int fd = connect_to(host, port);

    if (fd < 0 || !say_hello(fd))
        return 1;
    for (long i = 0; i < count; i++) {
        double t0;

        if (idle_us)
            nanosleep(&idle, NULL);
        t0 = now_us();
        if (!round_trip(fd)) {
            fprintf(stderr, "pingpong: the connection was closed\n");
            return 1;
        }
        printf("%.1f\n", now_us() - t0);
    }
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve((uint16_t)atoi(argv[2]));
    if (argc == 6 && !strcmp(argv[1], "ask"))
        return ask(argv[2], (uint16_t)atoi(argv[3]), atol(argv[4]), atol(argv[5]));
    if (argc == 5 && !strcmp(argv[1], "relay"))
        return relay((uint16_t)atoi(argv[2]), argv[3], (uint16_t)atoi(argv[4]));
    fprintf(stderr, "usage: pingpong serve PORT | ask HOST PORT COUNT IDLE_US | relay PORT HOST PORT\n");
    return 2;
}
