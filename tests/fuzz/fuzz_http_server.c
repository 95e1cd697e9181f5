/* A stranger at the controller's HTTP port: /api and /v1 as they are, over a Unix socket. Whatever it says, each answer is one
 * of ours, no connection is left, and nothing but what was asked for becomes an order. */
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/api.h"
#include "controller/events.h"
#include "controller/gateway.h"
#include "controller/http_json.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/visit.h"
#include "tests/lib/view_lab.h"

static struct {
    struct event_base *base;
    struct http_server *server;
    struct api *api;
    struct gateway *gateway;
    struct metrics *metrics;
    struct events *events;
    struct sockaddr_un place;
} lab;

static int submit(void *ctx, struct front_order *order)
{
    (void)ctx;
    FUZZ_CHECK(order->request.n_args <= PROTO_ARGS_MAX &&
               strnlen(order->target, sizeof(order->target)) < sizeof(order->target));
    front_order_destroy(&order);
    return 0;
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static const struct http_route events_routes[] = {{"GET", "/api/events", events_handle, HTTP_FOR_ALL},
                                                  {.method = NULL}};

static int listen_at(struct sockaddr_un *place)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    place->sun_family = AF_UNIX; /* no path: the first byte stays NUL, and Linux keeps the name */
    snprintf(place->sun_path + 1, sizeof(place->sun_path) - 1, "caravan-fuzz-%d", (int)getpid());
    if (fd < 0 || bind(fd, (struct sockaddr *)place, sizeof(*place)) < 0 || listen(fd, 16) < 0)
        abort();
    return fd;
}

void fuzz_setup(void)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {1};
    const struct http_limits limits = {.body_bytes = 1 << 20};
    const struct http_errors errors = {.refuse = refuse};
    struct view *v = lab_view(INSTANCE_LOADING, 1);

    lab.base = event_base_new();
    const struct api_deps api_deps = {.base = lab.base, .submit = submit};

    if (!lab.base || http_server_new(lab.base, &limits, &errors, &lab.server) < 0 || metrics_new(&lab.metrics) < 0 ||
        api_new(&api_deps, &lab.api) < 0 || events_new(lab.base, 1000, &lab.events) < 0)
        abort();
    const struct gateway_deps gateway_deps = {
        .base = lab.base, .secret = secret, .metrics = lab.metrics, .submit = submit};

    if (gateway_new(&gateway_deps, &lab.gateway) < 0)
        abort();
    http_server_route(lab.server, api_routes(), lab.api);
    http_server_route(lab.server, events_routes, lab.events);
    http_server_route(lab.server, gateway_routes(), lab.gateway);
    if (http_server_listen_fd(lab.server, listen_at(&lab.place)) < 0)
        abort();
    api_set_view(lab.api, v);
    gateway_set_view(lab.gateway, v);
    view_unref(&v);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    char answer[256];
    size_t n = visit(lab.base, &lab.place, data, size, answer, sizeof(answer));

    FUZZ_CHECK(!n || (n >= 16 && memcmp(answer, "HTTP/1.1 ", 9) == 0));
    FUZZ_CHECK(http_server_connections(lab.server) == 0);
}
