#include "controller/core/placement_filter.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/core/rpc_wire.h"

const char *filter_node(const struct place_node *n)
{
    if (strcmp(n->state, "ready") != 0)
        return n->state;
    if (n->excluded)
        return "the same step failed there twice";
    if (n->build_problem[0])
        return n->build_problem;
    if (!n->build[0])
        return "llama.cpp was not found there";
    if (n->draining)
        return "draining";
    if (n->transport_problem)
        return n->transport_problem;
    return n->n_devices ? NULL : "no device for a worker";
}

/* 0.0: not asked yet, proven when the worker answers. */
static bool rpc_fits(const struct rpc_version *server, const struct rpc_version *client)
{
    return !server->major || !client->major || rpc_compatible(client, server);
}

void filter_beside(const struct place_node *n, const char *build, const struct rpc_version *rpc, char *why, size_t size)
{
    const char *reason = filter_node(n);

    if (reason)
        snprintf(why, size, "%s", reason);
    else if (strcmp(n->build, build) != 0)
        snprintf(why, size, "build %s is not %s", n->build, build);
    else if (!rpc_fits(&n->rpc, rpc))
        snprintf(why, size, "RPC protocol %u.%u.%u is not %u.%u.%u", n->rpc.major, n->rpc.minor, n->rpc.patch,
                 rpc->major, rpc->minor, rpc->patch);
    else
        why[0] = '\0';
}
