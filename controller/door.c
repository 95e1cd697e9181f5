#include "controller/door.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool is_all(const char *listen)
{
    return strcmp(listen, "0.0.0.0") == 0 || strcmp(listen, "::") == 0 || strcmp(listen, "*") == 0;
}

static bool is_loopback(const char *addr)
{
    return strncmp(addr, "127.", 4) == 0 || strcmp(addr, "::1") == 0;
}

/* A socket on 0.0.0.0 hears no IPv6. 169.254.0.0/16 is what a machine gives itself where nobody gives it anything. */
static bool is_reached(const char *listen, const char *addr)
{
    struct in6_addr v6;
    bool is_v6 = inet_pton(AF_INET6, addr, &v6) == 1;

    if (is_v6)
        return strcmp(listen, "0.0.0.0") != 0 && !IN6_IS_ADDR_LINKLOCAL(&v6);
    return strncmp(addr, "169.254.", 8) != 0;
}

static void add(struct door *d, const char *addr)
{
    if (d->n_addrs < JOIN_TOKEN_CONTROLLERS_MAX)
        snprintf(d->addr[d->n_addrs++], sizeof(d->addr[0]), "%s", addr);
}

static void add_all(struct door *d, const char *listen, const struct cluster_host *host, bool loopback)
{
    for (size_t i = 0; i < host->n_addrs; i++)
        if (is_loopback(host->addr[i]) == loopback && is_reached(listen, host->addr[i]))
            add(d, host->addr[i]);
}

void door_fill(struct door *d, const char *listen, const struct cluster_host *host)
{
    d->n_addrs = 0;
    if (!is_all(listen)) {
        add(d, listen);
        return;
    }
    add_all(d, listen, host, false);
    if (!d->n_addrs)
        add_all(d, listen, host, true);
}
