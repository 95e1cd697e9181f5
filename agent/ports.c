#include "agent/ports.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/sockets.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/procfs.h"
#include "common/host.h"

enum { HOLDERS_SHOWN = 4 };

/* Somebody who listens on a port. */
struct port_holder {
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    uint32_t uid;
    uint64_t inode;
    int32_t pid; /* 0: may not be known */
    char command[160];
};

struct holder_scan {
    uint16_t port;
    struct port_holder *holder;
    size_t n, max;
};

static void take_holder(void *ctx, const struct procfs_socket *s)
{
    struct holder_scan *scan = ctx;
    struct port_holder *h;

    if (s->local.port != scan->port || scan->n == scan->max)
        return;
    h = &scan->holder[scan->n++];
    *h = (struct port_holder){.port = s->local.port, .uid = s->uid, .inode = s->inode};
    inet_ntop(s->local.v6 ? AF_INET6 : AF_INET, s->local.addr, h->addr, sizeof(h->addr));
}

/* The command line, arguments apart by spaces, anything that is not printable ASCII as '?'. */
static void read_command(const char *pid, struct port_holder *h)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[300];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, h->command, sizeof(h->command) - 1);
    if (n < 0)
        n = 0;
    while (n > 0 && !h->command[n - 1])
        n--;
    for (ssize_t i = 0; i < n; i++)
        if (!h->command[i])
            h->command[i] = ' ';
        else if (h->command[i] < ' ' || h->command[i] > '~')
            h->command[i] = '?';
    h->command[n] = '\0';
}

/* Looks whether the process has one of the sockets open. What may not be read is passed over. */
static void ask_process(const char *pid, struct holder_scan *scan)
{
    CLEANUP(cleanup_closedir) DIR *dir = NULL;
    char path[300], link[64], wanted[64];
    struct dirent *e;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    dir = opendir(path);
    while (dir && (e = readdir(dir))) {
        n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
        if (n <= 0)
            continue;
        link[n] = '\0';
        for (size_t i = 0; i < scan->n; i++) {
            snprintf(wanted, sizeof(wanted), "socket:[%" PRIu64 "]", scan->holder[i].inode);
            if (!scan->holder[i].pid && !strcmp(link, wanted)) {
                scan->holder[i].pid = (int32_t)strtol(pid, NULL, 10);
                read_command(pid, &scan->holder[i]);
            }
        }
    }
}

static void find_processes(struct holder_scan *scan)
{
    CLEANUP(cleanup_closedir) DIR *dir = opendir("/proc");
    struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (isdigit((unsigned char)e->d_name[0]))
            ask_process(e->d_name, scan);
}

/* Who listens on port, on any address: at most max, the number found. pid and command by /proc/PID/fd, as far as that
 * is permitted. Negative errno where /proc cannot be read. */
static int find_holders(uint16_t port, struct port_holder *ret, size_t max)
{
    struct holder_scan scan = {.port = port, .holder = ret, .max = max};
    int r = sockets_each(0, SOCKETS_LISTENING, true, take_holder, &scan);

    if (r < 0)
        return err_pass(r);
    if (scan.n)
        find_processes(&scan);
    return (int)scan.n;
}

static void tell_clash(const struct port_request *req, uint16_t port)
{
    struct port_holder holder[HOLDERS_SHOWN];
    int n = find_holders(port, holder, HOLDERS_SHOWN);
    char text[PROTO_TEXT_MAX];
    int used = snprintf(text, sizeof(text), "port %u is taken", (unsigned)port);

    for (int i = 0; i < n && used < (int)sizeof(text); i++) {
        const struct port_holder *h = &holder[i];

        used += snprintf(text + used, sizeof(text) - (size_t)used, "%s on %s by uid %" PRIu32 ", inode %" PRIu64,
                         i ? ";" : "", h->addr, h->uid, h->inode);
        if (h->pid && used < (int)sizeof(text))
            used += snprintf(text + used, sizeof(text) - (size_t)used, ", pid %d (%s)", (int)h->pid, h->command);
    }
    req->clash(req->ctx, port, text);
}

struct range_scan {
    uint16_t first, last;
    uint8_t *held; /* one per port */
};

static void mark(void *ctx, const struct procfs_socket *s)
{
    struct range_scan *scan = ctx;

    if (s->local.port >= scan->first && s->local.port <= scan->last)
        scan->held[s->local.port - scan->first] = 1;
}

/* As the servers do it, with SO_REUSEADDR: connections in TIME-WAIT are no obstacle. 0, PORTS_E_BAD_ADDR. */
static int trial(const char *addr, uint16_t port, bool *ret_free)
{
    CLEANUP(cleanup_close) int fd = -1;
    struct sockaddr_storage address;
    socklen_t len;
    int on = 1;

    len = host_sockaddr(addr, port, &address);
    if (!len)
        return PORTS_E_BAD_ADDR; /* port 0: some port, that is whether the address is ours */
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_raise(-errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    *ret_free = bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 1) == 0;
    if (*ret_free || errno == EADDRINUSE || errno == EACCES)
        return 0;
    return errno == EADDRNOTAVAIL ? PORTS_E_BAD_ADDR : err_raise(-errno);
}

int port_pick(const struct port_request *req, uint16_t *ret)
{
    uint32_t n = (uint32_t)req->last - req->first + 1, start = 0, n_told = 0;
    CLEANUP(cleanup_free) uint8_t *held = calloc(n, 1);
    struct range_scan scan = {req->first, req->last, held};
    bool is_ours;
    int r;

    if (!held)
        return err_raise(-ENOMEM);
    r = trial(req->addr, 0, &is_ours);
    if (r)
        return r < 0 ? err_pass(r) : r;
    r = sockets_each(0, SOCKETS_LISTENING, true, mark, &scan);
    if (r < 0)
        return err_pass(r);
    if (req->hint >= req->first && req->hint <= req->last)
        start = (uint32_t)req->hint - req->first;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (start + i) % n;
        uint16_t port = (uint16_t)(req->first + at);
        bool is_free = false;

        if (req->taken && req->taken(req->ctx, port))
            continue;
        if (!held[at]) {
            r = trial(req->addr, port, &is_free);
            if (r)
                return r < 0 ? err_pass(r) : r;
        }
        if (is_free) {
            *ret = port;
            return 0;
        }
        if (req->clash && n_told++ < PORTS_CLASHES_TOLD)
            tell_clash(req, port);
    }
    return PORTS_E_NONE;
}
