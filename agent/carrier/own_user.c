#include "agent/carrier/own_user.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "common/core/err.h"
#include "common/log.h"
#include "common/sock_diag.h"

static struct procfs_end loopback(uint16_t port)
{
    return (struct procfs_end){.addr = {127, 0, 0, 1}, .port = port};
}

void own_user_init(struct own_user *u, uint16_t port)
{
    const struct procfs_end own = loopback(port), nobody = {.v6 = false};
    struct procfs_socket found;
    int r = sock_diag_find(&own, &nobody, &found);

    *u = (struct own_user){.cannot_ask = r != 0};
    if (r)
        log_warn("route.users",
                 "error=%s text=\"the kernel does not say whose connections are (sock_diag): any user of "
                 "this machine can reach the ranks' ports\"",
                 r < 0 ? strerrorname_np(-r) : "none");
}

static void say_refused(struct own_user *u, uint32_t uid, uint16_t port, uint64_t now_ms)
{
    uint64_t n = seldom_count(&u->refused, now_ms);

    u->n_refused++;
    if (n)
        log_warn("route.refused", "port=%u uid=%" PRIu32 " n=%" PRIu64 " text=\"only our own user may use it\"", port,
                 uid, n);
}

static void say_failed(struct own_user *u, int r, uint64_t now_ms)
{
    uint64_t n = seldom_count(&u->failed, now_ms);

    if (n)
        log_failure(LOG_LEVEL_WARN, "route.users", r, "n=%" PRIu64, n);
}

bool own_user_has(struct own_user *u, const struct sockaddr_storage *from, uint16_t port, uint64_t now_ms)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)from;
    struct procfs_end theirs = {.port = ntohs(in->sin_port)}, ours = loopback(port);
    struct procfs_socket found;
    int r;

    if (u->cannot_ask)
        return true;
    memcpy(theirs.addr, &in->sin_addr, sizeof(in->sin_addr));
    r = sock_diag_find(&theirs, &ours, &found);
    if (r < 0)
        say_failed(u, r, now_ms);
    if (r || !found.inode)
        return false;
    if (found.uid == geteuid() || found.uid == 0)
        return true;
    say_refused(u, found.uid, port, now_ms);
    return false;
}
