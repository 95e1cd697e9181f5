/* Which handler takes a request: by path and method, in the order of the tables. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/http_conn.h"

int http_server_route(struct http_server *s, const struct http_route *routes, void *ctx)
{
    assert(s->n_tables < HTTP_TABLES_MAX);
    s->table[s->n_tables].route = routes;
    s->table[s->n_tables++].ctx = ctx;
    return 0;
}

/* What a pattern takes of a path. */
struct taken {
    const char *arg; /* ':', n_arg bytes; NULL: none */
    size_t n_arg;
    const char *rest; /* '*'; NULL: none */
};

/* The path itself, or with the segment that stands where the pattern has one with ':', and all behind that. */
static bool path_matches(const char *pattern, const char *path, struct taken *ret)
{
    const char *colon = strchr(pattern, ':'), *behind;
    size_t before = colon ? (size_t)(colon - pattern) : 0;

    *ret = (struct taken){.arg = NULL};
    if (!colon)
        return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, before) != 0)
        return false;
    ret->arg = path + before;
    ret->n_arg = strcspn(ret->arg, "/");
    path = ret->arg + ret->n_arg;
    behind = colon + strcspn(colon, "/");
    if (strcmp(behind, "/*") == 0) {
        ret->rest = path;
        return ret->n_arg && *path == '/';
    }
    return ret->n_arg && strcmp(path, behind) == 0;
}

static bool method_matches(const struct http_route *route, const char *method)
{
    return strcmp(route->method, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

/* A segment of 1 KiB is a name of ours with everything escaped. */
static bool take_arg(struct http_exchange *x, const char *arg, size_t n)
{
    CLEANUP(cleanup_free) char *buf = malloc(1024);

    if (!buf || !http_percent_decode(arg, n, false, buf, 1024))
        return false;
    http_exchange_set_arg(x, buf);
    buf = NULL;
    return true;
}

/* The route that takes x, if there is one; *ret_known: whether its path is taken with another method. */
static void find_route(struct http_server *s, struct http_exchange *x, bool *ret_known, struct taken *ret)
{
    const char *path = http_path(x), *method = http_head(x)->method;

    *ret_known = false;
    for (size_t t = 0; t < s->n_tables; t++)
        for (const struct http_route *route = s->table[t].route; route->method; route++) {
            struct taken taken;

            if (!path_matches(route->pattern, path, &taken))
                continue;
            *ret_known = true;
            if (!method_matches(route, method))
                continue;
            x->route = route;
            x->route_ctx = s->table[t].ctx;
            *ret = taken;
            return;
        }
}

bool http_admit(struct http_server *s, struct http_exchange *x)
{
    struct taken taken = {.arg = NULL};
    bool known;

    http_exchange_name(x);
    find_route(s, x, &known, &taken);
    if (s->errors.before && s->errors.before(s->errors.ctx, x, x->head, x->route))
        return false;
    x->rest = taken.rest;
    if (x->route && (!taken.arg || take_arg(x, taken.arg, taken.n_arg)))
        return true;
    if (x->route)
        s->errors.refuse(s->errors.ctx, x, 400, "the path is not valid");
    else
        s->errors.refuse(s->errors.ctx, x, known ? 405 : 404,
                         known ? "this path does not take that method" : "no such path");
    return false;
}
