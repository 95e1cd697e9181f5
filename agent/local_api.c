#include "agent/local_api.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <grp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/acceptor.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"

enum { BACKLOG = 16 };

struct connection {
    struct local_api *api; /* NULL: free */
    struct bufferevent *bev;
    struct event *limit;
    bool answered;
};

struct local_api {
    struct event_base *base;
    struct sockaddr_un place;
    struct acceptor *acceptor;
    struct connection connection[LOCAL_API_CONNECTIONS];
    uint64_t told_ms;        /* CLOCK_BOOTTIME: what was told before the machine slept is as old as that */
    char *nodes, *instances; /* owned; NULL: nothing was told yet */
};

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void connection_end(struct connection *c)
{
    if (c->bev)
        bufferevent_free(c->bev);
    if (c->limit)
        event_free(c->limit);
    *c = (struct connection){0};
}

static void answer(struct connection *c, const char *status, const char *more_head, struct evbuffer *body)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);

    c->answered = true;
    bufferevent_disable(c->bev, EV_READ);
    evbuffer_add_printf(out,
                        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                        "Cache-Control: no-store\r\nConnection: close\r\n%s\r\n",
                        status, evbuffer_get_length(body), more_head);
    evbuffer_add_buffer(out, body);
}

static void free_buffer(struct evbuffer **b)
{
    if (*b)
        evbuffer_free(*b);
}

static void refuse(struct connection *c, const char *status, const char *more_head, const char *code,
                   const char *message)
{
    CLEANUP(free_buffer) struct evbuffer *body = evbuffer_new();

    if (!body) {
        connection_end(c);
        return;
    }
    evbuffer_add_printf(body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", code, message);
    answer(c, status, more_head, body);
}

/* json: begins with '{'; "{}" has no member that a comma would stand before. */
static void tell(struct connection *c, const char *json)
{
    CLEANUP(free_buffer) struct evbuffer *body = evbuffer_new();
    const char *rest = json ? json + 1 : NULL;

    if (!json) {
        refuse(c, "503 Service Unavailable", "", "nothing_told",
               "no controller has told this agent anything since it was started");
        return;
    }
    if (!body) {
        connection_end(c);
        return;
    }
    rest += strspn(rest, " \t\r\n");
    evbuffer_add_printf(body, "{\"age_ms\":%" PRIu64 "%s", clock_ms(CLOCK_BOOTTIME) - c->api->told_ms,
                        *rest == '}' ? "" : ",");
    evbuffer_add(body, rest, strlen(rest));
    answer(c, "200 OK", "", body);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

/* "GET /api/nodes?x HTTP/1.1": cuts line into method and path. */
static bool parse_request(char *line, const char **method, const char **path)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;

    if (!version || (strcmp(version, " HTTP/1.1") != 0 && strcmp(version, " HTTP/1.0") != 0) || target[1] != '/')
        return false;
    *target = *version = '\0';
    target[1 + strcspn(target + 1, "?#")] = '\0';
    *method = line;
    *path = target + 1;
    return true;
}

static void route(struct connection *c, char *line)
{
    const char *method, *path;

    if (!parse_request(line, &method, &path)) {
        refuse(c, "400 Bad Request", "", "bad_request", "this is no request of HTTP/1.1");
        return;
    }
    if (strcmp(path, "/api/nodes") != 0 && strcmp(path, "/api/instances") != 0) {
        refuse(c, "404 Not Found", "", "not_found",
               "an agent answers /api/nodes and /api/instances; ask the controller for all else");
        return;
    }
    if (strcmp(method, "GET") != 0) {
        refuse(c, "405 Method Not Allowed", "Allow: GET\r\n", "read_only",
               "an agent only answers questions; ask the controller to change anything");
        return;
    }
    tell(c, strcmp(path, "/api/nodes") == 0 ? c->api->nodes : c->api->instances);
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    CLEANUP(cleanup_free) char *line = NULL;
    struct connection *c = ctx;

    if (c->answered)
        return;
    if (end.pos < 0) {
        if (evbuffer_get_length(in) >= LOCAL_API_HEAD_MAX)
            refuse(c, "431 Request Header Fields Too Large", "", "too_large", "the head of this request is too long");
        return;
    }
    line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF_STRICT);
    if (line)
        route(c, line);
    else
        connection_end(c);
}

static void on_written(struct bufferevent *bev, void *ctx)
{
    struct connection *c = ctx;

    (void)bev;
    if (c->answered)
        connection_end(c);
}

static void on_end(struct bufferevent *bev, short what, void *ctx)
{
    (void)bev;
    (void)what;
    connection_end(ctx);
}

static void on_limit(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    connection_end(ctx);
}

static struct connection *free_connection(struct local_api *a)
{
    for (size_t i = 0; i < LOCAL_API_CONNECTIONS; i++)
        if (!a->connection[i].api)
            return &a->connection[i];
    return NULL;
}

static void on_came(void *ctx, int fd, const struct sockaddr_storage *from)
{
    static const struct timeval limit = {.tv_sec = LOCAL_API_MS / 1000};
    struct local_api *a = ctx;
    struct connection *c = free_connection(a);

    (void)from;
    if (!c) {
        close(fd);
        return;
    }
    *c = (struct connection){.api = a,
                             .bev = bufferevent_socket_new(a->base, fd, BEV_OPT_CLOSE_ON_FREE),
                             .limit = evtimer_new(a->base, on_limit, c)};
    if (!c->bev || !c->limit) {
        if (!c->bev)
            close(fd);
        connection_end(c);
        return;
    }
    evtimer_add(c->limit, &limit);
    bufferevent_setcb(c->bev, on_read, on_written, on_end, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

static bool is_object(const char *json)
{
    return json && *json == '{';
}

void local_api_take(struct local_api *a, struct snapshot *snapshot)
{
    if (!is_object(snapshot->nodes) || !is_object(snapshot->instances))
        return;
    free(a->nodes);
    free(a->instances);
    a->nodes = snapshot->nodes;
    a->instances = snapshot->instances;
    snapshot->nodes = snapshot->instances = NULL;
    snapshot->n_nodes_bytes = snapshot->n_instances_bytes = 0;
    a->told_ms = clock_ms(CLOCK_BOOTTIME);
}

/* ---- the place --------------------------------------------------------------------------------------------------- */

static int unusable(const char *path, const char *why)
{
    log_warn("socket.unusable", "path=%s text=\"%s: `caravan` gets no answer here while no controller can be reached\"",
             LOG_STR(path), why);
    return LOCAL_API_E_UNUSABLE;
}

static bool is_answered_at(const struct sockaddr_un *place)
{
    CLEANUP(cleanup_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 || connect(fd, (const struct sockaddr *)place, sizeof(*place)) == 0 || errno == EAGAIN;
}

/* The directory, and nothing in our way in it. 0, LOCAL_API_E_UNUSABLE. */
static int clear_place(const struct sockaddr_un *place)
{
    const char *path = place->sun_path, *slash = strrchr(path, '/');
    char dir[sizeof(place->sun_path)] = "";
    struct stat st;

    if (slash && slash > path) {
        memcpy(dir, path, (size_t)(slash - path));
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            return unusable(path, strerrordesc_np(errno));
    }
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : unusable(path, strerrordesc_np(errno));
    if (!S_ISSOCK(st.st_mode))
        return unusable(path, "something stands there that is no socket");
    if (is_answered_at(place))
        return unusable(path, "another agent answers there");
    return unlink(path) < 0 && errno != ENOENT ? unusable(path, strerrordesc_np(errno)) : 0;
}

/* For nobody but us until it is given to the group. */
static int bind_place(int fd, const struct sockaddr_un *place)
{
    mode_t before = umask(0177);
    int r = bind(fd, (const struct sockaddr *)place, sizeof(*place)) < 0 ? errno : 0;
    const struct group *group;

    umask(before);
    if (r)
        return unusable(place->sun_path, strerrordesc_np(r));
    group = getgrnam("caravan");
    if (!group || chown(place->sun_path, (uid_t)-1, group->gr_gid) < 0)
        log_debug("socket.group", "path=%s text=\"no group caravan that it could be given to\"",
                  LOG_STR(place->sun_path));
    return chmod(place->sun_path, 0660) < 0 ? unusable(place->sun_path, strerrordesc_np(errno)) : 0;
}

static int listen_at(struct local_api *a)
{
    CLEANUP(cleanup_close) int fd = -1;
    int r = clear_place(&a->place);

    if (r)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_raise(-errno);
    r = bind_place(fd, &a->place);
    if (r)
        return r;
    r = listen(fd, BACKLOG) < 0 ? err_raise(-errno)
                                : acceptor_new(a->base, &fd, a->place.sun_path, on_came, a, &a->acceptor);
    if (r < 0)
        unlink(a->place.sun_path);
    return r < 0 ? err_pass(r) : 0;
}

int local_api_new(struct event_base *base, const char *path, struct local_api **ret)
{
    CLEANUP(local_api_destroy) struct local_api *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return err_raise(-ENOMEM);
    a->base = base;
    a->place.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(a->place.sun_path))
        return unusable(path, "the path of a socket may have 107 bytes");
    strcpy(a->place.sun_path, path);
    r = listen_at(a);
    if (r)
        return r < 0 ? err_pass(r) : r;
    *ret = a;
    a = NULL;
    return 0;
}

void local_api_destroy(struct local_api **a)
{
    if (!*a)
        return;
    for (size_t i = 0; i < LOCAL_API_CONNECTIONS; i++)
        connection_end(&(*a)->connection[i]);
    if ((*a)->acceptor) {
        acceptor_destroy(&(*a)->acceptor);
        unlink((*a)->place.sun_path);
    }
    free((*a)->nodes);
    free((*a)->instances);
    free(*a);
    *a = NULL;
}
