/* A stranger at the controller's HTTP port: the gate, /api and /v1 as they are, over a Unix socket. Whatever it says, each
 * answer is one of ours, no connection is left, and nothing becomes an order without the key that it needs.
 *
 * The last byte says what the server knows: 0, nothing yet; 1, that there is no key, and only its host can ask; 2, that there
 * is no key, and others can; any other byte: three keys, and two of them make no order. */
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/api.h"
#include "controller/events.h"
#include "controller/front.h"
#include "controller/gateway.h"
#include "controller/http_gate.h"
#include "controller/http_json.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/visit.h"
#include "tests/lib/view_lab.h"

#define ADMIN_KEY "caravan_a"
#define READ_KEY  "caravan_r"
#define INFER_KEY "caravan_i"

enum { N_KEYS = 3 };

static struct {
    struct event_base *base;
    struct http_server *server;
    struct http_gate gate;
    struct http_names names;
    struct api *api;
    struct gateway *gateway;
    struct metrics *metrics;
    struct events *events;
    struct view *open, *closed; /* without keys, and with */
    const struct view *view;
    struct sockaddr_un place;
    struct event *on_ordered;
    uint64_t ordered_id;
    enum front_order_kind ordered;
    const uint8_t *said;
    size_t n_said;
} lab;

/* ---- what it can bring about ---- */

static bool was_said(const char *word)
{
    return memmem(lab.said, lab.n_said, word, strlen(word));
}

static bool is_key_hex(const char *hex)
{
    return strnlen(hex, PROTO_KEY_MAX) == PROTO_KEY_MAX - 1 && !hex[strspn(hex, "0123456789abcdef")];
}

/* What the control loop may rely on. */
static void check_order(const struct front_order *o)
{
    bool token = o->kind == FRONT_ORDER_TOKEN, approval = o->kind == FRONT_ORDER_APPROVE;

    FUZZ_CHECK(o->request.n_args <= PROTO_ARGS_MAX && strnlen(o->target, sizeof(o->target)) < sizeof(o->target));
    if (token || approval)
        FUZZ_CHECK(is_key_hex(o->access.key) && o->access.scope == (token ? KEY_JOIN : KEY_NODE));
    if (token)
        FUZZ_CHECK(o->access.uses_left && o->access.expires_wall_ms > o->access.made_wall_ms);
    if (approval)
        FUZZ_CHECK(*o->access.name);
    if (o->kind == FRONT_ORDER_API_KEY)
        FUZZ_CHECK(is_key_hex(o->api_key.hash) && *o->api_key.name && strcmp(o->api_key.name, "admin") != 0);
}

static int submit(void *ctx, struct front_order *order)
{
    (void)ctx;
    check_order(order);
    if (lab.view != lab.open)
        FUZZ_CHECK(was_said(ADMIN_KEY) || (order->kind == FRONT_ORDER_PLAN && was_said(READ_KEY)));
    lab.ordered_id = order->request_id;
    lab.ordered = order->kind;
    event_active(lab.on_ordered, EV_TIMEOUT, 0);
    front_order_destroy(&order);
    return 0;
}

/* The gateway's are news of what it serves: nobody waits for an answer. */
static int take_news(void *ctx, struct front_order *order)
{
    (void)ctx;
    front_order_destroy(&order);
    return 0;
}

/* The control loop's answer, a turn later: tokens and keys are made, nothing else that is asked for is there. */
static void answer(evutil_socket_t fd, short what, void *ctx)
{
    bool done = lab.ordered == FRONT_ORDER_TOKEN || lab.ordered == FRONT_ORDER_API_KEY;
    const struct cluster_answer said = {.accepted = done, .code = "not_found", .text = "it is not there"};
    const struct front_planned planned = {.r = CLUSTER_E_UNKNOWN_MODEL};
    const struct front_refusal none = {.machine = NULL};

    (void)fd;
    (void)what;
    (void)ctx;
    if (lab.ordered == FRONT_ORDER_PLAN)
        api_planned(lab.api, lab.ordered_id, &planned);
    else
        api_answer(lab.api, lab.ordered_id, &said, &none);
}

static bool before(void *ctx, struct http_exchange *x, struct http_head *head, const struct http_route *route)
{
    (void)ctx;
    return http_gate_stops(&lab.gate, lab.view, x, head, route);
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

/* ---- the server ---- */

static int listen_at(struct sockaddr_un *place)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    place->sun_family = AF_UNIX;
    snprintf(place->sun_path, sizeof(place->sun_path), "%s/http.sock", fuzz_dir());
    if (fd < 0 || bind(fd, (struct sockaddr *)place, sizeof(*place)) < 0 || listen(fd, 16) < 0)
        abort();
    return fd;
}

static void add_keys(struct view *v)
{
    static const char *const key[N_KEYS] = {INFER_KEY, READ_KEY, ADMIN_KEY};
    static const char *const name[N_KEYS] = {"chat", "reader", "admin"};

    v->n_api_keys = N_KEYS;
    v->api_key = calloc(N_KEYS, sizeof(*v->api_key));
    v->n_keys = 1;
    v->key = calloc(1, sizeof(*v->key));
    if (!v->api_key || !v->key)
        abort();
    for (size_t i = 0; i < N_KEYS; i++) {
        uint8_t digest[CRYPTO_KEY_BYTES];

        crypto_digest(key[i], strlen(key[i]), digest);
        crypto_key_format(digest, v->api_key[i].hash);
        v->api_key[i].scope = (enum api_scope)(API_INFER + i);
        snprintf(v->api_key[i].name, sizeof(v->api_key[i].name), "%s", name[i]);
    }
    v->key[0].scope = KEY_JOIN;
    memset(v->key[0].key, 'a', sizeof(v->key[0].key) - 1);
}

static void make_rooms(void)
{
    static const uint8_t secret[CRYPTO_KEY_BYTES] = {1};
    const struct http_limits limits = {.body_bytes = 1 << 20};
    const struct http_errors errors = {.refuse = refuse, .before = before};
    const struct api_deps api_deps = {.base = lab.base, .submit = submit};
    struct gateway_deps gateway_deps = {.base = lab.base, .secret = secret, .submit = take_news};

    if (http_server_new(lab.base, &limits, &errors, &lab.server) < 0 || metrics_new(&lab.metrics) < 0 ||
        api_new(&api_deps, &lab.api) < 0 || events_new(lab.base, 1000, &lab.events) < 0)
        abort();
    gateway_deps.metrics = lab.metrics;
    if (gateway_new(&gateway_deps, &lab.gateway) < 0)
        abort();
}

/* (/metrics, which is the last table, is the front's own.) */
static void open_doors(void)
{
    void *const ctx[] = {lab.api, lab.gateway, lab.events};
    const struct http_route *table[FRONT_TABLES];

    front_routes(false, table);
    for (size_t i = 0; i < sizeof(ctx) / sizeof(ctx[0]); i++)
        http_server_route(lab.server, table[i], ctx[i]);
    if (http_server_listen_fd(lab.server, listen_at(&lab.place)) < 0)
        abort();
}

void fuzz_setup(void)
{
    static const char *const hosts[] = {"chat.example.org", "proxy:8443"};
    const struct door door = {.port = 7420, .n_addrs = 1, .addr = {"10.0.0.1"}};

    lab.base = event_base_new();
    lab.on_ordered = lab.base ? evtimer_new(lab.base, answer, NULL) : NULL;
    lab.open = lab_view(INSTANCE_LOADING, 1);
    lab.closed = lab_view(INSTANCE_LOADING, 1);
    if (!lab.on_ordered)
        abort();
    add_keys(lab.closed);
    lab.names = (struct http_names){.host = "x", .allowed = hosts, .n_allowed = 2};
    make_rooms();
    lab.gate = (struct http_gate){.names = &lab.names, .metrics = lab.metrics};
    open_doors();
    api_set_door(lab.api, &door);
    gateway_set_view(lab.gateway, lab.closed);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    uint8_t last = size ? data[size - 1] : 0;
    char said[256];
    size_t n;

    lab.said = data;
    lab.n_said = size;
    lab.gate.local = last != '2';
    lab.view = last == '0' ? NULL : last == '1' || last == '2' ? lab.open : lab.closed;
    api_set_view(lab.api, last == '1' ? lab.open : lab.closed);
    n = visit(lab.base, &lab.place, data, size, said, sizeof(said));
    FUZZ_CHECK(!n || (n >= 16 && memcmp(said, "HTTP/1.1 ", 9) == 0));
    FUZZ_CHECK(http_server_connections(lab.server) == 0);
}
