/* Which of the machine's addresses a node is known by. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/system.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/host.h"

enum { HAVE_MAX = 64 };

static void free_addresses(struct ifaddrs **list)
{
    if (*list)
        freeifaddrs(*list);
}

static bool name_matches(const char *pattern, const char *name)
{
    size_t n = strlen(pattern);

    if (n && pattern[n - 1] == '*')
        return !strncmp(pattern, name, n - 1);
    return !strcmp(pattern, name);
}

static bool is_link_local(const struct system_address *a)
{
    return a->v6 ? !strncasecmp(a->addr, "fe80:", 5) : !strncmp(a->addr, "169.254.", 8);
}

static bool is_loopback(const struct system_address *a)
{
    return a->v6 ? !strcmp(a->addr, "::1") : !strncmp(a->addr, "127.", 4);
}

/* The place of the rule that allows it, or -1. Without an allowing rule everything usual is allowed, at place 0. */
static long place_of(const struct system_address *a, const char *const *rule, size_t n_rules)
{
    bool any_allows = false;

    if (!a->up || is_link_local(a))
        return -1;
    for (size_t i = 0; i < n_rules; i++)
        if (rule[i][0] == '!') {
            if (name_matches(rule[i] + 1, a->interface))
                return -1;
        } else {
            any_allows = true;
        }
    for (size_t i = 0; i < n_rules; i++)
        if (rule[i][0] != '!' && name_matches(rule[i], a->interface))
            return (long)i;
    return any_allows || is_loopback(a) || host_is_for_guests(a->interface) ? -1 : 0;
}

static bool is_listed(const char *addr, char ret[PROTO_ADDRS_MAX][PROTO_ADDR_MAX], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(ret[i], addr))
            return true;
    return false;
}

/* All of 127/8 is ours, though only 127.0.0.1 is listed: several nodes on one machine take one each. */
static bool is_loopback_net(const char *addr)
{
    struct in_addr in;

    return inet_pton(AF_INET, addr, &in) == 1 && ntohl(in.s_addr) >> 24 == 127;
}

size_t system_choose_addresses(const struct system_address *have, size_t n_have, const char *wanted,
                               const char *const *rule, size_t n_rules, char ret[PROTO_ADDRS_MAX][PROTO_ADDR_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < n_have && wanted && !n; i++)
        if (have[i].up && (!strcmp(have[i].addr, wanted) || (is_loopback(&have[i]) && is_loopback_net(wanted))))
            strcpy(ret[n++], wanted);
    if (wanted && !n)
        return 0;
    for (long place = 0; place <= (long)n_rules; place++)
        for (int v6 = 0; v6 < 2; v6++)
            for (size_t i = 0; i < n_have && n < PROTO_ADDRS_MAX; i++)
                if (have[i].v6 == v6 && place_of(&have[i], rule, n_rules) == place && !is_listed(have[i].addr, ret, n))
                    strcpy(ret[n++], have[i].addr);
    return n;
}

static bool take(const struct ifaddrs *i, struct system_address *ret)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)i->ifa_addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;

    if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
        return false;
    *ret = (struct system_address){.v6 = i->ifa_addr->sa_family == AF_INET6, .up = i->ifa_flags & IFF_UP};
    snprintf(ret->interface, sizeof(ret->interface), "%s", i->ifa_name);
    return inet_ntop(i->ifa_addr->sa_family, ret->v6 ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr,
                     ret->addr, sizeof(ret->addr)) != NULL;
}

static int list(struct system_address have[HAVE_MAX], size_t *ret_n)
{
    CLEANUP(free_addresses) struct ifaddrs *all = NULL;
    size_t n = 0;

    if (getifaddrs(&all) < 0)
        return err_raise(-errno);
    for (struct ifaddrs *i = all; i && n < HAVE_MAX; i = i->ifa_next)
        n += take(i, &have[n]);
    *ret_n = n;
    return 0;
}

int system_addresses(const char *wanted, const char *const *rule, size_t n_rules,
                     char ret[PROTO_ADDRS_MAX][PROTO_ADDR_MAX], size_t *ret_n)
{
    struct system_address have[HAVE_MAX];
    size_t n_have;
    int r = list(have, &n_have);

    if (r < 0)
        return err_pass(r);
    *ret_n = system_choose_addresses(have, n_have, wanted, rule, n_rules, ret);
    return *ret_n ? 0 : SYSTEM_E_ABSENT;
}
