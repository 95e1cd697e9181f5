/* caravan-listenfd --port N --port-file FILE -- COMMAND [ARG]...: opens a listening TCP socket on 127.0.0.1, at N or
 * the next port that is free, writes the port to FILE and becomes COMMAND, which finds the socket the way systemd hands
 * one over: fd 3, LISTEN_FDS=1, LISTEN_PID.
 *
 * Quickstart's controller runs in a network namespace of its own and is reached from the host by this: a socket
 * belongs to the namespace that it was made in. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

enum { LISTEN_FD = 3, PORT_LAST = 65535, BACKLOG = 128 };

/* The fd, or negative errno: -EADDRINUSE means that this port is taken. */
static int listen_on(uint16_t port)
{
    CLEANUP(cleanup_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int on = 1;
    int r;

    if (fd < 0)
        return -errno;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* a port whose last user has just gone is free; one with a listener is not, even so */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG))
        return -errno;
    r = fd;
    fd = -1;
    return r;
}

static int listen_from(uint16_t *port)
{
    int fd = listen_on(*port);

    while (fd == -EADDRINUSE && *port < PORT_LAST)
        fd = listen_on(++*port);
    return fd;
}

/* Whoever waits for the file finds it whole: it appears by a rename. */
static int write_port(const char *path, uint16_t port)
{
    char tmp[4096];
    FILE *f;
    int n = snprintf(tmp, sizeof(tmp), "%s.new", path);

    if (n < 0 || (size_t)n >= sizeof(tmp))
        return -ENAMETOOLONG;
    f = fopen(tmp, "we");
    if (!f)
        return -errno;
    n = fprintf(f, "%u\n", port);
    if (fclose(f) || n < 0 || rename(tmp, path))
        return -errno;
    return 0;
}

/* Puts the socket at LISTEN_FD, without close-on-exec, and says so in the environment. */
static int hand_over(int fd)
{
    char pid[16];

    if (fd == LISTEN_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, LISTEN_FD) < 0)
        return -errno;
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    if (setenv("LISTEN_FDS", "1", 1) || setenv("LISTEN_PID", pid, 1))
        return -errno;
    return 0;
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "caravan-listenfd: %s: %s\n", what, strerror(error));
    return 1;
}

static int usage(FILE *f, int status)
{
    fputs("usage: caravan-listenfd [--port N] --port-file FILE -- COMMAND [ARG]...\n"
          "Listens on 127.0.0.1 at N (8080) or the next free port and runs COMMAND with that socket as fd 3.\n",
          f);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},
        {"port-file", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *port_file = NULL;
    long wanted = 8080;
    char *end;
    uint16_t port;
    int c, fd, r;

    while ((c = getopt_long(argc, argv, "+h", names, NULL)) != -1) {
        switch (c) {
        case 'p':
            wanted = strtol(optarg, &end, 10);
            if (*end || wanted < 1 || wanted > PORT_LAST)
                return usage(stderr, 2);
            break;
        case 'f':
            port_file = optarg;
            break;
        case 'h':
            return usage(stdout, 0);
        default: /* getopt has said what is wrong */
            return 2;
        }
    }
    if (!port_file || optind == argc)
        return usage(stderr, 2);
    port = (uint16_t)wanted;
    fd = listen_from(&port);
    if (fd < 0)
        return fail("no port to listen on", -fd);
    r = write_port(port_file, port);
    if (r < 0)
        return fail(port_file, -r);
    r = hand_over(fd);
    if (r < 0)
        return fail("handing the socket over", -r);
    execvp(argv[optind], argv + optind);
    return fail(argv[optind], errno);
}
