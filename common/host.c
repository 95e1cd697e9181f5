#include "common/host.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"

/* net/if.h stops before it, and linux/if.h cannot stand beside net/if.h. */
enum { LOWER_UP = 1 << 16 };

static void free_addresses(struct ifaddrs **list)
{
    if (*list)
        freeifaddrs(*list);
}

bool host_is_for_guests(const char *interface)
{
    static const char *const prefixes[] = {"docker",  "br-",    "veth", "virbr", "cni",
                                           "flannel", "podman", "lxc",  "lxdbr"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (!strncmp(interface, prefixes[i], strlen(prefixes[i])))
            return true;
    return false;
}

static bool is_address(const struct sockaddr *sa, const char *addr)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, text, sizeof(text));
    if (sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, text, sizeof(text));
    return text[0] && !strcmp(text, addr);
}

bool host_has_address(const char *addr)
{
    CLEANUP(free_addresses) struct ifaddrs *all = NULL;

    if (getifaddrs(&all) < 0)
        return false;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_addr && is_address(i->ifa_addr, addr))
            return true;
    return false;
}

size_t host_worth_dialling(const struct peer_facts *peer, char ret[][PROTO_ADDR_MAX], size_t max)
{
    bool ours[PROTO_ADDRS_MAX];
    size_t n_others = 0, n = 0;

    for (size_t i = 0; i < peer->n_addrs; i++) {
        ours[i] = host_has_address(peer->addr[i]);
        n_others += !ours[i];
    }
    for (size_t i = 0; i < peer->n_addrs && n < max; i++)
        if (!ours[i] || !n_others)
            memcpy(ret[n++], peer->addr[i], PROTO_ADDR_MAX);
    return n;
}

/* The flag of the interface and not /sys/class/net/NAME/carrier: it is the same bit, but /sys shows the network namespace
 * that it was mounted in. Every interface is in the list, with or without an address, by its AF_PACKET entry. A tunnel
 * (WireGuard, tun) is up whatever becomes of the cable that it goes by: it counts only where there is nothing else. */
bool host_has_carrier(void)
{
    CLEANUP(free_addresses) struct ifaddrs *all = NULL;
    bool has_cables = false, tunnel_up = false;

    if (getifaddrs(&all) < 0)
        return true;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        bool up = i->ifa_flags & LOWER_UP;

        if (i->ifa_flags & IFF_LOOPBACK || host_is_for_guests(i->ifa_name))
            continue;
        if (i->ifa_flags & IFF_POINTOPOINT) {
            tunnel_up = tunnel_up || up;
            continue;
        }
        if (up)
            return true;
        has_cables = true;
    }
    return !has_cables && tunnel_up;
}

socklen_t host_sockaddr(const char *addr, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, addr, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, addr, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof(*v6);
    }
    return 0;
}
